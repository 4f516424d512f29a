"""The benchmark of scale, at a size that tells nothing about scale."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.scale import Row, make_table, one_more_trial
from benchmarks.simulated_results import spec_text
from orchestrator.grid import expand_grid
from orchestrator.spec import loads_spec


def row(num_trials: int, seconds: float, **changes: object) -> Row:
    content = {"what": "`plan`", "num_trials": num_trials, "seconds": seconds, "cpu_s": 1.0, "peak_mib": 100.0}
    return Row(**{**content, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("num_trials", [40, 400, 10_000])
def test_a_spec_has_as_many_trials_as_it_says(num_trials: int) -> None:
    assert len(expand_grid(loads_spec(spec_text(num_trials))).trials) == num_trials


@pytest.mark.slow
def test_every_command_is_measured_on_a_small_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "scale.md"
    words = ["--trials", "20", "--finished", "0", "--no-training", "--folder", str(tmp_path), "--output", str(page)]
    assert scale.main(words) in (0, 1)
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| `")]
    assert [cells[0] for cells in rows] == [
        "| `run`, nothing to do",
        "| `status`",
        "| `status scale`",
        "| `plan`",
        "| `report`",
    ]
    assert all(cells[1] == "20" and float(cells[2]) > 0 and float(cells[4].replace(",", "")) > 20 for cells in rows)
    assert page.read_text() in capsys.readouterr().out


def test_a_command_that_fails_ends_the_benchmark(tmp_path: Path) -> None:
    words = ["orchestrator", "status", "nothing", "--results", str(tmp_path)]
    with pytest.raises(SystemExit, match="there is no sweep 'nothing'"):
        scale.measure_command(words, "", 0, None)


def test_one_more_trial_is_what_many_add_to_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    found = one_more_trial(row(100, 30.0), row(1100, 130.0, peak_mib=200.0))
    waiting = scale.WAIT_S * scale.NUM_EPOCHS / 2
    assert found.seconds == pytest.approx(0.1 - waiting)
    assert found.peak_mib == pytest.approx(0.1)
    assert found.is_kept


def test_the_table_marks_what_breaks_its_bound() -> None:
    table = make_table([row(10_000, 9.0, bound_s=10.0), row(10_000, 11.0, bound_s=10.0), row(1, 0.0123)])
    assert table.splitlines()[2:] == [
        "| `plan` | 10,000 | 9.0 | 1.0 | 100 | 10 |",
        "| `plan` | 10,000 | 11.0 | 1.0 | 100 | 10 ! |",
        "| `plan` | 1 | 0.012 | 1.000 | 100.000 |  |",
    ]
