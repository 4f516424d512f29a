"""What following a run in MLflow costs the training, beside a store that works and a server that never answers."""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.provenance import cpu_name

LIMIT = 0.02
"""Largest share of the training time that tracking may take."""
ARMS = ("off", "on", "hanging")
SPEC = """\
name: tracked
axes: {{depth: [4, 8]}}
model: {{embed_dim: 48, num_heads: 4, patch_size: 2, mlp_ratio: 3.0}}
data: {{name: digits}}
train: {{epochs: {epochs}, batch_size: 64, lr: 2.0e-3}}
probe: {{enabled: false}}
tracking: {{mlflow: {is_tracked}}}
"""


@contextmanager
def hanging_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


def run_sweep(arm: str, epochs: int, uri: str) -> float:
    """Train a small sweep in a process and a folder of its own; the seconds its trials spent in epochs."""
    with tempfile.TemporaryDirectory() as folder:
        is_tracked = "false" if arm == "off" else "true"
        (Path(folder) / "tracked.yaml").write_text(SPEC.format(epochs=epochs, is_tracked=is_tracked))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        if arm == "hanging":
            environment["MLFLOW_TRACKING_URI"] = uri
        command = [sys.executable, "-m", "orchestrator", "run", "tracked.yaml", "--executor", "serial"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the sweep ended with {done.returncode}:\n{done.stderr}")
        records = [json.loads(path.read_text()) for path in Path(folder).glob("results/trials/*/record.json")]
        return sum(float(record["train_time_s"]) for record in records)


def measure(epochs: int, num_repeats: int) -> Mapping[str, list[float]]:
    """Seconds of training of each arm; the arms take turns, so that all meet the same machine."""
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    with hanging_server() as uri:
        for number in range(num_repeats):
            for arm in ARMS if number % 2 == 0 else reversed(ARMS):
                times[arm].append(run_sweep(arm, epochs, uri))
                print(f"{arm}: {times[arm][-1]:.2f} s", file=sys.stderr)
    return times


def ratios(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Training time of each arm over that of the arm without tracking: the median over the rounds."""
    return {
        arm: statistics.median(own / off for own, off in zip(times[arm], times["off"], strict=True)) for arm in ARMS
    }


def make_table(times: Mapping[str, Sequence[float]]) -> str:
    """The Markdown table, a row an arm."""
    lines = ["| tracking | training, s | over off |", "|---|---|---|"]
    for arm, ratio in ratios(times).items():
        mark = " !" if ratio > 1 + LIMIT else ""
        lines.append(f"| {arm} | {statistics.median(times[arm]):.2f} | {ratio:.3f}{mark} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table; exit code 1 where tracking costs more than 2 % of the training."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks tracking", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="rounds of the three arms (default 5)")
    parser.add_argument("--epochs", type=int, default=40, help="of each trial (default 40)")
    options = parser.parse_args(list(arguments))
    times = measure(options.epochs, options.repeats)
    print(make_table(times))
    print(f"{options.epochs} epochs of 2 trials, {options.repeats} rounds; {cpu_name()}; ", end="")
    print(f"Python {platform.python_version()}.")
    return 0 if all(ratio <= 1 + LIMIT for ratio in ratios(times).values()) else 1
