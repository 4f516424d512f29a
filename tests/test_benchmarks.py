"""The benchmarks' list, the small version of the coverage simulation, and the table of it in the docs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import list_benchmarks, main
from benchmarks.coverage import RULES, SETTINGS, Setting, is_kept, make_table, measure
from benchmarks.simulated_sweeps import DIGITS, Noise, simulate_sweeps
from orchestrator.views.stats import variance_components
from tests.markdown_pages import ROOT

GUIDE = (ROOT / "docs/guides/statistics.md").read_text()
SMALL = Setting(Noise("small", 200, image=1.5, image_in_cell=0.4, seed=0.15), 0.80, 0.10, 0.06)
"""Fewer images, and as much noise of seeds as of images, where intervals are hardest to get right."""

SLACK = {"covers": (0.88, 1.0), "covers at least": (0.87, 1.0), "false alarms": (0.0, 0.12), "finds": (0.7, 1.0)}
"""Bounds for 100 sweeps: a share of 0.95 has a standard error of 0.022 there."""


@pytest.mark.slow
def test_intervals_cover_and_alarms_are_rare_in_a_small_simulation() -> None:
    shares = measure(SMALL, 100).shares()
    broken = {row: s for row, s in shares.items() if row[0] in SLACK and not SLACK[row[0]][0] <= s <= SLACK[row[0]][1]}
    assert broken == {}
    assert {row[0] for row in shares} == set(RULES)


def test_the_simulated_noise_is_that_of_the_demo() -> None:
    # its self-attention cells of 359 images and 3 seeds have components of 9e-5, 0.023 and 0.030 on average
    found = [variance_components(c.is_correct) for (c,) in simulate_sweeps(60, [0.943], 3, DIGITS, 0)]  # type: ignore[arg-type]
    image, noise = (sum(getattr(parts, name) for parts in found) / len(found) for name in ("image", "noise"))
    assert image == pytest.approx(0.023, abs=0.004)
    assert noise == pytest.approx(0.030, abs=0.004)


def test_the_simulated_truth_is_the_mean_over_images_and_seeds() -> None:
    cells = [cell for (cell,) in simulate_sweeps(400, [0.9], 3, DIGITS, 1)]
    assert sum(cell.mean for cell in cells) / 400 == pytest.approx(0.9, abs=0.003)


def test_the_benchmarks_are_listed_with_what_they_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out and meaning for name, meaning in list_benchmarks().items())
    assert "coverage" in list_benchmarks()
    assert "simulated_sweeps" not in list_benchmarks()
    assert main(["nothing"]) == 2
    assert "there is no benchmark" in capsys.readouterr().err


def test_listing_imports_no_benchmark() -> None:
    code = "import sys; from benchmarks.__main__ import main; main([]); assert 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_a_broken_bound_is_marked() -> None:
    row = ("covers", "mean, 4 blocks", "3")
    assert make_table({"digits": {row: 0.95}}).splitlines()[-1] == "| mean, 4 blocks | 3 | 93 to 97 | 95.0 |"
    assert make_table({"digits": {row: 0.9}}).splitlines()[-1] == "| mean, 4 blocks | 3 | 93 to 97 | 90.0 ! |"
    assert not is_kept(("false alarms", "x", "3"), 0.07)


def test_the_table_of_the_guide_holds_every_bound_in_every_setting() -> None:
    rows = [line for line in GUIDE.splitlines() if re.match(r"\| .* \| [368] \| ", line)]
    assert len(rows) > 40
    assert [row for row in rows if "!" in row] == []
    (head,) = [line for line in GUIDE.splitlines() if line.startswith("| question | seeds |")]
    assert head.split(" | ")[3:] == [SETTINGS[0].noise.name, f"{SETTINGS[1].noise.name} |"]
    assert "2,000 sweeps of each kind" in GUIDE


def test_the_guide_names_functions_that_exist() -> None:
    from orchestrator.views import stats

    named = set(re.findall(r"`([a-z_]+)\(", GUIDE))
    assert named
    assert {name for name in named if not hasattr(stats, name)} == set()
    assert Path(ROOT / "benchmarks/coverage.py").exists()
