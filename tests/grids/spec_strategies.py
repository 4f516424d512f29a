"""Random small specs for property tests: every value is legal by itself, and most combinations are."""

from __future__ import annotations

from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.grids.combinations import CircleError, Combinations
from orchestrator.grids.spec_findings import Findings
from orchestrator.grids.spec_reader import read_spec
from orchestrator.grids.strict_yaml import compose, dump
from orchestrator.spec import SweepSpec, loads_spec

LEGAL: dict[str, list[Any]] = {
    "depth": [4, 6, 8],
    "attention": ["self", "reattention"],
    "embed_dim": [8, 16],
    "num_heads": [2, 4],
    "patch_size": [2, 4],
    "reattention_last": [None, 1, 4],
    "reattention_norm": [None, "batchnorm", "none"],
    "drop_rate": [0.0, 0.1],
    "lr": [1e-3, 0.002],
    "name": ["digits", "cifar10"],
    "mixup": [0.0, 0.2],
}
"""Values that go together in every combination."""

MIXED: dict[str, list[Any]] = {
    **LEGAL,
    "num_heads": [1, 2, 3],
    "patch_size": [2, 3],
    "reattention_last": [None, 1, 7],
    "lr": [1e-6, 1e-3],
    "min_lr": [0.0, 1e-5],
}
"""Values that do not."""

RULE = {"min": 2, "max": 5, "until": {"ci_half_width": 0.003}}
SEEDS = st.one_of(st.integers(1, 3), st.just([4, 0]), st.just(RULE))

SECTION_OF = {"lr": "train", "min_lr": "train", "mixup": "train", "name": "data"}
REQUIRED = ("depth", "embed_dim", "num_heads", "patch_size", "lr", "name")


@st.composite
def contents(draw: st.DrawFn, domain: dict[str, list[Any]] = LEGAL) -> dict[str, Any]:
    """A spec as plain values; it may still be an empty grid, or give an option that no cell reads."""
    names = draw(st.lists(st.sampled_from(sorted(domain)), unique=True, max_size=4))
    if any(name.startswith("reattention") for name in names) and "attention" not in names:
        names = ["attention", *names]
    axes: dict[str, Any] = {name: draw(_some(domain[name])) for name in names}
    content: dict[str, Any] = {"name": "sweep", "axes": dict(axes), "seeds": draw(SEEDS)}
    if not {"mixup", "drop_rate"} & set(names) and draw(st.booleans()):
        content["zip"] = {name: domain[name] for name in ("mixup", "drop_rate")}
    conditional = draw(st.sampled_from([None, *names])) if len(names) > 1 else None
    if conditional is not None:
        other = draw(st.sampled_from([name for name in names if name != conditional]))
        content["axes"][conditional] = {
            "values": axes[conditional],
            "when": {other: draw(st.sampled_from(domain[other]))},
        }
    long = [name for name in names if len(axes[name]) > 1]
    if long:
        num_rules = draw(st.integers(0, 2))
        content["exclude"] = [_rule(draw, draw(st.sampled_from(long)), axes, domain) for _ in range(num_rules)]
    sections: dict[str, dict[str, Any]] = {"model": {}, "data": {}, "train": {"epochs": 3, "batch_size": 64}}
    for name in REQUIRED:
        if name not in axes or name == conditional:
            sections[SECTION_OF.get(name, "model")][name] = draw(st.sampled_from(domain[name]))
    return {**content, **sections}


def _some(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), unique_by=repr, min_size=1)


def _rule(draw: st.DrawFn, axis: str, axes: dict[str, Any], domain: dict[str, list[Any]]) -> dict[str, Any]:
    """A rule for one value of `axis`, and perhaps of another field."""
    others = draw(st.lists(st.sampled_from(sorted(domain)), max_size=2))
    more = {name: draw(st.sampled_from(domain[name]) | _some(domain[name])) for name in others}
    return {**more, axis: draw(st.sampled_from(axes[axis]))}


def load(content: dict[str, Any]) -> SweepSpec:
    """The spec; a content that is none is not looked at."""
    try:
        return loads_spec(dump(content))
    except SpecError:
        reject()


def read_unchecked(content: dict[str, Any]) -> tuple[Findings, SweepSpec]:
    """The spec before anything was checked that needs more than one field."""
    text = dump(content)
    findings = Findings(compose(text, "<text>"))
    spec = read_spec(findings, path="<text>", source=text)
    try:
        _ = Combinations(spec).order
    except CircleError:
        reject()
    if findings.problems:
        reject()
    return findings, spec
