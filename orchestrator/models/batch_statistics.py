"""A built model in; whether an image's output depends on the other images of its batch, as with BatchNorm, out.

Where it does, a smaller micro-batch is another experiment and not only other rounding.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from orchestrator.configs import ModelConfig

RUNNING = ("running_mean", "running_var")


def has_batch_statistics(model: nn.Module, config: ModelConfig, in_chans: int) -> bool:
    """Whether the model, in training, computes anything over a batch.

    A module that keeps running statistics says so; what a user's own code does without any is tried out: one image is
    trained on beside two different others. The model is left as it is, and so are the global random states.
    """
    keeps_statistics = any(name.rpartition(".")[2] in RUNNING for name, _ in model.named_buffers())
    if keeps_statistics or any(isinstance(module, _BatchNorm) for module in model.modules()):
        return True
    return not torch.equal(*_outputs_beside_two_others(model, config, in_chans))


@torch.no_grad()
def _outputs_beside_two_others(model: nn.Module, config: ModelConfig, in_chans: int) -> tuple[torch.Tensor, ...]:
    tried = copy.deepcopy(model).cpu().train()
    shape = (in_chans, config.img_size, config.img_size)
    images = torch.randn((3, *shape), generator=torch.Generator().manual_seed(0))
    outputs = []
    for other in (1, 2):
        with torch.random.fork_rng(devices=[]):  # equal draws of dropout for both
            torch.default_generator.manual_seed(0)  # that of the CPU alone
            outputs.append(tried(images[[0, other]])[0])
    return tuple(outputs)
