"""SIGKILL at random moments to the driver, a worker and the raylet of a sweep on Ray, in turn, round after round.

    python -m tests.faults.soak --rounds 200

A round kills once and looks for orphans. A sweep that has ended is held against one that was never touched, and a new
one begins. The last line counts rounds, kills by victim, sweeps finished and epochs trained twice.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.record import State
from orchestrator.results import ResultsDir, TrialFolder
from tests.faults.command_line import Command, command

VICTIMS = ("driver", "worker", "raylet")
SECONDS_TO_NOTICE = 15.0
"""Within which a driver must see that its raylet died."""
SLACK_S = 45.0
"""A busy machine is slower; a driver that never sees it is what is looked for."""

SPEC = """\
name: soak
axes: {depth: [1, 2], attention: [self, reattention]}
model: {embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 1.0}
data: {name: digits}
train: {epochs: 40, batch_size: 32, lr: 2.0e-3}
probe: {enabled: false}
tracking: {mlflow: false}
"""


@dataclass
class Tally:
    """What was seen."""

    num_rounds: int = 0
    num_sweeps: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    num_missed: int = 0
    """Rounds whose victim was not there while the run went on, as between two trials."""
    epochs_again: int = 0
    """Finished epochs that a later attempt trained again, over all rounds."""
    interrupted: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Trials that ran when somebody was killed: their last attempt and their finished epochs then."""

    def __str__(self) -> str:
        kills = ", ".join(f"{number} {victim}" for victim, number in sorted(self.kills.items()))
        return (
            f"{self.num_rounds} rounds; killed: {kills}; {self.num_sweeps} sweeps ended equal to an untouched one; "
            f"{self.epochs_again} finished epochs trained again"
        )


def soak(folder: Path, num_rounds: int, seed: int) -> Tally:
    """Kill for `num_rounds` rounds.

    Raises:
        AssertionError: something was lost, trained twice or left behind.
    """
    choice, tally = random.Random(seed), Tally()
    (folder / "soak.yaml").write_text(SPEC)
    expected = untouched(folder)
    results = ResultsDir(folder / "results-0")
    while tally.num_rounds < num_rounds:
        if one_round(folder, results, choice, tally):
            assert numbers_of(results) == expected, f"{results.root} is not what an untouched run gives"
            tally.num_sweeps += 1
            tally.interrupted.clear()
            results = ResultsDir(folder / f"results-{tally.num_sweeps}")
        sys.stderr.write(f"{tally}\n")
    return tally


def untouched(folder: Path) -> dict[str, Any]:
    """The numbers of a run that nothing happened to."""
    results = ResultsDir(folder / "untouched")
    with command(folder, "run", "soak.yaml", "--executor", "serial", "--results", str(results.root)) as running:
        assert running.end(900) == 0, running.said()
    return numbers_of(results)


def one_round(folder: Path, results: ResultsDir, choice: random.Random, tally: Tally) -> bool:
    """Start or go on, kill somebody, look at what is left; whether the sweep has ended."""
    finished = {trial.path.name: trial.record_file.read_bytes() for trial in results.trials() if has_record(trial)}
    victim = VICTIMS[tally.num_rounds % len(VICTIMS)]
    with command(folder, "run", "soak.yaml", "--json", "--results", str(results.root)) as running:
        target = wait_for_victim(running, victim, choice, tally)
        if target is not None:
            remember(results, tally)
            os.kill(target, signal.SIGKILL)
            tally.kills[victim] += 1
            check_end(running, victim)
        else:
            assert running.end(900) == 0, running.said()
        assert running.wait_until_alone() == {}, f"left behind after the {victim} was killed"
    for trial_id, record in finished.items():
        assert results.trial(trial_id).record_file.read_bytes() == record, f"{trial_id} was finished and ran again"
    tally.epochs_again += count_epochs_again(results, tally)
    tally.num_rounds += 1
    return all(has_record(results.trial(name)) for name in members(results))


def wait_for_victim(running: Command, victim: str, choice: random.Random, tally: Tally) -> int | None:
    """The process to kill, at a random moment of the training; None where the sweep ended before."""
    deadline = time.monotonic() + 300
    while not running.events("trial_started"):
        if running.process.poll() is not None:
            return None
        assert time.monotonic() < deadline, running.said()
        time.sleep(0.05)
    time.sleep(choice.random() * 4.0)
    if running.process.poll() is not None:
        return None
    if victim == "driver":
        return running.process.pid
    pattern = "ray::ResourceTrainable" if victim == "worker" else "/raylet/raylet"
    found = [process for process, name in running.family().items() if pattern in name]
    if not found and running.process.poll() is None:
        tally.num_missed += 1
    return choice.choice(found) if found else None


def check_end(running: Command, victim: str) -> None:
    """A killed worker is replaced; a driver without its raylet says how to go on and leaves."""
    if victim == "raylet":
        assert running.end(SECONDS_TO_NOTICE + SLACK_S) in (0, 3), running.said()
        if running.process.returncode == 3:
            assert "orch run soak.yaml" in running.said(), running.said()
    elif victim == "worker":
        assert running.end(900) == 0, running.said()
    else:
        running.end(30)


def remember(results: ResultsDir, tally: Tally) -> None:
    """Write down how far the running trials are; one that was interrupted before and not yet gone on with stays."""
    for trial in results.trials():
        attempts = trial.read_attempts()
        if attempts and attempts[-1].ended_at is None:
            tally.interrupted.setdefault(trial.path.name, (attempts[-1].number, len(trial.read_metrics())))


def count_epochs_again(results: ResultsDir, tally: Tally) -> int:
    """Of the epochs that were finished when somebody was killed, those that the next attempt trains again."""
    total = 0
    for name, (number, num_epochs) in list(tally.interrupted.items()):
        later = [a for a in results.trial(name).read_attempts() if a.number > number and a.data_fingerprint is not None]
        if later:
            del tally.interrupted[name]
            again = max(0, num_epochs - int((later[0].started_from or "0-0").partition("-")[0]))
            assert again <= 1, f"{name} went back {again} epochs"
            total += again
    return total


def has_record(trial: TrialFolder) -> bool:
    return trial.state() is State.COMPLETE


def members(results: ResultsDir) -> list[str]:
    folder = results.sweep("soak")
    return [member.trial_id for member in folder.read_index().members] if folder.trials_file.exists() else ["none yet"]


def numbers_of(results: ResultsDir) -> dict[str, Any]:
    """Records and metric rows, without what differs between equal runs."""
    found = {}
    for name in members(results):
        trial = results.trial(name)
        record = trial.read_record()
        assert record is not None
        found[name] = (record.numbers(), [row.numbers() for row in trial.read_metrics()])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orch-soak-") as folder:
        sys.stdout.write(f"{soak(Path(folder), options.rounds, options.seed)}\n")


if __name__ == "__main__":
    main()
