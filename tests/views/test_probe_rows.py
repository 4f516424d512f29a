from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from orchestrator import durable
from orchestrator.errors import UsageError
from orchestrator.npz_files import npz_bytes
from orchestrator.probe_catalog import PROBES
from orchestrator.trial import Trial
from orchestrator.views.probe_rows import HEAD_SUMMARIES, block_columns, read_probe_arrays, read_probes
from orchestrator.views.table import read_table
from tests.views.sweep_builder import SweepBuilder, build_sweep, diverged

NUM_HEADS = 4
RAW = "map_similarity.softmax.patch.raw"


def arrays_of(trial: Trial, epochs: Sequence[int]) -> dict[str, np.ndarray]:
    """Numbers that differ everywhere: seed, array, moment and place."""
    sizes = {"L": trial.model.depth, "H": NUM_HEADS}
    found = {}
    for index, (name, info) in enumerate(PROBES.items()):
        shape = (len(epochs), *(sizes[axis] for axis in info.dims))
        found[name] = 1000.0 * trial.seed + index + np.arange(np.prod(shape)).reshape(shape) / 100
    return found | {"epoch": np.array(epochs, dtype=float)}


def probe(sweep: SweepBuilder, trial: Trial, epochs: Sequence[int] = (0, 4), **changes: np.ndarray) -> None:
    content = arrays_of(trial, epochs) | changes
    durable.write_bytes(sweep.results.trial(trial.trial_id).probes_file, npz_bytes(content))


@pytest.fixture
def sweep(tmp_path: Path) -> SweepBuilder:
    """Two cells of two seeds; every trial is finished and all but the last are probed."""
    built = build_sweep(tmp_path, {"depth": [2, 3], "attention": ["self"]}, seeds=2)
    for trial in built.trials:
        built.finish(trial)
    for trial in built.trials[:-1]:
        probe(built, trial)
    return built


def test_there_is_a_row_for_each_trial_moment_and_block(sweep: SweepBuilder) -> None:
    rows = read_probes(sweep.results, sweep.name)
    assert len(rows) == 2 * (2 + 2 + 3)
    first = rows[rows["trial_id"] == sweep.trials[0].trial_id]
    assert first["moment"].tolist() == ["untrained", "untrained", "final", "final"]
    assert first["epoch"].tolist() == [0, 0, 4, 4]
    assert first["block_idx"].tolist() == [0, 1, 0, 1]
    assert sweep.trials[-1].trial_id not in set(rows["trial_id"])


def test_columns_are_those_that_are_documented_and_name_trials_as_the_table_does(sweep: SweepBuilder) -> None:
    rows, table = read_probes(sweep.results, sweep.name), read_table(sweep.results, sweep.name)
    place = ["epoch", "moment", "block_idx"]
    identity = [name for name in rows.columns if name not in block_columns() and name not in place]
    assert list(rows.columns) == [*identity, *place, *block_columns()]
    merged = rows[identity].drop_duplicates().merge(table, on=identity)
    assert len(merged) == 3
    assert {str(rows[name].dtype) for name in block_columns()} == {"float64"}
    assert rows.attrs["axes"] == ["depth", "attention"]


def test_each_kind_of_array_becomes_its_columns(sweep: SweepBuilder) -> None:
    rows = read_probes(sweep.results, sweep.name)
    arrays = arrays_of(sweep.trials[2], (0, 4))
    final = rows[(rows["trial_id"] == sweep.trials[2].trial_id) & (rows["moment"] == "final")]
    np.testing.assert_array_equal(final["effective_rank"], arrays["effective_rank"][1])
    np.testing.assert_array_equal(final["similar_blocks.map.adjacent"], [arrays["similar_blocks.map.adjacent"][1]] * 3)
    entropy = arrays["attention_entropy"][1]
    for end, over_heads in zip(HEAD_SUMMARIES, (np.mean, np.min, np.max), strict=True):
        np.testing.assert_allclose(final[f"attention_entropy{end}"], over_heads(entropy, axis=1), rtol=1e-12)
    similarity = arrays[RAW][1]
    assert np.isnan(final[f"{RAW}.previous"].iloc[0])
    np.testing.assert_array_equal(final[f"{RAW}.previous"][1:], [similarity[1, 0], similarity[2, 1]])


