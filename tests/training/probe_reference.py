"""What the probes compute, once more: loops over blocks, images, heads and columns in float64 numpy."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from orchestrator.models.context import ForwardContext
from orchestrator.models.vit import VisionTransformer


def observe(model: VisionTransformer, images: torch.Tensor, *, is_recompute: bool = True) -> dict[str, np.ndarray]:
    """`softmax` and `map` [L,B,H,N,N], `tokens` [L+1,B,N,D] of one forward pass, float64."""
    seen: dict[str, dict[int, np.ndarray]] = {"softmax": {}, "map": {}, "tokens": {}}

    def observer(block_idx: int, name: str, tensor: torch.Tensor) -> None:
        seen[name][block_idx] = tensor.detach().double().numpy()

    with torch.no_grad():
        model.forward_features(images, context=ForwardContext(observer=observer, is_recompute=is_recompute))
    return {name: np.stack([found[idx] for idx in sorted(found)]) for name, found in seen.items()}


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a.ravel() @ b.ravel() / np.sqrt((a.ravel() @ a.ravel()) * (b.ravel() @ b.ravel())))


def column(map_HNN: np.ndarray, head: int, token: int, *, centred: bool) -> np.ndarray:
    values = map_HNN[head, :, token]
    return values - values.mean() if centred else values


def mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else np.nan


def map_arrays(kind: str, maps: np.ndarray) -> dict[str, Any]:
    """Everything the catalog says about one kind of map; the first token is the class token."""
    num_blocks, num_images, num_heads, num_tokens, _ = maps.shape
    tokens = {"class": [0], "patch": list(range(1, num_tokens))}
    blocks, images, heads = range(num_blocks), range(num_images), range(num_heads)
    arrays: dict[str, Any] = {}
    for columns, own in tokens.items():
        for how in ("raw", "centred", "shuffled"):
            found = np.zeros((num_blocks, num_blocks))
            for p, q in itertools.product(blocks, blocks):
                pairs = itertools.permutations(images, 2) if how == "shuffled" else [(b, b) for b in images]
                found[p, q] = mean(
                    cosine(
                        column(maps[p, b], h, t, centred=how == "centred"),
                        column(maps[q, c], h, t, centred=how == "centred"),
                    )
                    for b, c in pairs
                    for h in heads
                    for t in own
                )
            arrays[f"map_similarity.{kind}.{columns}.{how}"] = found
    for how, centred in (("raw", False), ("centred", True)):
        arrays[f"head_similarity.{kind}.{how}"] = [
            mean(
                cosine(column(maps[p, b], g, t, centred=centred), column(maps[p, b], h, t, centred=centred))
                for b in images
                for g, h in itertools.permutations(heads, 2)
                for t in range(num_tokens)
            )
            for p in blocks
        ]
        arrays[f"image_similarity.{kind}.{how}"] = [
            mean(
                cosine(column(maps[p, b], h, t, centred=centred), column(maps[p, c], h, t, centred=centred))
                for b, c in itertools.permutations(images, 2)
                for h in heads
                for t in range(num_tokens)
            )
            for p in blocks
        ]
    arrays[f"similar_share.{kind}"] = [np.nan, *(similar_share(maps, p, 1) for p in blocks[1:])]
    for rule, reach in (("adjacent", 1), ("nearest", 3)):
        shares = [similar_share(maps, p, reach) for p in blocks[1:]]
        arrays[f"similar_blocks.{kind}.{rule}"] = sum(share > 0.9 for share in shares)
    return arrays


def similar_share(maps: np.ndarray, block: int, reach: int) -> float:
    """Share of the columns of `block` that are similar to those of each of up to `reach` blocks before it."""
    _, num_images, num_heads, num_tokens, _ = maps.shape
    return mean(
        all(
            cosine(maps[block, b, h, :, t], maps[other, b, h, :, t]) > 0.9
            for other in range(max(0, block - reach), block)
        )
        for b in range(num_images)
        for h in range(num_heads)
        for t in range(num_tokens)
    )


def softmax_arrays(maps: np.ndarray, patch_size: int) -> dict[str, Any]:
    num_blocks, num_images, num_heads, num_tokens, _ = maps.shape
    side = int(np.sqrt(num_tokens - 1))
    places = [(row * patch_size, col * patch_size) for row in range(side) for col in range(side)]
    entropy, distance = np.zeros((num_blocks, num_heads)), np.zeros((num_blocks, num_heads))
    for p, h in itertools.product(range(num_blocks), range(num_heads)):
        rows = maps[p, :, h].reshape(-1, num_tokens)
        entropy[p, h] = mean(-sum(a * np.log(a) for a in row if a > 0) for row in rows)
        distance[p, h] = mean(
            sum(a * np.hypot(x - places[i][0], y - places[i][1]) for a, (x, y) in zip(row, places, strict=True))
            / row.sum()
            for b in range(num_images)
            for i, row in enumerate(maps[p, b, h, 1:, 1:])
        )
    return {"attention_entropy": entropy, "attention_distance": distance}


def token_arrays(tokens: np.ndarray) -> dict[str, Any]:
    """Of the patch tokens; `tokens` is [L+1,B,N,D] with the class token first."""
    patches = tokens[:, :, 1:]
    found: dict[str, list[float]] = {}
    for block in range(1, len(patches)):
        per_image = [token_numbers(before, x) for before, x in zip(patches[block - 1], patches[block], strict=True)]
        for name in per_image[0]:
            found.setdefault(name, []).append(mean(numbers[name] for numbers in per_image))
    return found


def token_numbers(before: np.ndarray, x: np.ndarray) -> dict[str, float]:
    centred, update = x - x.mean(axis=0), x - before
    singular = np.linalg.svd(x, compute_uv=False)
    share = singular / singular.sum()
    pairs = list(itertools.permutations(range(len(x)), 2))
    return {
        "token_cosine.raw": mean(cosine(x[i], x[j]) for i, j in pairs),
        "token_cosine.centred": mean(cosine(centred[i], centred[j]) for i, j in pairs),
        "rank_residual": float(np.linalg.norm(centred) / np.linalg.norm(x)),
        "effective_rank": float(np.exp(-np.sum(share * np.log(share)))),
        "update_size": mean(np.linalg.norm(f) / np.linalg.norm(s) for f, s in zip(update, before, strict=True)),
        "update_cosine": mean(cosine(f, s) for f, s in zip(update, before, strict=True)),
    }


def unbiased_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, equation 5, for linear kernels; rows are images."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0.0)
    np.fill_diagonal(m, 0.0)
    one = np.ones(n)
    parts = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ m @ one
    return float(parts / (n * (n - 3)))


def cka(batches: list[np.ndarray]) -> np.ndarray:
    """Of every two blocks from batches of tokens [L,B,N,D]: HSIC averaged over batches, then the ratio."""
    num_blocks = len(batches[0])
    hsic = np.zeros((num_blocks, num_blocks))
    for p, q in itertools.product(range(num_blocks), range(num_blocks)):
        hsic[p, q] = mean(unbiased_hsic(x[p].reshape(x.shape[1], -1), x[q].reshape(x.shape[1], -1)) for x in batches)
    return hsic / np.sqrt(np.outer(np.diag(hsic), np.diag(hsic)))
