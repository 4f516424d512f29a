"""`orch`: parse, call one function, print. Data goes to stdout, everything else to stderr.

Nothing heavy is imported before a command runs, so `orch --help` answers at once. Errors of the tree are caught here
and nowhere else.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator import __version__, early_stop
from orchestrator.cli_options import WrittenPath, json_option, plan_options, results_option, run_options
from orchestrator.cli_trust import gc, verify
from orchestrator.errors import OrchestratorError, SpecError, StoppedError
from orchestrator.redact import redact_text


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="orch")
def cli() -> None:
    """Find out how deep a vision transformer can usefully be.

    \b
    orch init                                a starter experiment to edit
    orch plan experiments/depth_sweep.yaml   what would run, and what it costs
    orch run experiments/depth_sweep.yaml    train what is missing
    orch report depth_sweep                  the answer, as one HTML page

    \b
    Exit codes: 0 all finished; 1 some trials failed or diverged; 2 usage or spec;
    3 environment (data, disk, cluster); 4 another run holds the sweep;
    130/143 stopped by a signal with everything saved.
    """


SPEC = click.argument("spec", type=WrittenPath())


@cli.command()
@click.argument("folder", type=WrittenPath(), default=".", metavar="[DIR]")
@results_option
@json_option
def init(folder: Path, results: Path, as_json: bool) -> None:
    """Write a starter spec and its schema into DIR."""
    from orchestrator.cli_setup import write_starter

    write_starter(folder, as_json)


@cli.command()
@SPEC
@results_option
@plan_options
def plan(spec: Path, **options: Any) -> None:
    """Price every cell of SPEC; writes nothing into the results.

    For each cell: done, new or changed and why, parameters, FLOPs, memory, and the time of a trial where a comparable
    one was trained on this kind of device, or timed with --calibrate, which takes about a minute.
    """
    from orchestrator.cli_plan import show_plan

    show_plan(spec, **options)


@cli.command()
@SPEC
@run_options
def run(spec: Path, **options: Any) -> int:
    """Train what is missing of SPEC.

    Safe to repeat: finished trials are reused and interrupted ones go on from their last checkpoint.
    """
    from orchestrator.cli_run import run_spec

    return run_spec(spec, **options)


@cli.command()
@click.argument("sweep")
@run_options
def resume(sweep: str, **options: Any) -> int:
    """Go on with SWEEP from the spec that its last run kept."""
    from orchestrator.cli_run import resume_sweep

    return resume_sweep(sweep, **options)


@cli.command()
@click.argument("sweep", required=False)
@results_option
@json_option
def status(sweep: str | None, results: Path, as_json: bool) -> None:
    """Show where SWEEP stands, or all sweeps."""
    from orchestrator.cli_status import show_status

    show_status(sweep, results, as_json)


@cli.command()
@click.argument("trial")
@click.option("-f", "--follow", is_flag=True, help="Keep printing what is added.")
@results_option
@json_option
def logs(trial: str, follow: bool, results: Path, as_json: bool) -> None:
    """Print the log of TRIAL's last attempt.

    TRIAL is its id, as `orch status SWEEP` lists it; the first digits are enough.
    """
    from orchestrator.cli_show import show_log

    show_log(trial, results, follow=follow, as_json=as_json)


@cli.command()
@click.argument("sweep")
@click.option(
    "--margin",
    type=click.FloatRange(0.0, 100.0, min_open=True),
    default=0.3,
    show_default=True,
    metavar="POINTS",
    help="A gain in accuracy below it counts as none.",
)
@results_option
@json_option
def report(sweep: str, margin: float, results: Path, as_json: bool) -> None:
    """Write SWEEP's report: one HTML page, figures and tables."""
    from orchestrator.cli_views import make_report

    make_report(sweep, results, margin, as_json)


@cli.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--fail-if-worse",
    type=click.FloatRange(min=0.0),
    metavar="POINTS",
    help="Exit code 1 where a cell of B is worse by more, corrected p below 0.05.",
)
@click.option("--output", type=WrittenPath(), metavar="DIR", help="Where the figure goes.")
@results_option
@json_option
def compare(a: str, b: str, results: Path, **options: Any) -> int:
    """Compare sweep B with sweep A, cell by cell.

    A and B are names under the results root, or DIR:NAME. Cells pair by their axes, seeds by value.
    """
    from orchestrator.cli_views import compare_two

    return compare_two(a, b, results, **options)


