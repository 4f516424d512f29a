"""Two processes against one. What is compared, and how closely, is what README and docs/decisions.md promise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import nn

from orchestrator.errors import DivergedError, StoppedError, TrainingError
from orchestrator.models.batch_share import BatchShare, share_batches
from orchestrator.models.head_norm import HeadGain, HeadNorm
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.loop import Outcome
from orchestrator.training.shards import ALONE, Shards
from orchestrator.trial import Trial
from tests.training.pair import Pair, Raised, run, run_double, run_share
from tests.training.test_loop import EVERYTHING, stop_at

slow = pytest.mark.slow

TOLERANCE = 2e-3
"""Relative, on training losses in float32: that of `test_protocol.py`, for the same reason."""
TOLERANCE_EVALUATED = 1e-2
"""The same on losses in evaluation, which read running statistics; 3e-3 was seen."""
TOLERANCE_DOUBLE = 1e-9
"""The same in float64; 6e-13 was seen."""
WITHOUT_EFFECT = ("reatten_matrix.bias", "running_mean", "qkv.bias")
"""The loss does not depend on Theta's bias (BatchNorm takes it away, and keeps it in its running mean) nor on the bias
of keys (softmax takes it away), so their gradients are rounding errors, which Adam makes as large as any other."""

ARMS = {
    "self": ({}, {}),
    "reattention": ({"attention": "reattention"}, {"clip_grad": 1.0, "micro_batch_size": 24}),
    "everything": ({"attention": "reattention", "drop_path_rate": 0.2}, EVERYTHING),
    "gain_only": ({"attention": "gain_only"}, {"cos_reg": "paper"}),
    "odd": ({"attention": "reattention", "drop_path_rate": 0.2}, {"batch_size": 63, "optimizer": "sgd", "lr": 0.1}),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("group"))
    yield made
    made.close()


def arm_of(trial: Trial, arm: str, **recipe) -> Trial:
    model, train = ARMS[arm]
    return replace(trial, model=replace(trial.model, **model), train=replace(trial.train, **(train | recipe)))


def largest_difference(one: Outcome, two: Outcome) -> float:
    """Over the weights that have an effect."""
    a, b = load(one.weights), load(two.weights)
    assert a.keys() == b.keys()
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a if not k.endswith(WITHOUT_EFFECT))


@slow
@pytest.mark.parametrize("arm", ARMS)
def test_two_processes_train_what_one_trains(pair: Pair, tiny_trial: Trial, arm: str) -> None:
    trial = arm_of(tiny_trial, arm)
    rows, one = run(trial)
    (rows_of_two, two), (_, second) = pair.both(run_share, trial)
    for row, other in zip(rows, rows_of_two, strict=True):
        assert other.train_loss == pytest.approx(row.train_loss, rel=TOLERANCE)
        assert other.val_loss == pytest.approx(row.val_loss, rel=TOLERANCE_EVALUATED)
        assert (other.epoch, other.lr) == (row.epoch, row.lr)
    assert two.test_loss == pytest.approx(one.test_loss, rel=TOLERANCE_EVALUATED)
    assert (two.is_correct != one.is_correct).mean() < 0.01
    assert (two.progress.num_images, two.num_epochs) == (one.progress.num_images, one.num_epochs)
    assert two.weights == second.weights  # both processes hold the same bits
    assert np.array_equal(two.is_correct, second.is_correct)


@slow
@pytest.mark.parametrize("arm", ["reattention", "gain_only", "odd"])
def test_in_float64_the_two_differ_by_nothing_but_rounding(pair: Pair, tiny_trial: Trial, arm: str) -> None:
    trial = arm_of(tiny_trial, arm, ema_decay=0.9)
    trial = replace(trial, model=replace(trial.model, drop_path_rate=0.2))
    rows, one = run_double(None, trial)
    (rows_of_two, two), _ = pair.both(run_double, trial)
    losses = [(row.train_loss, row.val_loss) for row in rows]
    assert [(row.train_loss, row.val_loss) for row in rows_of_two] == [
        pytest.approx(pair, rel=TOLERANCE_DOUBLE) for pair in losses
    ]
    assert largest_difference(one, two) < TOLERANCE_DOUBLE
    assert np.array_equal(one.is_correct, two.is_correct)


@slow
def test_dropout_is_equal_in_distribution_and_each_process_draws_its_own(pair: Pair, tiny_trial: Trial) -> None:
    trial = replace(tiny_trial, model=replace(tiny_trial.model, proj_drop_rate=0.1, attn_drop_rate=0.1))
    rows, one = run(trial)
    (rows_of_two, two), (_, second) = pair.both(run_share, trial)
    assert two.weights != one.weights
    assert two.weights == second.weights
    assert rows_of_two[-1].train_loss == pytest.approx(rows[-1].train_loss, rel=0.05)


@slow
@pytest.mark.parametrize("first_on", [1, 2])
def test_a_checkpoint_inside_an_epoch_does_not_know_how_many_processes_made_it(
    pair: Pair, tiny_trial: Trial, tmp_path: Path, first_on: int
) -> None:
    trial = arm_of(tiny_trial, "everything")
    rows, whole = run(trial)
    store = CheckpointStore(tmp_path)
    if first_on == 1:
        with pytest.raises(StoppedError):
            run(trial, checkpoints=store, should_stop=stop_at(27))
    else:
        stopped = pair.both(run_share, trial, checkpoints=store, should_stop=stop_at(27))
        assert [error.message for error in stopped] == ["stopped in epoch 2 before step 7"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-0", "1-7"]
    start = store.load_newest()
    if first_on == 1:
        _, resumed = pair.both(run_share, trial, checkpoints=store, start_from=start)[0]
    else:
        _, resumed = run(trial, checkpoints=store, start_from=start)
    expected = [pytest.approx(row.train_loss, rel=TOLERANCE) for row in rows]
    assert [row.train_loss for row in resumed.progress.rows] == expected
    assert resumed.test_loss == pytest.approx(whole.test_loss, rel=TOLERANCE_EVALUATED)


@slow
def test_a_divergence_ends_both_processes_at_one_step(pair: Pair, tiny_trial: Trial) -> None:
    trial = replace(tiny_trial, train=replace(tiny_trial.train, optimizer="sgd", lr=1e30))
    first, second = pair.both(run_share, trial)
    assert isinstance(first, Raised)
    assert first.kind is DivergedError
    assert first == second


def normalise_share(rank: int, maps_BHNN: torch.Tensor, weights_BHNN: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a share of a batch gives: outputs, gradients and running statistics, in float64."""
    share = BatchShare(rank, 2)
    rows = share.rows(len(maps_BHNN))
    found = {}
    for name, module in (("norm", HeadNorm(3).double()), ("gain", HeadGain(3).double())):
        share_batches(module, share)
        own_BHNN = maps_BHNN[rows].clone().requires_grad_()
        with share.of(len(maps_BHNN)):
            out_BHNN = module(own_BHNN)
            (out_BHNN * weights_BHNN[rows]).sum().backward()
        assert own_BHNN.grad is not None
        found |= {f"{name}.out": out_BHNN.detach(), f"{name}.gradient": own_BHNN.grad}
        found |= {f"{name}.{key}": value.clone() for key, value in module.named_buffers()}
    return found


