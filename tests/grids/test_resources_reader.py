"""resources_reader.py: what a trial takes, and the rules for other cells; wrong ones stand in `spec_errors`."""

from __future__ import annotations

from orchestrator.grids.sweep_spec import ResourceOverride, Resources
from orchestrator.spec import dump_spec, loads_spec

TEXT = """\
name: s
axes: {depth: [2, 4]}
model: {embed_dim: 8, num_heads: 2, patch_size: 2}
data: {name: digits}
train: {epochs: 2, batch_size: 8, lr: 1e-3}
resources:
  gpus: 1
  overrides:
    - {when: {model.depth: 4, attention: [self]}, gpus: 0.25}
    - when: {depth: [2, 4]}
      compile: true
"""


def test_rules_are_read_with_converted_values_in_order() -> None:
    spec = loads_spec(TEXT)
    assert spec.resources == Resources(gpus=1)
    assert spec.resource_overrides == (
        ResourceOverride(when={"depth": (4,), "attention": ("self",)}, resources={"gpus": 0.25}),
        ResourceOverride(when={"depth": (2, 4)}, resources={"compile": True}),
    )


def test_they_are_written_and_read_back() -> None:
    spec = loads_spec(TEXT)
    assert loads_spec(dump_spec(spec)) == spec


def test_an_empty_section_and_empty_rules_are_the_usual_resources() -> None:
    for section in ("resources:\n", "resources: {overrides: }\n", "resources: {overrides: []}\n"):
        spec = loads_spec(TEXT[: TEXT.index("resources:")] + section)
        assert (spec.resources, spec.resource_overrides) == (Resources(), ())
