"""The source of a user's own attention is found and hashed without importing it."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from orchestrator.errors import TrainingError
from orchestrator.user_attention import attention_source_hash, attention_source_path, import_root

SOURCE = "raise RuntimeError('imported')\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "my_pkg" / "deep"
    folder.mkdir(parents=True)
    for path in (tmp_path / "my_pkg" / "__init__.py", folder / "__init__.py", folder / "attn.py", tmp_path / "flat.py"):
        path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("dotted", "expected"),
    [
        ("flat:A", "flat.py"),
        ("my_pkg:A", "my_pkg/__init__.py"),
        ("my_pkg.deep:A", "my_pkg/deep/__init__.py"),
        ("my_pkg.deep.attn:A", "my_pkg/deep/attn.py"),
    ],
)
def test_the_source_is_found_and_hashed_without_importing_it(package, dotted, expected):
    assert attention_source_path(dotted) == package / expected
    assert import_root(dotted) == package
    assert attention_source_hash(dotted) == hashlib.sha256(SOURCE.encode()).hexdigest()


def test_a_folder_without_init_is_a_package_too(tmp_path, monkeypatch):
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "attn.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    assert attention_source_path("loose.attn:A") == tmp_path / "loose" / "attn.py"


def test_a_module_on_the_python_path_is_found(package, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(package)])
    assert attention_source_path("my_pkg.deep.attn:A") == package / "my_pkg" / "deep" / "attn.py"


def test_the_hash_changes_with_the_source(package):
    before = attention_source_hash("flat:A")
    (package / "flat.py").write_text(SOURCE + "\n")
    assert attention_source_hash("flat:A") != before


@pytest.mark.parametrize("dotted", ["nowhere:A", "my_pkg.nothing:A", "flat.inside:A"])
def test_a_missing_module_is_an_error_that_names_it(package, dotted):
    with pytest.raises(TrainingError, match=f"no module '{dotted.partition(':')[0]}' in {package}"):
        attention_source_hash(dotted)


def test_a_module_without_python_source_is_an_error(package):
    (package / "folder").mkdir()
    with pytest.raises(TrainingError, match="has no Python source file"):
        attention_source_hash("folder:A")


def test_hashing_imports_no_torch(package):
    code = (
        "import sys; from orchestrator.user_attention import attention_source_hash as h; h('my_pkg.deep.attn:A'); "
        "sys.exit('torch' in sys.modules or 'my_pkg' in sys.modules)"
    )
    root = attention_source_path("orchestrator.errors:A").parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(root)}, cwd=package)
