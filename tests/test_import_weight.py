"""What loads quickly, and what loads without the libraries of later rooms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "orchestrator"

HEAVY = ("torch", "timm", "ray", "mlflow", "pandas", "matplotlib", "pydantic", "scipy", "sklearn", "pyarrow", "optuna")


def python(code: str) -> str:
    """What a fresh interpreter prints for `code`."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


LIGHT = ("cli", "errors", "catalog", "trial", "record", "results", "durable", "cost", "provenance")


def loaded_by(statements: str) -> list[str]:
    return python(f"import sys; {statements}; print(*(n for n in {HEAVY} if n in sys.modules))").split()


def test_the_command_line_and_the_nouns_load_nothing_heavy() -> None:
    assert loaded_by(f"import {', '.join(f'orchestrator.{name}' for name in LIGHT)}") == []


def test_the_guard_of_lightness_can_fail() -> None:
    assert loaded_by("import sklearn.datasets") != []


def test_training_loads_without_ray_mlflow_and_optuna() -> None:
    names = [
        path.relative_to(ROOT).with_suffix("")
        for room in ("models", "training")
        for path in (PACKAGE / room).rglob("*.py")
    ]
    modules = [".".join(name.parts).removesuffix(".__init__") for name in names if "kernels" not in name.parts]
    blocked = "import sys; sys.modules.update(dict.fromkeys(('ray', 'mlflow', 'optuna')))"
    python("\n".join([blocked, *(f"import {module}" for module in modules), "import orchestrator.tuning.serial"]))
