"""A trial in; its parameters, FLOPs and memory out, in closed form. No torch, no numpy.

Conventions: FLOPs are those of one image, forward; a multiply-add is 2; matrix products and convolutions count (what
torch's FlopCounterMode counts), while softmax, norms, activations and additions do not. Memory is an estimate of the
peak of training on a GPU, where self-attention keeps no map. N tokens, D embed_dim, H heads, F hidden channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from orchestrator.attention_cost import attention_bytes, attention_flops, attention_params
from orchestrator.catalog import DATASETS, SMALL_SIDE, attention_info, is_dotted_attention
from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.trial import Trial

MIB = 2**20


def block_attentions(model: ModelConfig) -> tuple[str, ...]:
    """The attention of each block: with `reattention_last` = k, the last k blocks mix heads and the others do not."""
    if model.reattention_last is None:
        return (model.attention,) * model.depth
    num_plain = max(0, model.depth - model.reattention_last)
    return ("self",) * num_plain + (model.attention,) * (model.depth - num_plain)


def is_closed_form(trial: Trial) -> bool:
    """False for a user's own attention, whose parameters and FLOPs only the built model tells."""
    return not is_dotted_attention(trial.model.attention)


def num_tokens(model: ModelConfig) -> int:
    """Patches and the class token."""
    return (model.img_size // model.patch_size) ** 2 + 1


def num_hidden(model: ModelConfig) -> int:
    """Hidden channels of the MLP."""
    return int(model.embed_dim * model.mlp_ratio)


def num_params(trial: Trial) -> int:
    """Trainable parameters of the model.

    Raises:
        ValueError: the attention has no closed form.
    """
    attention = sum(attention_params(trial.model, name) for name in block_attentions(trial.model))
    return num_params_outside_attention(trial) + attention


def num_params_outside_attention(trial: Trial) -> int:
    """Trainable parameters of everything but the attention modules."""
    model, dim, hidden = trial.model, trial.model.embed_dim, num_hidden(trial.model)
    patch_embed = trial.data.in_chans * model.patch_size**2 * dim + dim
    tokens = dim + num_tokens(model) * dim
    block = 4 * dim + (dim * hidden + hidden) + (hidden * dim + dim)
    if model.init_values is not None:
        block += 2 * dim
    classifier = 2 * dim + dim * trial.data.num_classes + trial.data.num_classes
    return patch_embed + tokens + model.depth * block + classifier


def flops(trial: Trial) -> int:
    """FLOPs of one image, forward.

    Raises:
        ValueError: the attention has no closed form.
    """
    model, dim, tokens = trial.model, trial.model.embed_dim, num_tokens(trial.model)
    patch_embed = 2 * (tokens - 1) * trial.data.in_chans * model.patch_size**2 * dim
    mlp = 4 * tokens * dim * num_hidden(model)
    attention = sum(attention_flops(model, name, tokens) for name in block_attentions(model))
    return patch_embed + model.depth * mlp + attention + 2 * dim * trial.data.num_classes


def matched_embed_dim(trial: Trial, reference: Trial, count: Callable[[Trial], int] = num_params) -> int:
    """The width at which `trial` has nearest as many parameters as `reference`.

    It is a multiple of `num_heads`, or of twice that where the attention halves its heads. A tie goes to the smaller
    width. `count` replaces the closed form for an attention without one; it has to grow with the width.
    """
    target = count(reference)
    step = trial.model.num_heads * attention_info(trial.model.attention).head_dim_multiple

    def count_at(num_steps: int) -> int:
        return count(with_embed_dim(trial, num_steps * step))

    too_many = 1
    while count_at(too_many) < target:
        too_many *= 2
    too_few = too_many // 2
    while too_many - too_few > 1:
        middle = (too_few + too_many) // 2
        too_few, too_many = (middle, too_many) if count_at(middle) < target else (too_few, middle)
    if too_few == 0:
        return too_many * step
    nearest = too_few if target - count_at(too_few) <= count_at(too_many) - target else too_many
    return nearest * step


def with_embed_dim(trial: Trial, embed_dim: int) -> Trial:
    """The trial at another width."""
    return dataclasses.replace(trial, model=dataclasses.replace(trial.model, embed_dim=embed_dim))


def memory_mib(trial: Trial, num_parameters: int | None = None, *, on_gpu: bool = False, num_seeds: int = 1) -> float:
    """Estimated peak of training in MiB: weights, gradients, optimizer state, and activations of one micro-batch; on a
    GPU the images that it keeps too.

    Args:
        num_parameters: the model's parameters, needed where the attention has no closed form.
        num_seeds: that are trained in one pass; they share the images.
    """
    params = num_params(trial) if num_parameters is None else num_parameters
    images_mib = kept_images_mib(trial) if on_gpu else 0.0
    of_seed_mib = params * _bytes_per_param(trial.train) / MIB + activation_mib(trial, on_gpu=on_gpu)
    return num_seeds * of_seed_mib + images_mib


def kept_images_mib(trial: Trial) -> float:
    """MiB of pixels that stay on a GPU for the whole training: those of small images whose number is known beforehand,
    but for training images that Pillow changes one by one.
    """
    found = num_images(trial.data)
    if found is None or trial.model.img_size > SMALL_SIDE:
        return 0.0
    num_train, num_val, num_test = found
    num_kept = num_val + num_test + (0.0 if trial.train.needs_pillow else num_train)
    return num_kept * trial.data.in_chans * trial.model.img_size**2 / MIB


def num_images(data: DataConfig) -> tuple[float, float, float] | None:
    """Images for training, validation and test, to within one a label; None where only the files tell."""
    info = DATASETS[data.name]
    if info.num_images is None:
        return None
    num_train, num_test = map(float, info.num_images)
    if not info.has_test_part:
        num_test = num_train * (data.test_fraction or 0.0)
        num_train -= num_test
    return num_train * (1.0 - data.val_fraction), num_train * data.val_fraction, num_test


def activation_mib(trial: Trial, *, on_gpu: bool = False) -> float:
    """Estimated MiB that one micro-batch keeps for the backward pass, and the gradients of one block.

    Counts the saved tensors of each block; without checkpointing of activations, which no trial uses.
    """
    model, half = trial.model, trial.train.precision == "bf16"
    penalty = trial.train.cos_reg
    blocks = [_block_bytes(model, name, half=half, cos_reg=penalty, on_gpu=on_gpu) for name in block_attentions(model)]
    image = trial.data.in_chans * model.img_size**2 * 4
    last_norm = num_tokens(model) * model.embed_dim * (4 if half else 8)
    batch = trial.train.micro_batch_size or trial.train.batch_size
    return batch * (sum(blocks) + max(blocks) + image + last_norm) / MIB


def _bytes_per_param(train: TrainConfig) -> int:
    """float32 weights and gradients, the optimizer's moments, autocast's copy and the moving average."""
    moments = 4 if train.optimizer == "sgd" else 8
    return 8 + moments + (2 if train.precision == "bf16" else 0) + (4 if train.ema_decay is not None else 0)


def _block_bytes(model: ModelConfig, name: str, *, half: bool, cos_reg: str | None, on_gpu: bool) -> float:
    """Bytes that one block keeps of one image.

    In units of N*D: inputs of both norms (float32 under autocast too), their outputs, Q, K, V, the heads' output, and
    twice the MLP's hidden layer; two more for LayerScale; a byte a mask element for dropout.
    """
    tokens, dim, hidden = num_tokens(model), model.embed_dim, num_hidden(model)
    size = 2 if half else 4
    channels = 2 * dim * 4 + (6 * dim + 2 * hidden) * size
    if model.init_values is not None:
        channels += 2 * dim * size
    if model.proj_drop_rate > 0:
        channels += 2 * dim + hidden
    norms = 2 * 2 * 4
    return tokens * (channels + norms) + attention_bytes(model, name, tokens, half=half, cos_reg=cos_reg, on_gpu=on_gpu)
