"""The commands `orch verify` and `orch gc`: what becomes of results after they are made. Nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orchestrator.cli_options import json_option, results_option


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
    type=click.Path(path_type=Path),
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
