"""Ray Tune on a cluster of three nodes that are really there: what runs where, what is lost with a node, who may join.

Attentions of one's own wait for files that come and go, so that a node dies, joins or is closed at a moment that is the
same on a machine of any speed.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.tuning.ray_guard import MARK
from tests.faults.command_line import Command, command
from tests.tuning.three_nodes import Cluster, Node, cluster_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPEC = """\
name: cluster
axes: {attention: ["gates:Waits", self], depth: [1, 2, 3]}
seeds: 2
model: {embed_dim: 16, num_heads: 2, patch_size: 4}
data: {name: digits}
train: {epochs: 4, batch_size: 64, lr: 2.0e-3}
probe: {enabled: false}
tracking: {mlflow: false}
resources:
  cpus: 1
  overrides: [{when: {attention: self, depth: 3}, cpus: 2}]
"""
GATES = """\
import os, time
from pathlib import Path
from orchestrator.models.softmax_attention import SelfAttention

FOLDER = Path(%r)

class Waits(SelfAttention):
    num_steps = 0

    def forward(self, x, context=None):
        self.num_steps += self.training
        while self.num_steps == %d and (FOLDER / "shut").exists():
            time.sleep(0.05)
        return super().forward(x, context)

class DiesOnABadNode(SelfAttention):
    def forward(self, x, context=None):
        is_bad = os.environ.get("%s") == (FOLDER / "bad").read_text()
        while self.training and is_bad != any(FOLDER.glob("bad-node/trials/*/record.json")):
            if (FOLDER / "closed").exists():
                break
            time.sleep(0.05)
        if self.training and is_bad:
            os._exit(9)
        return super().forward(x, context)
