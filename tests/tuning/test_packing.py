"""Which trials one process trains together, and how many."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.grids.sweep_spec import ResourceOverride, Resources
from orchestrator.trial import Trial
from orchestrator.tuning.events import RunSettings
from orchestrator.tuning.packing import make_packs, num_together, pack_size, packs_by_cell, why_alone

SMALL = Trial(
    model=ModelConfig(depth=12, embed_dim=192, num_heads=12, patch_size=4, img_size=32),
    data=DataConfig(name="cifar100", num_classes=100, in_chans=3),
    train=TrainConfig(epochs=2, batch_size=256, lr=2e-3, precision="bf16"),
    seed=0,
)
"""16,640 tokens a step."""
GPU = Resources(gpus=1)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A GPU that has nothing but memory, in bytes."""
    properties = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: properties)
    return properties


def settings_of(resources: Resources, *overrides: ResourceOverride) -> RunSettings:
    return RunSettings(
        results_root=Path("r"), stop_file=Path("s"), executor="serial", resources=resources,
        resource_overrides=overrides, data_fingerprints={}, roots={},
    )  # fmt: skip


def grid(*, num_seeds: int) -> list[Trial]:
    """Two cells; the first seed of each comes first."""
    cells = [replace(SMALL, model=replace(SMALL.model, depth=depth)) for depth in (4, 8)]
    return [replace(cell, seed=seed) for seed in range(num_seeds) for cell in cells]


def test_auto_packs_what_leaves_a_gpu_idle(card: SimpleNamespace) -> None:
    assert pack_size(SMALL, GPU) == 4
    large = replace(SMALL, train=replace(SMALL.train, batch_size=512))
    assert pack_size(large, GPU) == 1
    tiny = replace(SMALL, train=replace(SMALL.train, batch_size=64))
    assert pack_size(tiny, GPU) == 13


def test_auto_packs_no_more_than_the_memory_holds(card: SimpleNamespace) -> None:
    assert pack_size(SMALL, replace(GPU, gpus=0.06)) == 2
    card.total_memory = 2**20
    assert pack_size(SMALL, GPU) == 1


def test_auto_trains_alone_on_cpus_and_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pack_size(SMALL, Resources()) == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pack_size(SMALL, GPU) == 1


def test_auto_trains_alone_under_ray_whose_driver_sees_no_gpu(card: SimpleNamespace) -> None:
    assert pack_size(SMALL, GPU, "ray_tune") == 1
    assert pack_size(SMALL, replace(GPU, pack=3), "ray_tune") == 3


def test_auto_leaves_alone_what_asked_for_graphs(card: SimpleNamespace) -> None:
    assert pack_size(SMALL, replace(GPU, graphs=True)) == 1
    assert pack_size(SMALL, replace(GPU, graphs=True, pack=3)) == 3
    assert pack_size(SMALL, replace(GPU, graphs=False)) == 4


def test_auto_tries_no_attention_whose_memory_is_not_known(card: SimpleNamespace) -> None:
    own = replace(SMALL, model=replace(SMALL.model, attention="own:Attention"))
    assert pack_size(own, GPU) == 1


def test_a_number_is_taken_at_its_word_but_beside_workers() -> None:
    assert pack_size(SMALL, Resources(pack=3)) == 3
    assert pack_size(SMALL, Resources(workers=2)) == 1


def test_packs_hold_seeds_of_one_cell_and_stand_where_their_first_stood() -> None:
    trials = grid(num_seeds=5)
    packs = make_packs(trials, settings_of(Resources(pack=3)))
    assert [[(trial.model.depth, trial.seed) for trial in pack] for pack in packs] == [
        [(4, 0), (4, 1)], [(8, 0), (8, 1)], [(4, 2), (4, 3), (4, 4)], [(8, 2), (8, 3), (8, 4)]
    ]  # fmt: skip
    assert make_packs(trials, settings_of(Resources())) == [(trial,) for trial in trials]
    assert make_packs([], settings_of(Resources(pack=3))) == []


def test_what_will_go_together_is_the_largest_pack_that_is_made() -> None:
    for num_seeds in range(1, 9):
        for pack in range(1, 5):
            settings = settings_of(Resources(pack=pack))
            largest = max(map(len, make_packs(grid(num_seeds=num_seeds), settings)))
            assert num_together(SMALL, num_seeds, Resources(pack=pack)) == largest
            assert set(packs_by_cell(grid(num_seeds=num_seeds), settings).values()) == {largest}
    assert num_together(SMALL, 0, Resources(pack=3)) == 1


def test_a_rule_may_pack_some_cells() -> None:
    rule = ResourceOverride(when={"depth": (4,)}, resources={"pack": 8})
    packs = make_packs(grid(num_seeds=3), settings_of(Resources(), rule))
    assert sorted(len(pack) for pack in packs) == [1, 1, 1, 3]


def test_a_cell_that_cannot_be_stacked_is_named(caplog: pytest.LogCaptureFixture) -> None:
    lamb = [replace(trial, train=replace(trial.train, optimizer="lamb")) for trial in grid(num_seeds=2)]
    with caplog.at_level(logging.WARNING, logger="orchestrator"):
        assert make_packs(lamb, settings_of(Resources(pack=2))) == [(trial,) for trial in lamb]
    assert num_together(lamb[0], 2, Resources(pack=2)) == 1
    assert why_alone(lamb[0], 2, Resources(pack=2)) is not None
    assert why_alone(lamb[0], 1, Resources(pack=2)) is None
    assert [message.partition(": ")[2].partition(" ")[0] for message in caplog.messages] == ["lamb", "lamb"]
    assert caplog.messages[0].startswith(lamb[0].label)
