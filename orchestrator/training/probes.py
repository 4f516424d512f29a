"""A model and batches of test images in; the arrays of one probed moment out, block by block.

The forward pass is float32 without autocast, in evaluation mode, and what is observed of a batch becomes float64 sums
before the next one begins. Of an untrained network the running statistics of a BatchNorm over heads are no statistics
of anything, so there each probe batch is normalised by its own. Nothing of the training moves: no weight, no running
statistic, no random generator. Names and shapes of the arrays: `probe_catalog.py`.
Shape suffixes: L blocks, S the input of block 0 and L blocks, B images, H heads, N tokens, P patch tokens, D embed_dim.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.errors import TrainingError
from orchestrator.models.context import ForwardContext
from orchestrator.models.head_norm import HeadGain, HeadNorm
from orchestrator.models.vit import VisionTransformer
from orchestrator.probe_catalog import (
    COLUMN_KINDS,
    MAP_KINDS,
    PROBES,
    SIMILAR_SHARE,
    SIMILARITY_KINDS,
    similar_blocks_name,
    similarity_name,
)
from orchestrator.training.attention_reach import patch_distances, reach_totals
from orchestrator.training.cka import hsic_totals, linear_cka
from orchestrator.training.map_similarity import map_totals
from orchestrator.training.randomness import seeded_globals
from orchestrator.training.skip_blocks import skip_acc_drops
from orchestrator.training.streaming import Means, Totals, times
from orchestrator.training.theta import gain, norm_of, theta_arrays
from orchestrator.training.token_metrics import token_totals

Array = NDArray[np.float64]
Batches = Iterable[tuple[Tensor, Tensor]]
"""Images, float32 [B, C, img_size, img_size], normalised; labels, int64 [B]."""

MAX_MAP_VALUES = 2**22
"""Numbers in the maps of one kind of all blocks for one batch, as far as `MIN_BATCH` allows."""
MIN_BATCH, MAX_BATCH = 8, 32
"""Images of a batch: pairs of images and HSIC need some."""


def batch_sizes(num_images: int, num_blocks: int, num_heads: int, num_tokens: int) -> list[int]:
    """Sizes of the probe's batches, equal but for one image; what a batch holds does not grow with `num_images`."""
    a_image = num_blocks * num_heads * num_tokens**2
    largest = max(MIN_BATCH, min(MAX_BATCH, MAX_MAP_VALUES // a_image))
    num_batches = -(-num_images // largest)
    return [num_images // num_batches + (index < num_images % num_batches) for index in range(num_batches)]


def probe_model(
    model: VisionTransformer,
    batches: Batches,
    *,
    epoch: int,
    is_untrained: bool = False,
    skip_batches: Batches = (),
) -> dict[str, Array]:
    """Every array of `probe_catalog.PROBES` for this moment, without the axis of moments.

    Args:
        batches: the probe set in batches; each is gone when the next begins.
        epoch: finished epochs.
        is_untrained: normalise by the batch where a norm over heads has running statistics.
        skip_batches: images on which each block is skipped once; none leaves `skip_acc_drop` NaN.

    Raises:
        TrainingError: an attention observed a map of another shape than [B,H,N,N].
    """
    device = next(model.parameters()).device
    with _at_rest(model, device):
        began = time.perf_counter()
        with _batch_statistics(model) if is_untrained else ExitStack():
            arrays = _Probe(model, is_untrained=is_untrained).run(batches, device)
        ended = time.perf_counter()
        drops, num_skip_images = skip_acc_drops(model, skip_batches, device)
        skipped = time.perf_counter()
    arrays["skip_acc_drop"] = drops if num_skip_images else np.full(len(drops), np.nan)
    numbers = {
        "epoch": epoch,
        "num_skip_images": num_skip_images,
        "probe_time_s": ended - began,
        "skip_time_s": skipped - ended if num_skip_images else 0.0,
    }
    return arrays | {name: np.array(value, dtype=np.float64) for name, value in numbers.items()}


@contextmanager
def _at_rest(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode, no autocast, no gradients, and everything as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False), seeded_globals(0):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _batch_statistics(model: nn.Module) -> Iterator[None]:
    """Norms over heads take the statistics of the batch; `is_recompute` keeps their running ones where they are."""
    norms = [module for module in model.modules() if isinstance(module, HeadNorm | HeadGain)]
    for norm in norms:
        norm.training = True
    try:
        yield
    finally:
        for norm in norms:
            norm.training = False


class _Probe:
    """Sums over the batches of one moment."""

    def __init__(self, model: VisionTransformer, *, is_untrained: bool) -> None:
        self.model = model
        self.attns: list[Any] = [block.attn for block in model.blocks]
        self.num_blocks = len(self.attns)
        self.num_heads = 0
        self.num_prefix = int(model.num_prefix_tokens)
        self.is_untrained = is_untrained
        self.means = Means()
        self.num_images = 0
        self.variances: dict[int, Tensor] = {}
        embed = model.patch_embed
        self.distances = patch_distances(embed.grid_size, embed.patch_size) if embed.grid_size else None

    def run(self, batches: Batches, device: torch.device) -> dict[str, Array]:
        """The arrays that come from the forward pass and from the weights."""
        if self.distances is not None:
            self.distances = self.distances.to(device)
        for images, _ in batches:
            self._add_batch(images.to(device))
            self.num_images += len(images)
        found = self.means.results()
        theta = theta_arrays(self.attns, self.num_heads)
        return self._arrays(found) | theta | {"batchnorm_gain": self._gains(found)}

    def _add_batch(self, images: Tensor) -> None:
        seen: dict[str, dict[int, Tensor]] = {"softmax": {}, "map": {}, "tokens": {}}

        def observe(block_idx: int, name: str, tensor: Tensor) -> None:
            if name in seen:
                seen[name][block_idx] = tensor

        with self._watching_norms():
            self.model.forward_features(images, context=ForwardContext(observer=observe, is_recompute=True))
        stream_SBND = torch.stack([seen["tokens"][idx] for idx in range(-1, self.num_blocks)]).double()
        self.means.add(token_totals(stream_SBND[:, :, self.num_prefix :]))
        self.means.add(hsic_totals(stream_SBND[1:].flatten(2)))
        num_tokens = stream_SBND.shape[2]
        self.num_heads = self.num_heads or self._find_num_heads(seen)
        found = {name: self._stack(seen[name], images, num_tokens, name) for name in MAP_KINDS}
        self._add_maps(found, is_same=_are_same(seen["softmax"], seen["map"]))
        has_map_L = torch.tensor([float(idx in seen["softmax"]) for idx in range(self.num_blocks)]).double()
        self.means.add(reach_totals(found["softmax"], has_map_L.to(images.device), self.distances))

    def _find_num_heads(self, seen: Mapping[str, Mapping[int, Tensor]]) -> int:
        """Of the first map observed; a user's own attention may observe none, and may not say."""
        maps = [found for name in MAP_KINDS for found in seen[name].values() if found.ndim == 4]
        return int(maps[0].shape[1]) if maps else max(int(getattr(attn, "num_heads", 1)) for attn in self.attns)

    def _add_maps(self, maps: Mapping[str, Tensor], *, is_same: bool) -> None:
        """Similarities of both kinds of map; where they are one tensor, the sums are computed once."""
        totals: Totals = {}
        for name, maps_LBHNN in maps.items():
            if name == "softmax" or not is_same:
                totals = map_totals(maps_LBHNN, self.num_prefix)
            self.means.add(totals, prefix=f"{name}.")

    def _stack(self, maps: Mapping[int, Tensor], images: Tensor, num_tokens: int, name: str) -> Tensor:
        """[L,B,H,N,N]; zero for a block that observed none, which has no column with a direction."""
        shape = (len(images), self.num_heads, num_tokens, num_tokens)
        for block_idx, found in maps.items():
            if tuple(found.shape) != shape:
                raise TrainingError(
                    f"the attention of block {block_idx} observed a {name!r} map of shape {tuple(found.shape)}; "
                    f"[B,H,N,N] is {shape} here"
                )
        nothing = images.new_zeros(shape) if len(maps) < self.num_blocks else images
        return torch.stack([maps.get(idx, nothing) for idx in range(self.num_blocks)])

    @contextmanager
    def _watching_norms(self) -> Iterator[None]:
        """Of an untrained network, sum up the gains that the norms over heads take from each batch."""
        with ExitStack() as stack:
            for block_idx, attn in enumerate(self.attns if self.is_untrained else ()):
                norm = norm_of(attn)
                if norm is not None:
                    handle = norm.register_forward_pre_hook(self._gain_hook(block_idx))
                    stack.callback(handle.remove)
            yield

    def _gain_hook(self, block_idx: int) -> Any:
        def hook(norm: Any, inputs: tuple[Tensor, ...]) -> None:
            var_H = inputs[0].var(dim=(0, 2, 3), unbiased=False)
            self.means.add({f"gain.{block_idx}": (gain(norm, var_H), times(1, var_H))})

        return hook

    def _gains(self, found: Mapping[str, Array]) -> Array:
        """[L,H]: of the running variance, or of an untrained network the mean over the batches' own."""
        gains = np.full((self.num_blocks, self.num_heads), np.nan)
        for block_idx, attn in enumerate(self.attns):
            norm, of_batches = norm_of(attn), found.get(f"gain.{block_idx}")
            if norm is not None:
                gains[block_idx] = gain(norm, norm.running_var).cpu().numpy() if of_batches is None else of_batches
        return gains

    def _arrays(self, found: Mapping[str, Array]) -> dict[str, Array]:
        arrays = {name: values for name, values in found.items() if name in PROBES}
        arrays["cka"] = linear_cka(found["hsic"])
        arrays.setdefault("attention_distance", np.full((self.num_blocks, self.num_heads), np.nan))
        for kind in MAP_KINDS:
            arrays |= _map_arrays(kind, found)
        arrays["num_images"] = np.array(float(self.num_images))
        return arrays


def _map_arrays(kind: str, found: Mapping[str, Array]) -> dict[str, Array]:
    """The catalog's names for what `map_totals` found."""
    arrays = {
        similarity_name(kind, columns, how): found[f"{kind}.{columns}.{how}"]
        for columns in COLUMN_KINDS
        for how in SIMILARITY_KINDS
    }
    for how in ("raw", "centred"):
        arrays[f"head_similarity.{kind}.{how}"] = found[f"{kind}.head.{how}"]
        arrays[f"image_similarity.{kind}.{how}"] = found[f"{kind}.image.{how}"]
    arrays[f"similar_share.{kind}"] = found[f"{kind}.share"]
    for rule, name in (("adjacent", "share"), ("nearest", "share_nearest")):
        arrays[similar_blocks_name(kind, rule)] = _num_similar(found[f"{kind}.{name}"])
    return arrays


def _num_similar(share_L: Array) -> Array:
    """Blocks whose share is above the rule's; NaN where no block could be compared."""
    if len(share_L) > 1 and np.isnan(share_L).all():
        return np.array(np.nan)
    return np.array(float(np.sum(share_L > SIMILAR_SHARE)))


def _are_same(first: Mapping[int, Tensor], second: Mapping[int, Tensor]) -> bool:
    """Whether the maps that multiply V are the softmax maps, in memory."""
    return first.keys() == second.keys() and all(first[idx].data_ptr() == second[idx].data_ptr() for idx in first)
