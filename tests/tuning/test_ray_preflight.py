"""ray_preflight.py: each way a node may differ is told with host, path and remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import provenance
from orchestrator.errors import ClusterError
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning import ray_preflight
from orchestrator.tuning.events import dataset_key
from orchestrator.tuning.ray_preflight import NodeReport, Preflight, inspect_node
from tests.tuning.test_executors import settings_for

NODE = {"NodeID": "n1", "NodeManagerHostname": "gpu7", "NodeManagerAddress": "10.0.0.7", "Alive": True}


class Task:
    """Runs `inspect_node` here and changes what it says."""

    def __init__(self, change: Any) -> None:
        self.change = change

    def remote(self, probe: Path, answer: Path, datasets: Any) -> NodeReport:
        return self.change(inspect_node(probe, answer, datasets), answer)  # type: ignore[no-any-return]


def problem(
    monkeypatch: pytest.MonkeyPatch, results: ResultsDir, trial: Trial, change: Any = lambda report, answer: report
) -> str | None:
    from orchestrator.training.data import prepare_data

    settings = settings_for(results, [trial], "ray_tune")
    settings = replace(settings, data_fingerprints={dataset_key(trial): prepare_data(trial.data)})
    monkeypatch.setattr(ray_preflight, "_on_node", lambda node_id: Task(change))
    monkeypatch.setattr(ray_preflight.ray, "get", lambda task, timeout: task)
    monkeypatch.setattr(ray_preflight.time, "sleep", lambda seconds: None)
    preflight = Preflight(settings)
    try:
        preflight.check([trial], [NODE])
    except ClusterError as error:
        return str(error)
    monkeypatch.setattr(ray_preflight, "_on_node", None)
    preflight.check([trial], [NODE])  # it was looked at
    assert list(results.root.glob(".preflight/*")) == []
    return None


def test_a_node_like_this_one_is_taken(monkeypatch: pytest.MonkeyPatch, results: ResultsDir, tiny_trial: Trial) -> None:
    assert problem(monkeypatch, results, tiny_trial) is None


def test_a_driver_that_lost_ray_waits_for_no_node(
    monkeypatch: pytest.MonkeyPatch, results: ResultsDir, tiny_trial: Trial
) -> None:
    def silent(task: Any, timeout: float) -> None:
        raise ray_preflight.ray.exceptions.GetTimeoutError("no answer")

    settings = replace(settings_for(results, [tiny_trial], "ray_tune"), again="orch run spec.yaml")
    lost = iter([None, None, "the raylet of this node is gone"])
    monkeypatch.setattr(ray_preflight, "_on_node", lambda node_id: Task(lambda report, answer: report))
    monkeypatch.setattr(ray_preflight.ray, "get", silent)
    with pytest.raises(ClusterError, match=r"raylet of this node is gone.* go on with: orch run spec\.yaml"):
        Preflight(settings, lost=lambda: next(lost)).check([tiny_trial], [NODE])
    assert list(results.root.glob(".preflight/*")) == []
    monkeypatch.setattr(ray_preflight, "SECONDS_TO_ANSWER", 0)
    with pytest.raises(ClusterError, match="did not answer within 0 s"):
        Preflight(settings).check([tiny_trial], [NODE])


def other_library(report: NodeReport, answer: Path) -> NodeReport:
    return replace(report, versions={**report.versions, "torch": "1.0"})


def no_library(report: NodeReport, answer: Path) -> NodeReport:
    return replace(report, versions={name: version for name, version in report.versions.items() if name != "timm"})


def other_code(report: NodeReport, answer: Path) -> NodeReport:
    return replace(report, code_fingerprint="f00d")


def other_root(report: NodeReport, answer: Path) -> NodeReport:
    return replace(report, read=None)


def unseen_answer(report: NodeReport, answer: Path) -> NodeReport:
    answer.unlink()
    return report


def read_only_root(report: NodeReport, answer: Path) -> NodeReport:
    return replace(report, write_error="Read-only file system")


def no_images(report: NodeReport, answer: Path) -> NodeReport:
    return replace(report, data={}, data_errors=dict.fromkeys(report.data, "there is no folder /data"))


def other_images(report: NodeReport, answer: Path) -> NodeReport:
    return replace(report, data=dict.fromkeys(report.data, "0123"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (other_library, "torch is 1.0 there and {torch} here; install the same version on every node"),
        (no_library, "timm is not installed there and {timm} here"),
        (other_code, "runs other code of orch (fingerprint f00d there, "),
        (other_root, "has another folder at the results root {root}; mount the same folder under this path"),
        (unseen_answer, "has another folder at the results root {root}; mount the same folder under this path"),
        (read_only_root, "cannot write to the results root {root}: Read-only file system; mount the same folder"),
        (no_images, "does not have dataset 'digits': there is no folder /data"),
        (other_images, "has other content as dataset 'digits' (fingerprint 0123 there, "),
    ],
)
def test_a_node_that_differs_is_refused(
    monkeypatch: pytest.MonkeyPatch, results: ResultsDir, tiny_trial: Trial, change: Any, told: str
) -> None:
    found = problem(monkeypatch, results, tiny_trial, change)
    assert found is not None
    assert found.startswith("node gpu7 (10.0.0.7)")
    assert told.format(root=results.root, **provenance.versions()) in found
