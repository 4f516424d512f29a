"""deploy/kuberay_rayjob.yaml: fields that KubeRay documents, pods that may do little, and an entrypoint that runs."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cli import cli
from tests.deploy.cluster_shell import ORCH, SPEC, shell_environment, wait_until_gone, write_program
from tests.markdown_pages import ROOT

FILE = ROOT / "deploy" / "kuberay_rayjob.yaml"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()

FIELDS = {
    "RayJobSpec": {
        "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "entrypoint", "entrypointNumCpus",
        "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata", "rayClusterSpec",
        "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode", "submitterConfig", "submitterPodTemplate",
        "suspend", "ttlSecondsAfterFinished",
    },
    "RayClusterSpec": {
        "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "rayVersion", "suspend",
        "workerGroupSpecs",
    },
    "HeadGroupSpec": {"enableIngress", "headService", "rayStartParams", "serviceType", "template"},
    "WorkerGroupSpec": {
        "groupName", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams", "replicas", "scaleStrategy",
        "template",
    },
}  # fmt: skip
"""Fields of KubeRay's API ray.io/v1, by its reference; a field beside them would be dropped in silence."""


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    content = yaml.safe_load(FILE.read_text())
    assert (content["apiVersion"], content["kind"]) == ("ray.io/v1", "RayJob")
    return content["spec"]


