"""deploy/ray_cluster.yaml is what Ray's own launcher accepts, and what the header and the guide say of it holds."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest
import yaml

from tests.markdown_pages import ROOT

FILE = ROOT / "deploy" / "ray_cluster.yaml"


@pytest.fixture
def content() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Amazon as moto plays it, an empty home, and a folder of its own for the launcher's cache."""
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with mock_aws():
        yield


def launch_plan(content: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` does before it starts a machine: defaults, instance types, schema, key, network, image."""
    from ray.autoscaler._private.commands import _bootstrap_config

    return _bootstrap_config(content, no_config_cache=True)


@pytest.mark.slow
def test_the_launcher_of_ray_accepts_the_file(content: dict[str, Any], no_account: None) -> None:
    from ray.autoscaler._private.util import validate_config

    group = boto3.client("ec2", region_name=content["provider"]["region"]).create_security_group(
        GroupName="orch", Description="stands in for the group that the file asks for"
    )["GroupId"]
    for kind in content["available_node_types"].values():
        kind["node_config"]["SecurityGroupIds"] = [group]
    plan = launch_plan(copy.deepcopy(content))
    validate_config({key: value for key, value in plan.items() if key != "head_node"})
    kinds = plan["available_node_types"]
    assert plan["head_node_type"] == "head"
    assert (kinds["head"]["max_workers"], kinds["head"]["resources"]["CPU"]) == (0, 0)
    assert "GPU" not in kinds["head"]["resources"], "the head's instance type has no GPU"
    assert kinds["gpu"]["resources"]["GPU"] * kinds["gpu"]["max_workers"] == 64
    assert plan["max_workers"] == kinds["gpu"]["max_workers"]
    assert [kind["node_config"]["SecurityGroupIds"] for kind in kinds.values()] == [[group], [group]]


def test_the_numbers_of_the_file_are_those_of_its_instance_type(content: dict[str, Any], no_account: None) -> None:
    kind = content["available_node_types"]["gpu"]
    client = boto3.client("ec2", region_name=content["provider"]["region"])
    (info,) = client.describe_instance_types(InstanceTypes=[kind["node_config"]["InstanceType"]])["InstanceTypes"]
    assert kind["resources"] == {"CPU": info["VCpuInfo"]["DefaultVCpus"], "GPU": info["GpuInfo"]["Gpus"][0]["Count"]}


def test_a_mistake_in_the_file_is_found(content: dict[str, Any], no_account: None) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    content["available_nodes"] = content.pop("available_node_types")
    with pytest.raises((jsonschema.ValidationError, ValueError), match="available_nodes"):
        validate_config(prepare_config(content))


def test_only_the_workers_may_be_taken_away(content: dict[str, Any]) -> None:
    markets = {
        name: kind["node_config"].get("InstanceMarketOptions", {}).get("MarketType")
        for name, kind in content["available_node_types"].items()
    }
    assert markets == {"head": None, "gpu": "spot"}
    assert content["available_node_types"]["gpu"]["min_workers"] >= 1


def test_no_ray_starts_without_the_token(content: dict[str, Any]) -> None:
    home = f"/home/{content['auth']['ssh_user']}"
    assert content["file_mounts"][f"{home}/.ray/auth_token"] == "~/.ray/auth_token", "where Ray looks for it"
    assert "chmod 600 ~/.ray/auth_token" in content["setup_commands"]
    for role in ("head", "worker"):
        (start,) = [line for line in content[f"{role}_start_ray_commands"] if "ray start" in line]
        before, _, _ = start.partition("ray start")
        assert "RAY_AUTH_MODE=token" in before


def test_neither_the_dashboard_nor_a_group_of_rays_own_opens_a_port(content: dict[str, Any]) -> None:
    """The group that Ray would make lets in SSH from everywhere, whatever the file says of it."""
    assert "security_group" not in content["provider"]
    assert all(kind["node_config"]["SecurityGroupIds"] for kind in content["available_node_types"].values())
    (head,) = [line for line in content["head_start_ray_commands"] if "ray start" in line]
    assert "--include-dashboard=false" in head
    assert "--dashboard-host" not in head
