"""What commands cost where thousands of trials have finished, and what a trial costs beyond its own training."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.simulated_results import NUM_EPOCHS, SWEEP, spec_text, write_results
from benchmarks.simulated_training import WAIT_S
from orchestrator import provenance

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "scale.md"
SMALL, BOUND_S, LARGE_BOUND_S = 10_000, 10.0, 60.0
"""A command takes 10 s at most up to 10,000 trials, and 60 s beyond, up to 100,000."""
OVERHEAD_BOUND_S = 0.1
"""Of one more trial, its training not counted."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    num_trials: int
    seconds: float
    cpu_s: float
    peak_mib: float
    """Of the process that a person starts; workers not counted."""
    bound_s: float | None = None

    @property
    def is_kept(self) -> bool:
        return self.bound_s is None or self.seconds <= self.bound_s


MEASURED = """
import json, os, resource, subprocess, sys
code = subprocess.run([sys.executable, "-m", *sys.argv[1:]]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
os.write(2, json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss]).encode())
"""
"""A small process between, because a child's peak begins at the size of the process that forked it."""


def measure_command(words: Sequence[str], what: str, num_trials: int, bound_s: float | None) -> tuple[Row, str]:
    """Run a Python module with its arguments; its cost, and what it printed on stdout.

    Raises:
        SystemExit: it failed; what it said on stderr has been printed.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-IS", "-c", MEASURED, *words], capture_output=True, text=True, env=environment, check=False
    )
    seconds = time.perf_counter() - began
    said, bracket, numbers = done.stderr.rpartition("[")
    code, cpu_s, peak_kib = json.loads(bracket + numbers)
    if code != 0:
        raise SystemExit(f"{shlex.join(words)} ended with {code}:\n{said[-2000:]}")
    row = Row(
        what=what,
        num_trials=num_trials,
        seconds=seconds,
        cpu_s=cpu_s,
        peak_mib=peak_kib / 1024,
        bound_s=bound_s,
    )
    return row, done.stdout


def measure_finished(folder: Path, num_trials: int) -> list[Row]:
    """What the commands cost on a root where a sweep of about so many trials is finished."""
    spec, count = write_results(folder, num_trials)
    bound_s = BOUND_S if count <= SMALL else LARGE_BOUND_S
    commands = {
        "`run`, nothing to do": ["run", str(spec), "--yes"],
        "`status`": ["status"],
        f"`status {SWEEP}`": ["status", SWEEP],
        "`plan`": ["plan", str(spec)],
        "`report`": ["report", SWEEP],
    }
    rows = []
    for what, words in commands.items():
        row, _ = measure_command(["orchestrator", *words, "--results", str(folder)], what, count, bound_s)
        print(f"{what}, {count:,} trials: {row.seconds:.1f} s", file=sys.stderr)
        rows.append(row)
    return rows


def measure_training(folder: Path, num_trials: int, *, has_mirror: bool) -> list[Row]:
    """What `run` on Ray costs whose trainings only wait, at a tenth of the trials and at all of them, and one more."""
    rows = []
    for count in (num_trials // 10, num_trials):
        place = folder / f"{count}-{'mirrored' if has_mirror else 'plain'}"
        place.mkdir(parents=True)
        spec = place / f"{SWEEP}.yaml"
        spec.write_text(spec_text(count, tracking=has_mirror))
        words = ["benchmarks.simulated_training", str(spec), "--yes", "--results", str(place / "results")]
        what = "`run` on Ray, training simulated" + ", MLflow mirror on" * has_mirror
        row, text = measure_command(words, what, count, None)
        row = Row(**{**vars(row), "num_trials": _count_records(place / "results")})
        assert json.loads(text.splitlines()[-1])["driver_peak_mib"] > 0
        print(f"{what}, {row.num_trials:,} trials: {row.seconds:.1f} s", file=sys.stderr)
        rows.append(row)
    return [*rows, one_more_trial(*rows)]


def one_more_trial(few: Row, many: Row) -> Row:
    """The marginal trial: what it adds to a run, the waiting of its training not counted."""
    num_more = many.num_trials - few.num_trials
    waiting_s = WAIT_S * NUM_EPOCHS / (os.cpu_count() or 1)
    return Row(
        what=many.what + ": one more trial",
        num_trials=1,
        seconds=(many.seconds - few.seconds) / num_more - waiting_s,
        cpu_s=(many.cpu_s - few.cpu_s) / num_more,
        peak_mib=(many.peak_mib - few.peak_mib) / num_more,
        bound_s=OVERHEAD_BOUND_S,
    )


def _count_records(results: Path) -> int:
    return sum(1 for _ in results.glob("trials/*/record.json"))


def make_table(rows: Sequence[Row]) -> str:
    """The Markdown table; a broken bound is marked."""
    lines = ["| command | trials | seconds | CPU seconds | peak MiB | bound, s |", "|---|---|---|---|---|---|"]
    for row in rows:
        digits = 3 if row.num_trials == 1 else 1
        bound = "" if row.bound_s is None else f"{row.bound_s:g}{'' if row.is_kept else ' !'}"
        lines.append(
            f"| {row.what} | {row.num_trials:,} | {row.seconds:.{digits}f} | {row.cpu_s:.{digits}f} "
            f"| {row.peak_mib:,.{digits if row.num_trials == 1 else 0}f} | {bound} |"
        )
    return "\n".join(lines) + "\n"


def make_page(rows: Sequence[Row], words: Sequence[str]) -> str:
    """The table, and where it comes from."""
    command = shlex.join(["python", "-m", "benchmarks", "scale", *words])
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
    return (
        f"# Scale\n\n{make_table(rows)}\n"
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, on {provenance.cpu_name()}, "
        f"{os.cpu_count()} cores (load over 1, 5 and 15 minutes at the end: {load}), {versions}. "
        "CPU seconds and peak memory are those of the process that a person starts. A trial waits "
        f"{WAIT_S:g} s in each of {NUM_EPOCHS} epochs. “!” marks a bound that did not hold.\n"
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table and keep it; exit code 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000, help="trained on Ray, and finished (default 10,000)")
    parser.add_argument("--finished", type=int, default=100_000, help="finished in a larger root (default 100,000)")
    parser.add_argument("--no-training", action="store_true", help="measure commands alone")
    parser.add_argument("--mirror", action="store_true", help="train a second time, mirrored to MLflow")
    parser.add_argument("--folder", type=Path, help="where roots are made and left, or taken from (default: temporary)")
    parser.add_argument("--output", type=Path, default=RESULT, help="the page that keeps the table")
    options = parser.parse_args(list(arguments))
    with tempfile.TemporaryDirectory(prefix="orch-scale-") as temporary:
        folder = options.folder or Path(temporary)
        rows = []
        for count in dict.fromkeys(count for count in (options.trials, options.finished) if count):
            rows += measure_finished(folder / f"finished-{count}", count)
        if options.trials and not options.no_training:
            for has_mirror in (False, True) if options.mirror else (False,):
                rows += measure_training(folder / "trained", options.trials, has_mirror=has_mirror)
    page = make_page(rows, arguments)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page)
    print(page)
    return 0 if all(row.is_kept for row in rows) else 1
