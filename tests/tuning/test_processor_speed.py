"""processor_speed.py: work whose time is known is told, and what is measured on this processor is possible."""

from __future__ import annotations

import time

import pytest

from orchestrator.tuning import processor_speed
from orchestrator.tuning.processor_speed import measure_speed


def test_the_shortest_time_of_a_turn_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 0.0, 0.004, 0.004, 0.006, 0.006, 0.011])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    assert processor_speed._best_s(lambda: None) == pytest.approx(0.002)


def test_a_processor_is_measured_within_bounds_that_hold_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor_speed, "NUM_ROUNDS", 2)
    speed = measure_speed()
    assert 1e8 < speed.flops_s < 1e13
    assert 1e7 < speed.adds_s < 1e12
    assert 1e4 < speed.calls_s < 1e9


def test_a_slow_turn_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 1.0, 1.0, 0.5, 2.0, 0.25])
    monkeypatch.setattr(processor_speed, "NUM_ROUNDS", 2)
    monkeypatch.setattr(processor_speed, "_best_s", lambda work: next(times))
    speed = measure_speed()
    assert speed.flops_s == pytest.approx(2 * 1024 * 64 * 256 / 0.5)
    assert speed.adds_s == pytest.approx(2**16 / 1.0)
    assert speed.calls_s == pytest.approx(200 / 0.25)
