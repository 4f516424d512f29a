"""spec_reader.py: what may stand where, and what is said otherwise."""

from __future__ import annotations

import pytest

from orchestrator.grids.spec_reader import KEYS, read_question
from orchestrator.grids.sweep_spec import Probe, Resources, Tracking
from orchestrator.spec import loads_spec
from tests.grids.spec_errors import BadSpec, bad_specs, message_of

WHOLE = """\
# Question: why?
name: whole
axes: {depth: [2, 4], train.lr: [1e-3]}
zip: {embed_dim: [8, 16], mixup: [0, 0.1]}
exclude: [{depth: 2, mixup: [0, 0.1], embed_dim: 8}]
seeds: [3, 1]
tune: {axes: {weight_decay: [0, 0.1]}, num_trials: 2}
model: {num_heads: 2, patch_size: 2.0, qkv_bias: false, init_values: null}
data: {name: digits, root: /data}
train: {epochs: 2, batch_size: 8}
resources: {cpus: 2, gpus: 0.5, workers: 1, compile: true, graphs: true, oom: halve, pack: 3, hang_minutes: 0.5}
tracking: {mlflow: false}
probe: {enabled: true, images: 32, epochs: [1, 2], skip_images: 0}
"""


@pytest.mark.parametrize("case", bad_specs("reader"), ids=str)
def test_a_bad_spec_is_told_with_place_and_what_is_allowed(case: BadSpec) -> None:
    assert message_of(case.text) == case.message


def test_every_key_is_read() -> None:
    spec = loads_spec(WHOLE)
    assert set(KEYS) == {line.partition(":")[0] for line in WHOLE.splitlines()[1:]}
    assert spec.axis_names == ("depth", "lr", "embed_dim", "mixup")
    assert spec.exclude == ({"depth": (2,), "mixup": (0.0, 0.1), "embed_dim": (8,)},)
    assert spec.seeds == (3, 1)
    assert spec.model == {"num_heads": 2, "patch_size": 2, "qkv_bias": False, "init_values": None}
    assert spec.resources == Resources(
        cpus=2.0, gpus=0.5, workers=1, compile=True, graphs=True, oom="halve", pack=3, hang_minutes=0.5
    )
    assert spec.tracking == Tracking(mlflow=False)
    assert spec.probe == Probe(enabled=True, images=32, epochs=(1, 2), skip_images=0)
    assert spec.question == "why?"


def test_numbers_take_the_type_their_field_declares() -> None:
    spec = loads_spec(WHOLE)
    assert [type(value) for value in (spec.model["patch_size"], spec.zips[0][1].values[0])] == [int, float]


def test_what_is_not_given_has_its_default() -> None:
    spec = loads_spec(
        "{name: s, model: {depth: 2, embed_dim: 8, num_heads: 2, patch_size: 2}, data: {name: digits},"
        " train: {epochs: 1, batch_size: 8, lr: 1}}"
    )
    assert (spec.axes, spec.zips, spec.exclude, spec.seeds) == ((), (), (), (0,))
    assert (spec.resources, spec.tracking, spec.probe, spec.question) == (Resources(), Tracking(), Probe(), "")


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("# Question: how deep?\nname: s", "how deep?"),
        ("# yaml-language-server: $schema=x\n#\n\n#  Question:   how deep?  \n# Run: x", "how deep?"),
        ("\ufeff# Question: how deep?\n", "how deep?"),
        ("# no question\nname: s", ""),
        ("name: s\n# Question: too late", ""),
        ("", ""),
    ],
)
def test_the_question_stands_in_the_header(text: str, question: str) -> None:
    assert read_question(text) == question


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_is_told_which_keys_there_are(text: str) -> None:
    assert ": the file is empty" in message_of(text)
    assert f"keys: {', '.join(KEYS)}" in message_of(text)


def test_a_file_that_is_no_mapping_is_told_so() -> None:
    assert message_of("- 1\n").startswith("f.yaml:1:1: a spec is a mapping of keys to values, not a list")
