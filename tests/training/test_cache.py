from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from orchestrator.errors import DataError
from orchestrator.training import cache
from orchestrator.training.images import EncodedImages, Images
from tests.training.pictures import encode, make_pixels


def small_images() -> Images:
    return EncodedImages([encode(pixels) for pixels in make_pixels(4)], ["0", "1", "2", "3"], "RGB")


def never_read() -> Images:
    raise AssertionError("read again")


@pytest.fixture
def keeps_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WORTH_KEEPING", 1)


def test_few_images_leave_nothing_behind(own_cache: Path) -> None:
    assert cache.decoded(4, "key", small_images) is not None
    assert not own_cache.exists()


@pytest.mark.usefixtures("keeps_all")
def test_many_images_are_decoded_once_for_each_key() -> None:
    first = cache.decoded(4, "key", small_images)
    second = cache.decoded(4, "key", never_read)
    assert first is not None
    assert second is not None
    assert (first.pixels_NCHW == second.pixels_NCHW).all()
    with pytest.raises(AssertionError, match="read again"):
        cache.decoded(4, "other key", never_read)


@pytest.mark.usefixtures("keeps_all")
def test_an_altered_byte_is_found_and_the_folder_named(own_cache: Path) -> None:
    cache.decoded(4, "key", small_images)
    pixels = own_cache / "decoded/key/pixels"
    pixels.write_bytes(b"\x00" + pixels.read_bytes()[1:])
    with pytest.raises(DataError, match=r"key/pixels is damaged: .*; delete .*decoded/key, it will be made again$"):
        cache.decoded(4, "key", never_read)


@pytest.mark.usefixtures("keeps_all")
def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path / "file/below"))
    with pytest.raises(
        DataError, match=r"^cannot write .*file/below.*; set ORCH_CACHE to a folder that can be written$"
    ):
        cache.decoded(4, "key", small_images)


def test_a_file_that_is_wanted_by_many_is_written_once() -> None:
    writers: list[Path] = []

    def write(path: Path) -> None:
        writers.append(path)
        time.sleep(0.05)
        path.write_bytes(b"done")

    threads = [threading.Thread(target=cache.written, args=("sets/one", write)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(writers) == 1
    assert writers[0].read_bytes() == b"done"
