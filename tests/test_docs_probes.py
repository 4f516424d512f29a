"""The page on probes says what is measured, and its untrained values are those that come out."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from orchestrator.cli import run_command
from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.grids.sweep_spec import Probe
from orchestrator.probe_catalog import COLUMN_KINDS, MAP_KINDS, PROBES, SIMILAR_BLOCK_RULES
from orchestrator.spec import loads_spec
from orchestrator.trial import Trial
from tests.markdown_pages import ROOT, read_blocks

PAGE = (ROOT / "docs/guides/probes.md").read_text()
AXES = {"moment": "", "L": "L", "LL": "LL", "LH": "LH"}


def rows(heading: str) -> list[list[str]]:
    """The first table below a heading, without its head."""
    lines = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].splitlines()
    table = [line for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1:]]


def named(pattern: str) -> set[str]:
    """The arrays that a row of the page stands for."""
    kinds = {"<map>": MAP_KINDS, "<columns>": COLUMN_KINDS, "<rule>": SIMILAR_BLOCK_RULES}
    found = set()
    for chosen in product(*kinds.values()):
        name = pattern
        for kind, value in zip(kinds, chosen, strict=True):
            name = name.replace(kind, value)
        found.add(name)
    return found


def test_the_page_names_every_array_with_its_axes_and_no_other() -> None:
    told = {name: AXES[row[1]] for row in rows("Measurements") for name in named(row[0].strip("`"))}
    assert told == {name: info.dims for name, info in PROBES.items()}
    assert all(row[2] for row in rows("Measurements"))


def test_the_spec_of_the_page_has_the_defaults() -> None:
    text = next(block.text for block in read_blocks(PAGE) if block.language == "yaml")
    model, train = "{depth: 2, embed_dim: 8, num_heads: 2, patch_size: 2}", "{epochs: 20, batch_size: 8, lr: 1}"
    spec = loads_spec(f"name: s\nmodel: {model}\ndata: {{name: digits}}\ntrain: {train}\n{text}")
    assert spec.probe == Probe(epochs=(5, 10))


def untrained(attention: str) -> dict[str, np.ndarray]:
    """What the page describes."""
    import torch

    from orchestrator.models import build_model
    from orchestrator.training.probes import probe_model

    trial = Trial(
        model=ModelConfig(attention=attention, depth=12, embed_dim=192, num_heads=3, patch_size=4, img_size=32),
        data=DataConfig(name="cifar10", num_classes=10),
        train=TrainConfig(epochs=1, batch_size=16, lr=1e-3),
        seed=0,
    )
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = (images, torch.zeros(16, dtype=torch.int64))
    return probe_model(build_model(trial), [batch], epoch=0, is_untrained=True)


def mean_over_blocks(name: str, values: np.ndarray) -> float:
    values = np.diagonal(values, 1) if PROBES[name].dims == "LL" else values
    return np.nan if np.isnan(values).all() else float(np.nanmean(values))


@pytest.mark.parametrize(("column", "attention"), [(1, "self"), (2, "reattention")])
def test_the_untrained_values_of_the_page_are_those_that_come_out(column: int, attention: str) -> None:
    found = untrained(attention)
    told = {row[0].strip("`"): row[column] for row in rows("An untrained network is the baseline")}
    assert len(told) >= 10
    for name, text in told.items():
        value = mean_over_blocks(name, found[name])
        if text == "":
            assert np.isnan(value), name
        else:
            digits = len(text.partition(".")[2])
            assert value == pytest.approx(float(text), abs=2.0 * 10**-digits), name


def test_the_snippet_of_the_page_runs_on_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = """
    {name: digits_starter, axes: {attention: [self, reattention]}, data: {name: digits}, tracking: {mlflow: false},
     model: {depth: 2, embed_dim: 8, num_heads: 2, patch_size: 4}, train: {epochs: 1, batch_size: 256, lr: 0.001},
     probe: {images: 8, skip_images: 0}}
    """
    (tmp_path / "sweep.yaml").write_text(spec)
    assert run_command(["run", "sweep.yaml", "--executor", "serial"]) == 0
    capsys.readouterr()
    (snippet,) = [block.text for block in read_blocks(PAGE) if block.language == "python"]
    exec(compile(snippet, "blocks.py", "exec"), {})
    printed = capsys.readouterr().out
    assert "reattention  2" in printed
    assert "self 1 (2, 2)" in printed.splitlines()


def test_the_cost_table_of_the_page_keeps_the_limit() -> None:
    shares = [float(share) for share in re.findall(r"\| ([0-9.]+) % \|", PAGE)]
    assert len(shares) == 4
    assert max(shares) <= 3.0
