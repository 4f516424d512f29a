"""The plan of the house, held: layers, library homes, sizes and names."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from orchestrator.catalog import ATTENTIONS, DATASETS
from tests.tested_elsewhere import TESTED_ELSEWHERE

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "orchestrator"

ROOMS: tuple[tuple[str, ...], ...] = (
    ("__init__",),
    ("errors",),
    ("redact",),
    ("wording", "early_stop"),
    ("catalog",),
    ("probe_catalog",),
    ("seeding",),
    ("user_attention",),
    ("configs",),
    ("trial",),
    ("attention_cost",),
    ("cost",),
    ("grids",),
    ("spec",),
    ("grid",),
    ("record",),
    ("failure",),
    ("tuned",),
    ("provenance",),
    ("processes",),
    ("object_path",),
    ("places",),
    ("sealing",),
    ("local_files",),
    ("object_files",),
    ("durable",),
    ("claims", "lease", "npz_files"),
    ("results",),
    ("models",),
    ("training",),
    ("tuning",),
    ("views",),
    ("cli",),
    ("__main__",),
)
"""In the order data flows: a file imports from its own room and from earlier ones."""

VIEWS_READ = {
    "__init__",
    "errors",
    "failure",
    "redact",
    "catalog",
    "probe_catalog",
    "configs",
    "trial",
    "grids",
    "record",
    "tuned",
    "durable",
    "npz_files",
    "results",
    "views",
}
"""What `views/` may know: records, and nothing of how they came about."""

LIBRARY_HOMES = {
    "pydantic": ("grids/spec_fields.py",),
    "yaml": ("grids/strict_yaml.py",),
    "torch": ("models/", "training/"),
    "timm": ("models/", "training/"),
    "torchvision": ("training/",),
    "sklearn": ("training/",),
    "PIL": ("training/",),
    "safetensors": ("training/",),
    "pyarrow": ("training/", "views/"),
    "triton": ("models/",),
    "ray": ("tuning/ray_",),
    "upath": ("object_path.py",),
    "s3fs": ("places.py",),
    "botocore": ("object_path.py",),
    "optuna": ("tuning/search.py",),
    "mlflow": ("tuning/tracking.py",),
    "alembic": ("tuning/tracking.py",),
    "sqlalchemy": ("tuning/tracking.py",),
    "pandas": ("views/",),
    "matplotlib": ("views/",),
    "scipy": ("views/",),
    "jinja2": ("views/",),
    "click": ("cli",),
    "rich": ("cli", "tuning/live.py"),
}

DISTRIBUTIONS = {
    "PIL": "pillow",
    "annotated_types": "annotated-types",
    "sklearn": "scikit-learn",
    "triton": "torch",
    "upath": "universal-pathlib",
    "yaml": "pyyaml",
}
"""What to install for a library, where the two are named differently."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {
    re.split(r"[\[<>=]", requirement)[0].lower()
    for requirements in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for requirement in requirements
}

FORBIDDEN_NAMES = {"utils", "common", "helpers", "base", "misc"}
MAX_LINES = 300


