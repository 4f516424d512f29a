"""Specs, grids and written records for the tests of `tuning/`."""

from __future__ import annotations

import dataclasses

from orchestrator import durable, provenance
from orchestrator.grid import Grid, expand_grid
from orchestrator.grids.sweep_spec import SweepSpec
from orchestrator.record import Provenance, State, TrialRecord
from orchestrator.results import ResultsDir
from orchestrator.spec import loads_spec
from orchestrator.trial import Trial

TEXT = """\
name: tiny
axes:
  depth: [1, 2]
  attention: [self, reattention]
seeds: 2
model: {embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 2.0}
data: {name: digits}
train: {epochs: 2, batch_size: 256, lr: 2.0e-3}
tracking: {mlflow: false}
"""


def spec_and_grid(text: str = TEXT) -> tuple[SweepSpec, Grid]:
    spec = loads_spec(text)
    return spec, expand_grid(spec)


def write_record(results: ResultsDir, trial: Trial, **changes) -> TrialRecord:
    """A record of `trial` as if it had been trained; fields of the provenance may be changed too."""
    names = {field.name for field in dataclasses.fields(Provenance)}
    origin = Provenance(
        git_commit=None, git_dirty=None, code_fingerprint=provenance.code_fingerprint(), versions=provenance.versions(),
        device=f"cpu: {provenance.cpu_name()}", host="h", command="orch run", data_fingerprint="d", executor="serial",
        started_at="2026-01-01T00:00:00+00:00", ended_at="2026-01-01T00:01:00+00:00",
    )  # fmt: skip
    origin = dataclasses.replace(origin, **{name: changes.pop(name) for name in list(changes) if name in names})
    record = TrialRecord(
        trial_id=trial.trial_id, state=State.COMPLETE, trial=trial.canonical(), num_params=1, flops=2, num_epochs=2,
        val_loss=0.5, val_acc=0.75, test_loss=0.5, test_acc=0.7, num_test_images=10, weights_sha256="w", diverged=None,
        wall_time_s=3.0, train_time_s=2.0, peak_memory_mib=100.0, num_attempts=1, provenance=origin,
    )  # fmt: skip
    record = dataclasses.replace(record, **changes)
    folder = results.trial(trial.trial_id)
    durable.write_json(folder.trial_file, trial.canonical())
    durable.write_sealed_json(folder.record_file, dataclasses.asdict(record))
    return record
