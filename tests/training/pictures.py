"""Small datasets on disk, in every layout that orch reads, and trials on them."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets

from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.trial import Trial

DIGITS = DataConfig(name="digits", num_classes=10, in_chans=1, test_fraction=0.2)


def make_trial(data: DataConfig = DIGITS, *, img_size: int = 8, depth: int = 1, seed: int = 0, **train: Any) -> Trial:
    """A trial on `data` with the recipe fields that are given."""
    return Trial(
        model=ModelConfig(depth=depth, embed_dim=8, num_heads=2, patch_size=img_size, img_size=img_size),
        data=data,
        train=TrainConfig(**({"epochs": 1, "batch_size": 32, "lr": 1e-3} | train)),
        seed=seed,
    )


def make_pixels(num_images: int, side: int | tuple[int, int] = 8, *, seed: int = 0) -> NDArray[np.uint8]:
    """[N, H, W, 3], noise."""
    height, width = (side, side) if isinstance(side, int) else side
    return np.random.default_rng(seed).integers(0, 256, (num_images, height, width, 3), dtype=np.uint8)


def encode(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_tree(root: Path, counts: Mapping[str, int], *, side: int | tuple[int, int] = 8, seed: int = 0) -> None:
    """A tree of PNG files: `{"train/cat": 4}` writes train/cat/0.png to 3.png."""
    for folder_idx, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True)
        for row, pixels in enumerate(make_pixels(count, side, seed=seed + folder_idx)):
            (root / folder / f"{row}.png").write_bytes(encode(pixels))


def folder_config(root: Path, num_classes: int = 2, **changes: Any) -> DataConfig:
    return DataConfig(name="image_folder", num_classes=num_classes, id="pictures", root=str(root), **changes)


def write_shard(path: Path, blobs: Sequence[bytes | None], labels: Sequence[Any], column: str = "image") -> None:
    """One Parquet file in the layout of Hugging Face image datasets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": blob, "path": f"{row}.png"} for row, blob in enumerate(blobs)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({column: pa.array(images, kind), "label": pa.array(labels)}), path)


def parquet_config(root: Path, num_classes: int = 2, **changes: Any) -> DataConfig:
    return DataConfig(name="parquet", num_classes=num_classes, id="pictures", root=str(root), **changes)


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch, *, per_batch: int = 20) -> Path:
    """CIFAR-10 as torchvision lays it out, with few images, and torchvision told of the checksums."""
    folder = root / str(datasets.CIFAR10.base_folder)
    folder.mkdir(parents=True)

    def write(name: str, content: Mapping[str, Any]) -> list[str]:
        blob = pickle.dumps(content)
        (folder / name).write_bytes(blob)
        return [name, hashlib.md5(blob).hexdigest()]

    def batch(seed: int) -> dict[str, Any]:
        pixels = np.random.default_rng(seed).integers(0, 256, (per_batch, 3 * 32 * 32), dtype=np.uint8)
        return {"data": pixels, "labels": [row % 10 for row in range(per_batch)]}

    train = [write(f"data_batch_{number}", batch(number)) for number in range(1, 6)]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [write("test_batch", batch(6))])
    checksum = write("batches.meta", {"label_names": [str(label) for label in range(10)]})[1]
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": checksum})
    return folder
