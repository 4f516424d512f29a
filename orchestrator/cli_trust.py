"""The commands `orch verify` and `orch gc`: what becomes of results after they are made. Nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orchestrator.cli_options import WrittenPath, json_option, results_option


@click.command()
@click.argument("sweep")
@click.option(
    "-k",
    "num_trials",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="K",
    help="How many to train again; 0 looks at files only.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Chooses them: the same ones for the same sweep and seed."
)
@click.option("--trial", "trials", multiple=True, metavar="ID", help="This trial instead; may be repeated.")
@click.option(
    "--tolerance",
    "tolerance_points",
    type=click.FloatRange(0.0, 100.0),
    default=2.0,
    show_default=True,
    metavar="POINTS",
    help="Allowed difference in accuracy where bits may differ.",
)
@click.option(
    "--executor",
    type=click.Choice(["serial", "ray_tune"]),
    default="serial",
    show_default=True,
    help="A for loop in this process is enough for a few trials; or Ray Tune.",
)
@click.option("--address", metavar="ADDRESS", help="A Ray cluster, with --executor ray_tune.")
@click.option(
    "--scratch",
    type=WrittenPath(),
    metavar="DIR",
    help="Where to train; on a cluster, a folder that every node sees. The system's folder by default.",
)
@results_option
@json_option
def verify(sweep: str, results: Path, **options: Any) -> int:
    """Train finished trials again and compare.

    First every file of SWEEP's finished trials is held against its record. Then K of the finished measured trials are
    trained from nothing in a scratch folder, from the spec that the last run kept; the originals are only read.
    Numbers, metric rows, predictions and weights must be bit-equal on a CPU with the same code and libraries. On other
    hardware or code they may differ, and then the accuracies must agree within the tolerance.

    \b
    Exit codes: 0 all equal; 1 a trial or a file differs; 3 environment (other data, other protocol, disk).
    """
    from orchestrator.cli_verify import verify_sweep

    return verify_sweep(sweep, results, **options)


@click.command()
@click.argument("sweep", required=False)
@click.option(
    "--weights",
    type=click.Choice(["all", "best", "none"]),
    default="all",
    show_default=True,
    help="Final weights to keep: all, of each cell those with the highest val_acc, or none.",
)
@click.option(
    "--logs",
    type=click.Choice(["all", "newest"]),
    default="all",
    show_default=True,
    help="Logs to keep of finished trials.",
)
@click.option(
    "--orphans",
    type=click.Choice(["all", "records", "none"]),
    default="all",
    show_default=True,
    help="Trials to keep that no sweep refers to: whole, without weights and checkpoints, or none.",
)
@click.option("--yes", is_flag=True, help="Remove it; without, nothing is written.")
@results_option
@json_option
def gc(sweep: str | None, results: Path, yes: bool, as_json: bool, **policy: Any) -> None:
    """Free disk by a stated policy; dry by default.

    Without options it frees what nobody can want any more: checkpoints of finished trials, which start nothing again,
    and temporary files whose maker is gone. Options free more. With SWEEP, only trials that no other sweep holds.

    Never freed: records, metric rows, predictions, probes, a trial that is not finished, anything of a sweep that a run
    holds. So reports, comparisons and exports stay what they are and no trial is trained again; `orch verify` trains a
    trial without weights and compares with the recorded checksum.
    """
    from orchestrator.cli_gc import collect_garbage
    from orchestrator.tuning.retention import Policy

    collect_garbage(sweep, results, Policy(**policy), yes=yes, as_json=as_json)
