"""Cells that will not fit are told before they start: by which device, how much, and what would fit."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator import cost
from orchestrator.cli import cli
from orchestrator.grid import expand_grid
from orchestrator.grids.sweep_spec import Resources
from orchestrator.results import ResultsDir
from orchestrator.spec import load_spec, loads_spec
from orchestrator.tuning import device_memory, runner
from orchestrator.tuning.device_memory import (
    gpu_memory_mib,
    memory_warnings,
    need_mib,
    num_seeds_in,
    ram_mib,
)
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.sweep import run_sweep

SPEC = """\
name: large
axes: {{depth: {depths}}}
seeds: 2
model: {{embed_dim: 384, num_heads: 12, patch_size: 2, mlp_ratio: 3.0}}
data: {{name: digits}}
train: {{epochs: 1, batch_size: 256, lr: 1.0e-3}}
resources: {{gpus: {gpus}}}
"""


def told(
    monkeypatch: pytest.MonkeyPatch, held_mib: float | None, depths: list[int], gpus: float = 1, num_packed: int = 1
) -> list[str]:
    monkeypatch.setattr(device_memory, "gpu_memory_mib", lambda: held_mib)
    spec = loads_spec(SPEC.format(depths=depths, gpus=gpus))
    trials = expand_grid(spec).trials
    return memory_warnings(trials, lambda trial: spec.resources, {trial.cell_id: num_packed for trial in trials})


def test_only_cells_beyond_the_memory_are_told_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = loads_spec(SPEC.format(depths=[4, 8, 16], gpus=1))
    needs = {
        cell.trials[0].model.depth: cost.memory_mib(cell.trials[0], on_gpu=True) for cell in expand_grid(spec).cells
    }
    assert needs[4] < needs[8] < needs[16]
    found = told(monkeypatch, (needs[8] + needs[16]) / 2, [4, 8, 16])
    assert len(found) == 1
    assert found[0].startswith("d16-self-w384 will not fit")
    assert f"needs about {needs[16] / 1024:.1f} GiB" in found[0]
    assert "train.micro_batch_size 128 would" in found[0]


def test_a_share_of_a_gpu_holds_a_share_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = loads_spec(SPEC.format(depths=[8], gpus=1))
    need = cost.memory_mib(expand_grid(spec).cells[0].trials[0], on_gpu=True)
    assert told(monkeypatch, 1.5 * need, [8], gpus=1) == []
    assert "its share of a GPU here" in told(monkeypatch, 1.5 * need, [8], gpus=0.5)[0]


def test_what_no_micro_batch_mends_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, 1.0, [4])[0].endswith("take a smaller model or a larger device")


def test_of_many_cells_the_first_are_told_and_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(monkeypatch, 1.0, list(range(1, 13)))
    assert len(found) == device_memory.MAX_TOLD + 1
    assert found[-1].startswith("7 more cells will not fit")


def test_an_unknown_gpu_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, None, [32]) == []


def test_a_pack_needs_the_memory_of_all_its_seeds_and_their_images_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = expand_grid(loads_spec(SPEC.format(depths=[8], gpus=1))).cells[0].trials[0]
    need, images = cost.memory_mib(trial, on_gpu=True), cost.kept_images_mib(trial)
    assert images > 0
    three = need_mib(trial, Resources(gpus=1), 3)
    assert three == pytest.approx(3 * need - 2 * images)
    for held, num_seeds in ((three, 3), (0.999 * three, 2), (need, 1), (0.9 * need, 0)):
        assert num_seeds_in(held + 1e-6, trial, Resources(gpus=1)) == num_seeds
    assert told(monkeypatch, 2.5 * need, [8]) == []
    (text,) = told(monkeypatch, 2.5 * need, [8], num_packed=3)
    assert f"3 seeds in one pass need about {three / 1024:.1f} GiB" in text
    assert text.endswith("resources.pack 2 would, else each goes on alone where memory runs out")
    (text,) = told(monkeypatch, 0.9 * need, [8], num_packed=3)
    assert "train.micro_batch_size 128 would" in text  # not even one seed fits


def test_workers_share_the_batch_but_not_the_weights() -> None:
    trial = expand_grid(loads_spec(SPEC.format(depths=[8], gpus=1))).cells[0].trials[0]
    one, four = need_mib(trial, Resources(gpus=1)), need_mib(trial, Resources(gpus=1, workers=4))
    activations = cost.activation_mib(trial, on_gpu=True)
    assert one == pytest.approx(cost.memory_mib(trial, on_gpu=True))
    assert one - four == pytest.approx(0.75 * activations)


@pytest.mark.parametrize(
    ("script", "expected"),
    [("echo 81559; echo 40960", 40960.0), ("exit 9", None), ("echo no devices", None), ("true", None)],
)
def test_the_smallest_gpu_counts(
    script: str, expected: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory_mib() == expected


def test_plan_and_run_tell_it_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_memory, "ram_mib", lambda: 1.0)
    path, results = tmp_path / "large.yaml", str(tmp_path / "results")
    path.write_text(SPEC.format(depths=[1], gpus=0).replace("embed_dim: 384", "embed_dim: 24"))
    planned = CliRunner().invoke(cli, ["plan", str(path), "--results", results])
    assert "warning: d1-self-w24 will not fit" in planned.stderr
    spec = load_spec(path)
    said: list[str] = []
    monkeypatch.setattr(runner.log, "warning", lambda text, *values: said.append(text % values))
    run_sweep(spec, expand_grid(spec), ResultsDir(Path(results)), RunOptions(executor="serial"))
    assert [text for text in said if "d1-self-w24 will not fit" in text] == said[:1]
    finished = CliRunner().invoke(cli, ["plan", str(path), "--results", results])
    assert "will not fit" not in finished.stderr


def test_this_machine_has_memory() -> None:
    assert 256 < ram_mib() < 2**30


def test_a_smaller_micro_batch_needs_less() -> None:
    trial = expand_grid(loads_spec(SPEC.format(depths=[8], gpus=1))).cells[0].trials[0]
    halved = replace(trial, train=replace(trial.train, micro_batch_size=128))
    assert need_mib(halved, Resources(gpus=1)) < need_mib(trial, Resources(gpus=1))
