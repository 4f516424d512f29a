"""cold_times.py: what the law of the cost of a step says, what it was fitted to, and what it says nothing about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.attention_cost import COSTS
from orchestrator.configs import DataConfig
from orchestrator.grids.sweep_spec import Resources
from orchestrator.trial import Trial
from orchestrator.tuning.cold_times import ColdTimes, is_one_thread, step_s
from orchestrator.tuning.processor_speed import ProcessorSpeed
from orchestrator.tuning.timing import EpochTimes

EPYC = ProcessorSpeed(flops_s=99e9, adds_s=11e9, calls_s=4e6)
"""The processor that the constants were fitted on."""

CIFAR = DataConfig(name="cifar100", num_classes=100)

MEASURED_MS = (
    ("self", {"depth": 12, "embed_dim": 32, "num_heads": 4, "patch_size": 2, "mlp_ratio": 2.0}, 64, 48.0),
    ("reattention", {"depth": 32, "embed_dim": 32, "num_heads": 4, "patch_size": 2, "mlp_ratio": 2.0}, 64, 144.9),
    ("self", {"depth": 4, "embed_dim": 384, "num_heads": 12, "img_size": 32, "mlp_ratio": 3.0}, 32, 1088.7),
    ("reattention", {"depth": 12, "embed_dim": 192, "num_heads": 12, "img_size": 32}, 64, 3216.6),
    ("self", {"depth": 2, "embed_dim": 384, "num_heads": 6, "img_size": 224, "patch_size": 16}, 8, 624.8),
    ("differential", {"depth": 4, "embed_dim": 128, "num_heads": 4, "img_size": 32}, 64, 562.8),
)
"""Steps of models on that processor: milliseconds, the median of 3 to 50."""


def trial_of(base: Trial, batch_size: int = 16, **model: Any) -> Trial:
    train = replace(base.train, batch_size=batch_size)
    return replace(base, model=replace(base.model, **model), train=train)


@pytest.mark.parametrize(("attention", "model", "batch_size", "measured_ms"), MEASURED_MS)
def test_steps_that_were_measured_are_told_within_30_percent(
    tiny_trial: Trial, attention: str, model: dict[str, Any], batch_size: int, measured_ms: float
) -> None:
    trial = trial_of(tiny_trial, batch_size, attention=attention, **model)
    assert step_s(trial, EPYC) == pytest.approx(measured_ms / 1000, rel=0.3)


@pytest.mark.parametrize("attention", COSTS)
def test_a_step_is_blocks_times_what_a_batch_and_its_calls_take(tiny_trial: Trial, attention: str) -> None:
    def seconds(depth: int, batch_size: int) -> float:
        return step_s(trial_of(tiny_trial, batch_size, attention=attention, depth=depth, img_size=32), EPYC)

    assert seconds(6, 32) == pytest.approx(3 * seconds(2, 32))
    assert seconds(2, 48) - seconds(2, 32) == pytest.approx(seconds(2, 32) - seconds(2, 16))
    assert seconds(2, 64) < 4 * seconds(2, 16)  # calls take as long for a batch of any size


def test_a_processor_twice_as_fast_in_all_takes_half_the_time(tiny_trial: Trial) -> None:
    twice = ProcessorSpeed(2 * EPYC.flops_s, 2 * EPYC.adds_s, 2 * EPYC.calls_s)
    assert step_s(tiny_trial, twice) == pytest.approx(step_s(tiny_trial, EPYC) / 2)


def test_blocks_without_mixing_are_counted_as_self_attention(tiny_trial: Trial) -> None:
    def seconds(**model: Any) -> float:
        return step_s(trial_of(tiny_trial, depth=4, **model), EPYC)

    half = (seconds(attention="self") + seconds(attention="reattention")) / 2
    assert seconds(attention="reattention", reattention_last=2) == pytest.approx(half)


def test_a_trial_is_its_epochs_of_steps_and_evaluations(tiny_trial: Trial, known_speed: ProcessorSpeed) -> None:
    trial = replace(tiny_trial, data=replace(CIFAR, val_fraction=0.0), train=replace(tiny_trial.train, batch_size=500))
    without = ColdTimes().trial_s(trial)
    epochs = trial.train.epochs + trial.train.cooldown_epochs
    assert without == pytest.approx(epochs * 100 * step_s(trial, known_speed))
    with_val = ColdTimes().trial_s(replace(trial, data=replace(CIFAR, val_fraction=0.1)))
    assert with_val == pytest.approx(epochs * (90 + 0.37 * 10) * step_s(trial, known_speed))


def test_digits_lose_what_is_held_out_for_test_and_validation(tiny_trial: Trial, known_speed: ProcessorSpeed) -> None:
    data = replace(tiny_trial.data, test_fraction=0.2, val_fraction=0.1)
    trial = replace(tiny_trial, data=data, train=replace(tiny_trial.train, batch_size=64, epochs=1))
    num_steps = int(1797 * 0.8 * 0.9) // 64
    expected = (num_steps + 0.37 * 1797 * 0.8 * 0.1 / 64) * step_s(trial, known_speed)
    assert ColdTimes().trial_s(trial) == pytest.approx(expected)


@pytest.mark.parametrize(
    "train",
    [{"precision": "bf16"}, {"cos_reg": "paper"}, {"auto_augment": "rand-m9"}, {"color_jitter": 0.4},
     {"random_resized_crop": 0.3}],
)  # fmt: skip
def test_what_it_was_not_fitted_to_is_unknown(tiny_trial: Trial, train: dict[str, Any]) -> None:
    trial = replace(tiny_trial, train=replace(tiny_trial.train, **train))
    assert ColdTimes().trial_s(tiny_trial) is not None
    assert ColdTimes().trial_s(trial) is None


def test_what_this_processor_does_not_tell_is_unknown_and_nothing_is_measured_for_it(
    tiny_trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tuning.cold_times.measure_speed", lambda: pytest.fail("measured"))
    cold = ColdTimes()
    folder = DataConfig(name="image_folder", id="mine", root="/somewhere", num_classes=10)
    assert cold.trial_s(replace(tiny_trial, data=folder)) is None
    own = trial_of(tiny_trial, attention="my_package.attention:Mine")
    assert cold.trial_s(own) is None


def test_it_tells_of_one_thread_alone() -> None:
    assert is_one_thread(Resources(cpus=4))
    assert not is_one_thread(Resources(gpus=0.5))
    assert not is_one_thread(Resources(workers=2))
    assert not is_one_thread(Resources(), num_packed=2)


def test_whatever_else_was_timed_corrects_it_by_the_median_of_what_it_is_off(tiny_trial: Trial) -> None:
    plain, times = ColdTimes(), EpochTimes()
    others = [trial_of(tiny_trial, embed_dim=width) for width in (16, 24, 32)]
    for other, error in zip(others, (1.5, 0.1, 1.6), strict=True):
        estimated_s = plain.trial_s(other)
        assert estimated_s is not None
        times.add(other.canonical(), error * estimated_s / (other.train.epochs + other.train.cooldown_epochs))
    new = trial_of(tiny_trial, embed_dim=64, attention="reattention")
    assert ColdTimes(times).trial_s(new) == pytest.approx(1.5 * (plain.trial_s(new) or 0.0))


def test_what_it_cannot_estimate_corrects_nothing(tiny_trial: Trial) -> None:
    times = EpochTimes()
    times.add(replace(tiny_trial, train=replace(tiny_trial.train, precision="bf16")).canonical(), 1e6)
    for changes in ({"attention": "of a later version"}, {"blocks": 3}):
        content = tiny_trial.canonical()
        times.add({**content, "model": {**content["model"], **changes}}, 1e6)
    assert ColdTimes(times).trial_s(tiny_trial) == ColdTimes().trial_s(tiny_trial)