def package_files() -> list[str]:
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def imports(source: str, file: str) -> Iterator[str]:
    """Dotted names that `file` of the package imports, those inside functions too."""
    package = ("orchestrator", *Path(file).parent.parts)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (start, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            yield from (
                arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            )


def own_files(source: str, file: str) -> set[str]:
    """Files of the package that `file` imports."""
    found = set()
    for name in imports(source, file):
        head, *parts = name.split(".")
        if head != "orchestrator":
            continue
        paths = [Path(*parts[:length]) for length in range(len(parts), -1, -1)]
        candidates = [
            c for path in paths for c in (path.with_suffix(".py") if path.name else None, path / "__init__.py")
        ]
        found.add(next(c for c in candidates if c is not None and (PACKAGE / c).exists()).as_posix())
    return found


def room_of(file: str) -> str:
    top = Path(file).parts[0].removesuffix(".py")
    return "cli" if top.startswith("cli_") else top


def layer_complaints(source: str, file: str) -> list[str]:
    order = {name: number for number, names in enumerate(ROOMS) for name in names}
    room = room_of(file)
    if room not in order:
        return [f"{file} stands in no room: give it a place in ROOMS"]
    complaints = []
    for other in sorted(own_files(source, file)):
        if order.get(room_of(other), len(ROOMS)) > order[room]:
            complaints.append(f"{file} imports {other}, which stands after it")
        if room == "views" and room_of(other) not in VIEWS_READ:
            complaints.append(f"{file} imports {other}, but views read records only")
    return complaints


def home_complaints(source: str, file: str) -> list[str]:
    libraries = sorted({name.partition(".")[0] for name in imports(source, file)})
    homes = {library: LIBRARY_HOMES[library] for library in libraries if library in LIBRARY_HOMES}
    return [
        f"{file} imports {library}, whose home is {homes[library]}"
        for library in homes
        if not file.startswith(homes[library])
    ]


def undeclared(source: str, file: str) -> set[str]:
    """Libraries that `file` imports and `pyproject.toml` does not ask for."""
    libraries = {name.partition(".")[0] for name in imports(source, file)} - set(sys.stdlib_module_names)
    return {library for library in libraries - {"orchestrator"} if DISTRIBUTIONS.get(library, library) not in DECLARED}


def size_and_name_complaints(source: str, file: str) -> list[str]:
    lines, stem = source.count("\n"), Path(file).stem
    complaints = [f"{file} has {lines} lines, more than {MAX_LINES}: it wants to be two"] if lines > MAX_LINES else []
    if FORBIDDEN_NAMES & set(stem.removeprefix("test_").split("_")):
        complaints.append(f"{file} is named for nothing it does")
    return complaints


@pytest.mark.parametrize("file", package_files())
def test_a_file_imports_only_what_stands_before_it_and_libraries_at_home(file: str) -> None:
    source = (PACKAGE / file).read_text()
    assert layer_complaints(source, file) + home_complaints(source, file) == []


def test_every_imported_library_is_declared() -> None:
    found = {file: undeclared((PACKAGE / file).read_text(), file) for file in package_files()}
    assert {file: libraries for file, libraries in found.items() if libraries} == {}


def test_the_guard_of_declared_libraries_can_fail() -> None:
    assert undeclared("import yaml, numpy, os\nfrom flask import Flask", "cli.py") == {"flask"}


def test_files_import_each_other_in_no_circle() -> None:
    graph = {file: own_files((PACKAGE / file).read_text(), file) - {file} for file in package_files()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("source", "file", "complaint"),
    [
        ("import orchestrator.results", "trial.py", "after it"),
        ("from orchestrator import tuning", "models/vit.py", "after it"),
        ("def f():\n    from orchestrator.views.table import read_table", "tuning/serial.py", "after it"),
        ("from ..views import table", "training/loop.py", "after it"),
        ("from orchestrator.training import loop", "views/table.py", "records only"),
        ("x = 1", "new_room.py", "no room"),
    ],
)
def test_the_layer_guard_can_fail(source: str, file: str, complaint: str) -> None:
    assert complaint in layer_complaints(source, file)[0]


@pytest.mark.parametrize("source", ["import ray", "def f():\n    from ray import tune", "import_module('ray.tune')"])
def test_the_home_guard_can_fail(source: str) -> None:
    assert home_complaints(source, "tuning/serial.py") == [
        "tuning/serial.py imports ray, whose home is ('tuning/ray_',)"
    ]


def test_no_file_is_long_or_named_for_nothing() -> None:
    folders = ("orchestrator", "tests", "benchmarks", "deploy", "docs")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    complaints = [c for path in files for c in size_and_name_complaints(path.read_text(), str(path.relative_to(ROOT)))]
    assert complaints == []


def test_the_size_and_name_guards_can_fail() -> None:
    assert "301 lines" in size_and_name_complaints("\n" * 301, "orchestrator/long.py")[0]
    assert "named for nothing" in size_and_name_complaints("", "tests/test_attention_utils.py")[0]
    assert size_and_name_complaints("\n" * 300, "orchestrator/miscible.py") == []


def only_names(file: str) -> bool:
    """Whether `file` is an `__init__.py` that defines nothing of its own."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return file.endswith("__init__.py") and not any(
        isinstance(node, kinds) for node in ast.walk(ast.parse((PACKAGE / file).read_text()))
    )


def modules_without_tests(files: list[str], tests: list[str]) -> list[str]:
    """Modules for which no `test_<name>*.py` stands in the mirrored folder, nor the file that tests them instead."""
    missing = []
    for file in files:
        path = Path(file)
        beginning = (path.parent / f"test_{path.stem}").as_posix()
        own = [test for test in tests if test == f"{beginning}.py" or test.startswith(f"{beginning}_")]
        if not own and not only_names(file) and TESTED_ELSEWHERE.get(file) not in tests:
            missing.append(file)
    return missing


def test_every_module_has_its_tests_in_the_mirrored_folder() -> None:
    tests = [path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    assert modules_without_tests(package_files(), tests) == []


def test_the_mirror_guard_can_fail() -> None:
    assert modules_without_tests(["models/vit.py"], ["test_vit.py", "models/test_vitals.py"]) == ["models/vit.py"]
    assert modules_without_tests(["models/vit.py"], ["models/test_vit_sharing.py"]) == []


def test_the_catalog_names_exactly_the_attentions_and_datasets_there_are() -> None:
    from orchestrator.models.attention import ATTENTION_CLASSES
    from orchestrator.training.sources import LOADERS

    assert set(ATTENTION_CLASSES) == set(ATTENTIONS)
    assert set(LOADERS) == set(DATASETS)
