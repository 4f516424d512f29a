"""A model and a seed in; every parameter at its own initial value out, each drawn from a stream of its name.

So two attentions share the start of every parameter they share, and two depths that of every block they share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from timm.layers.layer_scale import LayerScale
from torch import Tensor, nn

from orchestrator.configs import ModelConfig
from orchestrator.errors import TrainingError
from orchestrator.models.softmax_attention import Draw
from orchestrator.seeding import stream_seed


def initialize(model: nn.Module, config: ModelConfig, seed: int, *, keep: tuple[str, ...] = ()) -> None:
    """Draw every parameter from a generator seeded by (seed, "init", name), in float32 on the CPU.

    Args:
        keep: names of modules whose parameters stay as they are.

    Raises:
        TrainingError: a parameter for which no distribution is known.
    """
    draws = _own_draws(model)
    for name, parameter in model.named_parameters():
        if name.startswith(tuple(f"{prefix}." for prefix in keep)):
            continue
        draw = draws.get(name) or _draw_for(model, name, config)
        if draw is None:
            owner = type(model.get_submodule(name.rpartition(".")[0])).__name__
            raise TrainingError(
                f"nobody knows how to initialise the parameter {name!r} of {owner}, shape {tuple(parameter.shape)}; "
                "its attention class has to name it in parameter_draws()"
            )
        value = torch.empty(parameter.shape, dtype=torch.float32)
        with torch.no_grad():
            draw(value, torch.Generator().manual_seed(stream_seed(seed, "init", name)))
            parameter.copy_(value)


def _own_draws(model: nn.Module) -> dict[str, Draw]:
    """What modules say themselves about their parameters, by full name."""
    draws: dict[str, Draw] = {}
    for prefix, module in model.named_modules():
        parameter_draws = getattr(module, "parameter_draws", None)
        if parameter_draws is not None:
            own: Mapping[str, Draw] = parameter_draws()
            draws |= {f"{prefix}.{name}" if prefix else name: draw for name, draw in own.items()}
    return draws


def _draw_for(model: nn.Module, name: str, config: ModelConfig) -> Draw | None:
    """The distribution timm or torch give this type of module; None if none is known."""
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    if isinstance(owner, (nn.LayerNorm, nn.BatchNorm2d)):
        return _constant(1.0 if leaf == "weight" else 0.0)
    if isinstance(owner, LayerScale):
        return _constant(config.init_values or 0.0)
    if isinstance(owner, nn.Linear):
        return _constant(0.0) if leaf == "bias" else _linear_weight(path, config)
    if isinstance(owner, nn.Conv2d):
        return _uniform(1.0 / math.sqrt(owner.weight[0].numel()))
    return {"pos_embed": _trunc_normal(config.init_std), "cls_token": _normal(1e-6)}.get(name)


def _linear_weight(path: str, config: ModelConfig) -> Draw:
    if config.weight_init == "trunc_normal":
        return _trunc_normal(config.init_std)
    return _xavier_uniform(3 if path.endswith("qkv") else 1)


def _constant(value: float) -> Draw:
    return lambda tensor, _: tensor.fill_(value)


def _normal(std: float) -> Draw:
    return lambda tensor, generator: tensor.normal_(0.0, std, generator=generator)


def _trunc_normal(std: float) -> Draw:
    """Cut at +-2, not at two standard deviations, as timm does."""
    return lambda tensor, generator: nn.init.trunc_normal_(tensor, std=std, generator=generator)


def _uniform(bound: float) -> Draw:
    """With bound 1/sqrt(fan_in): the default of torch's Linear and Conv2d, for weights and biases."""
    return lambda tensor, generator: tensor.uniform_(-bound, bound, generator=generator)


def _xavier_uniform(num_matrices: int) -> Draw:
    """Uniform in +-sqrt(6/(fan_in + fan_out)); a joint projection is `num_matrices` of them (timm's mode "moco")."""

    def draw(tensor: Tensor, generator: torch.Generator) -> None:
        bound = math.sqrt(6.0 / (tensor.shape[0] // num_matrices + tensor.shape[1]))
        tensor.uniform_(-bound, bound, generator=generator)

    return draw
