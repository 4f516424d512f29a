"""What probes of the shipped settings cost, as a share of the training of the demo's shallowest and deepest cells."""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from orchestrator.grid import expand_grid
from orchestrator.grids.sweep_spec import Probe
from orchestrator.provenance import cpu_name
from orchestrator.spec import load_spec
from orchestrator.training.loop import Settings, Trainer, never_stop
from orchestrator.training.probe_store import ProbeStore
from orchestrator.trial import Trial

DEMO = Path(__file__).parent.parent / "experiments" / "depth_sweep.yaml"
LIMIT = 0.03
"""Largest share of the training time that probes may take."""


@dataclass(frozen=True)
class Cost:
    """Seconds of one trial, medians over the repeats."""

    trial: Trial
    epoch_s: float
    probes_s: float
    """The untrained network and the final model, skipped blocks not counted."""
    skip_s: float

    @property
    def training_s(self) -> float:
        """Of all epochs."""
        return self.epoch_s * (self.trial.train.epochs + self.trial.train.cooldown_epochs)

    @property
    def share(self) -> float:
        return self.probes_s / self.training_s


def chosen_trials() -> list[Trial]:
    """The first seed of the demo's shallowest and deepest cells."""
    trials = [cell.trials[0] for cell in expand_grid(load_spec(DEMO)).cells]
    depths = {trial.model.depth for trial in trials}
    return [trial for trial in trials if trial.model.depth in (min(depths), max(depths))]


def measure(trial: Trial, probe: Probe, num_repeats: int, device: str) -> Cost:
    """Train epochs of `trial` and probe between them, so that both meet the same machine."""
    epochs, probes, skips = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        store = ProbeStore(Path(folder))
        trainer = Trainer(trial, Settings(device=device, probe=probe), None, never_stop, store)
        assert trainer.prober is not None
        for _ in range(num_repeats):
            began = time.perf_counter()
            trainer.run_epoch()
            epochs.append(time.perf_counter() - began)
            store.known.clear()
            store.remove()
            began = time.perf_counter()
            trainer.prober.before_epoch(replace(trainer.progress, epoch=0), trainer.evaluated)
            trainer.prober.final(trainer.evaluated, trainer.progress.epoch)
            ended = time.perf_counter()
            skips.append(sum(float(arrays["skip_time_s"]) for arrays in store.moments()))
            probes.append(ended - began - skips[-1])
    return Cost(trial, statistics.median(epochs), statistics.median(probes), statistics.median(skips))


def make_table(costs: Sequence[Cost]) -> str:
    """The Markdown table, a row a cell."""
    head = "| depth | attention | training, s | probes, s | probes over training | skipped blocks, s |"
    lines = [head, "|---|---|---|---|---|---|"]
    for cost in costs:
        model, mark = cost.trial.model, "" if cost.share <= LIMIT else " !"
        lines.append(
            f"| {model.depth} | {model.attention} | {cost.training_s:.1f} | {cost.probes_s:.2f} "
            f"| {100 * cost.share:.1f} %{mark} | {cost.skip_s:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table; exit code 1 where probes take more than 3 % of the training."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks probe_cost", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="epochs and probes of each cell (default 5)")
    parser.add_argument("--images", type=int, default=Probe().images, help=f"probe set (default {Probe().images})")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    options = parser.parse_args(list(arguments))
    costs = []
    for trial in chosen_trials():
        costs.append(measure(trial, Probe(images=options.images), options.repeats, options.device))
        print(f"{trial.label}: {100 * costs[-1].share:.1f} %", file=sys.stderr)
    print(make_table(costs))
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{cpu_name()}, one core"
    print(f"{options.images} images, {options.repeats} repeats; {where}; Python {platform.python_version()}, ", end="")
    print(f"torch {torch.__version__}.")
    return 0 if all(cost.share <= LIMIT for cost in costs) else 1
