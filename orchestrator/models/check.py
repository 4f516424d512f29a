"""A trial and its built model in; an error that names every difference, or the counts only a model can tell, out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.cost import block_attentions, is_closed_form, num_params, num_params_outside_attention
from orchestrator.errors import TrainingError
from orchestrator.models.attention import attention_class
from orchestrator.models.vit import VisionTransformer, assemble
from orchestrator.trial import Trial


def check_model(model: VisionTransformer, trial: Trial) -> None:
    """Hold the built model's depth, attention of each block and parameter count against the trial.

    Raises:
        TrainingError: they differ; the message names each difference.
    """
    blocks: list[Any] = list(model.blocks)
    differences = []
    if len(blocks) != trial.model.depth:
        differences.append(f"depth is {len(blocks)}, asked for {trial.model.depth}")
    for block_idx, (block, name) in enumerate(zip(blocks, block_attentions(trial.model), strict=False)):
        expected = attention_class(name)
        if type(block.attn) is not expected:
            found = type(block.attn).__name__
            differences.append(f"the attention of block {block_idx} is {found}, asked for {expected.__name__}")
    found_params, expected_params = _comparable_params(model, trial)
    if found_params != expected_params:
        differences.append(f"it has {found_params:,} parameters, the trial makes {expected_params:,}")
    if differences:
        raise TrainingError(f"the model built for {trial.label} is not what was asked: {'; '.join(differences)}")


def _comparable_params(model: VisionTransformer, trial: Trial) -> tuple[int, int]:
    """Parameters of the model and of the closed form; without those of attentions where there is no closed form."""
    found = _count(model)
    if is_closed_form(trial):
        return found, num_params(trial)
    blocks: list[Any] = list(model.blocks)
    return found - sum(_count(block.attn) for block in blocks), num_params_outside_attention(trial)


def count_on_meta(trial: Trial) -> tuple[int, int]:
    """Parameters, and FLOPs of one image forward, of the model built without memory on torch's meta device.

    Raises:
        TrainingError: a user's attention cannot be built or run there.
    """
    shape = (1, trial.data.in_chans, trial.model.img_size, trial.model.img_size)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.random.fork_rng(devices=[]), torch.no_grad():
        model = assemble(trial.model, trial.data.in_chans, trial.data.num_classes).eval()
        try:
            with counter:
                model(torch.empty(shape))
        except Exception as error:  # whatever a user's forward raises on tensors without values
            raise TrainingError(
                f"the FLOPs of attention {trial.model.attention!r} cannot be counted on torch's meta device: "
                f"{type(error).__name__}: {error}"
            ) from error
    return _count(model), counter.get_total_flops()


def _count(module: nn.Module) -> int:
    """Trainable parameters; a frozen Theta is none."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
