"""What a spec says, as values: fixed fields, axes, exclusions, seeds. `spec.py` reads it, `grid.py` expands it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from orchestrator.grids.strict_yaml import Mark, YamlPath
from orchestrator.grids.tune_spec import Tune

SWEEP_NAME_PATTERN = r"^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
SWEEP_NAME_RULE = "1 to 80 letters, digits, '.', '_' and '-', the first a letter or a digit, without '..'"


def is_sweep_name(name: str) -> bool:
    """Whether `name` follows `SWEEP_NAME_RULE`."""
    return re.fullmatch(SWEEP_NAME_PATTERN, name) is not None


@dataclass(frozen=True)
class MatchParams:
    """A width that is computed: the parameter count comes nearest to that of `reference`, all else as in the cell."""

    reference: Mapping[str, Any] = field(hash=False)
    """Model fields in which the reference differs from the cell; `embed_dim` is one of them."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One field and the values it takes."""

    name: str
    """Short name of a field of model, data or train."""
    values: tuple[Any, ...]
    """In the order of the file; `MatchParams` may stand among the values of `embed_dim`."""
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Fields and the values they must have for this axis to apply; empty means it always applies."""
    path: YamlPath = field(default=(), compare=False, repr=False)
    """Where the list of values stands in the file."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a trial takes of the machine; changes no number by intent."""

    cpus: Annotated[float, Ge(1.0)] = 1.0
    """CPU cores a trial, or each of its workers; more than one serve data loading."""
    gpus: Annotated[float, Ge(0.0)] = 0.0
    """GPUs a trial, or each of its workers; a fraction lets trials share one."""
    workers: Annotated[int, Ge(1)] = 1
    """Processes that train a trial together, each on its share of every batch; more than one need Ray."""
    compile: bool = False
    """Whether the blocks of the model go through torch.compile."""
    graphs: Literal["auto"] | bool = "auto"
    """Whether training steps are replayed as one CUDA graph, which saves launches where steps are short; auto: not
    yet, as nobody has measured it. A trial whose step cannot be one says why in its log and trains as usual."""
    oom: Literal["fail", "halve"] | None = None
    """What a trial does whose batch does not fit the device: fail and name the sizes that fit, or halve the micro-batch
    and mark it; absent: halve, but fail where the attention has batch statistics, as it would be another experiment."""
    pack: Literal["auto"] | Annotated[int, Ge(1)] = "auto"
    """Seeds of a cell that one process trains together, at most; auto: several where a step of one leaves a GPU idle
    and the serial executor trains."""
    hang_minutes: Annotated[float, Gt(0.0)] = 10.0
    """A trial without a step for this long is ended, its stacks saved, and started again; before the first step it has
    three times as long."""


@dataclass(frozen=True, kw_only=True)
class ResourceOverride:
    """Other resources for the cells whose values agree with `when`."""

    when: Mapping[str, tuple[Any, ...]] = field(hash=False)
    """Fields and the values they must have, as in `exclude`."""
    resources: Mapping[str, Any] = field(hash=False)
    """Fields of `Resources` that are other than in the section; at least one."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where numbers are mirrored to."""

    mlflow: bool = True
    """Whether the driver writes an MLflow mirror."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Block-by-block diagnostics on test images that select nothing; changes no number of a trial."""

    enabled: bool = True
    """Whether the untrained network and the final model are probed at all."""
    images: Annotated[int, Ge(4)] = 64
    """Test images of the probe set, the same for every trial; fewer where the test split has fewer."""
    epochs: tuple[Annotated[int, Gt(0)], ...] = ()
    """Finished epochs at which the model is probed besides."""
    skip_images: Annotated[int, Ge(0)] = 64
    """Test images on which each block of the final model is skipped once; 0 skips none."""


@dataclass(frozen=True, kw_only=True)
class SeedRule:
    """When a cell has seeds enough: `seeds: {min: 3, max: 10, until: {ci_half_width: 0.003}}`."""

    max: Annotated[int, Ge(2)]
    """So many seeds a cell gets at most."""
    ci_half_width: Annotated[float, Gt(0.0), Lt(1.0)]
    """Half the width of the 95 % interval of a cell's test accuracy that is narrow enough, 0..1."""


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """A spec file as values; equal for files that mean the same in the same order."""

    name: str
    axes: tuple[Axis, ...] = ()
    """Every combination is a cell."""
    zips: tuple[tuple[Axis, ...], ...] = ()
    """Groups of axes of equal length that advance together."""
    exclude: tuple[Mapping[str, tuple[Any, ...]], ...] = ()
    """Rules; a cell goes when all fields of a rule have one of the values given."""
    seeds: tuple[int, ...] = (0,)
    """That every cell has."""
    seed_rule: SeedRule | None = None
    """Which cells get more: the seeds that follow, 0 to `max` - 1; `seeds` is 0 to `min` - 1 then."""
    tune: Tune | None = None
    """The nuisance axes, and how each cell is searched over them before it is measured."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Fields the file gives, and no other."""
    data: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    resources: Resources = Resources()
    resource_overrides: tuple[ResourceOverride, ...] = ()
    """For each field the first rule that agrees with a trial and names it wins over `resources`."""
    tracking: Tracking = Tracking()
    probe: Probe = Probe()
    question: str = ""
    """Text of the `# Question:` line of the header."""
    source_path: str = field(default="<text>", compare=False, repr=False)
    """What messages call the file."""
    source_text: str = field(default="", compare=False, repr=False)
    """Text of the file, for snapshots and messages."""
    marks: Mapping[YamlPath, Mark] = field(default_factory=dict, compare=False, repr=False)

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of the scientific axes in the order of the spec, zipped ones last."""
        return tuple(axis.name for axis in self.all_axes)

    @property
    def all_axes(self) -> tuple[Axis, ...]:
        """The axes that multiply, then the zipped ones."""
        return (*self.axes, *(axis for group in self.zips for axis in group))

    @property
    def sections(self) -> dict[str, Mapping[str, Any]]:
        """The fields the file gives, by section."""
        return {"model": self.model, "data": self.data, "train": self.train}

    @property
    def given(self) -> dict[str, Any]:
        """The fields of all three sections; names are unique over them."""
        return {**self.model, **self.data, **self.train}

    def place(self, path: YamlPath, *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value (or key) at `path`, or of what is nearest around it; (1, 1) without a file."""
        while path and path not in self.marks:
            path, key = path[:-1], True
        mark = self.marks.get(path)
        if mark is None:
            return 1, 1
        return (mark.key_line, mark.key_column) if key else (mark.line, mark.column)

    def describe_place(self, path: YamlPath) -> str:
        """`file:line:column` of the value at `path`."""
        line, column = self.place(path)
        return f"{self.source_path}:{line}:{column}"
