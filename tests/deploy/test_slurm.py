"""deploy/slurm.sh, with stand-ins for srun and scontrol: what it starts, passes on, requeues and leaves behind."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.deploy.cluster_shell import ORCH, SPEC, shell_environment, wait_until_gone, write_program
from tests.markdown_pages import ROOT

SCRIPT = ROOT / "deploy" / "slurm.sh"

SRUN = """#!/usr/bin/env bash
echo "srun $*" >> "$SAID"
while [[ $1 == -* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/usr/bin/env bash
echo "scontrol $*" >> "$SAID"
[[ $1 != show ]] || printf 'node-a\\nnode-b\\n'
"""
RAY = """#!/usr/bin/env bash
echo "ray $*" >> "$SAID"
[[ "$*" != *--address* || $FATE_OF_WORKER == lives ]] || exit 1
[[ "$*" != *--head* ]] || { mkdir "$RAY_TMPDIR/ray" && echo 192.0.2.7:4242 > "$RAY_TMPDIR/ray/ray_current_cluster"; }
exec sleep 300
"""
PYTHON = """#!/usr/bin/env bash
echo "${NUM_ALIVE:-2}"
"""
ORCH_STUB = """#!/usr/bin/env bash
echo "orch $*" >> "$SAID"
echo "$RAY_AUTH_MODE, $(wc -c < "$RAY_AUTH_TOKEN_PATH") characters" \
    "in $(ls -l "$RAY_AUTH_TOKEN_PATH" | cut -c1-10)" >> "$SAID"
cp "$RAY_AUTH_TOKEN_PATH" "$(dirname "$SAID")/token"
[[ -z $CODE ]] || exit "$CODE"
trap 'echo "orch got TERM" >> "$SAID"; exit "$CODE_AT_TERM"' TERM
echo ready >> "$SAID"
while :; do sleep 0.05; done
"""


@dataclass
class Job:
    """The script in a job of two nodes."""

    folder: Path
    environment: dict[str, str]
    num: int
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *args: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["bash", str(SCRIPT), *args], cwd=self.folder, env=self.environment | environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *args: str, **environment: str) -> tuple[int, str]:
        process = self.start(*args, **environment)
        output, _ = process.communicate(timeout=560)
        return process.returncode, output

    def said(self) -> list[str]:
        file = self.folder / "said"
        return file.read_text().splitlines() if file.exists() else []

    def wait_for(self, line: str) -> None:
        deadline = time.monotonic() + 60
        while line not in self.said():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def litter(self) -> list[Path]:
        """What the script left of its own, Ray's folder of logs apart."""
        return list((self.folder / "home").iterdir())

    def ray_folder(self) -> Path:
        return Path(f"/tmp/orch-{self.num}-0")

    def requeued(self) -> bool:
        return f"scontrol requeue {self.num}" in self.said()


@pytest.fixture
def job(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Job]:
    """A job whose Ray is a stand-in too."""
    num = int(time.time_ns() // 1000 % 10**9)
    programs = {"srun": SRUN, "scontrol": SCONTROL, "ray": RAY, "python": PYTHON, "orch": ORCH_STUB}
    for name, text in programs.items():
        write_program(tmp_path / "bin" / name, text)
    environment = shell_environment(
        tmp_path, ORCH_RESULTS="s3://bucket/orch", SLURM_JOB_ID=str(num), SLURM_JOB_NODELIST="node-[a-b]",
        SLURM_CPUS_PER_TASK="1", SAID=str(tmp_path / "said"), FATE_OF_WORKER="lives", CODE="", CODE_AT_TERM="143",
    )  # fmt: skip
    made = Job(tmp_path, environment, num)
    yield made
    for process in made.started:
        process.kill()
        process.wait()
    subprocess.run(["rm", "-rf", str(made.ray_folder())], check=True)


def test_a_node_starts_the_head_the_others_join_and_the_sweep_runs(job: Job) -> None:
    code, output = job.run("sweep.yaml", "--retry-failed", CODE="0")
    assert code == 0, output
    assert job.said()[0] == "scontrol show hostnames node-[a-b]"
    starts = [line for line in job.said() if line.startswith("srun") and "ray start" in line]
    assert [re.findall(r"--nodelist=(\S+)", line) for line in starts] == [["node-a"], ["node-b"]]
    assert "--head --port=0 --include-dashboard=false" in starts[0]
    assert "--address=192.0.2.7:4242" in starts[1]
    assert all("--num-cpus=1" in line and "--block" in line for line in starts)
    assert "orch run sweep.yaml --address 192.0.2.7:4242 --results s3://bucket/orch --retry-failed" in job.said()
    assert not job.requeued()
    assert job.litter() == []
    assert not job.ray_folder().exists()


def test_the_token_is_secret_and_gone_afterwards(job: Job) -> None:
    code, output = job.run("sweep.yaml", CODE="0")
    assert code == 0, output
    assert "token, 64 characters in -rw-------" in job.said()
    token = (job.folder / "token").read_text()
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert token not in output
    assert token not in "\n".join(job.said())
    assert job.litter() == []


@pytest.mark.parametrize("code", ["1", "2", "3", "4"])
def test_a_sweep_that_failed_is_not_requeued(job: Job, code: str) -> None:
    found, output = job.run("sweep.yaml", CODE=code)
    assert str(found) == code, output
    assert not job.requeued()
    assert job.ray_folder().exists() == (code != "1"), "Ray's logs stay where the machine may be at fault"


@pytest.mark.parametrize(
    ("number", "code_at_term", "is_requeued"),
    [(signal.SIGUSR1, "143", True), (signal.SIGUSR1, "0", False), (signal.SIGTERM, "143", False)],
    ids=["time is over", "finished at the last moment", "cancelled"],
)
def test_only_a_sweep_that_the_time_limit_stopped_is_requeued(
    job: Job, number: int, code_at_term: str, is_requeued: bool
) -> None:
    process = job.start("sweep.yaml", CODE_AT_TERM=code_at_term)
    job.wait_for("ready")
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert "orch got TERM" in job.said()
    assert str(process.returncode) == code_at_term, output
    assert job.requeued() == is_requeued
    assert job.litter() == []
    assert not job.ray_folder().exists()


def test_a_node_where_ray_does_not_start_ends_the_job_at_once(job: Job) -> None:
    code, output = job.run("sweep.yaml", FATE_OF_WORKER="dies", NUM_ALIVE="1")
    assert code == 3
    assert "Ray ended on a node before all had joined" in output
    assert not [line for line in job.said() if line.startswith("orch ")]
    assert job.litter() == []


def test_nodes_that_do_not_join_in_time_are_named(job: Job) -> None:
    code, output = job.run("sweep.yaml", NUM_ALIVE="1", ORCH_JOIN_SECONDS="1")
    assert code == 3
    assert "not all of node-a node-b joined within 1 s" in output
    assert job.litter() == []


@pytest.mark.parametrize(
    ("args", "environment", "message"),
    [
        ([], {}, "usage: sbatch"),
        (["sweep.yaml"], {"ORCH_RESULTS": ""}, "set ORCH_RESULTS"),
        (["sweep.yaml"], {"SLURM_JOB_ID": ""}, "batch script"),
    ],
)
def test_what_is_missing_is_said_before_anything_starts(
    job: Job, args: list[str], environment: dict[str, str], message: str
) -> None:
    code, output = job.run(*args, **environment)
    assert code != 0
    assert message in output
    assert job.said() == []


def test_slurm_is_asked_for_a_warning_to_the_script_and_for_the_right_to_requeue() -> None:
    asked = re.findall(r"^#SBATCH (\S+)", SCRIPT.read_text(), re.MULTILINE)
    assert {"--signal=B:USR1@300", "--requeue", "--ntasks-per-node=1"} <= set(asked)
    num_gpus = [int(re.search(rf"--{name}=(\d+)", " ".join(asked))[1]) for name in ("nodes", "gpus-per-node")]  # type: ignore[index]
    assert num_gpus[0] * num_gpus[1] == 64


COUNT_NODES = """\
import ray
ray.init(log_to_driver=False)
print("nodes:", sorted(node["Resources"]["CPU"] for node in ray.nodes() if node["Alive"]))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_cluster_of_two_nodes_trains_a_sweep_and_is_gone(job: Job) -> None:
    for name in ("ray", "python"):
        (job.folder / "bin" / name).unlink()
    (job.folder / "tiny.yaml").write_text(SPEC)
    (job.folder / "count_nodes.py").write_text(COUNT_NODES)
    count = 'RAY_ADDRESS="$4" python count_nodes.py 2> /dev/null\n'
    write_program(job.folder / "bin" / "orch", ORCH.replace("exec", count + "exec"))
    code, output = job.run("tiny.yaml", ORCH_RESULTS=str(job.folder / "results"))
    assert code == 0, output
    assert "nodes: [1.0, 1.0]" in output
    assert "slurm.sh: 2 nodes at " in output
    assert "2 of 2 trials finished" in output
    assert len(list((job.folder / "results/trials").glob("*/record.json"))) == 2
    assert wait_until_gone(str(job.ray_folder())) == []
    assert not job.ray_folder().exists()
    assert job.litter() == [job.folder / "home" / ".ray"] or job.litter() == []
