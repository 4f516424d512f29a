"""Every guide is carried out as it stands, in an empty folder."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.catalog import ATTENTION_OPTIONS, ATTENTIONS
from orchestrator.configs import GOVERNED
from tests.markdown_pages import ROOT, forget_modules_of, run_page
from tests.training.pictures import write_tree

GUIDES = ROOT / "docs" / "guides"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    forget_modules_of(tmp_path)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was printed since the last call."""

    def read() -> str:
        captured = capsys.readouterr()
        return captured.out + captured.err

    return read


def guide(name: str) -> str:
    return (GUIDES / name).read_text()


@pytest.mark.slow
def test_the_guide_to_a_dataset_of_ones_own(folder: Path, printed: Callable[[], str]) -> None:
    run_page(guide("own_dataset.md"), folder, printed)
    assert (folder / "results/sweeps/pictures/report/index.html").exists()
    assert len(list((folder / "results/trials").glob("*/record.json"))) == 6


def test_the_list_of_attentions_is_the_catalogs(folder: Path, printed: Callable[[], str]) -> None:
    rows = [
        f"| `{name}` | {info.summary} | `{info.operator}` | {info.source} | "
        f"{', '.join(f'`{option}`' for option in info.options)} | {info.neutral} |"
        for name, info in ATTENTIONS.items()
    ]
    page = guide("attentions.md")
    assert [line for line in page.splitlines() if line.startswith("| `")][: len(rows)] == rows
    named = set(re.findall(r"`([a-z_]+)`", page))
    assert named >= set(ATTENTION_OPTIONS) | {"qk_norm", "residual_scale", "residual_base_depth", *GOVERNED}
    run_page(page, folder, printed)


@pytest.mark.slow
def test_the_guide_to_an_attention_of_ones_own(folder: Path, printed: Callable[[], str]) -> None:
    run_page(guide("own_attention.md"), folder, printed)
    assert len(list((folder / "results/trials").glob("*/record.json"))) == 4


@pytest.mark.slow
def test_the_guide_to_the_statistics(folder: Path, printed: Callable[[], str]) -> None:
    run_page(guide("statistics.md"), folder, printed)


@pytest.mark.slow
def test_the_guide_to_fair_tuning(folder: Path, printed: Callable[[], str]) -> None:
    run_page(guide("fair_tuning.md"), folder, printed)
    assert len(list((folder / "results/trials").glob("*/record.json"))) == 8 + 4


@pytest.mark.slow
def test_the_guide_to_keeping_results(folder: Path, printed: Callable[[], str]) -> None:
    run_page(guide("keeping_results.md"), folder, printed)
    assert len(list((folder / "results/trials").glob("*/record.json"))) == 4


def test_the_price_of_the_imagenet_sweep_is_what_the_guide_says(folder: Path, printed: Callable[[], str]) -> None:
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    price = guide("imagenet.md").partition("## Your R")[0]
    assert "EFLOP" in price
    run_page(price, folder, printed)
    assert not (folder / "results").exists()


SMALL = {
    r"img_size: 224": "img_size: 16",
    r"patch_size: 16": "patch_size: 8",
    r"embed_dim: 384": "embed_dim: 24",
    r"  depth: .*": "  depth: [1, 2]",
    r"num_classes: 1000": "num_classes: 2",
    r"  epochs: 300": "  epochs: 6",
    r"cooldown_epochs: 10": "cooldown_epochs: 1",
    r"cpus: 12, gpus: 1": "cpus: 1, gpus: 0",
}
"""What makes the ImageNet spec one that a CPU trains in seconds on a stand-in for ImageNet."""


@pytest.mark.slow
def test_the_imagenet_guide_runs_on_a_small_stand_in(folder: Path, printed: Callable[[], str]) -> None:
    spec = (ROOT / "experiments/imagenet_depth.yaml").read_text()
    for pattern, replacement in SMALL.items():
        spec, count = re.subn(pattern, replacement, spec)
        assert count == 1, pattern
    (folder / "experiments").mkdir()
    (folder / "experiments/imagenet_depth.yaml").write_text(spec + "tracking: {mlflow: false}\n")
    write_tree(folder / "data/imagenet", {"train/a": 20, "train/b": 20, "val/a": 4, "val/b": 4}, side=20)
    plans: list[str] = []

    def note() -> str:
        plans.append(printed())
        return plans[-1]

    page = re.sub(r"^(orch run .*)$", r"\1 --executor serial", guide("imagenet.md"), flags=re.MULTILINE)
    run_page(page, folder, note, is_compared=False)
    times = [text for text in plans if "training time one after the other" in text]
    assert "unknown until the first epoch" in times[0]
    assert "unknown" not in times[1], "the probe tells the time of the whole sweep"
    assert "TFLOP/s on cpu" in "".join(plans)
    assert len(list((folder / "results/trials").glob("*/record.json"))) == 4 + 4
    assert (folder / "results/sweeps/imagenet_depth/report/index.html").exists()
