"""A results root and a sweep's name in; everything that a report is made from out, read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from orchestrator.results import ResultsDir
from orchestrator.views.answers import Answers, find_answers
from orchestrator.views.arms import find_arms, read_cells
from orchestrator.views.probe_figure_data import Array, Probed, find_probed
from orchestrator.views.probe_rows import read_trial_arrays
from orchestrator.views.replicates import Replicates
from orchestrator.views.size_figure_data import curves_along
from orchestrator.views.stats import DEFAULT_MARGIN
from orchestrator.views.table import read_tables, summarize_cells
from orchestrator.views.tuning_table import read_choices


@dataclass(frozen=True, eq=False)
class Frames:
    """What a report is made from."""

    table: pd.DataFrame
    """A row a trial."""
    cells: pd.DataFrame
    """A row a cell."""
    epochs: pd.DataFrame
    """A row an epoch."""
    probes: Mapping[str, Mapping[str, Array]]
    """`trial_id` to its arrays, for trials that were probed."""
    choices: pd.DataFrame
    """What was tuned: a row a cell and nuisance field; none for a sweep without `tune:`."""
    scored: Mapping[str, Replicates]
    """`cell_id` to what its averaged trials scored."""
    margin: float
    """A gain in accuracy below it counts as none, 0..1."""

    run_notices: Sequence[str]
    """What a person should know of the sweep's runs, such as that a node was closed."""

    @cached_property
    def answers(self) -> Answers:
        """What the sweep says."""
        return find_answers(find_arms(self.table, self.scored), margin=self.margin)

    @cached_property
    def probed(self) -> Probed:
        """The probed trials on their curves over depth."""
        return find_probed(self.table, self.probes)

    @cached_property
    def probed_by_width(self) -> Probed:
        """The probed trials on their curves over the embedding dimension; none where it does not vary."""
        found = self.probed.trials
        if found["embed_dim"].nunique() < 2:
            found = found.iloc[:0]
        labels, curves = curves_along(found, "embed_dim")
        return Probed(found.assign(drawn=labels), self.probes, curves)

    @property
    def notices(self) -> list[str]:
        """About files that could not be read, each once."""
        told = [notice for frame in (self.table, self.epochs) for notice in frame.attrs["notices"]]
        return list(dict.fromkeys(told))


def read_frames(results: ResultsDir, sweep: str, *, margin: float = DEFAULT_MARGIN) -> Frames:
    """Read a sweep.

    Args:
        margin: a gain in accuracy below it counts as none, 0..1.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index is damaged.
    """
    tables = read_tables(results, sweep)
    table = tables.trials
    scored = read_cells(results, table, tables.test_sets)
    return Frames(
        table=table,
        cells=summarize_cells(table, scored),
        epochs=tables.epochs,
        probes=read_trial_arrays(results, table),
        choices=read_choices(results, sweep),
        scored=scored,
        margin=margin,
        run_notices=[f"Run {run.number}: {text}." for run in results.sweep(sweep).read_runs() for text in run.notices],
    )
