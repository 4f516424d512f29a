"""trial_resources.py: the first rule that agrees and names a field wins it."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.grid import expand
from orchestrator.grids.sweep_spec import ResourceOverride, Resources
from orchestrator.grids.trial_resources import resources_of
from orchestrator.spec import loads_spec
from orchestrator.trial import Trial

SECTION = Resources(cpus=2, gpus=1)
RULES = (
    ResourceOverride(when={"depth": (4, 6)}, resources={"gpus": 0.25}),
    ResourceOverride(when={"attention": ("self",), "depth": (6,)}, resources={"gpus": 0.5, "compile": True}),
    ResourceOverride(when={"attention": ("self",)}, resources={"cpus": 3}),
)


def at(trial: Trial, depth: int, attention: str = "self") -> Resources:
    return resources_of(replace(trial, model=replace(trial.model, depth=depth, attention=attention)), SECTION, RULES)


def test_each_field_comes_from_the_first_rule_that_agrees_and_names_it(tiny_trial: Trial) -> None:
    assert at(tiny_trial, 2, "reattention") == SECTION
    assert at(tiny_trial, 4, "reattention") == Resources(cpus=2, gpus=0.25)
    assert at(tiny_trial, 6) == Resources(cpus=3, gpus=0.25, compile=True)
    assert at(tiny_trial, 2) == Resources(cpus=3, gpus=1)


def test_a_trial_read_back_from_its_files_takes_the_same(tiny_trial: Trial) -> None:
    for depth in (2, 4, 6):
        trial = replace(tiny_trial, model=replace(tiny_trial.model, depth=depth))
        again = Trial.from_canonical(trial.canonical(), root="/data")
        assert resources_of(again, SECTION, RULES) == resources_of(trial, SECTION, RULES)


def test_rules_see_widths_that_are_computed() -> None:
    spec = loads_spec(
        "name: s\naxes:\n  depth: [2, 4]\n  embed_dim: [{match_params: {depth: 4, embed_dim: 16}}]\n"
        "model: {num_heads: 2, patch_size: 2}\ndata: {name: digits}\ntrain: {epochs: 1, batch_size: 8, lr: 0.1}\n"
        "resources: {overrides: [{when: {embed_dim: 16}, cpus: 2}]}\n"
    )
    cpus = [resources_of(trial, spec.resources, spec.resource_overrides).cpus for trial in expand(spec)]
    assert [trial.model.embed_dim for trial in expand(spec)] == [22, 16]
    assert cpus == [1, 2]
