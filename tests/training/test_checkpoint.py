from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from orchestrator.record import EpochMetrics
from orchestrator.training.checkpoint import FINAL, WEIGHTS, CheckpointStore, Progress, weights_bytes

ROW = EpochMetrics(epoch=1, train_loss=0.1 + 0.2, val_loss=None, val_acc=1 / 3, lr=1e-3, wall_time_s=1.5)
PROGRESS = Progress(
    epoch=1, step=0, loss_sum=1 / 3, num_images=7, epoch_time_s=0.0, train_time_s=1.5, wall_time_s=2.0,
    code_fingerprint="f", rows=(ROW,),
)  # fmt: skip


def trained(optimizer_name: str = "adamw") -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    kinds = {
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    }
    optimizer = kinds[optimizer_name](model.parameters())
    for _ in range(3):
        step(model, optimizer)
    return model, optimizer


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.arange(20.0).reshape(5, 4).sin()).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_going_on_from_a_checkpoint_equals_going_on(tmp_path: Path, name: str) -> None:
    model, optimizer = trained(name)
    store = CheckpointStore(tmp_path)
    store.save(PROGRESS, model, optimizer, None)
    step(model, optimizer)
    other, other_optimizer = trained(name)
    for _ in range(5):
        step(other, other_optimizer)
    checkpoint = store.load_newest()
    assert checkpoint is not None
    checkpoint.restore(other, other_optimizer, None)
    step(other, other_optimizer)
    assert weights_bytes(other) == weights_bytes(model)
    assert checkpoint.progress == PROGRESS


def test_the_moving_average_is_kept_too(tmp_path: Path) -> None:
    model, optimizer = trained()
    average, other = nn.Linear(2, 2), nn.Linear(2, 2)
    store = CheckpointStore(tmp_path)
    store.save(PROGRESS, model, optimizer, average)
    checkpoint = store.load_newest()
    assert checkpoint is not None
    checkpoint.restore(model, optimizer, other)
    assert weights_bytes(other) == weights_bytes(average)


def test_the_newest_two_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    model, optimizer = trained()
    store = CheckpointStore(tmp_path)
    for epoch, at in [(1, 0), (2, 0), (2, 15), (10, 0)]:
        store.save(replace(PROGRESS, epoch=epoch, step=at), model, optimizer, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10-0", "2-15"]
    checkpoint = store.load_newest()
    assert checkpoint is not None
    assert checkpoint.name == "10-0"


def test_a_damaged_checkpoint_is_stepped_over_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, optimizer = trained()
    store = CheckpointStore(tmp_path)
    for epoch in (1, 2):
        store.save(replace(PROGRESS, epoch=epoch), model, optimizer, None)
    weights = tmp_path / "2-0" / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    checkpoint = store.load_newest()
    assert checkpoint is not None
    assert checkpoint.name == "1-0"
    assert "2-0" in caplog.text
    assert WEIGHTS in caplog.text


def test_only_the_final_weights_stay_behind_a_record(tmp_path: Path) -> None:
    model, optimizer = trained()
    store = CheckpointStore(tmp_path)
    store.save(PROGRESS, model, optimizer, None)
    (tmp_path / ".tmp-half").mkdir()
    store.commit_final(weights_bytes(model))
    store.keep_only_final()
    assert [path.name for path in tmp_path.iterdir()] == [FINAL]
    assert store.load_newest() is None


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    model, optimizer = trained()
    CheckpointStore(tmp_path).save(PROGRESS, model, optimizer, None)
    names = {path.name for path in (tmp_path / "1-0").iterdir()}
    assert {Path(name).suffix for name in names} == {".safetensors", ".json"}


def test_weights_are_the_bytes_that_safetensors_writes_for_torch() -> None:
    model, _ = trained()
    assert weights_bytes(model) == save(dict(model.state_dict()))
    model.register_buffer("rounded", torch.arange(3.0).bfloat16())  # a type that NumPy lacks
    assert weights_bytes(model) == save(dict(model.state_dict()))
