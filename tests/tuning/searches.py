"""Specs with `tune:`, and search trials whose results are a function of their learning rate."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator import durable
from orchestrator.grid import Grid, expand_grid
from orchestrator.grids.sweep_spec import SweepSpec
from orchestrator.grids.tune_spec import SEARCH_SEEDS, Tune
from orchestrator.record import Attempt, EpochMetrics, State
from orchestrator.results import ResultsDir
from orchestrator.spec import loads_spec
from orchestrator.trial import Trial
from orchestrator.tuning.cell_search import CellSearch, survey_searches
from orchestrator.tuning.events import Event, RunSettings, TrialEnded, TrialStarted
from orchestrator.tuning.pruning import find_pruned
from orchestrator.tuning.stop_file import is_stop_asked
from tests.tuning.sweeps import write_record

TEXT = """\
name: tuned
axes: {depth: [1, 2]}
seeds: 2
tune:
  axes: {lr: {log_uniform: [1.0e-4, 1.0e-1]}}
  num_trials: 6
model: {embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 2.0}
data: {name: digits}
train: {epochs: 8, batch_size: 256}
tracking: {mlflow: false}
probe: {enabled: false}
"""
TPE = TEXT.replace("num_trials: 6", "num_trials: 6\n  sampler: tpe\n  batch_size: 2")
PRUNING = TEXT.replace("num_trials: 6", "num_trials: 12\n  batch_size: 4\n  prune: true")
BEST_LR = 1e-2


def tuned(text: str = TEXT) -> tuple[SweepSpec, Grid, Tune]:
    spec = loads_spec(text)
    assert spec.tune is not None
    return spec, expand_grid(spec), spec.tune


def survey(results: ResultsDir, text: str = TEXT) -> list[CellSearch]:
    _, grid, tune = tuned(text)
    return list(survey_searches(grid, tune, results, lambda standing: False).values())


def accuracy(trial: Trial) -> float:
    """Highest at `BEST_LR`; a little other for each seed and depth."""
    return 0.9 - 0.1 * abs(math.log10(trial.train.lr / BEST_LR)) - 0.001 * (trial.seed % 7) - 0.01 * trial.model.depth


def learning_curve(trial: Trial) -> list[EpochMetrics]:
    final = accuracy(trial)
    return [
        EpochMetrics(
            epoch=epoch, train_loss=1.0, val_loss=1 - final * epoch / trial.train.epochs,
            val_acc=final * epoch / trial.train.epochs, lr=trial.train.lr, wall_time_s=0.1,
        )
        for epoch in range(1, trial.train.epochs + 1)
    ]  # fmt: skip


def finish(results: ResultsDir, trial: Trial, rule: Mapping[int, float] | None = None, **changes: Any) -> State:
    """Leave the files of a trial that ended as its learning rate and the rule say."""
    rows = learning_curve(trial)
    pruned = find_pruned(rule or {}, rows)
    rows = rows if pruned is None else rows[: pruned.epoch]
    write_rows(results, trial, rows)
    last = {"val_acc": rows[-1].val_acc, "val_loss": rows[-1].val_loss, "num_epochs": len(rows)}
    if pruned is not None:
        last |= {"state": State.PRUNED, "val_acc": None, "val_loss": None, "test_acc": None, "test_loss": None}
    return write_record(results, trial, **{**last, "data_fingerprint": "d", **changes}).state


def diverge(results: ResultsDir, trial: Trial) -> None:
    nothing = dict.fromkeys(("val_acc", "val_loss", "test_acc", "test_loss"))
    write_record(results, trial, state=State.DIVERGED, diverged="the training loss became inf", **nothing)


def write_rows(results: ResultsDir, trial: Trial, rows: Sequence[EpochMetrics]) -> None:
    text = "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows)
    durable.write_text(results.trial(trial.trial_id).metrics_file, text)


def run_to_end(results: ResultsDir, text: str = TEXT) -> list[CellSearch]:
    """Every batch of every cell, as a run would train it."""
    searches = survey(results, text)
    while any(search.due for search in searches):
        for search in searches:
            for trial in search.due:
                finish(results, trial, search.rule)
        searches = survey(results, text)
    return searches


def execute(trials: Sequence[Trial], settings: RunSettings) -> Iterator[Event]:
    """An executor that trains in no time: search trials as `finish` does, others too."""
    results = ResultsDir(settings.results_root)
    fingerprint = next(iter(settings.data_fingerprints.values()))
    for trial in trials:
        if is_stop_asked(settings.stop_file):
            return
        yield TrialStarted(trial.trial_id)
        state = finish(results, trial, settings.prune.get(trial.trial_id), data_fingerprint=fingerprint)
        yield TrialEnded(trial.trial_id, state, results.trial(trial.trial_id).read_record())


def is_search_trial(trial: Trial) -> bool:
    return trial.seed in SEARCH_SEEDS


def write_attempt(results: ResultsDir, trial: Trial, **changes: Any) -> None:
    """Leave an attempt at a trial that has no record."""
    attempt = Attempt(number=1, host="h", process=1, device="cpu: x", code_fingerprint="f", versions={}, started_at="t")
    folder = results.trial(trial.trial_id)
    durable.write_json(folder.trial_file, trial.canonical())
    durable.write_sealed_json(folder.attempt_file(1), dataclasses.asdict(dataclasses.replace(attempt, **changes)))
