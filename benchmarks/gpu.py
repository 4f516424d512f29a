"""Everything that needs a GPU, step after step: the GPU tests, then the GPU benchmarks; goes on where it stopped.

A step that succeeded leaves its output under `benchmarks/results/gpu/` and is not repeated; `--again` forgets them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = Path("benchmarks/results/gpu")
LIMIT_S = 540.0
"""No step is started that would pass it, so that one call stays under ten minutes; the next call goes on."""


@dataclass(frozen=True)
class Step:
    """A command of its own process."""

    name: str
    words: tuple[str, ...]
    expected_s: float
    """At most; a step that would pass the limit waits for the next call."""


def gpu_test_files() -> tuple[str, ...]:
    """Those with tests marked `gpu`; others import what training does not need, which may be missing beside a GPU."""
    files = (path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.gpu" in path.read_text())
    return tuple(sorted(str(path.relative_to(ROOT)) for path in files))


def reattention_step(num_tokens: int) -> Step:
    """One of its two shapes, which together might outlast a call."""
    out = FOLDER.parent / f"reattention_gpu_{num_tokens}.md"
    words = ("benchmarks", "reattention_gpu", "--tokens", str(num_tokens), "--out", str(out))
    return Step(f"reattention_{num_tokens}", words, 300.0)


STEPS = (
    Step("tests", ("pytest", "-m", "gpu", "-q", *gpu_test_files()), 300.0),
    reattention_step(65),
    reattention_step(197),
    Step("throughput", ("benchmarks", "throughput_gpu"), 240.0),
    Step("prices", ("benchmarks", "prices"), 240.0),
    Step("stacking", ("benchmarks", "stacking"), 400.0),
)


def run_steps(steps: Sequence[Step], folder: Path, limit_s: float) -> int:
    """Run what is missing; 0 when all is there, 1 where a step failed, 75 where the time is up."""
    folder.mkdir(parents=True, exist_ok=True)
    began, has_failed = time.monotonic(), False
    for step in steps:
        done = folder / f"{step.name}.txt"
        if done.exists():
            print(f"{step.name}: done before, {done}")
            continue
        if time.monotonic() - began + step.expected_s > limit_s:
            print(f"{step.name}: not started, the time of this call is up; the same command goes on")
            return 75
        ended = subprocess.run(
            [sys.executable, "-m", *step.words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False,
        )  # fmt: skip
        print(f"{step.name}: ended with {ended.returncode} after {time.monotonic() - began:.0f} s\n{ended.stdout}")
        if ended.returncode == 0:
            done.write_text(ended.stdout)
        has_failed = has_failed or ended.returncode != 0
    return int(has_failed)


def main(arguments: Sequence[str]) -> int:
    """Run what is missing of `STEPS`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help=f"of one call (default {LIMIT_S:g})")
    parser.add_argument("--again", action="store_true", help="forget what was done")
    options = parser.parse_args(list(arguments))
    folder = ROOT / FOLDER
    if options.again:
        for path in folder.glob("*.txt"):
            path.unlink()
    return run_steps(STEPS, folder, options.limit_s)
