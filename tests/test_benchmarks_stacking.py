"""The benchmark of stacked seeds, as far as a CPU shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.stacking import SHAPES, SMALL, Alone, Found, Together, main, make_table, random_data
from benchmarks.training_steps import NO_GPU
from orchestrator.training import loop


def test_its_shape_for_a_gpu_is_the_one_it_is_meant_for() -> None:
    first = SHAPES["cuda"][0]
    assert (first.embed_dim, first.depth, first.tokens) == (192, 12, 16_640)


def test_the_table_has_a_row_a_number_of_seeds() -> None:
    found = {SMALL[0]: ({1: Found(1.05, None), 6: Found(2.5, 5.75)}, 0.01)}
    assert make_table(found).splitlines()[2:] == [
        "| small | 20 | 10.0 | 1 | 1.05 |  |",
        "| small | 20 | 10.0 | 6 | 2.50 | 5.75 |",
    ]


def test_what_is_timed_is_the_training_of_each_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "load_data", random_data)
    trials = [SMALL[0].trial(seed, "fp32") for seed in range(2)]
    together, alone = Together(trials, "cpu"), [Alone(trial, "cpu") for trial in trials]
    for steps in (together, *alone):
        for _ in range(2):
            steps.step()
    for trainer, one in zip(together.stack.trainers, alone, strict=True):
        weight, expected = trainer.model.head.weight, one.trainer.model.head.weight
        torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_it_runs_on_a_cpu_and_writes_nothing_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, out = loop.load_data, tmp_path / "table.md"
    assert main(["--device", "cpu", "--small", "--rounds", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| small")]
    assert [row[3] for row in rows] == ["1", "2", "3", "6"]
    assert all(float(row[5].rstrip(" |")) > 0 for row in rows[1:])
    assert "`python -m benchmarks stacking --device cpu --small" in said
    assert not out.exists()
    assert loop.load_data is before


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == NO_GPU
    assert capsys.readouterr().err == "this benchmark needs a CUDA device, and there is none\n"
