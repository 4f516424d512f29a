"""The numbers behind the figures of the diagnostics: those of the probes, trained beside untrained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.views.frames import Frames, read_frames
from orchestrator.views.probe_figure_data import (
    HEAT_MAPS,
    block_curve_data,
    block_values,
    heat_map_data,
    similar_blocks_data,
)
from orchestrator.views.published import DEEPVIT_SIMILAR_BLOCKS
from tests.views.answered_sweep import build_answered, make_probes
from tests.views.sweep_builder import make_trial

RAW = "map_similarity.softmax.patch.raw"


def test_the_share_of_similar_blocks_is_the_count_over_the_depth(frames: Frames) -> None:
    data = similar_blocks_data(frames.probed, "depth")
    ours = data[data["source"] == "this sweep"]
    assert len(ours) == 3 * 4 * 2 * 2 * 2
    trained = ours[ours["moment"] == "trained"]
    untrained = ours[ours["moment"] == "untrained"]
    assert list(trained["share_percent"]) == [50.0] * len(trained)
    depths = untrained["depth"].to_numpy(dtype=float)
    assert untrained["share_percent"].to_numpy() == pytest.approx(100.0 * (depths - 1) / depths)
    assert set(ours["n"]) == {6}


def test_the_published_counts_stand_beside_depth_and_nowhere_else(frames: Frames) -> None:
    published = similar_blocks_data(frames.probed, "depth").query("map == 'not published'")
    expected = [(p.model, p.depth, 100.0 * p.num_similar / p.depth) for p in DEEPVIT_SIMILAR_BLOCKS]
    assert list(zip(published["curve"], published["depth"], published["share_percent"], strict=True)) == expected
    assert published["source"].str.contains("arXiv 2103.11886").all()
    by_width = similar_blocks_data(frames.probed, "embed_dim")
    assert set(by_width["source"]) == {"this sweep"}


def test_block_curves_are_means_over_seeds_of_the_deepest_cell(frames: Frames) -> None:
    data = block_curve_data(frames.probed, ["token_cosine.raw", "adjacent.softmax.patch.raw"])
    assert set(data["depth"]) == {16}
    assert set(data["moment"]) == {"trained", "untrained", "shuffled"}
    mine = data[(data["curve"] == "mix_only") & (data["metric"] == "token_cosine.raw") & (data["moment"] == "trained")]
    trials = [make_trial({"depth": 16, "attention": "mix_only"}, seed) for seed in range(6)]
    expected = np.mean([make_probes(trial)["token_cosine.raw"][-1] for trial in trials], axis=0)
    assert mine["value"].to_numpy() == pytest.approx(expected)
    assert (mine["low"] < mine["value"]).all()
    adjacent = data[data["metric"] == "adjacent.softmax.patch.raw"]
    assert adjacent["block_idx"].min() == 1, "the first block has none before it"


def test_a_metric_that_an_attention_lacks_has_no_row(frames: Frames) -> None:
    data = block_curve_data(frames.probed, ["theta_identity_distance", "skip_acc_drop"])
    theta = data[data["metric"] == "theta_identity_distance"]
    assert set(theta["curve"]) == {"reattention", "mix_only"}
    assert set(data.loc[data["metric"] == "skip_acc_drop", "moment"]) == {"trained"}


def test_values_by_block_are_those_of_the_arrays() -> None:
    arrays = make_probes(make_trial({"depth": 6, "attention": "reattention"}, 0))
    first, last = (
        block_values(arrays, "token_cosine.raw", "untrained"),
        block_values(arrays, "token_cosine.raw", "trained"),
    )
    assert first is not None
    assert last is not None
    assert (first == arrays["token_cosine.raw"][0]).all()
    assert (last == arrays["token_cosine.raw"][1]).all()
    largest = block_values(arrays, "theta_singular_values.largest", "trained")
    assert largest is not None
    assert (largest == arrays["theta_singular_values"][1].max(axis=1)).all()
    gain = block_values(arrays, "batchnorm_gain", "trained")
    assert gain is not None
    assert gain == pytest.approx(arrays["batchnorm_gain"][1].mean(axis=1))
    before = block_values(arrays, "adjacent.softmax.patch.raw", "trained")
    assert before is not None
    assert np.isnan(before[0])
    assert before[3] == arrays[RAW][1, 3, 2]
    shuffled = block_values(arrays, "adjacent.softmax.patch.raw", "shuffled")
    assert shuffled is not None
    assert shuffled[3] == arrays["map_similarity.softmax.patch.shuffled"][1, 3, 2]
    assert block_values(arrays, "adjacent.softmax.patch.centred", "shuffled") is None
    assert block_values(arrays, "token_cosine.raw", "shuffled") is None


def test_a_network_that_was_not_probed_untrained_has_no_untrained_value() -> None:
    arrays = make_probes(make_trial({"depth": 6}, 0)) | {"epoch": np.array([2.0, 4.0])}
    assert block_values(arrays, "token_cosine.raw", "untrained") is None
    assert block_values(arrays, "token_cosine.raw", "trained") is not None


def test_a_heat_map_has_each_pair_once_and_its_own_baselines(frames: Frames) -> None:
    data = heat_map_data(frames.probed, "softmax")
    assert set(data["panel"]) == set(HEAT_MAPS)
    assert len(data) == 3 * len(HEAT_MAPS) * 16 * 17 // 2
    assert (data["other_block_idx"] <= data["block_idx"]).all()
    untrained = data[(data["panel"] == "raw, untrained") & (data["block_idx"] != data["other_block_idx"])]
    assert untrained["similarity"].to_numpy() == pytest.approx(0.99)
    diagonal = data[(data["block_idx"] == data["other_block_idx"]) & (data["panel"] == "raw, trained")]
    assert diagonal["similarity"].to_numpy() == pytest.approx(1.0)


def test_of_unequal_curves_the_deepest_depth_that_all_have_is_shown(tmp_path: Path) -> None:
    axes = {"depth": [4, 8], "attention": ["self", "reattention"]}
    sweep = build_answered(tmp_path, axes, seeds=2, num_images=40)
    for trial in sweep.trials:
        if trial.model.attention == "self" and trial.model.depth == 8:
            sweep.results.trial(trial.trial_id).probes_file.unlink()
    found = read_frames(sweep.results, sweep.name)
    assert set(block_curve_data(found.probed, ["rank_residual"])["depth"]) == {4}


def test_without_probes_every_frame_is_empty(tmp_path: Path) -> None:
    sweep = build_answered(tmp_path, {"depth": [4, 8]}, seeds=2, num_images=40, has_probes=False)
    found = read_frames(sweep.results, sweep.name)
    assert found.probed.is_empty
    assert len(similar_blocks_data(found.probed, "depth")) == 0
    assert len(block_curve_data(found.probed, ["rank_residual"])) == 0
    assert len(heat_map_data(found.probed, "map")) == 0
