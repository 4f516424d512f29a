"""A report finds its own weaknesses, and only those it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.trial import Trial
from orchestrator.views.caveats import find_all_caveats
from orchestrator.views.frames import read_frames
from tests.views.answered_sweep import build_answered, change_record, make_probes, write_probes
from tests.views.sweep_builder import SweepBuilder, diverged, make_provenance

AXES: dict[str, Any] = {"depth": [4, 8, 12], "attention": ["self", "reattention"]}
CONTENT: dict[str, Any] = {"seeds": 6, "num_images": 40}


def caveats(sweep: SweepBuilder) -> str:
    return " ".join(find_all_caveats(read_frames(sweep.results, sweep.name)))


def build(root: Path, **changes: Any) -> SweepBuilder:
    """A sweep whose best depth is not its deepest and, where it has probes, whose diagnostics moved in training."""

    def acc_of(trial: Trial) -> float:
        return {4: 0.6, 8: 0.9, 12: 0.7}[trial.model.depth]

    content = {"has_probes": False, **CONTENT, **changes}
    sweep = build_answered(root, {**AXES, "lr": [1e-3]}, acc_of=acc_of, **content)
    for trial in sweep.trials if content["has_probes"] else ():
        arrays = make_probes(trial)
        write_probes(sweep, trial, **{"token_cosine.raw": arrays["token_cosine.raw"] + np.array([[0.0], [0.4]])})
    return sweep


def test_six_seeds_with_predictions_and_a_moved_metric_need_no_caveat(tmp_path: Path) -> None:
    assert caveats(build(tmp_path, has_probes=True)) == ""


def lose_predictions(sweep: SweepBuilder) -> None:
    sweep.results.trial(sweep.trials[0].trial_id).predictions_file.unlink()


def diverge_a_cell(sweep: SweepBuilder) -> None:
    for trial in sweep.trials[:6]:
        sweep.finish(trial, diverged(trial))


def mix_devices(sweep: SweepBuilder) -> None:
    change_record(sweep, sweep.trials[0], provenance=make_provenance(device="another GPU"))


def mix_code(sweep: SweepBuilder) -> None:
    change_record(sweep, sweep.trials[0], provenance=make_provenance(code_fingerprint="other"))


def pack_one(sweep: SweepBuilder) -> None:
    change_record(sweep, sweep.trials[0], num_packed=3)


def freeze_the_metric(sweep: SweepBuilder) -> None:
    for trial in sweep.trials:
        if trial.model.depth < 12:
            continue
        same = np.full((2, trial.model.depth), 0.8)
        write_probes(sweep, trial, **{"token_cosine.raw": same})


def stop_one(sweep: SweepBuilder) -> None:
    sweep.results.trial(sweep.trials[0].trial_id).record_file.unlink()


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lose_predictions, "Seeds only: 1 of 6 cells have no usable predictions by image"),
        (diverge_a_cell, "No seed of these cells has finished, because some diverged"),
        (mix_devices, "Means over different kinds of device"),
        (mix_code, "Means over different versions of the code"),
        (pack_one, "Means over seeds trained in one pass and seeds trained alone, apart by rounding"),
        (pack_one, "The times of 1 of 36 finished trials are those of all seeds"),
        (freeze_the_metric, "raw token cosine: self, lr 0.001 (0.80, untrained 0.80)"),
        (stop_one, "The sweep is unfinished: 1 of 36 trials have no result yet"),
    ],
)
def test_a_weakness_is_told(tmp_path: Path, break_it: Callable[[SweepBuilder], None], words: str) -> None:
    sweep = build(tmp_path)
    break_it(sweep)
    assert words in caveats(sweep)


def test_three_seeds_are_few(tmp_path: Path) -> None:
    assert "Few seeds (n = 3): no sign-flip test can go below p = 0.25" in caveats(build(tmp_path, seeds=3))


def test_one_recipe_for_all_depths_is_told_unless_the_learning_rate_is_an_axis(tmp_path: Path) -> None:
    sweep = build_answered(tmp_path, AXES, has_probes=False, **CONTENT)
    assert "one recipe serves all depths" in caveats(sweep)


def test_seeds_that_are_not_shared_are_told(tmp_path: Path) -> None:
    sweep = build(tmp_path)
    for trial in sweep.trials:
        if (trial.seed < 3) == (trial.model.attention == "self"):
            sweep.results.trial(trial.trial_id).record_file.unlink()
    assert "Seeds are not shared, so differences are unpaired" in caveats(sweep)


def test_curves_and_pairs_beyond_what_is_asked_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.views.answers.MAX_ARMS", 1)
    monkeypatch.setattr("orchestrator.views.answers.MAX_PAIRS", 1)
    axes = {**AXES, "attention": ["self", "reattention", "mix_only"]}
    sweep = build_answered(tmp_path, axes, has_probes=False, **CONTENT)
    told = "Only the first 1 of 3 curves are asked where depth stops paying, and only the first 1 pairs of curves are"
    assert told in caveats(sweep)
