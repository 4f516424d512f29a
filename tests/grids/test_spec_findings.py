"""spec_findings.py: wording and nearest names."""

from __future__ import annotations

import pytest

from orchestrator.errors import SpecProblem
from orchestrator.grids.spec_findings import Findings, show, suggest
from orchestrator.grids.strict_yaml import compose
from tests.grids.spec_errors import message_of


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": 1}, "a mapping"),
        ([1], "a list"),
        (None, "null"),
        (True, "true"),
        (1e-3, "0.001"),
        ("two", "'two'"),
        ("x" * 80, "'" + "x" * 56 + "..."),
    ],
)
def test_values_are_shown_as_a_file_writes_them(value: object, shown: str) -> None:
    assert show(value) == shown


def test_a_name_is_suggested_only_when_it_is_near() -> None:
    assert suggest("sedes", ["seeds", "name"]) == "did you mean 'seeds'? allowed: seeds, name"
    assert suggest("xyz", ["seeds", "name"]) == "allowed: seeds, name"


def test_what_is_not_there_is_placed_by_what_is_around_it() -> None:
    findings = Findings(compose("a:\n  b: {c: 1}\n", "f.yaml"))
    findings.report(("a", "b", "missing", 0), "message")
    findings.report(("elsewhere",), "message")
    assert findings.problems == [SpecProblem("message", 2, 3), SpecProblem("message", 1, 1)]


MANY = """\
name: a/b
axes:
  depht: [1]
  depth: []
  lr: [1e-3, fast]
  attention: [sefl]
zip: {mixup: [0, 1], cutmix: [0]}
exclude: [{depth: x}]
seeds: -1
model: {num_heads: 0, num_heads: 2, patch_size: 2}
data: {name: digit}
resources: {cpu: 1}
color: red
"""


def test_all_problems_of_a_file_are_told_at_once_in_order() -> None:
    places = [line.partition(": ")[0] for line in message_of(MANY).splitlines() if line.startswith("f.yaml")]
    assert places == [
        "f.yaml:1:1",  # train.epochs, train.batch_size are missing
        "f.yaml:1:7",
        "f.yaml:3:3",
        "f.yaml:4:10",
        "f.yaml:5:14",
        "f.yaml:6:15",
        "f.yaml:7:1",
        "f.yaml:8:19",
        "f.yaml:9:8",
        "f.yaml:10:1",  # model.embed_dim is missing
        "f.yaml:10:20",
        "f.yaml:10:23",
        "f.yaml:11:14",
        "f.yaml:12:13",
        "f.yaml:13:1",
    ]


def test_what_could_not_be_read_is_not_complained_about_again() -> None:
    told = message_of(
        "name: s\naxes: {depth: [x], embed_dim: [8]}\nmodel: {num_heads: x, patch_size: 2}\n"
        "data: {nam: digits}\ntrain: {epochs: 2, batch_size: 8, lr: 1e-3, warmup_epochs: -2}\n"
    )
    assert told.count("f.yaml:") == 4
