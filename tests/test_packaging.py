"""The lock, the Makefile's set-up, and the wheel in an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import orchestrator

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()


def locked() -> dict[str, str]:
    """Requirement text by canonical name; a name that stands twice would clash on some Python."""
    entries = [line.removesuffix("\\").strip() for line in LOCK.splitlines() if re.match(r"\w", line)]
    named = {canonicalize_name(Requirement(entry).name): entry for entry in entries}
    assert len(named) == len(entries), "one version of each package, on every Python"
    return named


def test_the_lock_holds_everything_that_is_asked_for_at_one_fitting_version() -> None:
    groups = PROJECT["dependency-groups"]
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"], *groups["dev"], *groups["lock"]]
    for requirement in map(Requirement, asked):
        (pin,) = Requirement(locked()[canonicalize_name(requirement.name)]).specifier
        assert pin.operator == "==", pin
        assert requirement.specifier.contains(pin.version), f"{requirement} but {pin}"


def test_the_lock_has_a_hash_for_every_package_and_names_no_place() -> None:
    blocks = re.split(r"\n(?=\w)", LOCK.partition("make lock\n")[2].strip())
    assert len(blocks) == len(locked()) > 100
    assert [block.partition(" ")[0] for block in blocks if "--hash=sha256:" not in block] == []
    for line in LOCK.splitlines():
        assert re.match(r"#|[\w-]+==|    --hash=sha256:[0-9a-f]{64}", line), line
        assert "//" not in line
        assert " @ " not in line


FAKE_PYTHON = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
    *version_info*) echo {version} ;;
    *ensurepip*) exit {without_venv} ;;
    "-m venv"*) mkdir -p .venv/bin && rm -f .venv/half && cp "$0" .venv/bin/python ;;
    "-m pip"*) touch .venv/half; test ! -e {offline} || {{ echo "ERROR: no route to host" >&2; exit 1; }} ;;
esac
"""


class Workshop:
    """A folder with the Makefile, and a Python that notes what it is asked and installs nothing."""

    def __init__(self, folder: Path, version: str = "3.12", without_venv: int = 0) -> None:
        self.folder, self.log, self.offline = folder, folder / "log", folder / "offline"
        for name in ("Makefile", "pyproject.toml", "requirements.lock"):
            shutil.copy(ROOT / name, folder)
        self.python = folder / "fake python"
        words = {"log": self.log, "version": version, "without_venv": without_venv, "offline": self.offline}
        self.python.write_text(FAKE_PYTHON.format(**words))
        self.python.chmod(0o755)

    def make(self, python: str | None = None, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
        make = shutil.which("make")
        if make is None:
            pytest.skip("make is not installed")
        command = [make, "--no-print-directory", "setup", f"PYTHON={python or self.python}"]
        env = {"PATH": path, "LC_ALL": "C"}
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    def asked(self, words: str) -> int:
        return self.log.read_text().count(words)


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence on stderr; make's own last line does not count."""
    (sentence,) = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    assert done.returncode != 0
    return sentence


def test_a_python_that_is_missing_too_old_or_too_new_is_told_in_one_sentence(tmp_path: Path) -> None:
    missing = complaint(Workshop(tmp_path).make(python="no-such-python"))
    assert "'no-such-python' is not found or does not run" in missing
    assert "is Python 3.10" in complaint(Workshop(tmp_path, version="3.10").make())
    assert "is Python 3.15" in complaint(Workshop(tmp_path, version="3.15").make())
    assert not (tmp_path / ".venv").exists()


def test_a_python_without_venv_is_told_in_one_sentence(tmp_path: Path) -> None:
    assert "apt install python3-venv" in complaint(Workshop(tmp_path, without_venv=1).make())
    assert not (tmp_path / ".venv").exists()


def test_missing_git_is_told_in_one_sentence(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    assert "orch needs git" in complaint(Workshop(tmp_path).make(path=str(tools)))
    assert not (tmp_path / ".venv").exists()


def test_an_interrupted_setup_starts_over_and_a_finished_one_is_left_alone(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    workshop.offline.touch()
    assert "the same command starts over" in workshop.make().stderr
    assert not (tmp_path / ".venv/.ready").exists()
    workshop.offline.unlink()
    assert workshop.make().returncode == 0
    assert workshop.asked("-m venv --clear .venv") == 2
    assert workshop.make().returncode == 0
    assert workshop.asked("-m venv") == 2
    assert workshop.asked("--require-hashes") == 2


def test_a_new_lock_updates_the_environment_in_place(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    workshop.make()
    later = (tmp_path / ".venv/.ready").stat().st_mtime + 10
    os.utime(tmp_path / "requirements.lock", (later, later))
    assert workshop.make().returncode == 0
    assert (workshop.asked("-m venv"), workshop.asked("--require-hashes")) == (1, 2)


def run(*command: object, cwd: Path | None = None) -> str:
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", "-q", *offline, "-w", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def other_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with the wheel; the libraries it needs are seen through a .pth file, the checkout is not."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin/python"
    place = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    libraries = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (place / "libraries.pth").write_text("".join(f"{library}\n" for library in libraries))
    quiet = ("-q", "--no-deps", "--no-index", "--disable-pip-version-check", "--no-warn-script-location")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--ignore-installed", *quiet, wheel)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_the_license(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = [
        path for path in (ROOT / "orchestrator").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {path.relative_to(ROOT).as_posix() for path in tracked} == {
        n for n in names if n.startswith("orchestrator/")
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.name == f"depth_orchestrator-{orchestrator.__version__}-py3-none-any.whl"


@pytest.mark.slow
def test_the_command_works_from_the_wheel_in_another_environment(other_environment: Path, tmp_path: Path) -> None:
    orch, python = other_environment / "bin/orch", other_environment / "bin/python"
    place = run(python, "-c", "import orchestrator; print(orchestrator.__file__)", cwd=tmp_path).strip()
    assert Path(place).is_relative_to(other_environment), "the code comes from the wheel, not from the checkout"
    assert "Usage: orch" in run(orch, "--help", cwd=tmp_path)
    assert run(python, "-m", "orchestrator", "--version", cwd=tmp_path) == f"orch, version {orchestrator.__version__}\n"
    assert '"properties"' in run(orch, "schema", cwd=tmp_path)
    run(orch, "init", "mine", cwd=tmp_path)
    spec, schema = sorted((tmp_path / "mine").iterdir(), key=lambda path: path.suffix, reverse=True)
    assert (spec.suffix, schema.suffix) == (".yaml", ".json")
    assert "trials" in run(orch, "plan", spec, cwd=tmp_path)
