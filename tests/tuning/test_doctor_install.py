from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from orchestrator.tuning.doctor_install import (
    HOLES,
    LIBRARIES,
    check_gpus,
    check_libraries,
    check_library,
    check_match,
    check_python,
    release,
)


def test_python() -> None:
    assert check_python((3, 11, 2)).grade == "ok"
    assert check_python((3, 10, 14)).grade == "MEND"


@pytest.mark.parametrize(
    ("name", "version", "advisories"),
    [
        ("ray", "2.51.1", ["CVE-2025-62593"]),
        ("ray", "2.8.0", ["CVE-2023-6019", "CVE-2025-62593"]),
        ("mlflow", "3.9.0", ["CVE-2026-2652", "PYSEC-2026-93"]),
        ("mlflow", "3.10.1", ["PYSEC-2026-93"]),
        ("torch", "2.5.1+cu121", ["CVE-2025-32434"]),
    ],
)
def test_a_version_with_a_known_hole_must_be_mended(name: str, version: str, advisories: list[str]) -> None:
    check = check_library(name, version)
    assert check.grade == "MEND"
    assert all(advisory in check.found for advisory in advisories)
    assert re.search(rf"pip install -U '{name}>=\d", check.advice)


@pytest.mark.parametrize(
    ("name", "version"),
    [("ray", "2.52.0"), ("ray", "2.100"), ("mlflow", "3.11.0rc0"), ("torch", "2.6.0"), ("scipy", "1")],
)
def test_a_version_without_one_is_in_order(name: str, version: str) -> None:
    assert check_library(name, version).grade == "ok"


def test_a_missing_library_must_be_installed() -> None:
    checks = {check.name: check for check in check_libraries(dict.fromkeys(LIBRARIES, "99.0") | {"timm": None})}
    assert checks["timm"].advice == "pip install timm"
    assert [name for name, check in checks.items() if check.grade != "ok"] == ["timm"]


def test_what_this_project_asks_for_has_no_known_hole() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    floors = dict(re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", text).groups() for text in project["dependencies"])  # type: ignore[union-attr]
    assert {hole.library for hole in HOLES} <= floors.keys()
    assert [hole for hole in HOLES if release(floors[hole.library]) < release(hole.fixed_in)] == []


def test_torch_and_torchvision() -> None:
    assert check_match(None).grade == "ok"
    assert check_match("no nms").grade == "MEND"


@pytest.mark.parametrize(
    ("gpus", "cuda", "driver", "grade", "words"),
    [
        (["H100, 80 GiB"], "12.8", "570.1", "ok", "H100, 80 GiB; CUDA 12.8, driver 570.1"),
        ([], None, None, "ok", "trials train on the CPU"),
        ([], None, "570.1", "MEND", "this torch has no CUDA"),
        ([], "12.8", "470.0", "note", "torch sees no GPU"),
    ],
)
def test_gpus(gpus: list[str], cuda: str | None, driver: str | None, grade: str, words: str) -> None:
    check = check_gpus(gpus, cuda, driver)
    assert check.grade == grade
    assert words in check.found


def test_the_numbers_of_a_version() -> None:
    assert [release(text) for text in ("2.52.0rc1", "2.6.0+cpu", "3", "dev")] == [(2, 52, 0), (2, 6, 0), (3,), ()]
