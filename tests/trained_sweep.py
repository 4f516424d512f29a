"""A small sweep trained once for a test module, and copies of it to be changed."""

from __future__ import annotations

from pathlib import Path

from orchestrator.grid import expand_grid
from orchestrator.results import ResultsDir
from orchestrator.spec import loads_spec
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.sweep import run_sweep

TEXT = """\
name: tiny
axes:
  depth: [1, 2]
seeds: 2
model: {embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 2.0}
data: {name: digits}
train: {epochs: 2, batch_size: 256, lr: 2.0e-3}
tracking: {mlflow: false}
"""


def train_sweep(root: Path, text: str = TEXT) -> ResultsDir:
    """A results root with the sweep of `text`, trained by the for loop."""
    spec = loads_spec(text)
    results = ResultsDir(root)
    run_sweep(spec, expand_grid(spec), results, RunOptions(executor="serial"))
    return results


def trial_ids(results: ResultsDir, sweep: str = "tiny") -> list[str]:
    return [member.trial_id for member in results.sweep(sweep).read_index().members]
