"""ray_shipping.py: one's own modules travel where they are small, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.tuning import ray_shipping
from orchestrator.tuning.ray_shipping import runtime_environment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with modules, an environment, results, hidden folders and images."""
    made = tmp_path / "project"
    for name in (
        "mine.py", "attentions/__init__.py", "attentions/own.py", ".git/hook.py", ".venv/lib/a.py", "env/pyvenv.cfg",
        "env/lib/b.py", "results/c.py", "runs/trials/x/d.py", "runs/sweeps/y", "node_modules/e.py", "image.png",
    ):  # fmt: skip
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    return made


def shipped(folder: Path, staging: Path) -> set[str]:
    staging.mkdir()
    found = runtime_environment(folder, staging)
    assert Path(found["py_modules"][0]).name == "orchestrator"
    if "working_dir" not in found:
        return set()
    return {path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file()}


def test_modules_of_ones_own_travel(folder: Path, tmp_path: Path) -> None:
    assert shipped(folder, tmp_path / "staging") == {"mine.py", "attentions/__init__.py", "attentions/own.py"}


def test_a_folder_of_many_modules_stays(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_shipping, "MAX_FILES", 2)
    assert shipped(folder, tmp_path / "staging") == set()


def test_large_modules_stay(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_shipping, "MAX_BYTES", 10)
    assert shipped(folder, tmp_path / "staging") == set()


def test_the_package_does_not_travel_twice(tmp_path: Path) -> None:
    repository = Path(ray_shipping.orchestrator.__file__).parents[1]
    assert not any(name.startswith("orchestrator/") for name in shipped(repository, tmp_path / "staging"))
