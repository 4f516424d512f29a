"""The one command for a GPU: what is done is not repeated, what fails is, and a call ends in time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import list_benchmarks
from benchmarks.gpu import LIMIT_S, ROOT, STEPS, Step, run_steps


def python(name: str, code: str, expected_s: float = 1.0) -> Step:
    return Step(name, ("timeit", "-n", "1", "-r", "1", code), expected_s)


def test_what_is_done_is_not_repeated_and_what_fails_is(tmp_path: Path, capsys) -> None:
    counter = tmp_path / "count"
    count = f"open({str(counter)!r}, 'a').write('x')"
    steps = [python("good", count), python("bad", "raise SystemExit(3)"), python("later", count)]
    assert run_steps(steps, tmp_path / "done", 100.0) == 1
    assert run_steps(steps, tmp_path / "done", 100.0) == 1
    assert counter.read_text() == "xx"
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["good.txt", "later.txt"]
    assert "bad: ended with 1" in capsys.readouterr().out


def test_a_step_that_would_take_too_long_waits_for_the_next_call(tmp_path: Path) -> None:
    steps = [python("short", "pass", 1.0), python("long", "pass", 1000.0)]
    assert run_steps(steps, tmp_path, 100.0) == 75
    assert run_steps(steps, tmp_path, 2000.0) == 0


@pytest.mark.slow
def test_its_tests_load_where_only_training_is_installed() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('ray', 'mlflow', 'optuna', 'sqlalchemy', 'upath', 's3fs')))\n"
        "import pytest; from benchmarks.gpu import gpu_test_files\n"
        "words = '--collect-only -q -m gpu -p no:cacheprovider'.split()\n"
        "raise SystemExit(pytest.main([*words, *gpu_test_files()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_a_gpu_replays_a_training" in done.stdout


def test_its_steps_are_benchmarks_that_there_are() -> None:
    names = {step.words[1] for step in STEPS if step.words[0] == "benchmarks"}
    assert names <= set(list_benchmarks())
    assert all(step.expected_s < LIMIT_S for step in STEPS)
