"""A cell's ranges and what its earlier proposals came to in, its next proposals out: the only file that imports optuna.

One Optuna study a cell, asked and told from here. It is made anew for each batch from what the files say of earlier
ones, always in the order of their numbers, so nothing of it is kept. Numbers are rounded to four digits, which no
recipe can tell apart and which makes a trial's id the same on machines whose logarithms differ in the last bit.

Importing this file takes half a second; import it inside functions.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, QMCSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.grids.search_cell import SearchCell
from orchestrator.grids.tune_spec import Range, Tune
from orchestrator.record import State
from orchestrator.tuned import Proposal

optuna.logging.set_verbosity(optuna.logging.ERROR)

NUM_DIGITS = 4
WORST_ACC = 0.0
"""What TPE is told of a proposal that diverged: no accuracy is less."""


def optuna_version() -> str:
    """Optuna's version, on which proposals depend."""
    return str(optuna.__version__)


def propose(cell: SearchCell, tune: Tune, batch: int, earlier: Sequence[Proposal]) -> list[dict[str, Any]]:
    """The values of batch number `batch` of the cell's proposals, from 0.

    Quasi-random proposals are consecutive points of a Sobol sequence that is scrambled by the cell's id (Owen 1998):
    proposal i depends on the cell and i only. TPE (Bergstra et al. 2011) reads `earlier`, all proposals of the batches
    before, and is seeded by the cell and the batch; its first batch is random.
    """
    first = batch * tune.trials_a_batch
    num_new = min(tune.trials_a_batch, tune.num_trials - first)
    ranges = sorted(cell.ranges, key=lambda one: one.name)
    with _quietly():
        if tune.sampler == "quasi_random":
            return _quasi_random(cell.cell_id, ranges, first + num_new)[first:]
        return _tpe(cell.cell_id, ranges, batch, num_new, tune.trials_a_batch, earlier)


def _quasi_random(cell_id: str, ranges: Sequence[Range], num: int) -> list[dict[str, Any]]:
    space: dict[str, BaseDistribution] = {one.name: _evenly(one) for one in ranges}
    study = _study(QMCSampler(qmc_type="sobol", scramble=True, seed=_seed(cell_id), warn_independent_sampling=False))
    # The sampler takes its space from the first trial and draws that one itself; this one stands in for it.
    stand_in = {one.name: 0 if one.kind == "choice" else one.values[0] for one in ranges}
    study.add_trial(create_trial(value=WORST_ACC, params=stand_in, distributions=space))
    asked = [study.ask(space).params for _ in range(num)]
    return [
        {one.name: one.values[p[one.name]] if one.kind == "choice" else _rounded(one, p[one.name]) for one in ranges}
        for p in asked
    ]


def _tpe(
    cell_id: str, ranges: Sequence[Range], batch: int, num: int, num_random: int, earlier: Sequence[Proposal]
) -> list[dict[str, Any]]:
    space = {one.name: _distribution(one) for one in ranges}
    study = _study(
        TPESampler(
            seed=_seed(f"{cell_id} batch {batch}"), n_startup_trials=num_random, multivariate=True, constant_liar=True
        )
    )
    for proposal in earlier:
        told = _told(proposal, ranges, space)
        if told is not None:
            study.add_trial(told)
    asked = [study.ask(space).params for _ in range(num)]
    return [
        {one.name: one.values[p[one.name]] if one.kind == "choice" else _rounded(one, p[one.name]) for one in ranges}
        for p in asked
    ]


def _study(sampler: BaseSampler) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=sampler)


def _told(proposal: Proposal, ranges: Sequence[Range], space: Mapping[str, BaseDistribution]) -> FrozenTrial | None:
    """A past proposal as TPE reads it; one that failed says nothing about its values."""
    if proposal.state is State.FAIL:
        return None
    params = {
        one.name: one.values.index(proposal.values[one.name]) if one.kind == "choice" else proposal.values[one.name]
        for one in ranges
    }
    acc = proposal.val_acc if proposal.val_acc is not None else WORST_ACC
    if proposal.state is State.PRUNED:
        steps = {proposal.pruned_epoch or 0: acc}
        return create_trial(
            state=TrialState.PRUNED, params=params, distributions=dict(space), intermediate_values=steps
        )
    return create_trial(value=acc, params=params, distributions=dict(space))


def _evenly(one: Range) -> BaseDistribution:
    """Choices as whole numbers, so that the sequence spreads over them as over a range."""
    return IntDistribution(0, len(one.values) - 1) if one.kind == "choice" else _distribution(one)


def _distribution(one: Range) -> BaseDistribution:
    if one.kind == "choice":
        return CategoricalDistribution(tuple(range(len(one.values))))
    if one.kind == "int_uniform":
        return IntDistribution(*one.values)
    low, high = one.values
    return FloatDistribution(low, high, log=one.kind == "log_uniform")


def _rounded(one: Range, value: Any) -> Any:
    if one.kind == "int_uniform":
        return int(value)
    low, high = one.values
    return min(high, max(low, float(f"{value:.{NUM_DIGITS}g}")))


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


@contextmanager
def _quietly() -> Iterator[None]:
    """The samplers' arguments are those that this file wants, experimental or not; its tests hold what comes out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
