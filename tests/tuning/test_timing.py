from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.trial import Trial
from orchestrator.tuning.timing import EpochTimes


def at_depth(trial: Trial, depth: int) -> Trial:
    return replace(trial, model=replace(trial.model, depth=depth))


def test_nothing_measured_means_unknown(tiny_trial: Trial) -> None:
    assert EpochTimes().epoch_s(tiny_trial) is None
    assert EpochTimes().trial_s(tiny_trial) is None


def test_a_measured_depth_gives_its_own_mean_and_others_a_line(tiny_trial: Trial) -> None:
    times = EpochTimes()
    for depth, seconds in [(12, 2.0), (12, 4.0), (24, 5.0)]:
        times.add(at_depth(tiny_trial, depth).canonical(), seconds)
    assert times.epoch_s(at_depth(tiny_trial, 12)) == pytest.approx(3.0)
    assert times.epoch_s(at_depth(tiny_trial, 32)) == pytest.approx(3.0 + 20 * (5.0 - 3.0) / 12)
    assert times.trial_s(at_depth(tiny_trial, 24)) == pytest.approx(10.0)


def test_one_measured_depth_scales_with_depth(tiny_trial: Trial) -> None:
    times = EpochTimes()
    times.add(at_depth(tiny_trial, 12).canonical(), 3.0)
    assert times.epoch_s(at_depth(tiny_trial, 24)) == pytest.approx(6.0)


def test_seeds_and_epochs_are_one_family_and_widths_are_not(tiny_trial: Trial) -> None:
    times = EpochTimes()
    times.add(tiny_trial.canonical(), 3.0)
    longer = replace(tiny_trial, seed=5, train=replace(tiny_trial.train, epochs=10, cooldown_epochs=2, lr=0.1))
    assert times.trial_s(longer) == pytest.approx(36.0)
    assert times.epoch_s(replace(tiny_trial, model=replace(tiny_trial.model, embed_dim=32))) is None


def test_a_noisy_falling_line_never_predicts_a_negative_time(tiny_trial: Trial) -> None:
    times = EpochTimes()
    for depth, seconds in [(12, 9.0), (16, 1.0)]:
        times.add(at_depth(tiny_trial, depth).canonical(), seconds)
    estimate = times.epoch_s(at_depth(tiny_trial, 64))
    assert estimate is not None
    assert estimate > 0