@cli.command()
@click.argument("sweep")
@click.option(
    "--rows",
    type=click.Choice(["trials", "epochs", "blocks"]),
    default="trials",
    show_default=True,
    help="What a row is; blocks are rows of the diagnostics.",
)
@click.option("--format", "kind", type=click.Choice(["parquet", "csv"]), help="As the output is named; else parquet.")
@click.option(
    "--output",
    type=WrittenPath(),
    metavar="PATH",
    help="The file; - is stdout. By default SWEEP.ROWS.FORMAT in the sweep's folder.",
)
@results_option
@json_option
def export(sweep: str, rows: str, kind: str | None, output: Path | None, results: Path, as_json: bool) -> None:
    """Write SWEEP as one tidy table, Parquet or CSV."""
    from orchestrator.cli_views import export_sweep

    export_sweep(sweep, rows, kind, output, results, as_json)


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), help="A free one by default.")
@results_option
@json_option
def ui(port: int | None, results: Path, as_json: bool) -> int:
    """Serve the MLflow dashboard on loopback until Ctrl-C."""
    from orchestrator.cli_views import serve_dashboard

    return serve_dashboard(results, port, as_json)


@cli.command()
@click.argument("sweep", required=False)
@results_option
@json_option
def sync(sweep: str | None, results: Path, as_json: bool) -> None:
    """Rebuild the MLflow mirror from files.

    Of SWEEP, or of all sweeps under the results root. A second sync changes nothing.
    """
    from orchestrator.cli_views import sync_mirror

    sync_mirror(sweep, results, as_json)


cli.add_command(verify)
cli.add_command(gc)


@cli.command()
@results_option
@json_option
def schema(results: Path, as_json: bool) -> None:
    """Print the JSON Schema of a spec, for editors."""
    from orchestrator.cli_setup import print_schema

    print_schema()


@cli.command()
@results_option
@json_option
def doctor(results: Path, as_json: bool) -> int:
    """Check this machine and this install.

    Versions and their known holes, GPUs, limits, memory, disk, the results root and its file system, clocks, Ray's
    token. Exit code 3 where something has to be mended.
    """
    from orchestrator.cli_doctor import run_doctor

    return run_doctor(results, as_json)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@results_option
@json_option
def completion(shell: str, results: Path, as_json: bool) -> None:
    """Print a shell's completion script.

    \b
    bash  eval "$(orch completion bash)"
    zsh   eval "$(orch completion zsh)"
    fish  orch completion fish | source
    """
    from orchestrator.cli_setup import print_completion

    print_completion(cli, shell, as_json)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        early_stop.listen(words)
        code = run_command(words)
    except KeyboardInterrupt:
        code = early_stop.tell(words)
    early_stop.leave(code)


def run_command(words: list[str]) -> int:
    """Run one command; every error becomes a sentence on stderr and an exit code."""
    try:
        return int(cli.main(words, prog_name="orch", standalone_mode=False) or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return early_stop.tell(words)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OrchestratorError as error:
        return _fail(words, error)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  the reader left; nothing more can be said to it
        return 141
    except Exception:
        if os.environ.get("ORCH_DEBUG"):
            raise
        descriptor, path = tempfile.mkstemp(prefix="orch-bug-", suffix=".txt")
        with os.fdopen(descriptor, "w") as file:
            file.write(redact_text(traceback.format_exc()))
        return _fail(words, OrchestratorError(f"this is a bug in orch; the details are in {path}"))


def _fail(words: list[str], error: OrchestratorError) -> int:
    """Tell a person, and on `--json` a program too. A spec's problems and a stop speak for themselves."""
    message = redact_text(str(error))
    if "--json" in words and not isinstance(error, StoppedError):
        click.echo(json.dumps({"event": "error", "message": message, "exit_code": error.exit_code}))
    prefix = "" if isinstance(error, (SpecError, StoppedError)) else "error: "
    click.echo(f"{prefix}{message}", err=True)
    return error.exit_code
