"""Probed trials in; for each figure of the diagnostics the frame of exactly the numbers it draws out.

Every number is a mean over the finished, averaged seeds of a cell, with Student's 95 % interval over them, at the end
of training (`trained`) and before it (`untrained`); `shuffled` is the end with the images of one block permuted. A
number that does not exist has no row. L blocks, H heads, E moments.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.probe_catalog import MAP_KINDS, SIMILAR_BLOCK_RULES, similar_blocks_name, similarity_name
from orchestrator.views.curve_choice import choose_curves
from orchestrator.views.curves import Shared
from orchestrator.views.figure_data import PUBLISHED, THIS_SWEEP, Curves, find_curves
from orchestrator.views.published import DEEPVIT_SIMILAR_BLOCKS
from orchestrator.views.stats import mean_interval
from orchestrator.views.table import averaged_rows

Array = NDArray[np.float64]
Probes = Mapping[str, Mapping[str, Array]]
"""`trial_id` to the arrays of its `probes.npz`, each [E, ...]."""

TRAINED, UNTRAINED, SHUFFLED = "trained", "untrained", "shuffled"
MAX_CURVES = 7
"""Colours that are told apart; of more curves only some are drawn."""

HEAT_MAPS: Mapping[str, tuple[str, str]] = {
    "raw, trained": ("raw", TRAINED),
    "raw, untrained": ("raw", UNTRAINED),
    "raw, images shuffled": ("shuffled", TRAINED),
    "centred, trained": ("centred", TRAINED),
    "centred, untrained": ("centred", UNTRAINED),
}
"""Column of the heat maps to the kind of similarity and the moment."""

FEATURE_MAPS: Mapping[str, tuple[str, str]] = {"trained": ("cka", TRAINED), "untrained": ("cka", UNTRAINED)}
"""Column of the heat maps of features to the array and the moment."""


@dataclass(frozen=True)
class Probed:
    """The averaged trials of a sweep that have probes, and the curves they lie on."""

    trials: pd.DataFrame
    probes: Probes
    curves: Curves

    @property
    def is_empty(self) -> bool:
        return bool(self.trials.empty)

    @property
    def probed_parts(self) -> dict[str, Mapping[str, str]]:
        """Of the curves on which a probed trial lies: label -> (axis -> text)."""
        found = set(self.trials["drawn"])
        return {label: parts for label, parts in self.curves.parts.items() if label in found}

    def deepest(self) -> pd.DataFrame:
        """The trials of the deepest cell that every curve has, else of the deepest that any has; of `MAX_CURVES`."""
        if self.trials.empty:
            return self.trials
        shown = self.trials[self.trials["drawn"].isin(choose_curves(self.probed_parts, MAX_CURVES))]
        depths_of = [set(trials["depth"].dropna()) for _, trials in shown.groupby("drawn")]
        shared = set.intersection(*depths_of) or set.union(*depths_of)
        deepest = shown[shown["depth"] == max(shared)]
        return deepest[deepest["cell_id"].isin(deepest.drop_duplicates("drawn")["cell_id"])]


def find_probed(table: pd.DataFrame, probes: Probes) -> Probed:
    """The averaged trials of a `read_table` frame that have probes, each with the label of its curve in `drawn`."""
    curves = find_curves(table)
    trials = table[averaged_rows(table) & table["trial_id"].isin(list(probes))]
    return Probed(trials.assign(drawn=trials["curve"].map(curves.label)), probes, curves)


def similar_blocks_data(probed: Probed, x: str) -> pd.DataFrame:
    """Share of similar blocks in percent (count over depth) against `x`: a row for each curve, place, map, rule and
    moment; where x is depth also the published counts, as `published`.
    """
    rows = []
    for keys, trials in _cells(probed.trials, x):
        for map_kind in MAP_KINDS:
            for rule in SIMILAR_BLOCK_RULES:
                name = similar_blocks_name(map_kind, rule)
                for moment in (TRAINED, UNTRAINED):
                    shares = [_moment(probed.probes[t], name, moment) / d for t, d in _ids_and_depths(trials)]
                    mean = _mean(np.array(shares) * 100.0, "share_percent")
                    rows += [{**keys, "map": map_kind, "rule": rule, "moment": moment, **one} for one in mean]
    if x == "depth" and rows:
        rows += [_published_row(point) for point in DEEPVIT_SIMILAR_BLOCKS]
    names = ("source", "curve", x, "map", "rule", "moment", "n", "share_percent", "low_percent", "high_percent")
    return _frame(rows, names, probed, x)


def block_curve_data(probed: Probed, metrics: Sequence[str]) -> pd.DataFrame:
    """Each metric by block at one depth: a row for each curve, block and moment. Names of metrics: `block_values`."""
    rows = []
    for keys, trials in _cells(probed.deepest(), "depth"):
        for metric in metrics:
            for moment in (TRAINED, UNTRAINED, SHUFFLED):
                values = [block_values(probed.probes[t], metric, moment) for t, _ in _ids_and_depths(trials)]
                known = [value for value in values if value is not None]
                for block_idx, at_block in enumerate(np.array(known).T if known else ()):
                    content = {**keys, "metric": metric, "moment": moment, "block_idx": block_idx}
                    rows += [{**content, **one} for one in _mean(at_block, "value")]
    names = ("source", "curve", "depth", "metric", "moment", "block_idx", "n", "value", "low", "high")
    return _frame(rows, names, probed, "depth")


def heat_map_data(probed: Probed, map_kind: str) -> pd.DataFrame:
    """Similarity of every two blocks' patch columns at one depth: a row for each curve, panel and pair of blocks, the
    second one not after the first, since the measure is symmetric.
    """
    panels = {panel: (similarity_name(map_kind, "patch", kind), moment) for panel, (kind, moment) in HEAT_MAPS.items()}
    return _pair_data(probed, panels)


def feature_map_data(probed: Probed) -> pd.DataFrame:
    """As `heat_map_data`, for the linear CKA between the tokens after every two blocks."""
    return _pair_data(probed, FEATURE_MAPS)


def _pair_data(probed: Probed, panels: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    rows = []
    for keys, trials in _cells(probed.deepest(), "depth"):
        for panel, (name, moment) in panels.items():
            found = [_moment_array(probed.probes[trial_id], name, moment) for trial_id, _ in _ids_and_depths(trials)]
            known = [matrix for matrix in found if matrix is not None and not np.isnan(matrix).all()]
            mean = _nanmean(np.array(known), axis=0) if known else np.zeros((0, 0))
            for p, q in zip(*np.tril_indices(len(mean)), strict=True):
                if not np.isnan(mean[p, q]):
                    place = {"panel": panel, "block_idx": p, "other_block_idx": q}
                    rows.append({**keys, **place, "n": len(known), "similarity": float(mean[p, q])})
    names = ("source", "curve", "depth", "panel", "block_idx", "other_block_idx", "n", "similarity")
    return _frame(rows, names, probed, "depth")


def block_values(arrays: Mapping[str, Array], metric: str, moment: str) -> Array | None:
    """One number a block, [L]: `NAME` of a catalogued array of blocks (of heads: their mean), `NAME.largest` and
    `NAME.smallest` over heads, or `adjacent.MAP.COLUMNS.KIND` for the similarity with the block before.

    None where the array or the moment does not exist; `shuffled` exists for raw adjacent similarity alone.
    """
    if metric.startswith("adjacent."):
        _, map_kind, columns, kind = metric.split(".")
        if moment == SHUFFLED and kind != "raw":
            return None
        name = similarity_name(map_kind, columns, "shuffled" if moment == SHUFFLED else kind)
        matrix = _moment_array(arrays, name, TRAINED if moment == SHUFFLED else moment)
        return None if matrix is None else np.concatenate([[np.nan], np.diagonal(matrix, offset=-1)])
    base, _, over_heads = metric.rpartition(".")
    reduce = {"largest": np.max, "smallest": np.min}.get(over_heads)
    values = None if moment == SHUFFLED else _moment_array(arrays, base if reduce else metric, moment)
    if values is None or values.ndim == 1:
        return values
    return np.asarray(reduce(values, axis=1)) if reduce else _nanmean(values, axis=1)


def _cells(trials: pd.DataFrame, x: str) -> Iterable[tuple[dict[str, Any], pd.DataFrame]]:
    for (curve, place, _), members in trials.groupby(["drawn", x, "cell_id"], sort=False):
        yield {"source": THIS_SWEEP, "curve": curve, x: place}, members.sort_values("seed")


def _ids_and_depths(trials: pd.DataFrame) -> list[tuple[str, int]]:
    return [(str(trial), int(depth)) for trial, depth in zip(trials["trial_id"], trials["depth"], strict=True)]


def _moment_array(arrays: Mapping[str, Array], name: str, moment: str) -> Array | None:
    if name not in arrays:
        return None
    index = 0 if moment == UNTRAINED else -1
    if (arrays["epoch"][index] == 0) != (moment == UNTRAINED):
        return None
    return np.asarray(arrays[name][index], dtype=np.float64)


def _moment(arrays: Mapping[str, Array], name: str, moment: str) -> float:
    found = _moment_array(arrays, name, moment)
    return float("nan") if found is None else float(found)


def _mean(values: Array, name: str) -> list[dict[str, Any]]:
    """One row with the mean of the values that exist, none where there is none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    found = mean_interval(known.tolist())
    unit = "_percent" if name.endswith("_percent") else ""
    return [{"n": found.n, name: found.mean, f"low{unit}": found.low, f"high{unit}": found.high}]


def _nanmean(values: Array, axis: int) -> Array:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        return np.asarray(np.nanmean(values, axis=axis))


def _published_row(point: Any) -> dict[str, Any]:
    return {
        "source": f"{PUBLISHED}: {point.source}",
        "curve": point.model,
        "depth": point.depth,
        "map": "not published",
        "rule": "not published",
        "moment": TRAINED,
        "n": 1,
        "share_percent": 100.0 * point.num_similar / point.depth,
    }


def _frame(rows: list[dict[str, Any]], names: Sequence[str], probed: Probed, x: str) -> pd.DataFrame:
    whole = {"n", "depth", "block_idx", "other_block_idx"}
    texts = {"source", "curve", "map", "rule", "moment", "metric", "panel"}
    kinds = {name: "Int64" if name in whole else "string" if name in texts else "float64" for name in names}
    data = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=kinds[name]) for name in names})
    data.attrs = {"x": x, "parts": Shared(probed.probed_parts)}
    return data
