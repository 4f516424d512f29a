"""A model in; the same model with compiled blocks out. Blocks that are alike share one graph, so depth costs no time.

Kernels are kept by torch in its own cache, of the user and the machine, where the next trial finds them. That cache
holds pickles, so it never lies in a results folder.
"""

from __future__ import annotations

import torch

from orchestrator.models.vit import VisionTransformer

BACKEND = "inductor"

GRAPHS_PER_BLOCK = 6
"""At most, where blocks differ in a number: training, evaluation and its last batch, each in two parts."""


def compile_blocks(model: VisionTransformer) -> None:
    """Compile each block in place for the shapes it meets; names of parameters stay, and what is observed runs plain.

    Random draws stay those of the plain model. Blocks that differ in a number, as those of differential attention do,
    have graphs of their own.
    """
    torch._dynamo.reset()  # else a reused worker reaches the limit after a few trials
    limit = GRAPHS_PER_BLOCK * len(model.blocks)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, limit)
    options = {"fallback_random": True} if BACKEND == "inductor" else None
    for block in model.blocks:
        block.compile(backend=BACKEND, dynamic=False, options=options)
