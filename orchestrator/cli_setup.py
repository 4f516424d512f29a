"""`orch init`, `schema`, `completion` and `doctor`: what a person needs before the first run."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from orchestrator import durable
from orchestrator.cli_place import check_root
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.results import ResultsDir

STARTER, SCHEMA = "sweep.yaml", "sweep.schema.json"
LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "ray",
    "mlflow",
    "optuna",
    "pandas",
    "matplotlib",
    "scipy",
    "scikit-learn",
    "pyarrow",
)
MIN_FREE_GIB = 2.0
MIN_FILE_HANDLES = 1024


def write_starter(folder: Path, as_json: bool) -> None:
    """Write the starter spec and its schema into `folder`; nothing that is there is replaced."""
    from orchestrator.grids.schema import json_schema
    from orchestrator.grids.starter import starter_spec

    spec, schema = folder / STARTER, folder / SCHEMA
    for path in (spec, schema):
        if path.exists():
            raise UsageError(f"{path} is already there and is left as it is; name another folder: orch init DIR")
    durable.write_text(spec, starter_spec())
    durable.write_json(schema, json_schema())
    if as_json:
        click.echo(json.dumps({"spec": str(spec), "schema": str(schema)}))
    else:
        click.echo(f"wrote {spec} and {schema}\nnext: orch plan {spec}, then orch run {spec}")


def print_schema() -> None:
    """Print the JSON Schema of a spec."""
    from orchestrator.grids.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def print_completion(cli: click.Command, shell: str, as_json: bool) -> None:
    """Print the script that makes `shell` complete orch's words."""
    completion = get_completion_class(shell)
    assert completion is not None
    script = completion(cli, {}, "orch", "_ORCH_COMPLETE").source()
    click.echo(json.dumps({"shell": shell, "script": script}) if as_json else script)


@dataclass(frozen=True)
class Check:
    """One line of `orch doctor`."""

    name: str
    is_ok: bool
    found: str
    advice: str = ""


def run_doctor(results: Path, as_json: bool) -> int:
    """Print what was found; 0, or 3 where something must be mended."""
    checks = [*_version_checks(), _check(_torch_check), _results_check(results), _disk_check(results), *_limit_checks()]
    if as_json:
        click.echo(json.dumps({"checks": [asdict(check) for check in checks]}, indent=2))
    else:
        for check in checks:
            advice = f"  -> {check.advice}" if check.advice and not check.is_ok else ""
            click.echo(f"{'ok  ' if check.is_ok else 'MEND'} {check.name}: {check.found}{advice}")
    return 0 if all(check.is_ok for check in checks) else 3


def _version_checks() -> list[Check]:
    checks = [Check("python", sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11 or newer")]
    for name in LIBRARIES:
        try:
            checks.append(Check(name, True, version(name)))
        except PackageNotFoundError:
            checks.append(Check(name, False, "missing", f"pip install {name}"))
    return checks


def _check(function: Callable[[], Check]) -> Check:
    try:
        return function()
    except (ImportError, OSError, RuntimeError) as error:
        return Check("torch", False, f"does not import: {error}", "install torch and torchvision versions that match")


def _torch_check() -> Check:
    from orchestrator.training.device import describe_devices

    return Check("devices", True, describe_devices())


def _results_check(results: Path) -> Check:
    root = ResultsDir(results)
    try:
        check_root(root)
        if root.root.exists():
            probe = root.root / f"{durable.TEMPORARY_PREFIX}doctor"
            durable.write_text(probe, "")
            probe.unlink()
    except OrchestratorError as error:
        return Check("results", False, str(error), "name another folder with --results")
    return Check(
        "results", True, f"{root.root} " + ("can be written" if root.root.exists() else "is made by the first run")
    )


def _disk_check(results: Path) -> Check:
    place = next(path for path in (results.absolute(), *results.absolute().parents) if path.exists())
    free_gib = shutil.disk_usage(place).free / 2**30
    return Check("disk", free_gib >= MIN_FREE_GIB, f"{free_gib:.1f} GiB free at {place}", f"free {MIN_FREE_GIB:g} GiB")


def _limit_checks() -> list[Check]:
    import resource

    handles, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    checks = [
        Check("file handles", handles >= MIN_FILE_HANDLES, str(handles), f"raise them: ulimit -n {MIN_FILE_HANDLES}")
    ]
    shared = Path("/dev/shm")
    if shared.is_dir():
        free_mib = shutil.disk_usage(shared).free / 2**20
        checks.append(
            Check("shared memory", free_mib >= 256, f"{free_mib:.0f} MiB free", "Ray wants 256 MiB in /dev/shm")
        )
    return checks
