"""spec_writer.py: the YAML of a spec."""

from __future__ import annotations

import pytest

from orchestrator.spec import dump_spec, loads_spec

EVERYTHING = """\
# Question: why?
name: s
axes:
  depth:
    values: [2, 4]
    when:
      mixup: 0.0
      attention: [self, reattention]
  embed_dim:
  - 8
  - match_params: {depth: 4, embed_dim: 8}
  clip_grad: [null, 1.0]
zip:
- mixup: [0.0, 0.1]
  cutmix: [0.1, 0.0]
exclude:
- clip_grad: null
  mixup: [0.0, 0.1]
  embed_dim: 8
seeds: [3, 1]
model: {depth: 2, num_heads: 2, patch_size: 2, qkv_bias: false}
data: {name: digits}
train: {epochs: 2, batch_size: 8, lr: 1.0e-05}
resources:
  gpus: 0.5
  oom: fail
  overrides:
  - when:
      depth: [2, 4]
      attention: self
    cpus: 2.0
    gpus: 0.25
tracking: {mlflow: false}
probe:
  epochs: [1]
"""


def test_everything_a_spec_can_say_is_written() -> None:
    assert dump_spec(loads_spec(EVERYTHING)) == EVERYTHING


@pytest.mark.parametrize(("given", "written"), [("3", "3"), ("[0, 1, 2]", "3"), ("[0]", "1"), ("[2, 1]", "[2, 1]")])
def test_seeds_that_count_from_0_are_written_as_a_count(given: str, written: str) -> None:
    text = EVERYTHING.replace("[3, 1]", given)
    assert f"seeds: {written}\n" in dump_spec(loads_spec(text))


def test_a_name_that_looks_like_a_number_stays_a_name() -> None:
    spec = loads_spec(EVERYTHING.replace("name: s", "name: '1e3'"))
    assert loads_spec(dump_spec(spec)).name == "1e3"
