"""Stacked models compute what each of them computes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from orchestrator.catalog import ATTENTIONS
from orchestrator.errors import TrainingError
from orchestrator.models import build_model
from orchestrator.models.stacked import draw_masks, find_draws, stack_modules, take_masks
from tests.models.trials import make_trial

DROPPING = {"drop_path_rate": 0.3, "proj_drop_rate": 0.2, "drop_rate": 0.1}


def losses_of(stacked: nn.Module, numbers: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """A loss of each model, on images of its own."""

    def loss_of_one(numbers: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        return functional_call(stacked, numbers, (images,)).square().mean()

    with sdpa_kernel(SDPBackend.MATH):
        return torch.vmap(loss_of_one, randomness="error")(numbers, images)


@pytest.mark.parametrize("img_size", [8, pytest.param(16, id="without maps")])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_losses_gradients_and_statistics_are_those_of_each_model(attention: str, img_size: int) -> None:
    models = [build_model(make_trial(seed=seed, attention=attention, img_size=img_size)).double() for seed in range(3)]
    alone = copy.deepcopy(models)
    stacked = stack_modules(models)
    images = torch.randn(3, 4, 1, img_size, img_size, dtype=torch.float64)
    numbers = {**dict(stacked.named_parameters()), **dict(stacked.named_buffers())}
    losses = losses_of(stacked, numbers, images)
    losses.sum().backward()
    for index, (model, own) in enumerate(zip(alone, models, strict=True)):
        loss = model(images[index]).square().mean()
        loss.backward()
        torch.testing.assert_close(losses[index], loss)
        for name, parameter in model.named_parameters():
            gradient = numbers[name].grad
            assert (gradient is None) == (parameter.grad is None)
            if gradient is not None:
                torch.testing.assert_close(gradient[index], parameter.grad, rtol=1e-7, atol=1e-10)
        torch.testing.assert_close(dict(own.named_buffers()), dict(model.named_buffers()))


def test_the_numbers_of_a_model_are_views_of_the_stacked_ones() -> None:
    models = [build_model(make_trial(seed=seed, attention="reattention")) for seed in range(2)]
    before = copy.deepcopy(models[1].state_dict())
    stacked = stack_modules(models)
    torch.testing.assert_close(models[1].state_dict(), before, rtol=0, atol=0)
    for name, value in stacked.state_dict().items():
        value[1] += 1
        assert torch.equal(models[1].state_dict()[name], before[name] + 1)
    assert not torch.equal(models[0].head.weight, models[1].head.weight)


def test_masks_are_those_of_the_model_alone_in_its_order() -> None:
    model = build_model(make_trial(**DROPPING)).train()
    images = torch.randn(5, 1, 8, 8)
    torch.manual_seed(3)
    expected = model(images)
    draws = find_draws(model, torch.zeros_like(images))
    given = copy.deepcopy(model)
    take_masks(given, draws)
    torch.manual_seed(3)
    torch.testing.assert_close(functional_call(given, draw_masks(draws), (images,)), expected, rtol=0, atol=0)
    torch.testing.assert_close(given.eval()(images), model.eval()(images), rtol=0, atol=0)
    assert given.state_dict().keys() == model.state_dict().keys()


def test_looking_for_draws_changes_nothing() -> None:
    model = build_model(make_trial(attention="reattention", **DROPPING)).eval()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    assert len(find_draws(model, torch.zeros(4, 1, 8, 8))) == 2 * 2 + 3 * 3 + 1  # the first block drops no path
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not model.training
    assert find_draws(build_model(make_trial()), torch.zeros(4, 1, 8, 8)) == ()


def test_a_module_that_draws_twice_in_a_pass_is_refused() -> None:
    twice = nn.Dropout(0.5)
    with pytest.raises(TrainingError, match="called twice"):
        find_draws(nn.Sequential(twice, twice), torch.zeros(2, 3))