def groups(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = spec["rayClusterSpec"]
    return {"head": cluster["headGroupSpec"]} | {group["groupName"]: group for group in cluster["workerGroupSpecs"]}


def pods(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Pod specs by role."""
    found = {role: group["template"]["spec"] for role, group in groups(spec).items()}
    return found | {"submitter": spec["submitterPodTemplate"]["spec"]}


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return only


def test_every_field_is_one_that_kuberay_knows(spec: dict[str, Any]) -> None:
    cluster = spec["rayClusterSpec"]
    assert set(spec) <= FIELDS["RayJobSpec"]
    assert set(cluster) <= FIELDS["RayClusterSpec"]
    assert set(cluster["headGroupSpec"]) <= FIELDS["HeadGroupSpec"]
    assert all(set(group) <= FIELDS["WorkerGroupSpec"] for group in cluster["workerGroupSpecs"])
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
    for group in groups(spec).values():
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_the_token_is_on_and_stands_in_no_file(spec: dict[str, Any]) -> None:
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert "AUTH_TOKEN" not in FILE.read_text()


def test_no_pod_is_root_or_may_become_it(spec: dict[str, Any]) -> None:
    for role, pod in pods(spec).items():
        assert pod["securityContext"]["runAsNonRoot"], role
        assert pod["securityContext"]["runAsUser"] > 0, role
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, role
        assert pod["automountServiceAccountToken"] is False, role
        rights = container(pod)["securityContext"]
        assert rights == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}, role


def test_the_dashboard_has_no_way_in_from_outside(spec: dict[str, Any]) -> None:
    head = groups(spec)["head"]
    assert head["serviceType"] == "ClusterIP"
    assert head["enableIngress"] is False


def test_the_head_trains_nothing_and_the_workers_have_64_gpus(spec: dict[str, Any]) -> None:
    head, gpu = groups(spec)["head"], groups(spec)["gpu"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert "nvidia.com/gpu" not in container(pods(spec)["head"])["resources"]["limits"]
    assert gpu["minReplicas"] == gpu["replicas"] == gpu["maxReplicas"]
    assert gpu["replicas"] * int(container(pods(spec)["gpu"])["resources"]["limits"]["nvidia.com/gpu"]) == 64
    for pod in pods(spec).values():
        assert set(container(pod)["resources"]) == {"requests", "limits"}


def test_every_pod_that_trains_sees_the_results(spec: dict[str, Any]) -> None:
    for role in ("head", "gpu"):
        pod = pods(spec)[role]
        (results,) = [entry["value"] for entry in container(pod)["env"] if entry["name"] == "ORCH_RESULTS"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container(pod)["volumeMounts"]}
        (name,) = [name for path, name in mounts.items() if results.startswith(f"{path}/")]
        assert [v for v in pod["volumes"] if v["name"] == name] == [
            {"name": "orch", "persistentVolumeClaim": {"claimName": "orch"}}
        ]


def test_a_failure_is_repeated_and_not_for_ever(spec: dict[str, Any]) -> None:
    assert 1 <= spec["backoffLimit"] <= 3
    assert spec["shutdownAfterJobFinishes"] is True
    assert pods(spec)["head"]["restartPolicy"] == "Never"


def test_the_entrypoint_needs_no_shell(spec: dict[str, Any]) -> None:
    """The submitter puts it into a command line of its own, where quotes and variables would mean something else."""
    assert re.fullmatch(r"[\w/. -]+", spec["entrypoint"])
    words = spec["entrypoint"].split()
    assert words[0] == "orch"
    assert words[1] in cli.commands


def test_the_image_has_the_ray_of_the_lock_and_is_made_of_what_there_is(spec: dict[str, Any]) -> None:
    (locked,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert spec["rayClusterSpec"]["rayVersion"] == locked
    assert re.search(r"^FROM rayproject/ray:(\S+?)-", DOCKERFILE, re.MULTILINE)[1] == locked  # type: ignore[index]
    assert {container(pod)["image"] for pod in pods(spec).values()} == {"REGISTRY/orch:1"}
    assert "-t REGISTRY/orch:1 " in DOCKERFILE
    copied = [line.split()[2:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY")]
    assert [path for paths in copied for path in paths if not (ROOT / path).exists()] == []
    assert len(copied) == 2


@pytest.fixture
def ray_head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a job on a cluster of one node whose head asks for a token."""
    temporary = Path(f"/tmp/orch-{time.time_ns() // 1000 % 10**9}-k")
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 4)
    write_program(tmp_path / "bin" / "orch", ORCH)
    environment = shell_environment(
        tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token), RAY_TMPDIR=str(temporary),
        RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="0", RAY_USAGE_STATS_ENABLED="0",
    )  # fmt: skip
    start = ["ray", "start", "--head", "--block", "--port=0", "--num-cpus=1", "--include-dashboard=false"]
    temporary.mkdir()
    said = tmp_path / "said"
    with said.open("w") as file:
        process = subprocess.Popen(start, env=environment, stdout=file, stderr=subprocess.STDOUT)
    address = temporary / "ray" / "ray_current_cluster"
    try:
        while not address.exists():
            assert process.poll() is None, said.read_text()
            time.sleep(0.1)
        yield environment | {"RAY_ADDRESS": address.read_text()}
    finally:
        process.terminate()
        process.wait(timeout=60)
        left = wait_until_gone(str(temporary))
        subprocess.run(["rm", "-rf", str(temporary)], check=True)
    assert left == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_entrypoint_trains_the_sweep_that_is_mounted(
    spec: dict[str, Any], ray_head: dict[str, str], tmp_path: Path
) -> None:
    """What the file says, with the folders that it mounts standing elsewhere."""
    head = container(pods(spec)["head"])
    entrypoint, environment = spec["entrypoint"], json.dumps({e["name"]: e["value"] for e in head["env"]})
    for mount in head["volumeMounts"]:
        place = tmp_path / mount["name"]
        place.mkdir()
        entrypoint = entrypoint.replace(mount["mountPath"], str(place))
        environment = environment.replace(mount["mountPath"], str(place))
    (tmp_path / "sweep" / "sweep.yaml").write_text(SPEC)
    done = subprocess.run(
        ["bash", "-c", entrypoint], cwd=tmp_path, env=ray_head | json.loads(environment), capture_output=True,
        text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 2 trials finished" in done.stderr
    records = list((tmp_path / "orch/results/trials").glob("*/record.json"))
    assert {json.loads(record.read_text())["provenance"]["executor"] for record in records} == {"ray_tune"}
    assert len(records) == 2
