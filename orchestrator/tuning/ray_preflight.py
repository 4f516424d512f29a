"""The nodes of a cluster in; a refusal, before the first trial, of one that would train something else, out.

Every node must see the results root, run the same code on the same libraries, and hold the same datasets. A node that
joins later is looked at when it appears.
"""

from __future__ import annotations

import contextlib
import platform
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator import durable, provenance
from orchestrator.configs import DataConfig
from orchestrator.errors import ClusterError, OrchestratorError
from orchestrator.trial import Trial
from orchestrator.tuning.events import RunSettings, dataset_key
from orchestrator.tuning.ray_environment import ray

SAME_VERSIONS = ("python", "torch", "timm", "ray")
SECONDS_TO_ANSWER = 600
"""A node may have to read a whole dataset to fingerprint it."""
SECONDS_BETWEEN_LOOKS = 1.0
PROBES = ".preflight"


@dataclass(frozen=True)
class NodeReport:
    """What a node says of itself."""

    host: str
    versions: Mapping[str, str]
    code_fingerprint: str
    read: str | None
    """What the driver's probe file says there; None where it cannot be read."""
    write_error: str | None
    data: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints by dataset key."""
    data_errors: Mapping[str, str] = field(default_factory=dict)


def inspect_node(probe: Path, answer: Path, datasets: Mapping[str, DataConfig]) -> NodeReport:
    """Look around on the node this runs on: read `probe`, write `answer`, prepare the datasets."""
    from orchestrator.training.data import prepare_data

    read, write_error = None, None
    with contextlib.suppress(OSError):
        read = probe.read_text()
    try:
        durable.write_text(answer, platform.node())
    except (OSError, OrchestratorError) as error:
        write_error = str(error)
    found, errors = {}, {}
    for key, data in datasets.items():
        try:
            found[key] = prepare_data(data)
        except (OSError, OrchestratorError) as error:
            errors[key] = str(error)
    return NodeReport(
        platform.node(), dict(provenance.versions()), provenance.code_fingerprint(), read, write_error, found, errors
    )


@dataclass
class Preflight:
    """Looks at each node once for each dataset."""

    settings: RunSettings
    seen: set[tuple[str, str]] = field(default_factory=set)
    """Node and dataset key."""
    lost: Callable[[], str | None] = lambda: None
    """What is gone of Ray itself, in a sentence; asked while a node is waited for."""

    def check(self, trials: Sequence[Trial], nodes: Iterable[Mapping[str, Any]]) -> None:
        """Refuse nodes that differ, all at once.

        Raises:
            ClusterError: naming host, path and remedy.
        """
        found = self.look_at_new(trials, nodes)
        if found:
            raise ClusterError("\n".join(problem for _, problem in found))

    def look_at_new(
        self, trials: Sequence[Trial], nodes: Iterable[Mapping[str, Any]]
    ) -> list[tuple[Mapping[str, Any], str]]:
        """Nodes that were not looked at for the datasets of `trials`, and cannot take part, each with why."""
        keys = {dataset_key(trial): trial for trial in trials}
        due = [node for node in nodes if node["Alive"] and any((node["NodeID"], key) not in self.seen for key in keys)]
        problems = self.problems(due, {key: self._data_of(trial) for key, trial in keys.items()})
        self.seen.update((node["NodeID"], key) for node in due for key in keys)
        return [(node, problems[node["NodeID"]]) for node in due if node["NodeID"] in problems]

    def problems(self, nodes: Sequence[Mapping[str, Any]], datasets: Mapping[str, DataConfig]) -> dict[str, str]:
        """A sentence for each node that cannot take part, by node id."""
        if not nodes:
            return {}
        folder = self.settings.results_root / PROBES / uuid.uuid4().hex
        word = uuid.uuid4().hex
        durable.write_text(folder / "driver", word)
        try:
            answers = {node["NodeID"]: folder / node["NodeID"] for node in nodes}
            tasks = {
                node["NodeID"]: _on_node(node["NodeID"]).remote(folder / "driver", answers[node["NodeID"]], datasets)
                for node in nodes
            }
            found = {}
            for node in nodes:
                key = node["NodeID"]
                problem = self._problem(tasks[key], node, answers[key], word, datasets)
                if problem is not None:
                    found[key] = problem
            return found
        finally:
            durable.remove_folder(folder)

    def _problem(
        self, task: Any, node: Mapping[str, Any], answer: Path, word: str, datasets: Mapping[str, DataConfig]
    ) -> str | None:
        where = f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        try:
            report = self._answer(task)
        except ray.exceptions.GetTimeoutError:
            late = f"{where} did not answer within {SECONDS_TO_ANSWER} s"
            return f"{late}; remove it from the cluster, or look at its logs"
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return f"{where} cannot run orch: {lines[-1]}; install the driver's Python packages there"
        return (
            self._code_problem(report, where)
            or self._root_problem(report, where, answer, word)
            or self._data_problem(report, where, datasets)
        )

    def _answer(self, task: Any) -> NodeReport:
        """What a node says; a driver that has lost Ray does not wait for it.

        Raises:
            ClusterError: Ray is gone.
        """
        ends = time.monotonic() + SECONDS_TO_ANSWER
        while True:
            try:
                report: NodeReport = ray.get(task, timeout=SECONDS_BETWEEN_LOOKS)
            except ray.exceptions.GetTimeoutError:
                if (lost := self.lost()) is not None:
                    raise ClusterError(f"{lost}; everything saved stays, go on with: {self.settings.again}") from None
                if time.monotonic() > ends:
                    raise
            else:
                return report

    def _code_problem(self, report: NodeReport, where: str) -> str | None:
        own = provenance.versions()
        for name in SAME_VERSIONS:
            if report.versions.get(name) != own.get(name):
                there, here = report.versions.get(name, "not installed"), own.get(name, "not installed")
                return f"{where}: {name} is {there} there and {here} here; install the same version on every node"
        if report.code_fingerprint != provenance.code_fingerprint():
            return (
                f"{where} runs other code of orch (fingerprint {report.code_fingerprint} there, "
                f"{provenance.code_fingerprint()} here); remove the copy of orch installed there, or update it"
            )
        return None

    def _root_problem(self, report: NodeReport, where: str, answer: Path, word: str) -> str | None:
        root = self.settings.results_root
        remedy = "mount the same folder under this path on every node, or give --results a s3:// root"
        if report.write_error is not None:
            return f"{where} cannot write to the results root {root}: {report.write_error}; {remedy}"
        if report.read != word or not _appears(answer):
            return f"{where} has another folder at the results root {root}; {remedy}"
        return None

    def _data_problem(self, report: NodeReport, where: str, datasets: Mapping[str, DataConfig]) -> str | None:
        for key, data in datasets.items():
            name = data.id or data.name
            place = f" at {data.root}" if data.root else ""
            if key in report.data_errors:
                return f"{where} does not have dataset {name!r}{place}: {report.data_errors[key]}"
            if report.data.get(key) != self.settings.data_fingerprints[key]:
                return (
                    f"{where} has other content as dataset {name!r}{place} (fingerprint {report.data.get(key)} there, "
                    f"{self.settings.data_fingerprints[key]} here); copy the files anew"
                )
        return None

    def _data_of(self, trial: Trial) -> DataConfig:
        return replace(trial.data, root=self.settings.roots[dataset_key(trial)])


def _on_node(node_id: str) -> Any:
    pinned = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    return ray.remote(inspect_node).options(num_cpus=0, scheduling_strategy=pinned, max_retries=1)


def _appears(path: Path) -> bool:
    """Whether a file written elsewhere is seen here; a network file system may take a while."""
    for _ in range(10):
        if path.exists():
            return True
        time.sleep(0.5)
    return False
