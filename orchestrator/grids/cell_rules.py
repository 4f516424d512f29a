"""Every field's value in a cell in; what does not go together out, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog import DATASETS, attention_info
from orchestrator.grids.cell_values import drop_options
from orchestrator.grids.spec_fields import FIELDS
from orchestrator.grids.sweep_spec import MatchParams

Found = tuple[str, str] | None
"""A message and a hint, or None when all is well."""


@dataclass(frozen=True)
class CellRule:
    """One thing that must hold in every cell."""

    fields: tuple[str, ...]
    """What it looks at; the first that the spec gives is blamed."""
    check: Callable[[Mapping[str, Any]], Found]
    needs: tuple[str, ...] = ()
    """Fields without whose value there is nothing to check."""

    def problem(self, values: Mapping[str, Any]) -> Found:
        """What is wrong in a cell with these values, or in the reference that its width is matched to."""
        found = self._check(values)
        match = values["embed_dim"]
        if found is not None or not isinstance(match, MatchParams) or not match.reference.keys() & set(self.fields):
            return found
        reference = {**values, **match.reference}
        drop_options(reference)
        found = self._check(reference)
        return found and (f"in the reference of match_params, {found[0]}", found[1])

    def _check(self, values: Mapping[str, Any]) -> Found:
        if any(values[name] is None or isinstance(values[name], MatchParams) for name in self.needs):
            return None
        return self.check(values)


def _heads_divide_width(values: Mapping[str, Any]) -> Found:
    width, heads = values["embed_dim"], values["num_heads"]
    if width % heads == 0:
        return None
    near = sorted({max(1, width // heads) * heads, (width // heads + 1) * heads})
    hint = f"embed_dim must be a multiple of num_heads, e.g. {' or '.join(map(str, near))}"
    return f"num_heads {heads} does not divide embed_dim {width}", hint


def _enough_heads(values: Mapping[str, Any]) -> Found:
    attention, heads = values["attention"], values["num_heads"]
    needed = attention_info(attention).min_heads
    if heads >= needed:
        return None
    return f"{attention} mixes heads and cannot have num_heads {heads}", f"give num_heads {needed} or more"


def _heads_can_be_split(values: Mapping[str, Any]) -> Found:
    attention, width, heads = values["attention"], values["embed_dim"], values["num_heads"]
    step = heads * attention_info(attention).head_dim_multiple
    if width % heads != 0 or width % step == 0:
        return None
    near = sorted({max(1, width // step) * step, (width // step + 1) * step})
    hint = f"embed_dim must be a multiple of {step}, e.g. {' or '.join(map(str, near))}"
    return f"{attention} halves its heads, and embed_dim {width} gives each {width // heads} channels", hint


def _patches_fill_image(values: Mapping[str, Any]) -> Found:
    size, patch = values["img_size"], values["patch_size"]
    if size % patch == 0:
        return None
    divisors = ", ".join(str(n) for n in range(1, min(size, 64) + 1) if size % n == 0)
    return f"patch_size {patch} does not divide img_size {size}", f"patch_size may be {divisors}"


def _last_blocks_exist(values: Mapping[str, Any]) -> Found:
    last, depth = values["reattention_last"], values["depth"]
    if last <= depth:
        return None
    return f"reattention_last {last} is more than depth {depth}", "at most every block can have Re-attention"


def _micro_batches_fill_batch(values: Mapping[str, Any]) -> Found:
    batch, micro = values["batch_size"], values["micro_batch_size"]
    if batch % micro == 0:
        return None
    return f"micro_batch_size {micro} does not divide batch_size {batch}", "give a divisor of batch_size"


def _warmup_ends(values: Mapping[str, Any]) -> Found:
    warmup, epochs = values["warmup_epochs"], values["epochs"]
    if warmup < epochs:
        return None
    return f"warmup_epochs {warmup} leaves nothing of epochs {epochs}", "warmup_epochs must be less than epochs"


def _is_off(value: Any) -> bool:
    return value in (None, "none")


def _scaled_branches_use_adamw(values: Mapping[str, Any]) -> Found:
    scale, optimizer = values["residual_scale"], values["optimizer"]
    if _is_off(scale) or optimizer == "adamw":
        return None
    hint = "the learning-rate rule that goes with it is derived for Adam; use optimizer adamw"
    return f"residual_scale {scale} does not go with optimizer {optimizer}", hint


def _released_penalty_is_active(values: Mapping[str, Any]) -> Found:
    if values["cos_reg"] != "released" or values["mixup"] > 0 or values["cutmix"] > 0:
        return None
    hint = "give mixup or cutmix, or use cos_reg paper, which needs neither"
    return "cos_reg released acts only where images are mixed, and mixup and cutmix are 0", hint


def _penalised_blocks_exist(values: Mapping[str, Any]) -> Found:
    kind, blocks, depth = values["cos_reg"], values["cos_reg_blocks"], values["depth"]
    if _is_off(kind):
        return None
    if depth < 2:
        return f"cos_reg {kind} compares consecutive blocks, and depth is {depth}", "it needs depth 2 or more"
    fewest, most = (1, depth - 1) if kind == "released" else (2, depth)
    if blocks is None or fewest <= blocks <= most:
        return None
    counted = "pairs of consecutive blocks" if kind == "released" else "last blocks"
    legal = f"{fewest} to {most}" if fewest < most else str(most)
    hint = f"it counts {counted}: {legal} of them at depth {depth}, and all where it is absent"
    return f"cos_reg_blocks {blocks} does not fit cos_reg {kind} at depth {depth}", hint


def _rate_falls(values: Mapping[str, Any]) -> Found:
    lowest, peak = values["min_lr"], values["lr"]
    if lowest <= peak:
        return None
    return f"min_lr {lowest:g} is more than lr {peak:g}", "the cosine goes from lr down to min_lr"


def _dataset_says(name: str, what: str) -> CellRule:
    """The spec must give `name` for datasets that do not know it."""

    def check(values: Mapping[str, Any]) -> Found:
        info = DATASETS[values["name"]]
        is_needed = {"id": info.needs_id, "root": info.needs_root}.get(name, True)
        if not is_needed or values[name] is not None:
            return None
        return f"dataset {values['name']} needs {FIELDS[name].path}", f"{what}; write it under {FIELDS[name].section}:"

    return CellRule((name, "name"), check, needs=("name",))


def _dataset_knows(name: str) -> CellRule:
    """The spec may not contradict what a named dataset is."""

    def check(values: Mapping[str, Any]) -> Found:
        info = DATASETS[values["name"]]
        known = info.num_classes if name == "num_classes" else info.in_chans
        if info.num_classes is None or values[name] in (known, None):
            return None
        return f"{values['name']} has {name} {known}, not {values[name]}", f"remove {name}; the dataset knows it"

    return CellRule((name, "name"), check, needs=("name",))


def _id_names_content(values: Mapping[str, Any]) -> Found:
    if values["id"] is None or DATASETS[values["name"]].needs_id:
        return None
    users = ", ".join(name for name, info in DATASETS.items() if info.needs_id)
    return f"dataset {values['name']} takes no id", f"remove it; id names the content of {users}"


def _test_part_is_official(values: Mapping[str, Any]) -> Found:
    if values["test_fraction"] is None or not DATASETS[values["name"]].has_test_part:
        return None
    hint = "remove test_fraction; its own part is the test split"
    return f"dataset {values['name']} has a test part of its own", hint


def _required(name: str) -> CellRule:
    """A conditional axis may leave a required field without a value."""

    def check(values: Mapping[str, Any]) -> Found:
        if values[name] is not None:
            return None
        field = FIELDS[name]
        hint = f"give {name} under {field.section}: for these cells"
        return f"{name} has no value where its axis does not apply", hint

    return CellRule((name,), check)


CELL_RULES: tuple[CellRule, ...] = (
    CellRule(("embed_dim", "num_heads"), _heads_divide_width, ("embed_dim", "num_heads")),
    CellRule(("num_heads", "attention"), _enough_heads, ("num_heads",)),
    CellRule(("embed_dim", "num_heads", "attention"), _heads_can_be_split, ("embed_dim", "num_heads")),
    CellRule(("patch_size", "img_size", "name"), _patches_fill_image, ("img_size", "patch_size")),
    CellRule(("reattention_last", "depth", "attention"), _last_blocks_exist, ("reattention_last", "depth")),
    CellRule(("micro_batch_size", "batch_size"), _micro_batches_fill_batch, ("micro_batch_size", "batch_size")),
    CellRule(("warmup_epochs", "epochs"), _warmup_ends, ("epochs",)),
    CellRule(("min_lr", "lr"), _rate_falls, ("lr",)),
    CellRule(("residual_scale", "optimizer"), _scaled_branches_use_adamw),
    CellRule(("cos_reg", "mixup", "cutmix"), _released_penalty_is_active, ("mixup", "cutmix")),
    CellRule(("cos_reg_blocks", "cos_reg", "depth"), _penalised_blocks_exist, ("depth",)),
    _dataset_says("id", "a name for its content, which is hashed in place of the path"),
    _dataset_says("root", "the folder in which its files lie"),
    _dataset_says("num_classes", "the number of its labels"),
    _dataset_says("img_size", "the side of the square input in pixels"),
    _dataset_knows("num_classes"),
    _dataset_knows("in_chans"),
    CellRule(("id", "name"), _id_names_content, ("name",)),
    CellRule(("test_fraction", "name"), _test_part_is_official, ("name",)),
    *(_required(field.name) for field in FIELDS.values() if field.is_required),
)


def cell_problems(values: Mapping[str, Any]) -> Iterator[tuple[CellRule, str, str]]:
    """Every rule the cell breaks, with message and hint."""
    for rule in CELL_RULES:
        found = rule.problem(values)
        if found is not None:
            yield rule, *found
