"""The benchmark of a whole training on a GPU, as far as a CPU shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import throughput_gpu
from benchmarks.throughput_gpu import CASES, SMALL, WAYS, Found, Training, main, make_table, measure, ways_of
from benchmarks.training_steps import NO_GPU
from orchestrator.cost import num_tokens
from orchestrator.errors import TrainingError
from orchestrator.training import loop
from orchestrator.training.moving import pixels_of


def test_its_models_have_the_tokens_they_are_measured_for() -> None:
    found = [(num_tokens(case.trial("self", 12).model), case.batch_size) for case in CASES]
    assert found == [(65, 256), (65, 1024), (197, 256)]


def test_a_training_goes_on_over_epochs_with_the_noise_it_is_given() -> None:
    before, case = loop.load_data, SMALL[0]
    data = case.dataset()
    training = Training(case.trial("self", 1), data, WAYS["plain"])
    assert pixels_of(training.trainer.data.train).data_ptr() == pixels_of(data.train).data_ptr()
    weights = [parameter.clone() for parameter in training.trainer.model.parameters()]
    assert training.seconds(2 * training.trainer.num_steps + 1) > 0
    assert any(not old.equal(new) for old, new in zip(weights, training.trainer.model.parameters(), strict=True))
    assert loop.load_data is before


def test_short_steps_are_measured_with_and_without_a_graph() -> None:
    assert [len(ways_of(case, "cuda")) for case in CASES] == [4, 2, 2]
    assert [(case.embed_dim, case.patch_size, case.img_size) for case in CASES if case.is_short] == [(192, 4, 32)]
    assert ways_of(CASES[0], "cpu") == ["plain"]


def test_a_step_that_is_no_graph_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput_gpu, "ways_of", lambda *_: ["plain", "plain, a graph"])
    with pytest.raises(TrainingError, match="plain, a graph: the step is no graph"):
        measure(SMALL[0], "self", 1, 1, 1, "cpu")


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_gpu_takes_every_way() -> None:
    assert list(measure(SMALL[0], "self", 2, 2, 1, "cuda")) == list(WAYS)


def test_the_table_has_a_row_a_way() -> None:
    ways = {"plain": Found(1000.4, 0.52, 100.0), "compiled": Found(2500.0, 9.0, 80.0)}
    assert make_table({(SMALL[0], "self"): ways}).splitlines()[2:] == [
        "| small | 8 | self | plain | 1000 | 1.00 | 0.5 | 100 |",
        "| small | 8 | self | compiled | 2500 | 2.50 | 9.0 | 80 |",
    ]


def test_it_runs_on_a_cpu_and_writes_nothing_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.md"
    words = ["--device", "cpu", "--small", "--depth", "1", "--steps", "1", "--rounds", "1", "--out", str(out)]
    assert main([*words, "--attention", "self", "reattention"]) == 0
    said = capsys.readouterr().out
    rows = [line.split(" | ")[2:4] for line in said.splitlines() if line.startswith("| small")]
    assert rows == [["self", "plain"], ["reattention", "plain"]]
    assert "`python -m benchmarks throughput_gpu --device cpu --small" in said
    assert not out.exists()


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == NO_GPU
    assert capsys.readouterr().err == "this benchmark needs a CUDA device, and there is none\n"
