"""What MLflow shows of a sweep, read the way anybody would, and a store that is ready at once."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator import durable
from orchestrator.record import SweepIndex
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from tests.tuning.sweep_files import make_sweep


@cache
def empty_store() -> bytes:
    """A fresh SQLite store; making one takes seconds, copying it nothing."""
    from orchestrator.tuning.tracking import open_store

    with tempfile.TemporaryDirectory() as folder:
        results = ResultsDir(Path(folder))
        with open_store(results, "another_sweep"):
            pass
        return results.mlflow_db.read_bytes()


def put_store(results: ResultsDir) -> None:
    durable.write_bytes(results.mlflow_db, empty_store())


def make_stored_sweep(results: ResultsDir, index: SweepIndex, accs: Sequence[float] = ()) -> list[Trial]:
    """`make_sweep` beside an empty store."""
    put_store(results)
    return make_sweep(results, index, accs)


class Shown:
    """What MLflow shows of sweep `name`, read the way anybody would."""

    def __init__(self, results: ResultsDir, name: str = "s", uri: str | None = None) -> None:
        self.client = MlflowClient(tracking_uri=uri or f"sqlite:///{results.mlflow_db}")
        experiment = self.client.get_experiment_by_name(name)
        assert experiment is not None
        self.runs: list[Run] = list(self.client.search_runs([experiment.experiment_id], max_results=1000))

    @property
    def parent(self) -> Run:
        (parent,) = [run for run in self.runs if "mlflow.parentRunId" not in run.data.tags]
        return parent

    @property
    def children(self) -> dict[str, Run]:
        """By trial id; all of them belong to the parent."""
        children = [run for run in self.runs if run.data.tags.get("mlflow.parentRunId") == self.parent.info.run_id]
        assert len(children) == len(self.runs) - 1
        assert len({run.data.tags["trial_id"] for run in children}) == len(children)
        return {run.data.tags["trial_id"]: run for run in children}

    def points(self, run: Run) -> dict[str, list[tuple[int, float]]]:
        """Every point of every metric, in steps."""
        histories = {key: self.client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
        return {key: sorted((m.step, m.value) for m in history) for key, history in histories.items()}

    def content(self) -> Any:
        """All but the random ids: equal for mirrors that say the same."""
        return sorted((self._content(run) for run in self.runs), key=str)

    def _content(self, run: Run) -> Any:
        own = ("mlflow.parentRunId", "results_id")
        tags = {name: value for name, value in run.data.tags.items() if name not in own}
        times = {
            key: [m.timestamp for m in self.client.get_metric_history(run.info.run_id, key)] for key in run.data.metrics
        }
        info = run.info
        span = (info.status, info.start_time, info.end_time, "mlflow.parentRunId" in run.data.tags)
        tags = {name: value.replace(info.run_id, "") for name, value in tags.items()}
        return (span, run.data.params, tags, self.points(run), times)


def close_to(points: Sequence[tuple[int, float]], expected: Sequence[tuple[int, float]]) -> bool:
    return len(points) == len(expected) and all(
        a[0] == b[0] and math.isclose(a[1], b[1]) for a, b in zip(points, expected, strict=True)
    )
