"""A place for runs in, what it shows and the means to change that out: the only file that imports mlflow.

One experiment a sweep, under the sweep's name. Runs carry the tag `results_id`, so results folders can share a tracking
server. The default place is a SQLite file in the results folder, made under a lock and complete under its name.

Importing this file takes seconds and sets MLflow's environment (no telemetry, short timeouts); import it inside
functions.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read by mlflow when it is imported

from alembic.util.exc import CommandError
from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import durable, places
from orchestrator.errors import NotReadyError
from orchestrator.redact import redact_text
from orchestrator.results import ResultsDir
from orchestrator.tuning.run_content import EXPERIMENT_ID, GONE_WHEN_ABSENT, NOT_FINITE, RUN_ID, Point, RunContent
from orchestrator.tuning.shown_run import DIGEST_TAG, ShownRun
from orchestrator.wording import orch_command

FAULTS = (MlflowException, SQLAlchemyError, CommandError, OSError, json.JSONDecodeError)
"""Everything that a broken, missing or foreign tracking server was seen to raise."""

PARENT_TAG = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"
OWNER_TAG = "results_id"
FINDING_TAGS = ("kind", "trial_id")
FIGURES_TAG = "figures_digest"

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Makes the dashboard open with training runs, not with chat traces."""

TIMEOUTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""A dead server costs seconds; with MLflow's own values it costs four minutes."""