def test_a_value_that_does_not_exist_stays_missing(sweep: SweepBuilder) -> None:
    trial = sweep.trials[0]
    probe(sweep, trial, theta_singular_values=np.full((2, 2, NUM_HEADS), np.nan))
    rows = read_probes(sweep.results, sweep.name)
    own = rows[rows["trial_id"] == trial.trial_id]
    assert own[["theta_singular_values", "theta_singular_values.min"]].isna().all(axis=None)


def test_arrays_are_averaged_over_the_seeds_of_a_cell(sweep: SweepBuilder) -> None:
    cells = read_probe_arrays(sweep.results, sweep.name, RAW)
    assert [(cell.depth, cell.num_trials) for cell in cells] == [(2, 2), (3, 1)]
    each = [arrays_of(trial, (0, 4))[RAW][1] for trial in sweep.trials[:2]]
    np.testing.assert_allclose(cells[0].values, np.mean(each, axis=0))
    untrained = read_probe_arrays(sweep.results, sweep.name, RAW, moment="untrained")
    np.testing.assert_allclose(untrained[1].values, arrays_of(sweep.trials[2], (0, 4))[RAW][0])
    assert cells[0].axes == {"depth": 2, "attention": "self"}


def test_a_missing_value_of_one_seed_does_not_hide_that_of_another(sweep: SweepBuilder) -> None:
    other = arrays_of(sweep.trials[1], (0, 4))["effective_rank"]
    probe(sweep, sweep.trials[0], effective_rank=np.full((2, 2), np.nan))
    cells = read_probe_arrays(sweep.results, sweep.name, "effective_rank")
    np.testing.assert_array_equal(cells[0].values, other[1])


def test_chosen_epochs_are_found_by_number_and_other_moments_are_absent(sweep: SweepBuilder) -> None:
    probe(sweep, sweep.trials[0], epochs=(0, 2, 4))
    cells = read_probe_arrays(sweep.results, sweep.name, RAW, moment=2)
    assert [(cell.depth, cell.num_trials) for cell in cells] == [(2, 1)]
    rows = read_probes(sweep.results, sweep.name)
    assert set(rows[rows["epoch"] == 2]["moment"]) == {"chosen"}
    assert read_probe_arrays(sweep.results, sweep.name, RAW, moment=3) == []


def test_a_diverged_trial_has_rows_and_no_final_moment_nor_part_in_a_mean(sweep: SweepBuilder) -> None:
    trial = sweep.trials[0]
    sweep.finish(trial, diverged(trial))
    probe(sweep, trial, epochs=(0, 1))
    rows = read_probes(sweep.results, sweep.name)
    assert set(rows[rows["trial_id"] == trial.trial_id]["moment"]) == {"untrained", "chosen"}
    assert read_probe_arrays(sweep.results, sweep.name, RAW)[0].num_trials == 1


def test_damaged_probes_are_left_out_and_named(sweep: SweepBuilder) -> None:
    folder = sweep.results.trial(sweep.trials[0].trial_id)
    folder.probes_file.write_bytes(folder.probes_file.read_bytes()[:-30])
    rows = read_probes(sweep.results, sweep.name)
    assert sweep.trials[0].trial_id not in set(rows["trial_id"])
    assert rows.attrs["notices"] == [f"trials/{folder.path.name}/probes.npz is damaged; its probes are left out"]


def test_a_sweep_without_probes_has_the_columns_and_no_row(tmp_path: Path) -> None:
    built = build_sweep(tmp_path, {"depth": [2], "attention": ["self"]}, seeds=1)
    rows = read_probes(tmp_path, built.name)
    assert len(rows) == 0
    assert set(block_columns()) < set(rows.columns)
    assert read_probe_arrays(tmp_path, built.name, RAW) == []


def test_an_unknown_array_is_refused_with_the_known_ones(sweep: SweepBuilder) -> None:
    with pytest.raises(UsageError, match=r"no probe 'entropy'; there are: .*attention_entropy"):
        read_probe_arrays(sweep.results, sweep.name, "entropy")