"""
BAD_NODE = """\
name: bad
axes: {depth: [1, 2, 3]}
seeds: 3
model: {embed_dim: 16, num_heads: 2, patch_size: 4, attention: "gates:DiesOnABadNode"}
data: {name: digits}
train: {epochs: 2, batch_size: 64, lr: 2.0e-3}
probe: {enabled: false}
tracking: {mlflow: false}
"""
STEP_IN_EPOCH_3 = 50
"""An epoch has 20 or 21."""
NUM_CPUS = (1, 2, 1)
NUM_SMALL_PLACES = sum(NUM_CPUS)
SMALL = """\
name: small
axes: {depth: [1]}
model: {embed_dim: 16, num_heads: 2, patch_size: 4}
data: {name: digits}
train: {epochs: 1, batch_size: 64, lr: 2.0e-3}
probe: {enabled: false}
tracking: {mlflow: false}
"""
ONE_OF = SMALL.replace("{depth: [1]}", '{attention: ["gates:Waits"], depth: [1]}').replace("epochs: 1", "epochs: 4")


@dataclass
class Bench:
    """A cluster, a folder with a spec, and what the spec gives without Ray."""

    folder: Path
    cluster: Cluster
    expected: dict[str, Any]

    @property
    def gate(self) -> Path:
        return self.folder / "shut"

    def run(self, results: ResultsDir, spec: str = "spec.yaml") -> AbstractContextManager[Command]:
        words = ("--address", self.cluster.address, "--json", "--results", str(results.root))
        return command(self.folder, "run", spec, *words)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "gates.py").write_text(GATES % (str(folder), STEP_IN_EPOCH_3, MARK))
    untouched = ResultsDir(folder / "untouched")
    with (
        command(folder, "run", "spec.yaml", "--executor", "serial", "--results", str(untouched.root)) as serial,
        cluster_of(*NUM_CPUS) as cluster,
    ):
        assert serial.end() == 0, serial.said()
        yield Bench(folder, cluster, numbers_of(untouched))


def numbers_of(results: ResultsDir) -> dict[str, Any]:
    """Records, the hashes of the weights among them, and metric rows, without what differs between equal runs."""
    found = {}
    for trial in results.trials():
        record = trial.read_record()
        assert record is not None
        found[trial.path.name] = (record.numbers(), [row.numbers() for row in trial.read_metrics()])
    return found


def needs_and_rank(results: ResultsDir, trial_id: str) -> tuple[bool, tuple[int, bool, int]]:
    """Whether a trial asks for two CPUs, and a key that is larger the earlier it comes: by seed, then by its work."""
    content = json.loads(results.trial(trial_id).trial_file.read_text())
    model, seed = content["model"], content["seed"]
    is_own = model["attention"] != "self"  # nothing is known of its work, so it comes after the others
    return not is_own and model["depth"] == 3, (-seed, not is_own, model["depth"])


def places_of(run: Command, results: ResultsDir, cluster: Cluster) -> dict[str, Node]:
    """Where each trial was seen to train, until the run has ended."""
    found: dict[str, Node] = {}
    while run.process.poll() is None:
        for event in run.events("trial_started"):
            attempts = results.trial(event["trial_id"]).read_attempts()
            node = cluster.node_of(attempts[-1].process) if attempts and event["trial_id"] not in found else None
            found.update({event["trial_id"]: node} if node is not None else {})
        time.sleep(0.1)
    return found


def test_a_sweep_on_three_nodes_gives_what_it_gives_on_one_and_the_first_seeds_and_long_trials_start_first(
    bench: Bench,
) -> None:
    results = ResultsDir(bench.folder / "three")
    with bench.run(results) as run:
        places = places_of(run, results, bench.cluster)
        assert run.end() == 0, run.said()
        started = [event["trial_id"] for event in run.events("trial_started")]
    assert numbers_of(results) == bench.expected
    assert len({node.address for node in places.values()}) > 1
    large = {trial_id for trial_id in started if needs_and_rank(results, trial_id)[0]}
    assert len(large) == 2
    assert {places[trial_id].address for trial_id in large & places.keys()} <= {bench.cluster.nodes[1].address}
    ranks = [needs_and_rank(results, trial_id)[1] for trial_id in started if trial_id not in large]
    assert len(ranks) == 10
    for index, own in enumerate(ranks):
        earlier = [later for later in ranks[index + 1 :] if later > own]
        assert len(earlier) < NUM_SMALL_PLACES, f"{own} started before {earlier}"  # some processes are slower to start


def held(run: Command) -> dict[str, int]:
    """Trials that were started and have not ended, and how many epochs they have told."""
    ended = {event["trial_id"] for event in run.events("trial_ended")}
    epochs = Counter(event["trial_id"] for event in run.events("epoch"))
    started = {event["trial_id"] for event in run.events("trial_started")}
    return {trial_id: epochs[trial_id] for trial_id in started - ended}


def trials_on(node: Node, run: Command, results: ResultsDir) -> list[str]:
    """Trials that train on a node."""
    newest = {trial_id: results.trial(trial_id).read_attempts() for trial_id in held(run)}
    return [trial_id for trial_id, attempts in newest.items() if attempts and node.has(attempts[-1].process)]


def test_a_node_that_dies_costs_an_epoch_at_most_and_one_that_joins_gets_trials(bench: Bench) -> None:
    results, victim = ResultsDir(bench.folder / "hurt"), bench.cluster.nodes[-1]
    bench.gate.touch()
    with bench.run(results) as run:
        run.wait_for(lambda: len(run.events("trial_ended")) == 6, 400)
        run.wait_for(lambda: list(held(run).values()) == [2] * NUM_SMALL_PLACES, 400)
        finished = {path: path.read_bytes() for path in results.root.glob("trials/*/record.json")}
        assert len(finished) == 6
        (lost,) = trials_on(victim, run, results)
        victim.kill()
        new = bench.cluster.add(1)
        run.wait_for(lambda: trials_on(new, run, results), 400)
        bench.gate.unlink()
        assert run.end(400) == 0, run.said()
        told = Counter((event["trial_id"], event["epoch"]) for event in run.events("epoch"))
    assert numbers_of(results) == bench.expected
    assert {path: path.read_bytes() for path in finished} == finished
    assert set(told.values()) == {1}, "a finished epoch was trained again"
    for trial in results.trials():
        attempts = trial.read_attempts()
        assert trial.state() is State.COMPLETE
        assert len(attempts) == (2 if trial.path.name == lost else 1)
    first, second = results.trial(lost).read_attempts()
    assert (first.outcome, first.failure) == ("LOST", "worker_lost")
    assert (second.started_from or "").startswith("2-")


def test_a_node_on_which_workers_die_gets_no_more_trials(bench: Bench) -> None:
    results, bad = ResultsDir(bench.folder / "bad-node"), bench.cluster.nodes[-1]
    (bench.folder / "bad").write_text(bad.mark)
    (bench.folder / "bad.yaml").write_text(BAD_NODE)
    with bench.run(results, "bad.yaml") as run:
        run.wait_for(lambda: any("ray::Occupant" in name for name in bad.names()), 400)
        lost = attempts_without_end(results)
        (bench.folder / "closed").touch()
        assert run.end(400) == 0, run.said()
        told = [event["text"] for event in run.events("phase")]
    assert any(f"({bad.address}) gets no more trials: " in text for text in told)
    assert len(numbers_of(results)) == 9
    assert len(lost) >= 2
    assert attempts_without_end(results) == lost


def attempts_without_end(results: ResultsDir) -> list[tuple[str, int]]:
    """Those whose process is gone."""
    attempts = [(trial.path.name, attempt) for trial in results.trials() for attempt in trial.read_attempts()]
    return [(name, a.number) for name, a in attempts if a.outcome == "LOST"]


def test_a_wrong_token_and_none_are_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SMALL)
    words = ("run", "spec.yaml", "--address", bench.cluster.address)
    with (
        command(tmp_path, *words, "--results", "wrong", RAY_AUTH_TOKEN="0" * 64) as wrong,
        command(tmp_path, *words, "--results", "none", RAY_AUTH_TOKEN="", HOME=str(tmp_path)) as none,
    ):
        assert (wrong.end(), none.end()) == (3, 3)
        assert f"the Ray cluster at {bench.cluster.address} refuses the token shown here; put the token" in wrong.said()
        assert f"the Ray cluster at {bench.cluster.address} asks for a token and there is none here" in none.said()
    assert not list(tmp_path.glob("*/trials/*"))


@pytest.mark.parametrize("asked", ["gpus: 1", "cpus: 1000"])
def test_what_no_node_can_hold_is_refused_before_the_start(bench: Bench, tmp_path: Path, asked: str) -> None:
    (tmp_path / "spec.yaml").write_text(f"{SMALL}resources: {{{asked}}}\n")
    with command(tmp_path, "run", "spec.yaml", "--address", bench.cluster.address, "--json") as run:
        assert run.end() == 3, run.said()
        assert run.events("trial_started") == []
        needs = {"gpus: 1": "1 CPUs and 1 GPUs", "cpus: 1000": "1000 CPUs and 0 GPUs"}[asked]
        told = f"asks for {needs}, and no node has that; the largest: 2 CPUs and 0 GPUs; ask for less under resources:"
        assert told in run.said()
    assert not list(tmp_path.glob("results/trials/*"))


def test_a_cluster_without_a_token_is_joined_with_insecure_and_a_new_one_goes_on_when_its_head_is_lost(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "spec.yaml").write_text(ONE_OF)
    (tmp_path / "gates.py").write_text((bench.folder / "gates.py").read_text())
    results = ResultsDir(tmp_path / "results")
    bench.gate.touch()
    with cluster_of(1, auth_mode="disabled") as cluster:
        words = ("run", "spec.yaml", "--json", "--address", cluster.address)
        with command(tmp_path, *words) as refused:
            assert refused.end() == 3, refused.said()
            assert f"the Ray cluster at {cluster.address} asks for no token" in refused.said()
            assert "RAY_AUTH_MODE set to token, and one token on all of them" in refused.said()
            assert "or pass --insecure on a network that you trust" in refused.said()
        assert not list(results.trials())
        with command(tmp_path, *words, "--insecure") as run:
            run.wait_for(lambda: list(held(run).values()) == [2])
            cluster.nodes[0].kill()
            assert run.end() == 3, run.said()
            assert f"go on with: orch run spec.yaml --address {cluster.address} --insecure" in run.said()
    bench.gate.unlink()
    with command(tmp_path, "run", "spec.yaml", "--address", bench.cluster.address) as again:
        assert again.end() == 0, again.said()
    ((trial_id, numbers),) = numbers_of(results).items()
    assert numbers == bench.expected[trial_id]
    attempts = results.trial(trial_id).read_attempts()
    assert len(attempts) == 2
    assert (attempts[1].started_from or "").startswith("2-")
