"""What the blocks of one forward pass hand to each other and to an observer; made anew in each forward.

Shape suffixes: B batch, N tokens, D embed_dim, H heads, K head_dim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

Observer = Callable[[int, str, Tensor], None]
"""Called as `observer(block_idx, name, tensor)`; see `ForwardContext.observe`."""


@dataclass
class ForwardContext:
    """The only memory between blocks: no module keeps a tensor after forward."""

    observer: Observer | None = None
    """Sees intermediate tensors while they exist; with one, attentions take their plain, unfused path."""
    shared: dict[str, Tensor] = field(default_factory=dict)
    """What earlier blocks left for later ones, by name (values of the first block, logits of the previous one)."""
    is_recompute: bool = False
    """True in the second forward of gradient checkpointing, where running statistics must not move again."""

    @property
    def is_observed(self) -> bool:
        """Whether somebody wants the intermediate tensors."""
        return self.observer is not None

    def observe(self, block_idx: int, name: str, tensor: Tensor) -> None:
        """Hand an intermediate tensor to the observer, if there is one.

        Names: `softmax` [B,H,N,N], the map after the softmax; `map` [B,H,N,N], the one that multiplies V; `tokens`
        [B,N,D], the residual stream after a block, with block_idx -1 for the input of block 0.
        """
        if self.observer is not None:
            self.observer(block_idx, name, tensor)
