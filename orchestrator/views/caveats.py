"""Everything a report is made from in; what a reader should know before believing it out, each a sentence or two.

`sentences.find_caveats` looks at the means; this page adds what the answers and the diagnostics say about themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from orchestrator.record import State
from orchestrator.views.answer_sentences import MINUS, name_arm
from orchestrator.views.answers import Answers
from orchestrator.views.curves import field_name
from orchestrator.views.faults import find_fault_caveats
from orchestrator.views.frames import Frames
from orchestrator.views.probe_figure_data import TRAINED, UNTRAINED, Probed, block_values
from orchestrator.views.sentences import find_caveats, name_some, quote
from orchestrator.views.stats import mean_interval
from orchestrator.views.tuning_table import edge_warnings, search_warnings

CLOSE = 0.01
"""A single seed's metric that moved by less than this in training counts as not moved."""

COLLAPSE_METRICS = {
    "adjacent.softmax.patch.raw": "raw similarity of a softmax map with the block before",
    "adjacent.map.patch.raw": "raw similarity of the map that multiplies V with the block before",
    "token_cosine.raw": "raw token cosine",
}


def find_all_caveats(frames: Frames) -> list[str]:
    """The caveats of the whole report, those about the sweep as a whole first."""
    return [
        *_unfinished(frames.table),
        *_not_asked(frames.answers),
        *_recipe(frames.table, frames.choices),
        *search_warnings(frames.choices),
        *edge_warnings(frames.choices),
        *find_caveats(frames.cells, frames.table, frames.notices),
        *_lost_cells(frames.cells),
        *find_fault_caveats(frames.table, frames.epochs),
        *frames.run_notices,
        *_methods(frames.answers),
        *_pairing(frames.answers),
        *_untrained(frames.probed),
    ]


def _not_asked(answers: Answers) -> list[str]:
    found = []
    if answers.num_not_asked:
        total = len(answers.saturation) + answers.num_not_asked
        found.append(f"Only the first {len(answers.saturation)} of {total} curves are asked where depth stops paying")
    if answers.has_more_pairs:
        found.append(f"only the first {len(answers.comparisons)} pairs of curves are compared")
    if not found:
        return []
    told = ", and ".join(found)
    return [f"{told[:1].upper()}{told[1:]}, in the order of the spec; cells.csv has every cell."]


def _unfinished(table: pd.DataFrame) -> list[str]:
    waiting = int((~table["state"].isin([State.COMPLETE, State.DIVERGED])).sum())
    if not waiting or waiting == len(table):
        return []
    return [f"The sweep is unfinished: {waiting} of {len(table)} trials have no result yet, and all numbers may move."]


def _recipe(table: pd.DataFrame, choices: pd.DataFrame) -> list[str]:
    axes = {field_name(str(axis)) for axis in [*table.attrs["axes"], *choices["field"]]}
    if table["depth"].nunique() < 2 or "lr" in axes or (table["state"] != State.COMPLETE).all():
        return []
    told = "No cell has a learning rate of its own: one recipe serves all depths, so a plateau may be the recipe's. "
    return [f"{told}Tuning it for each cell, or making it an axis, would tell."]


def _lost_cells(cells: pd.DataFrame) -> list[str]:
    lost = cells[(cells["num_diverged"] > 0) & (cells["n"] == 0)]
    if lost.empty:
        return []
    names = [quote(str(label)) for label in lost["label"]]
    names_told = name_some(names)
    return [f"No seed of these cells has finished, because some diverged; nothing is averaged: {names_told}."]


def _methods(answers: Answers) -> list[str]:
    scored = [cell for arm in answers.arms for cell in arm.cells.values()]
    without = sum(cell.num_images is None for cell in scored)
    if not without:
        return []
    told = f"Seeds only: {without} of {len(scored)} cells have no usable predictions by image; their intervals are "
    return [f"{told}over seeds on these test images and say nothing about others."]


def _pairing(answers: Answers) -> list[str]:
    unpaired = {
        f"{name_arm(comparison.pair.a)} against {name_arm(comparison.pair.b)}": None
        for comparison in answers.comparisons
        for found in comparison.deltas
        if not found.difference.estimate.is_paired
    }
    if not unpaired:
        return []
    return [f"Seeds are not shared, so differences are unpaired and wider: {name_some(list(unpaired))}."]


def _untrained(probed: Probed) -> list[str]:
    """Metrics of collapse that did not move from their untrained value."""
    told = []
    for metric, words in COLLAPSE_METRICS.items():
        same = []
        for curve, trials in probed.deepest().groupby("drawn", sort=False):
            pairs = [_both_moments(probed, str(trial_id), metric) for trial_id in trials["trial_id"]]
            known = [pair for pair in pairs if np.isfinite(pair).all()]
            if known and _is_same([after - before for before, after in known]):
                before, after = np.mean(known, axis=0)
                same.append(f"{curve} ({after:.2f}, untrained {before:.2f})".replace("-0", f"{MINUS}0"))
        if same:
            told.append(f"{words}: {name_some(same)}")
    if not told:
        return []
    start = "At the deepest cells these diagnostics cannot be told from their untrained values over these seeds, "
    return [f"{start}so no effect of training is shown: {'. '.join(told)}."]


def _both_moments(probed: Probed, trial_id: str, metric: str) -> tuple[float, float]:
    """Mean over blocks before and after training."""
    found = [block_values(probed.probes[trial_id], metric, moment) for moment in (UNTRAINED, TRAINED)]
    before, after = (float("nan") if v is None or np.isnan(v).all() else float(np.nanmean(v)) for v in found)
    return before, after


def _is_same(changes: Sequence[float]) -> bool:
    interval = mean_interval(changes)
    if interval.low is None or interval.high is None:
        return abs(interval.mean) < CLOSE
    return interval.low <= 0.0 <= interval.high
