"""Nothing in; the JSON Schema of a spec file out, for editors that complete and explain what one types.

Only words on which draft 7 and later agree, because editors read draft 7. What looks at two fields at once is left to
`orch plan`.
"""

from __future__ import annotations

import typing
from typing import Any

from orchestrator.configs import SECTIONS
from orchestrator.grids.seeds_reader import MAX_SEED, MAX_SEEDS, MIN_OF_RULE
from orchestrator.grids.spec_fields import FIELDS, Field, ValueType, read_descriptions
from orchestrator.grids.sweep_spec import SWEEP_NAME_PATTERN, SWEEP_NAME_RULE, Probe, Resources, Tracking
from orchestrator.grids.tune_reader import NEVER_TUNED
from orchestrator.grids.tune_spec import SEARCH_SEEDS, TuneSettings

OWN_ATTENTION_PATTERN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"

SEARCH_SEED = {"minimum": SEARCH_SEEDS[0], "maximum": SEARCH_SEEDS[-1]}

Schema = dict[str, Any]


def json_schema() -> Schema:
    """The schema as `orch schema` prints it."""
    zipped = _every_field("list", minProperties=1)
    keys: Schema = {
        "axes": _every_field("axis", description="The question: every combination of the values is a cell."),
        "zip": {"anyOf": [zipped, _list(zipped)], "description": "Axes of equal length that advance together."},
        "exclude": _list(_ref("condition"), description="A cell goes when all fields of a rule agree with it."),
        "tune": _tune(),
        **{section: _section(section) for section in SECTIONS},
        "resources": _resources(),
        "tracking": _settings(Tracking, "Where numbers are mirrored to."),
        "probe": _settings(Probe, "Block-by-block diagnostics on test images; changes no number of a trial."),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A sweep of orch",
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "pattern": SWEEP_NAME_PATTERN, "description": f"Name: {SWEEP_NAME_RULE}."},
            "seeds": _seeds(),
            **{key: _or_empty(content) for key, content in keys.items()},
        },
        "definitions": {"condition": _every_field("some", minProperties=1), **_definitions()},
    }


def _definitions() -> Schema:
    found: Schema = {}
    for field in FIELDS.values():
        found[field.name] = {**_value(field), "description": field.description}
        if not field.is_hashed:
            continue
        values = _list(_axis_value(field), minItems=1)
        conditional = _object({"values": values, "when": _ref("condition")}, required=["values"])
        found[f"axis.{field.name}"] = {"anyOf": [values, conditional], "description": field.description}
        if field.name not in NEVER_TUNED:
            found[f"range.{field.name}"] = _range(field)
        found[f"list.{field.name}"] = {**values, "description": field.description}
        either = [_ref(field.name), _list(_ref(field.name), minItems=1)]
        found[f"some.{field.name}"] = {"anyOf": either, "description": field.description}
    return found


def _every_field(kind: str, **more: Any) -> Schema:
    """A mapping of fields that tell cells apart, by short name or dotted path."""
    hashed = [field for field in FIELDS.values() if field.is_hashed]
    if kind == "range":
        hashed = [field for field in hashed if field.name not in NEVER_TUNED]
    return _object({name: _ref(f"{kind}.{f.name}") for f in hashed for name in (f.name, f.path)}, **more)


def _section(section: str) -> Schema:
    description = " ".join((SECTIONS[section].__doc__ or "").split())
    fields = [field for field in FIELDS.values() if field.section == section]
    return _object({field.name: _ref(field.name) for field in fields}, description=description)


def _value(field: Field) -> Schema:
    if not field.known_names:
        return field.type.schema
    names = {"enum": list(field.known_names)}
    return {"anyOf": [names, {"type": "string", "pattern": OWN_ATTENTION_PATTERN}]} if field.takes_own_class else names


def _axis_value(field: Field) -> Schema:
    if field.name != "embed_dim":
        return _ref(field.name)
    fields = [f for f in FIELDS.values() if f.section == "model" and f.name != "attention"]
    reference = _object({name: _ref(f.name) for f in fields for name in (f.name, f.path)}, minProperties=1)
    reference["description"] = "A width whose parameter count is nearest to this reference, all else as in the cell."
    return {"anyOf": [_ref(field.name), _object({"match_params": reference}, required=["match_params"])]}


def _seeds() -> Schema:
    count = {"type": "integer", "minimum": 1, "maximum": MAX_SEEDS}
    seed = {"type": "integer", "minimum": 0, "maximum": MAX_SEED, "not": SEARCH_SEED}
    listed = _list(seed, minItems=1, uniqueItems=True)
    width = {"type": "number", "exclusiveMinimum": 0.0, "exclusiveMaximum": 1.0}
    several = {**count, "minimum": MIN_OF_RULE}
    until = _object({"ci_half_width": width}, required=["ci_half_width"])
    rule = _object({"min": several, "max": several, "until": until}, required=["min", "max", "until"])
    told = "Replicates of every cell: how many, which, or a rule: from min to max, until the interval is narrow enough."
    return {"anyOf": [count, listed, rule], "description": told}


def _tune() -> Schema:
    told = (
        "Nuisance axes: chosen for each cell by a search of equal budget, on validation images, before it is measured."
    )
    found = _settings(TuneSettings, told)
    axes = _every_field("range", minProperties=1, description="The fields to choose, and their ranges.")
    return {**found, "required": ["axes", "num_trials"], "properties": {"axes": axes, **found["properties"]}}


def _range(field: Field) -> Schema:
    """The forms of a range that the field's type allows."""
    forms = [_list(_ref(field.name), minItems=2, uniqueItems=True)]
    types = {option.get("type") for option in field.type.schema.get("anyOf", [field.type.schema])}
    kinds = ("int_uniform",) if "integer" in types else ("log_uniform", "uniform") if "number" in types else ()
    for kind in kinds:
        ends = _list({"allOf": [_ref(field.name), {"type": "number"}]}, minItems=2, maxItems=2)
        forms.append(_object({kind: ends}, required=[kind]))
    return {"anyOf": forms, "description": field.description}


def _resources() -> Schema:
    found = _settings(Resources, "What a trial takes of the machine; changes no number.")
    rule = _object({"when": _ref("condition"), **found["properties"]}, required=["when"], minProperties=2)
    told = "Other resources for cells that agree with `when`; the first rule that names a field wins."
    return {**found, "properties": {**found["properties"], "overrides": _list(rule, description=told)}}


def _settings(cls: type[Resources] | type[Tracking] | type[Probe] | type[TuneSettings], description: str) -> Schema:
    hints, told = typing.get_type_hints(cls, include_extras=True), read_descriptions(cls)
    content = {name: {**ValueType(hint).schema, "description": told[name]} for name, hint in hints.items()}
    return _object(content, description=description)


def _object(properties: Schema, **more: Any) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


def _or_empty(schema: Schema) -> Schema:
    """A key whose content is commented out is empty."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}
