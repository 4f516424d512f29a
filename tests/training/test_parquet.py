from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import DataError
from orchestrator.training.images import ArrowImages, PixelImages, Split
from orchestrator.training.parquet import read_parquet
from tests.training.pictures import encode, make_pixels, write_shard

SMALL = make_pixels(7)
BLOBS = [encode(pixels, "PNG") for pixels in SMALL]
LABELS = [0, 1, 0, 1, 0, 1, 0]


def write_set(root: Path, *, test: str = "test", column: str = "image", blobs: list[Any] = BLOBS) -> None:
    """Three shards: four and two training rows, and one test row."""
    write_shard(root / "train-00000-of-00002.parquet", blobs[:4], LABELS[:4], column)
    write_shard(root / "train-00001-of-00002.parquet", blobs[4:6], LABELS[4:6], column)
    write_shard(root / f"{test}-00000-of-00001.parquet", blobs[6:], LABELS[6:], column)


def message_of(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_parquet(root, "RGB")
    return str(caught.value)


def pixels_of(split: Split) -> Any:
    return np.stack([np.asarray(split.images[row]) for row in range(len(split))])


@pytest.mark.parametrize("folder", [".", "data"])
@pytest.mark.parametrize("test", ["test", "val", "validation"])
@pytest.mark.parametrize("column", ["image", "img"])
def test_shards_are_read_in_the_order_of_their_names(folder: str, test: str, column: str, tmp_path: Path) -> None:
    write_set(tmp_path / folder, test=test, column=column)
    train, tested, _ = read_parquet(tmp_path, "RGB")
    assert train.labels.tolist() == LABELS[:6]
    assert tested.labels.tolist() == LABELS[6:]
    assert isinstance(train.images, PixelImages)
    assert (pixels_of(train) == SMALL[:6]).all()
    assert (pixels_of(tested) == SMALL[6:]).all()


def test_large_images_are_copied_into_one_file_once(tmp_path: Path, own_cache: Path) -> None:
    large = make_pixels(7, 70)
    write_set(tmp_path / "set", blobs=[encode(pixels) for pixels in large])
    for _ in range(2):
        train, tested, _ = read_parquet(tmp_path / "set", "RGB")
        assert isinstance(train.images, ArrowImages)
        assert (pixels_of(train) == large[:6]).all()
        assert (pixels_of(tested) == large[6:]).all()
    assert len(list(own_cache.glob("encoded/*.arrow"))) == 2
    assert train.images.name_of(5) == f"{tmp_path}/set/train-00001-of-00002.parquet row 1 (1.png)"


def test_images_of_many_sizes_are_not_held_as_pixels(tmp_path: Path) -> None:
    write_set(tmp_path, blobs=[*BLOBS[:3], encode(make_pixels(1, 9)[0]), *BLOBS[4:]])
    train, tested, _ = read_parquet(tmp_path, "RGB")
    assert isinstance(train.images, ArrowImages)
    assert isinstance(tested.images, PixelImages)
    assert [train.images[row].size for row in (2, 3)] == [(8, 8), (9, 9)]


def test_the_fingerprint_changes_with_a_byte(tmp_path: Path) -> None:
    write_set(tmp_path)
    before = read_parquet(tmp_path, "RGB")[2]
    assert read_parquet(tmp_path, "RGB")[2] == before
    write_shard(tmp_path / "test-00000-of-00001.parquet", BLOBS[6:], [1])
    assert read_parquet(tmp_path, "RGB")[2] != before


def test_missing_parts_are_told(tmp_path: Path) -> None:
    assert message_of(tmp_path) == f"{tmp_path} holds no train-*.parquet, nor does its folder data"
    write_shard(tmp_path / "train.parquet", BLOBS, LABELS)
    rule = "exactly one part besides train must be there, the test split"
    assert message_of(tmp_path) == f"{tmp_path} holds neither test-*.parquet nor val-*.parquet: {rule}"
    for name in ("test", "validation"):
        write_shard(tmp_path / f"{name}.parquet", BLOBS, LABELS)
    assert message_of(tmp_path) == f"{tmp_path} holds test and validation files: {rule}"


def test_an_empty_part_is_told(tmp_path: Path) -> None:
    write_set(tmp_path)
    empty = tmp_path / "test-00000-of-00001.parquet"
    write_shard(empty, [], pa.array([], pa.int64()))
    assert message_of(tmp_path) == f"{empty} holds no rows"


def test_a_broken_image_is_named_by_file_and_row(tmp_path: Path) -> None:
    write_set(tmp_path, blobs=[*BLOBS[:5], BLOBS[5][:40], BLOBS[6]])
    assert message_of(tmp_path).startswith(f"{tmp_path}/train-00001-of-00002.parquet row 1 (1.png) cannot be decoded (")


def test_a_row_without_bytes_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, blobs=[*BLOBS[:4], None, *BLOBS[5:]])
    assert message_of(tmp_path) == (
        f"{tmp_path}/train-00001-of-00002.parquet row 0 (0.png) has no image bytes: "
        "write the images into the Parquet files"
    )


def test_a_row_without_an_image_is_named(tmp_path: Path) -> None:
    write_set(tmp_path)
    path = tmp_path / "train-00001-of-00002.parquet"
    table = pq.read_table(path)
    images = pa.array([table["image"][0].as_py(), None], table.schema.field("image").type)
    pq.write_table(table.set_column(0, "image", images), path)
    assert message_of(tmp_path).startswith(f"{path} row 1 (None) has no image bytes")


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"picture": [1], "label": [0]}, "has columns picture, label, but none named image or img"),
        ({"image": [b"x"], "label": [0]}, "column image is binary: it must be a struct of bytes and path"),
        ({"image": [1], "fine_label": [0]}, "has columns image, fine_label, but none named label"),
        ({"image": [1], "label": ["cat"]}, "column label is string: labels must be whole numbers from 0"),
        ({"image": [1, 1], "label": [0, None]}, "has 1 rows without a label"),
    ],
)
def test_columns_of_another_layout_are_named(columns: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    write_set(tmp_path)
    path = tmp_path / "train-00001-of-00002.parquet"
    pq.write_table(pa.table(columns), path)
    assert message_of(tmp_path) == f"{path} {complaint}"


def test_a_file_that_was_cut_short_is_named(tmp_path: Path) -> None:
    write_set(tmp_path)
    path = tmp_path / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert message_of(tmp_path).startswith(f"{path} cannot be read as Parquet (")
