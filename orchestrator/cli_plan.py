"""`orch plan`: a priced grid as a table for people or as JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from orchestrator.cli_place import check_root
from orchestrator.cli_show import MAX_ROWS, console_of
from orchestrator.grid import Grid
from orchestrator.grids.sweep_spec import SweepSpec
from orchestrator.results import ResultsDir
from orchestrator.tuning.live import duration

UNKNOWN_TIME = "unknown until the first epoch, or --calibrate"
ROUGH = "~: not timed yet; from the speed of this processor, mostly within 30 % where tried; --calibrate times steps"
UNKNOWN_PACK = "unknown until the first epoch, where seeds are packed of as large a pack; --calibrate times seeds alone"


def show_plan(
    path: Path, results: Path, executor: str, as_json: bool, *, price: float | None, is_calibrated: bool
) -> None:
    """Print the priced grid of the spec at `path`.

    Args:
        executor: what is to train it.
        price: of a GPU-hour.
        is_calibrated: whether cells are timed first.
    """
    from orchestrator.cli_run import MAX_TRIALS_UNASKED, count_params, make_importable
    from orchestrator.grid import count_trials, expand_grid
    from orchestrator.spec import load_spec
    from orchestrator.tuning.plan import build_plan

    make_importable(Path.cwd())
    root = ResultsDir(results)
    check_root(root)
    spec = load_spec(path)
    num_trials = count_trials(spec)
    if num_trials > 100 * MAX_TRIALS_UNASKED:
        content = {"sweep": spec.name, "num_trials_at_most": num_trials, "needs_yes": True}
        text = f"{spec.name}: at most {num_trials:,} trials, too many to list; `orch run` starts them only with --yes"
        click.echo(json.dumps(content) if as_json else text)
        return
    grid = expand_grid(spec, count_params)
    if is_calibrated:
        _calibrate(spec, grid)
    found = build_plan(spec, grid, root, executor)
    costs = None if price is None or found.gpu_hours is None else price * found.gpu_hours
    if as_json:
        priced = {} if price is None else {"price": price, "costs": costs}
        click.echo(json.dumps({**dataclasses.asdict(found), **priced}, indent=2))
        return
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    _print_plan(found)
    if price is not None:
        told = _unknown(found) if costs is None else f"{costs:,.2f}"
        console_of().print(f"{found.sweep}: costs at {price:g} a GPU-hour: {told}", highlight=False)


def _calibrate(spec: SweepSpec, grid: Grid) -> None:
    from orchestrator.tuning.calibration import calibrate
    from orchestrator.tuning.plan import trials_by_device

    for device, trials in trials_by_device(spec, grid).items():
        calibrate(trials, device, lambda text: click.echo(text, err=True))


def _print_plan(found: Any) -> None:
    axes = list(dict.fromkeys(name for cell in found.cells for name in cell.axes))
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for name in axes:
        table.add_column(name)
    is_searched, is_packed = found.num_search_trials > 0, any(map(_is_packed, found.cells))
    for name in (
        *(("search",) if is_searched else ()),
        "trials",
        *(("in a pack",) if is_packed else ()),
        "params",
        "MFLOPs/image",
        "memory MiB",
        "time a trial",
        "GPU-hours",
    ):
        table.add_column(name, justify="right")
    table.add_column("standing")
    for cell in found.cells[:MAX_ROWS]:
        table.add_row(
            *[Text("-" if cell.axes.get(name) is None else str(cell.axes[name])) for name in axes],
            *([_search_text(cell.search)] if is_searched else []),
            f"{cell.num_finished}/{cell.num_trials}",
            *([_packed_text(cell)] if is_packed else []),
            f"{cell.num_params:,}",
            f"{cell.flops / 1e6:,.2f}",
            "unknown" if cell.memory_mib is None else f"{cell.memory_mib:,.0f}",
            _time_text(cell),
            "unknown" if cell.gpu_hours is None else f"{cell.gpu_hours:.2f}",
            Text("; ".join(_standing_texts(cell))),
        )
    console = console_of()
    console.print(table)
    if len(found.cells) > MAX_ROWS:
        console.print(f"... and {len(found.cells) - MAX_ROWS:,} more cells (--json lists all)")
    if is_searched:
        console.print(
            f"{found.sweep}: {found.num_search_trials} search trials, {found.num_search_to_run} to run; "
            "a measured trial has no id before its cell's search is over",
            highlight=False,
        )
    if is_packed:
        console.print(
            f"{found.sweep}: memory and time are those of a whole pack, its time as measured of packs of as many seeds "
            "on this kind of device; a pack of fewer seeds counts as a largest one",
            highlight=False,
        )
    console.print(
        f"{found.sweep}: {len(found.cells)} cells, {found.num_trials} trials, {found.num_finished} done, "
        f"{found.num_to_run} to run; training time one after the other: {_remaining_text(found)}",
        highlight=False,
    )
    if found.num_trials_at_most > found.num_trials:
        at_most = _time_or_why(found.remaining_time_at_most_s, found)
        console.print(
            f"{found.sweep}: its rule for seeds may ask for up to {found.num_trials_at_most} trials; "
            f"training time then at most: {at_most}",
            highlight=False,
        )
    if found.is_time_rough:
        console.print(ROUGH, highlight=False)
    if found.gpu_hours:
        console.print(f"GPU-hours: {found.gpu_hours:.2f} on {found.device}", highlight=False)


def _is_packed(cell: Any) -> bool:
    return cell.num_packed > 1 or (cell.search is not None and cell.search.num_packed > 1)


def _packed_text(cell: Any) -> str:
    """`3`, or with a search that packs too `2, 3 searched`; `-` where nothing is to run."""
    searched = "" if cell.search is None or cell.search.num_packed == 1 else f", {cell.search.num_packed} searched"
    return f"{cell.num_packed if cell.num_finished < cell.num_trials else '-'}{searched}"


def _time_text(cell: Any) -> str:
    if cell.trial_time_s is None:
        return "unknown"
    return f"{'~' * cell.is_time_rough}{duration(cell.trial_time_s)}{' a pack' * (cell.num_packed > 1)}"


def _time_or_why(seconds: float | None, found: Any) -> str:
    return _unknown(found) if seconds is None else f"{'~' * found.is_time_rough}{duration(seconds)}"


def _remaining_text(found: Any) -> str:
    """The whole time, or as much of it as is known and why the rest is not."""
    remaining = _time_or_why(found.remaining_time_s, found)
    if found.remaining_time_s is not None or not found.known_time_s:
        return remaining
    known = _time_or_why(found.known_time_s, found)
    return f"{known} without {found.num_cells_unknown} of {len(found.cells)} cells, whose time is {remaining}"


def _unknown(found: Any) -> str:
    """What it waits for that the time is known."""
    return UNKNOWN_PACK if any(map(_is_packed, found.cells)) else UNKNOWN_TIME


def _search_text(search: Any) -> str:
    return "-" if search is None else f"{search.num_finished}/{search.num_trials}"


def _standing_texts(cell: Any) -> list[str]:
    """Where a cell stands and why; of a searched one, what was chosen."""
    texts = list(cell.reasons if cell.standing == "changed" else [cell.standing, *cell.reasons])
    if cell.search is not None:
        if cell.search.chosen is not None:
            texts.insert(0, ", ".join(f"{name} {value}" for name, value in cell.search.chosen.items()))
        texts += [note for note in cell.search.notes if note not in texts]
    return texts
