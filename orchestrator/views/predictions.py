"""The finished trials of one cell in; what they scored out, image by image where every trial kept its predictions.

`predictions.npz` holds one bit an image. Cells pair on images where their test sets bear one name: the content of the
data and the share of it that is held out, which fix the images and their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.errors import ResultsError
from orchestrator.npz_files import read_npz
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.views.replicates import Replicates, score_images, score_seeds
from orchestrator.views.table import averaged_trials
from orchestrator.views.trial_rows import test_set_of


def read_replicates(results: ResultsDir, trials: pd.DataFrame) -> Replicates | None:
    """What the trials of one cell scored, by seed; None where none of them has finished.

    Trials that the cell's mean leaves out are left out here too (`averaged_trials`).

    Args:
        trials: rows of a `read_table` frame, all of one cell.
    """
    averaged = averaged_trials(trials).sort_values("seed")
    if averaged.empty:
        return None
    ids = [str(trial_id) for trial_id in averaged["trial_id"]]
    scores = zip(ids, map(int, averaged["seed"]), map(float, averaged["test_acc"]), strict=True)
    return score_trials(results, list(scores), {name: name_test_set(results.trial(name)) for name in ids})


def score_trials(
    results: ResultsDir, trials: Sequence[tuple[str, int, float]], test_sets: Mapping[str, str | None]
) -> Replicates:
    """What these trials, all that one cell's mean holds, scored.

    Where one trial's predictions are missing, damaged or not those of its record, or the trials saw different test
    sets, the accuracies are all that is given; `trials_without_predictions` names the cause.

    Args:
        trials: id, seed and test accuracy of each, by seed.
        test_sets: trial to the name of what it was tested on.
    """
    seeds, accs = [seed for _, seed, _ in trials], [acc for _, _, acc in trials]
    bits = [read_is_correct(results.trial(trial_id), acc) for trial_id, _, acc in trials]
    names = {test_sets.get(trial_id) for trial_id, _, _ in trials}
    known = [row for row in bits if row is not None]
    name = names.pop() if len(names) == 1 else None
    if name is None or len(known) < len(bits) or len({len(row) for row in known}) > 1:
        return score_seeds(accs, seeds)
    return score_images(np.stack(known), seeds, name)


def trials_without_predictions(results: ResultsDir, trials: pd.DataFrame) -> list[str]:
    """Ids of the averaged trials of one cell whose predictions cannot be used."""
    averaged = averaged_trials(trials)
    pairs = zip(averaged["trial_id"], averaged["test_acc"], strict=True)
    return [str(name) for name, acc in pairs if read_is_correct(results.trial(str(name)), float(acc)) is None]


def read_is_correct(folder: TrialFolder, acc: float) -> NDArray[np.bool_] | None:
    """[images] whether the final model was right; None where the file is missing, damaged, or has another accuracy.

    Args:
        acc: what the record says, 0..1.
    """
    try:
        content = read_npz(folder.predictions_file.read_bytes())
        num_images = int(content["num_images"])
        bits = np.unpackbits(content["is_correct"])[:num_images].astype(bool)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not num_images or len(bits) != num_images or abs(float(bits.mean()) - acc) > 0.5 / num_images:
        return None
    return bits


def name_test_set(folder: TrialFolder) -> str | None:
    """A name that two trials share exactly when they were tested on the same images; None without a readable record."""
    try:
        record = folder.read_record()
    except ResultsError:
        return None
    if record is None:
        return None
    return test_set_of(record)
