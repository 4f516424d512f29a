"""The values an axis combination gives in; every field's value out, with what the catalog knows filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.catalog import ATTENTION_OPTIONS, DATASETS, attention_info, is_dotted_attention
from orchestrator.configs import SECTIONS
from orchestrator.cost import matched_embed_dim, num_params
from orchestrator.grids.spec_fields import FIELDS
from orchestrator.grids.sweep_spec import MatchParams, SweepSpec
from orchestrator.trial import Trial
from orchestrator.user_attention import attention_source_hash

DEFAULT_TEST_FRACTION = 0.2
"""Share of the images that becomes the test split of a dataset without an official one."""

Values = dict[str, Any]
ParamCount = Callable[[Trial], int]

_DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in FIELDS.values()}


def resolve_values(spec: SweepSpec, assigned: Mapping[str, Any]) -> Values:
    """Every field's value in a cell: of its axis, else of its section, else the catalog's or the default.

    A field that has no value is None, and `embed_dim` may still be a `MatchParams`. Options that the cell's attention
    does not read are None.
    """
    values = {**_DEFAULTS, **spec.given, **assigned}
    given = spec.given.keys() | assigned.keys()
    info = DATASETS.get(values["name"])
    if info is not None:
        known = {"img_size": info.img_size, "num_classes": info.num_classes, "in_chans": info.in_chans}
        values.update((name, value) for name, value in known.items() if name not in given)
        if "test_fraction" not in given and not info.has_test_part:
            values["test_fraction"] = DEFAULT_TEST_FRACTION
    drop_options(values)
    return values


def drop_options(values: Values) -> None:
    """Sets options that the attention does not read to None, and the others to their default where they are not set."""
    own = attention_info(values["attention"]).options
    for name in ATTENTION_OPTIONS:
        if name not in own:
            values[name] = None
        elif values.get(name) is None:
            values[name] = own[name]


class TrialFactory:
    """Makes trials; sections of equal values are one object, so a grid of many cells stays small."""

    def __init__(self, count_params: ParamCount = num_params) -> None:
        self.count_params = count_params
        self._sections: dict[tuple[Any, ...], Any] = {}
        self._sources: dict[str, str] = {}
        self._widths: dict[tuple[Any, ...], int] = {}

    def trial(self, values: Mapping[str, Any], seed: int) -> Trial:
        """The trial with these values; a user's own attention is named with the hash of its source.

        Raises:
            TrainingError: the source of a user's own attention cannot be found.
        """
        return Trial(**{section: self._section(section, values) for section in SECTIONS}, seed=seed)

    def matched_width(self, values: Mapping[str, Any]) -> int:
        """The width that the `MatchParams` in `values` asks for.

        Raises:
            ValueError: the parameters of the attention cannot be counted.
        """
        match: MatchParams = values["embed_dim"]
        reference = {**values, **match.reference}
        drop_options(reference)
        start = self.trial({**values, "embed_dim": reference["embed_dim"]}, 0)
        target = self.trial(reference, 0)
        key = (start.model, target.model, start.data)
        if key not in self._widths:
            self._widths[key] = matched_embed_dim(start, target, self.count_params)
        return self._widths[key]

    def _section(self, section: str, values: Mapping[str, Any]) -> Any:
        content = tuple(values[name] for name in _NAMES[section])
        key = (section, *content)
        if key not in self._sections:
            fields = dict(zip(_NAMES[section], content, strict=True))
            if section == "model" and is_dotted_attention(values["attention"]):
                fields["attention_source"] = self._source(values["attention"])
            self._sections[key] = SECTIONS[section](**fields)
        return self._sections[key]

    def _source(self, attention: str) -> str:
        if attention not in self._sources:
            self._sources[attention] = attention_source_hash(attention)
        return self._sources[attention]


_NAMES: Mapping[str, tuple[str, ...]] = {
    section: tuple(field.name for field in FIELDS.values() if field.section == section) for section in SECTIONS
}
