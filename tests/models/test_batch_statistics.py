"""models/batch_statistics.py: whose output depends on the rest of the batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from orchestrator.catalog import ATTENTIONS
from orchestrator.models import build_model
from orchestrator.models.batch_statistics import has_batch_statistics
from orchestrator.trial import Trial

OVER_THE_BATCH = {"reattention", "batchnorm_only", "gain_only"}


@pytest.mark.parametrize("attention", sorted(ATTENTIONS))
def test_the_attentions_that_normalise_over_the_batch_are_found(attention: str, tiny_trial: Trial) -> None:
    trial = replace(tiny_trial, model=replace(tiny_trial.model, attention=attention, drop_path_rate=0.2, drop_rate=0.1))
    assert has_batch_statistics(build_model(trial), trial.model, 1) is (attention in OVER_THE_BATCH)


def test_reattention_without_its_norm_has_none(tiny_trial: Trial) -> None:
    model = replace(tiny_trial.model, attention="reattention", reattention_norm="none")
    trial = replace(tiny_trial, model=model)
    assert not has_batch_statistics(build_model(trial), trial.model, 1)


class Centred(nn.Module):
    """Takes the batch's mean away and keeps nothing."""

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return images_BCHW.flatten(1) - images_BCHW.flatten(1).mean(0)


def test_what_keeps_no_statistics_is_tried_out(tiny_trial: Trial) -> None:
    before = torch.random.get_rng_state()
    assert has_batch_statistics(Centred(), tiny_trial.model, 1)
    assert not has_batch_statistics(nn.Flatten(), tiny_trial.model, 1)
    assert has_batch_statistics(nn.BatchNorm2d(1, track_running_stats=False), tiny_trial.model, 1)
    assert torch.equal(before, torch.random.get_rng_state())
