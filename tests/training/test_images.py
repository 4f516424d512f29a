from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from orchestrator.errors import DataError
from orchestrator.training import images
from orchestrator.training.images import ArrowImages, EncodedImages, FileImages, Images, PixelImages, decode_if_small
from tests.training.pictures import encode, make_pixels

PIXELS = make_pixels(5, (6, 9))
BLOBS = [encode(pixels) for pixels in PIXELS]
NAMES = [f"{row}.png" for row in range(5)]


def stored(kind: str, folder: Path) -> Images:
    """The five pictures, kept in each of the ways there are."""
    if kind == "pixels":
        return PixelImages(images.channels_first(PIXELS))
    if kind == "encoded":
        return EncodedImages(BLOBS, NAMES, "RGB")
    if kind == "files":
        for name, blob in zip(NAMES, BLOBS, strict=True):
            (folder / name).write_bytes(blob)
        return FileImages(folder, NAMES, "RGB")
    schema = pa.schema([("bytes", pa.binary()), ("name", pa.string())])
    with pa.OSFile(str(folder / "five.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start, stop in ((0, 2), (2, 3), (3, 5)):
            writer.write_batch(
                pa.record_batch([pa.array(BLOBS[start:stop]), pa.array(NAMES[start:stop])], schema=schema)
            )
    return ArrowImages(folder / "five.arrow", np.arange(5), "RGB")


KINDS = ["pixels", "encoded", "files", "arrow"]


@pytest.mark.parametrize("kind", KINDS)
def test_however_images_are_kept_the_same_pixels_come_out(kind: str, tmp_path: Path) -> None:
    kept = stored(kind, tmp_path)
    assert len(kept) == 5
    assert all((np.asarray(kept[row]) == PIXELS[row]).all() for row in range(5))


@pytest.mark.parametrize("kind", KINDS)
def test_taking_rows_twice_is_taking_the_rows_of_rows(kind: str, tmp_path: Path) -> None:
    taken = stored(kind, tmp_path).take(np.array([4, 0, 3, 2])).take(np.array([2, 0]))
    assert [np.asarray(taken[row]).tolist() for row in range(len(taken))] == [PIXELS[3].tolist(), PIXELS[4].tolist()]


@pytest.mark.parametrize("kind", KINDS)
def test_images_survive_the_way_to_another_process(kind: str, tmp_path: Path) -> None:
    kept = stored(kind, tmp_path)
    assert (np.asarray(pickle.loads(pickle.dumps(kept))[3]) == PIXELS[3]).all()


@pytest.mark.parametrize("kind", KINDS[1:])
def test_an_image_is_named_by_where_it_came_from(kind: str, tmp_path: Path) -> None:
    assert stored(kind, tmp_path).take(np.array([3])).name_of(0).endswith("3.png")


def test_grey_pixels_are_grey_images() -> None:
    kept = PixelImages(images.channels_first(PIXELS[..., 0]))
    assert kept.size == (6, 9)
    assert kept[1].mode == "L"
    assert (np.asarray(kept[1]) == PIXELS[1, ..., 0]).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("target", ["L", "RGB"])
def test_every_8_bit_mode_is_converted(mode: str, target: Any) -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS[0]).convert("RGB").convert(mode).save(file, "TIFF")
    assert images.decode(file, target, "it").mode == target


@pytest.mark.filterwarnings("error")
def test_a_palette_with_transparency_is_converted_without_a_warning() -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS[0]).convert("P").save(file, "PNG", transparency=bytes(range(256)))
    assert images.decode(file, "RGB", "it").size == (9, 6)


def test_16_bits_are_refused_rather_than_clipped() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(file, "PNG")
    with pytest.raises(
        DataError, match=r"^deep\.png has pixels of more than 8 bits \(mode I;16\): convert it to 8 bits$"
    ):
        images.decode(file, "L", "deep.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_a_truncated_image_is_named(kind: str, share: float) -> None:
    blob = encode(make_pixels(1, 32)[0], kind)
    with pytest.raises(
        DataError, match=r"^cat\.img cannot be decoded \(.*\): replace it, or take it out of the dataset$"
    ):
        images.decode(io.BytesIO(blob[: int(share * len(blob))]), "RGB", "cat.img")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png cannot be decoded \(.*No such file"):
        FileImages(tmp_path, ["gone.png"], "RGB")[0]


def test_small_images_of_one_size_are_decoded_into_memory() -> None:
    decoded = decode_if_small(EncodedImages(BLOBS, NAMES, "RGB"))
    assert decoded is not None
    assert (decoded.pixels_NCHW.transpose(0, 2, 3, 1) == PIXELS).all()


def test_large_or_mixed_or_too_many_images_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    large = EncodedImages([encode(make_pixels(1, (65, 8))[0])], ["0"], "RGB")
    mixed = EncodedImages([BLOBS[0], encode(make_pixels(1, 8)[0])], ["0", "1"], "RGB")
    assert decode_if_small(large) is None
    assert decode_if_small(mixed) is None
    monkeypatch.setattr(images, "LARGEST_IN_MEMORY", PIXELS.nbytes - 1)
    assert decode_if_small(EncodedImages(BLOBS, NAMES, "RGB")) is None
