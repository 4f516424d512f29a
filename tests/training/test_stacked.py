"""Steps of stacked seeds: what cannot be stacked, and what a stack refuses."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from orchestrator.errors import TrainingError
from orchestrator.training.loop import Settings, Trainer, never_stop
from orchestrator.training.stacked import Stack, _mapped_attention, clip_gradients, why_not_stacked
from orchestrator.trial import Trial
from tests.training.packed import seeds_of


def trainers_of(trials: list[Trial], **settings: object) -> list[Trainer]:
    return [Trainer(trial, Settings(**settings), None, never_stop) for trial in trials]  # type: ignore[arg-type]


def test_what_cannot_be_stacked_says_why(tiny_trial: Trial) -> None:
    assert why_not_stacked(tiny_trial) is None
    (lamb,) = seeds_of(tiny_trial, num=1, optimizer="lamb")
    (parts,) = seeds_of(tiny_trial, num=1, micro_batch_size=8)
    (dropping,) = seeds_of(tiny_trial, num=1, model={"attn_drop_rate": 0.1})
    assert [why_not_stacked(trial).partition(" ")[0] for trial in (lamb, parts, dropping)] == [  # type: ignore[union-attr]
        "lamb", "micro_batch_size", "attn_drop_rate"
    ]  # fmt: skip


@pytest.mark.parametrize("max_norm", [0.1, 1e9])
def test_each_seed_is_clipped_by_its_own_norm(max_norm: float) -> None:
    stacked = [nn.Parameter(torch.zeros(3, *shape)) for shape in ((4, 5), (6,), ())]
    for parameter in stacked:
        parameter.grad = torch.randn(parameter.shape) * torch.tensor([0.01, 1.0, 100.0]).view(
            -1, *(1,) * (parameter.ndim - 1)
        )
    alone = [[nn.Parameter(torch.zeros(p.shape[1:])) for p in stacked] for _ in range(3)]
    for index, parameters in enumerate(alone):
        for parameter, whole in zip(parameters, stacked, strict=True):
            parameter.grad = whole.grad[index].clone()  # type: ignore[index]
        nn.utils.clip_grad_norm_(parameters, max_norm)
    clip_gradients([*stacked, nn.Parameter(torch.zeros(3, 2))], max_norm)
    for index, parameters in enumerate(alone):
        for parameter, whole in zip(parameters, stacked, strict=True):
            torch.testing.assert_close(whole.grad[index], parameter.grad)  # type: ignore[index]


def test_a_stack_that_computes_something_else_is_refused(tiny_trial: Trial) -> None:
    trainers = trainers_of(seeds_of(tiny_trial, num=2))
    trainers[1].model.norm.eps = 10.0  # what is no parameter is the first seed's in all of the stack
    with pytest.raises(TrainingError, match="seed 1 computes logits that are off by"):
        Stack(trainers)


def test_the_groups_of_the_optimizer_are_those_of_a_seed_alone(tiny_trial: Trial) -> None:
    trainers = trainers_of(seeds_of(tiny_trial, num=2, model={"residual_scale": "1/depth"}))
    stack, alone = Stack(trainers), trainers[0].optimizer
    names = {id(p): name for name, p in stack.model.named_parameters()}
    own_names = {id(p): name for name, p in trainers[0].model.named_parameters()}
    for group, own in zip(stack.optimizer.param_groups, alone.param_groups, strict=True):
        assert [names[id(p)] for p in group["params"]] == [own_names[id(p)] for p in own["params"]]
        assert {k: v for k, v in group.items() if k != "params"} == {k: v for k, v in own.items() if k != "params"}


def test_the_state_of_the_optimizer_comes_and_goes(tiny_trial: Trial) -> None:
    trainers = trainers_of(seeds_of(tiny_trial, num=3))
    stack = Stack(trainers)
    images, labels = torch.randn(64, 1, 8, 8), torch.arange(64) % 10
    for step in range(2):
        stack.train_step([(images, labels)] * 3, 1, step)
    for trainer in trainers:
        assert trainer.optimizer.state_dict()["state"] == {}
        stack.hand_out(trainer)
    states = copy.deepcopy([trainer.optimizer.state_dict()["state"] for trainer in trainers])
    assert float(states[0][0]["step"]) == 2
    assert not torch.equal(states[0][0]["exp_avg"], states[2][0]["exp_avg"])
    again = Stack([trainers[2], trainers[0]])
    for index, state in ((0, states[2]), (1, states[0])):
        for own, parameter in zip(state.values(), again.model.parameters(), strict=True):
            assert torch.equal(again.optimizer.state[parameter]["exp_avg"][index], own["exp_avg"])
            assert again.optimizer.state[parameter]["step"] == own["step"]


@pytest.mark.parametrize(("device", "takes_flash"), [("cpu", False), ("cuda", True)])
def test_no_way_of_attention_is_taken_whose_backward_pass_is_wrong_under_vmap(device: str, takes_flash: bool) -> None:
    ways = torch.backends.cuda
    with _mapped_attention(torch.device(device)):
        assert (ways.math_sdp_enabled(), ways.flash_sdp_enabled()) == (True, takes_flash)
        assert (ways.mem_efficient_sdp_enabled(), ways.cudnn_sdp_enabled()) == (False, False)


@pytest.mark.slow
def test_compiled_a_stack_trains_to_the_same_loss(tiny_trial: Trial) -> None:
    trials = seeds_of(tiny_trial, num=2, model={"drop_path_rate": 0.2}, clip_grad=1.0)
    images, labels = torch.randn(64, 1, 8, 8), torch.arange(64) % 10
    losses = []
    for compiles in (False, True):
        stack = Stack(trainers_of(trials, compile=compiles))
        losses.append([stack.train_step([(images, labels)] * 2, 1, step) for step in range(3)])
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=0.0)


def test_bf16_is_the_recipes(tiny_trial: Trial) -> None:
    trials = seeds_of(tiny_trial, num=2, precision="bf16")
    images, labels = torch.randn(64, 1, 8, 8), torch.arange(64) % 10
    (total,) = [Stack(trainers_of(trials)).train_step([(images, labels)] * 2, 1, 0)]
    exact = [replace(trial, train=replace(trial.train, precision="fp32")) for trial in trials]
    expected = Stack(trainers_of(exact)).train_step([(images, labels)] * 2, 1, 0)
    torch.testing.assert_close(total, expected, rtol=1e-2, atol=0.0)
    assert not torch.equal(total, expected)
