"""A command of `orch` in; the command with the options that several share out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class ResultsRoot(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A folder, or the URL of a place on an object store."""

    name = "results root"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from orchestrator.places import results_root

        return results_root(value) if isinstance(value, str) else value


class WrittenPath(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A path that need not exist. `click.Path` takes some that no system has for a bug of ours."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from orchestrator.places import path_from

        return path_from(value) if isinstance(value, str) else value


def results_option(function: F) -> F:
    return click.option(
        "--results",
        type=ResultsRoot(),
        envvar="ORCH_RESULTS",
        default="results",
        show_default=True,
        metavar="DIR",
        help="Results root, a folder or s3://BUCKET/PREFIX; ORCH_RESULTS sets it too.",
    )(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(function)


def executor_option(function: F) -> F:
    return click.option(
        "--executor",
        type=click.Choice(["ray_tune", "serial"]),
        default="ray_tune",
        show_default=True,
        help="Ray Tune in parallel, or a for loop in this process.",
    )(function)


def run_options(function: F) -> F:
    """What `run` and `resume` share."""
    for option in reversed(
        [
            executor_option,
            click.option(
                "--address",
                metavar="ADDRESS",
                help="A Ray cluster, from a node of it: HOST:PORT or auto; RAY_ADDRESS too.",
            ),
            click.option("--insecure", is_flag=True, help="Join a cluster that asks for no token."),
            click.option("--retry-failed", is_flag=True, help="Train trials again that failed."),
            click.option("--retrain-changed", is_flag=True, help="Replace finished trials that other code trained."),
            click.option("--allow-code-change", is_flag=True, help="Go on inside half-trained trials with this code."),
            click.option("--keep-going", is_flag=True, help="Train on though trials fail with the same traceback."),
            click.option("--yes", is_flag=True, help="Start a very large grid without asking."),
            results_option,
            json_option,
        ]
    ):
        function = option(function)
    return function


def plan_options(function: F) -> F:
    """What `plan` takes besides a spec and a root."""
    timed = "Time the first steps of each kind of cell on this device first, and keep that."
    price = "Of a GPU-hour, in any currency; what the sweep costs is printed too."
    function = click.option("--price", type=click.FloatRange(min=0), help=price)(json_option(function))
    return executor_option(click.option("--calibrate", "is_calibrated", is_flag=True, help=timed)(function))