ENVIRONMENT = {**TIMEOUTS, "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}

MAX_METRICS, MAX_PARAMS, MAX_TAGS = 500, 100, 100
"""In one request; MLflow takes 1000 values, 100 params, 100 tags and 1 MB."""

for _noisy in ("mlflow", "alembic", "urllib3.connectionpool"):  # what goes wrong is told once, by `explained`
    logging.getLogger(_noisy).setLevel(logging.CRITICAL)


class RunStore:
    """The runs of one sweep in one experiment. Methods raise one of `FAULTS`."""

    def __init__(self, client: MlflowClient, experiment: Experiment, owner: str, artifacts: Path | None) -> None:
        """`artifacts` is the folder behind `mlflow-artifacts:/`, None where the server keeps them."""
        self._client, self._experiment_id = client, experiment.experiment_id
        self._owner, self._artifacts = owner, artifacts
        self.num_writes = self.num_created = 0

    def find_runs(self) -> list[ShownRun]:
        """Active runs of this results folder, the newest first."""
        found: list[ShownRun] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                filter_string=f"tags.{OWNER_TAG} = '{self._owner}'",
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=1000,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            found += [_shown(run) for run in page]
            token = page.token
            if not token:
                return found

    def create(self, content: RunContent, old: ShownRun | None = None, *, parent: ShownRun | None = None) -> ShownRun:
        """A new run with all that `content` says; tags that a person gave the `old` one go on."""
        self.num_writes += 1
        self.num_created += 1
        own = {name: content.tags[name] for name in FINDING_TAGS if name in content.tags}
        tags = {OWNER_TAG: self._owner, **(_tags_of_others(old) if old else {}), **own}
        if parent is not None:
            tags[PARENT_TAG] = parent.run_id
        shown = _shown(self._client.create_run(self._experiment_id, content.start_ms, tags, content.name))
        shown.is_read = True
        self.write(shown, content)
        return shown

    def read_points(self, run: ShownRun) -> None:
        """Fill `run.points`, once."""
        if run.is_read:
            return
        for key in run.keys:
            for metric in self._client.get_metric_history(run.run_id, key):
                run.points.setdefault((key, metric.step), []).append(metric.value)
        run.is_read = True

    def write(self, run: ShownRun, content: RunContent) -> None:
        """Add what is missing of `content`; nothing is written where nothing is missing."""
        points = [point for point in content.points if (point.key, point.step) not in run.points]
        params = {name: value for name, value in content.params.items() if name not in run.params}
        wanted = {name: self._with_ids(value, run) for name, value in content.tags.items()}
        tags = {name: value for name, value in wanted.items() if run.tags.get(name) != value}
        self._log(run, points, params, tags)
        if run.tags.get(NAME_TAG) != content.name:
            self.num_writes += 1
            self._client.update_run(run.run_id, name=content.name)
            run.tags[NAME_TAG] = content.name
        for name in GONE_WHEN_ABSENT:
            if name in run.tags and name not in content.tags:
                self.num_writes += 1
                self._client.delete_tag(run.run_id, name)
                del run.tags[name]
        self._set_status(run, content)
        if content.status != "RUNNING":
            self._set_tag(run, DIGEST_TAG, content.digest)

    def set_parent(self, run: ShownRun, parent: ShownRun) -> None:
        self._set_tag(run, PARENT_TAG, parent.run_id)

    def delete(self, run: ShownRun) -> None:
        """Remove a run, and what it keeps in the results folder."""
        self.num_writes += 1
        self._client.delete_run(run.run_id)
        if self._artifacts is not None:
            durable.remove_folder(self._local_artifacts(run).parent)

    def log_figures(self, run: ShownRun, figures: Sequence[Path], digest: str) -> None:
        """Keep copies of `figures` among the artifacts of `run`, once for each `digest`."""
        if run.tags.get(FIGURES_TAG) == digest:
            return
        for path in figures:
            self.num_writes += 1
            if self._artifacts is None:
                self._client.log_artifact(run.run_id, str(path), "figures")
            else:
                durable.write_bytes(self._local_artifacts(run) / "figures" / path.name, path.read_bytes())
        self._set_tag(run, FIGURES_TAG, digest)

    def _with_ids(self, text: str, run: ShownRun) -> str:
        return text.replace(RUN_ID, run.run_id).replace(EXPERIMENT_ID, self._experiment_id)

    def _local_artifacts(self, run: ShownRun) -> Path:
        assert self._artifacts is not None
        return self._artifacts / run.artifact_uri.partition(":/")[2].lstrip("/")

    def _set_tag(self, run: ShownRun, name: str, value: str) -> None:
        if run.tags.get(name) != value:
            self._log(run, [], {}, {name: value})

    def _log(self, run: ShownRun, points: list[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        metrics = [Metric(p.key, p.value, p.timestamp_ms, p.step) for p in points]
        entities = [Param(name, value) for name, value in params.items()]
        labels = [RunTag(name, value) for name, value in tags.items()]
        while metrics or entities or labels:
            self.num_writes += 1
            self._client.log_batch(run.run_id, metrics[:MAX_METRICS], entities[:MAX_PARAMS], labels[:MAX_TAGS])
            metrics, entities, labels = metrics[MAX_METRICS:], entities[MAX_PARAMS:], labels[MAX_TAGS:]
        run.params.update(params)
        run.tags.update(tags)
        for point in points:
            run.points.setdefault((point.key, point.step), []).append(point.value)

    def _set_status(self, run: ShownRun, content: RunContent) -> None:
        if content.status == run.status and content.end_ms in (run.end_ms, None):
            return
        self.num_writes += 1
        if content.status == "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
        else:
            self._client.set_terminated(run.run_id, content.status, content.end_ms)
        run.status, run.end_ms = content.status, content.end_ms


@contextmanager
def open_store(results: ResultsDir, sweep: str, tracking_uri: str | None = None) -> Iterator[RunStore]:
    """The runs of `sweep`, where `places.tracking_uri` says.

    Raises:
        NotReadyError: the store cannot be reached, read or written, at any time while the block runs.
        LockedError: another process mirrors this sweep.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.pop("MLFLOW_RUN_ID", None)  # it would win over every parent that is set (mlflow/mlflow#15713)
    uri = places.tracking_uri(tracking_uri)
    place, is_local = uri or str(results.mlflow_db), uri is None
    again = orch_command(["sync", sweep], results.root)
    with explained(place, again), durable.hold(results.mirror_lock_file(sweep), f"the MLflow mirror of {sweep!r}"):
        with durable.hold(results.mlflow_lock_file, "the MLflow store", wait=True):
            owner = _owner(results)
            client = MlflowClient(tracking_uri=uri or local_uri(results.mlflow_db))
        location = f"mlflow-artifacts:/{sweep}" if is_local else None
        if uri is not None and not uri.startswith("http"):
            location = (results.mlflow_artifacts / sweep).resolve().as_uri()
        experiment = _experiment(client, sweep, location)
        yield RunStore(client, experiment, owner, results.mlflow_artifacts if is_local else None)


@contextmanager
def explained(place: str, again: str) -> Iterator[None]:
    """Whatever a tracking server does wrong becomes one error that says what is safe and what to do next.

    Args:
        again: the command that brings MLflow up to date.

    Raises:
        NotReadyError: in place of one of `FAULTS`.
    """
    try:
        yield
    except FAULTS as error:
        raise NotReadyError(
            f"MLflow at {redact_text(place)} failed: {redact_text(_plain_cause(error))[:300]}; "
            f"every number is safe in the results folder, and `{again}` brings MLflow up to date"
        ) from error


def _plain_cause(error: BaseException) -> str:
    """What the system said of the connection ("connection refused"), else the first line of the error."""
    found, cause = "", error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, OSError) and cause.filename is None:
            found = cause.strerror or ("timed out" if isinstance(cause, TimeoutError) else found)
        cause = cause.__cause__ or cause.__context__
    first_line = str(error).partition("\n")[0]
    named = first_line.partition("(Caused by ")[2].removesuffix(")")
    return found[:1].lower() + found[1:] or named or first_line or type(error).__name__


def _shown(run: Run) -> ShownRun:
    return ShownRun(
        run_id=run.info.run_id,
        status=run.info.status,
        end_ms=run.info.end_time,
        artifact_uri=run.info.artifact_uri,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        keys=tuple(run.data.metrics),
    )


def _tags_of_others(run: ShownRun) -> dict[str, str]:
    own = {*GONE_WHEN_ABSENT, DIGEST_TAG, FIGURES_TAG}
    own_prefixes = ("mlflow.", NOT_FINITE)
    return {name: value for name, value in run.tags.items() if name not in own and not name.startswith(own_prefixes)}


def _experiment(client: MlflowClient, name: str, artifact_location: str | None) -> Experiment:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return client.get_experiment(client.create_experiment(name, artifact_location, EXPERIMENT_TAGS))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return experiment


def _owner(results: ResultsDir) -> str:
    path = results.mlflow_id_file
    if not path.exists():
        durable.write_text(path, uuid.uuid4().hex + "\n")
    return path.read_text().strip()


_times_made: Counter[Path] = Counter()


def local_uri(path: Path) -> str:
    """The URI of the SQLite file `path`, which is made if it is missing; the caller holds the lock.

    A store is migrated step by step and would stay unusable if that were cut short, so it gets its name when complete.
    MLflow keeps a file open by its URI: one that was deleted and made again in the same process needs another spelling.
    """
    path = path.absolute()
    if set("%?#") & set(str(path)):
        raise NotReadyError(
            f"MLflow cannot keep its store in {path}, because of the '%', '?' or '#' in that name; "
            "rename the folder, or set MLFLOW_TRACKING_URI to another place"
        )
    if not path.exists():
        durable.remove_leftovers(path.parent)
        temporary = path.parent / f"{durable.TEMPORARY_PREFIX}{uuid.uuid4().hex}.db"
        MlflowClient(tracking_uri=f"sqlite:///{temporary}")
        temporary.replace(path)
        _times_made[path] += 1
    return f"sqlite:///{path.parent}/{'./' * max(0, _times_made[path] - 1)}{path.name}"
