"""What `orch run` adds to the training it does, beside a shell loop, a Ray Tune script, and Optuna with joblib."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.orchestration_peers import NUM_SLOTS, PEERS, ROOT, trials_of
from orchestrator import provenance
from orchestrator.tuning.schedule import makespan

ORCH = "orch run"
START = "orch run, start of Ray"
"""A run of one trial that trains for a moment: what is paid once."""

SPEC = """\
name: orchestration
axes: {{depth: {depths}, attention: [self, reattention]}}
seeds: {seeds}
model: {{embed_dim: 32, num_heads: 4, patch_size: 2, mlp_ratio: 2.0}}
data: {{name: digits}}
train: {{epochs: {epochs}, batch_size: 64, lr: 4.0e-3}}
resources: {{cpus: 1}}
probe: {{enabled: false}}
tracking: {{mlflow: true}}
"""
DEMO = ROOT / "experiments" / "depth_sweep.yaml"
UNPROBED = "\nprobe: {enabled: false}\n"
"""No peer probes."""


@dataclass(frozen=True)
class Run:
    """One measured run of all trials."""

    wall_s: float
    by_slot_s: float
    """The training time of its trials on two slots, the longest first: what no order beats by much."""
    first_epoch_s: float | None = None
    """From the start of the command to the end of the first epoch, where the peer tells of epochs."""

    @property
    def ratio(self) -> float:
        return self.wall_s / self.by_slot_s


def measure(peer: str, spec: Path, folder: Path) -> Run:
    """Run `peer` in a process of its own.

    Raises:
        SystemExit: it failed, or trained other trials than those of the spec.
    """
    folder.mkdir(parents=True)
    words = ["benchmarks.orchestration_peers", peer, str(spec), str(folder)]
    if peer in (ORCH, START):
        words = ["orchestrator", "run", str(spec), "--results", str(folder / "results"), "--json"]
    told, first_epoch_s = folder / "stderr.txt", None
    began = time.monotonic()
    with told.open("w") as stderr, subprocess.Popen(
        [sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if first_epoch_s is None and '"event": "epoch"' in line:
                first_epoch_s = time.monotonic() - began
    wall_s = time.monotonic() - began
    files = folder.glob("results/trials/*/record.json" if peer in (ORCH, START) else "*.json")
    times = [json.loads(path.read_text())["train_time_s"] for path in files]
    code = process.returncode
    if code != 0 or len(times) != len(trials_of(spec)):
        raise SystemExit(f"{peer} trained {len(times)} trials and ended with {code}:\n{told.read_text()[-2000:]}")
    return Run(wall_s, makespan(sorted(times, reverse=True), NUM_SLOTS), first_epoch_s)


def make_table(found: Mapping[str, Sequence[Run]]) -> str:
    """The Markdown table; medians over the rounds, each peer's wall time over that of `orch run` in the same round."""
    lines = ["| | wall, s | training by slot, s | wall / training | wall / `orch run` |", "|---|---|---|---|---|"]
    for peer, runs in found.items():
        wall, slot, ratio = (
            statistics.median(getattr(run, name) for run in runs) for name in ("wall_s", "by_slot_s", "ratio")
        )
        over = statistics.median(run.wall_s / own.wall_s for run, own in zip(runs, found[ORCH], strict=True))
        lines.append(f"| {peer} | {wall:.1f} | {slot:.1f} | {ratio:.2f} | {over:.2f} |")
    start_s = statistics.median(run.wall_s - run.by_slot_s for run in found[START])
    rest = statistics.median((run.wall_s - start_s) / run.by_slot_s for run in found[ORCH])
    first_s = statistics.median(run.first_epoch_s or float("nan") for run in found[ORCH])
    return (
        "\n".join(lines)
        + f"\n\nStart of Ray and imports: {start_s:.1f} s; `orch run` without it over the training: {rest:.3f}; "
        f"its first epoch was over {first_s:.1f} s after Enter\n"
    )


def main(arguments: Sequence[str]) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks orchestration", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of all peers in turn (default 3)")
    parser.add_argument("--epochs", type=int, default=6, help="of each trial (default 6)")
    parser.add_argument("--seeds", type=int, default=3, help="of each of 4 cells (default 3)")
    parser.add_argument("--demo", action="store_true", help="the trials of experiments/depth_sweep.yaml, unprobed")
    options = parser.parse_args(list(arguments))
    peers = (ORCH, START, *PEERS)
    found: dict[str, list[Run]] = {peer: [] for peer in peers}
    with tempfile.TemporaryDirectory(prefix="orch-orchestration-") as temporary:
        whole, single = Path(temporary) / "whole.yaml", Path(temporary) / "single.yaml"
        text = SPEC.format(depths=[6, 12], seeds=options.seeds, epochs=options.epochs)
        whole.write_text(DEMO.read_text() + UNPROBED if options.demo else text)
        single.write_text(SPEC.format(depths=[1], seeds=1, epochs=1))
        for number in range(options.rounds):
            for peer in peers:
                spec = single if peer == START else whole
                found[peer].append(measure(peer, spec, Path(temporary) / f"{number}-{peer.replace(' ', '-')}"))
                print(f"{peer}: {found[peer][-1].wall_s:.1f} s", file=sys.stderr)
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
    print(make_table(found))
    print(
        f"`python -m benchmarks orchestration {shlex.join(arguments)}`: {options.rounds} rounds in turn, medians; "
        f"{provenance.cpu_name()}, {os.cpu_count()} cores; {versions}."
    )
    return 0
