"""A trial and the `resources:` of a spec in; what the trial takes of the machine out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.configs import SECTIONS
from orchestrator.grids.combinations import holds
from orchestrator.grids.sweep_spec import ResourceOverride, Resources
from orchestrator.trial import Trial


def resources_of(trial: Trial, section: Resources, overrides: Sequence[ResourceOverride]) -> Resources:
    """`section` with each field from the first rule that agrees with the values of `trial` and names it."""
    if not overrides:
        return section
    values = _values_of(trial)
    found: dict[str, Any] = {}
    for rule in overrides:
        if holds(rule.when, values):
            found = {**rule.resources, **found}
    return dataclasses.replace(section, **found)


def _values_of(trial: Trial) -> Mapping[str, Any]:
    """Every field of the trial; lists, which a trial read back from JSON has, as tuples."""
    found: dict[str, Any] = {}
    for name in SECTIONS:
        section = getattr(trial, name)
        found.update((field.name, getattr(section, field.name)) for field in dataclasses.fields(section))
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