@slow
def test_statistics_and_their_gradients_are_those_of_the_whole_batch(pair: Pair) -> None:
    generator = torch.Generator().manual_seed(0)
    maps_BHNN, weights_BHNN = torch.randn(2, 5, 3, 4, 4, generator=generator, dtype=torch.float64)
    maps_BHNN = maps_BHNN * 3 + 2
    first, second = pair.both(normalise_share, maps_BHNN, weights_BHNN)
    for name, module in (("norm", nn.BatchNorm2d(3).double()), ("gain", HeadGain(3).double())):
        whole_BHNN = maps_BHNN.clone().requires_grad_()
        out_BHNN = module(whole_BHNN)
        (out_BHNN * weights_BHNN).sum().backward()
        expected = {"out": out_BHNN.detach(), "gradient": whole_BHNN.grad}
        for key, value in expected.items():
            found = torch.cat([first[f"{name}.{key}"], second[f"{name}.{key}"]])
            torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-12)
        for key, value in module.named_buffers():
            for part in (first, second):
                torch.testing.assert_close(part[f"{name}.{key}"], value, rtol=1e-12, atol=1e-12)


def drift(rank: int) -> None:
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, 1.0 + rank)
    nn.init.zeros_(layer.bias)
    Shards(rank, 2).check_alike(layer)


@slow
def test_processes_that_drift_apart_are_told_in_each(pair: Pair) -> None:
    for error in pair.both(drift):
        assert isinstance(error, Raised)
        assert error.kind is TrainingError
        assert "no longer hold one model (weight and 0 others differ)" in error.message


def test_alone_nothing_is_exchanged() -> None:
    layer = nn.Linear(2, 2)
    F.mse_loss(layer(torch.ones(1, 2)), torch.zeros(1, 2)).backward()
    assert layer.weight.grad is not None
    before = layer.weight.grad.clone()
    ALONE.add_up_gradients(layer)
    ALONE.check_alike(layer)
    assert torch.equal(layer.weight.grad, before)
    assert (ALONE.decides(True), ALONE.of_first("x"), ALONE.total(before) is before) == (True, "x", True)


def test_a_batch_norm_that_knows_no_shares_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    with pytest.raises(TrainingError, match=r"1 \(BatchNorm2d\) normalises by the images of its own process"):
        share_batches(model, BatchShare(0, 2))
