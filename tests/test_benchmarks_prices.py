"""The benchmark of what a plan says of a training, as far as a CPU shows it."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import prices
from benchmarks.prices import CALIBRATED, DEPTH, Price, in_own_process, main, make_table, need_mib
from benchmarks.throughput_gpu import CASES, SMALL, given
from benchmarks.training_steps import NO_GPU
from orchestrator import cost
from orchestrator.training import loop
from orchestrator.training.loop import Settings, Trainer, never_stop


def test_a_model_is_priced_by_a_shallower_and_a_deeper_one() -> None:
    assert min(CALIBRATED) < DEPTH < max(CALIBRATED)


@pytest.mark.slow
def test_a_training_is_priced_and_taken_in_a_process_of_its_own() -> None:
    before = loop.load_data
    found = in_own_process(replace(SMALL[0], embed_dim=256, batch_size=64), "self", "cpu", 0.05)
    assert min(found.expected_s, found.took_s) > 0
    assert 0.5 < found.peak_mib / found.need_mib < 3.0  # the libraries' own memory is most of a small training's
    assert loop.load_data is before


def test_a_gpu_keeps_these_images_and_not_those_of_cifar() -> None:
    for case in CASES:
        trial, pixels = case.trial("self", DEPTH), 3 * case.img_size**2 * case.num_images
        without = cost.memory_mib(trial, on_gpu=True) - cost.kept_images_mib(trial)
        assert need_mib(case, trial, "cuda") == pytest.approx(without + pixels / 2**20)
        assert need_mib(case, trial, "cpu") == cost.memory_mib(trial)


@pytest.mark.gpu
def test_the_images_that_a_plan_counts_are_those_that_a_gpu_keeps() -> None:
    case = replace(SMALL[0], num_images=100_000)
    gc.collect()
    before = torch.cuda.memory_allocated()
    with given(case.dataset()):
        trainer = Trainer(case.trial("self", 1), Settings(device="cuda"), None, never_stop)
    weights = sum(tensor.nbytes for tensor in trainer.model.state_dict().values())
    kept = torch.cuda.memory_allocated() - before - weights
    assert kept == pytest.approx(3 * case.img_size**2 * case.num_images, rel=0.1)


def test_the_table_compares_what_was_told_with_what_it_was() -> None:
    table = make_table({(SMALL[0], "self"): Price(expected_s=2.0, took_s=2.1, need_mib=100.0, peak_mib=105.0)})
    assert table.splitlines()[2:] == ["| small | 8 | self | 2.00 | 2.10 | 1.05 | 100 | 105 | 1.05 |"]


def test_it_runs_on_a_cpu_and_writes_nothing_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "in_own_process", prices.price)
    words = ["--device", "cpu", "--small", "--seconds", "0.05", "--out", str(tmp_path / "prices.md")]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "| small | 8 | reattention |" in told
    assert "python -m benchmarks prices --device cpu --small" in told
    assert not list(tmp_path.iterdir())
    if not torch.cuda.is_available():
        assert main([]) == NO_GPU
