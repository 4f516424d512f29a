"""Where the images of a split are kept: rows in; PIL images, or one uint8 tensor of all pixels, out.

Shape suffixes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image


class Images(Protocol):
    """A sequence of images that may live in memory or on disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Image.Image:
        """One image in mode L or RGB.

        Raises:
            DataError: the image cannot be read; the message names it.
        """
        ...

    def take(self, rows: NDArray[np.int64]) -> Images:
        """The images of `rows`, in that order."""
        ...


@dataclass(frozen=True, eq=False)
class PixelImages:
    """Images of one size, decoded, in memory."""

    pixels_NCHW: torch.Tensor
    """uint8; C is 1 or 3."""

    def __len__(self) -> int:
        return int(self.pixels_NCHW.shape[0])

    def __getitem__(self, row: int) -> Image.Image:
        pixels_HWC = self.pixels_NCHW[row].permute(1, 2, 0).numpy()
        return Image.fromarray(pixels_HWC[:, :, 0] if pixels_HWC.shape[2] == 1 else np.ascontiguousarray(pixels_HWC))

    def take(self, rows: NDArray[np.int64]) -> PixelImages:
        return PixelImages(self.pixels_NCHW[torch.from_numpy(rows)])
