from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import URLError

import numpy as np
import pytest
from sklearn.datasets import load_digits
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from orchestrator.configs import DataConfig
from orchestrator.errors import DataError
from orchestrator.training import sources
from orchestrator.training.images import PixelImages
from orchestrator.training.sources import IMAGENET_STATISTICS, LOADERS, cifar_root, fetch_cifar
from tests.training.pictures import DIGITS, write_cifar10


def cifar_config(root: Path | None = None) -> DataConfig:
    return DataConfig(name="cifar10", num_classes=10, root=None if root is None else str(root))


def test_digits_are_the_bundled_ones_scaled_to_bytes() -> None:
    source = LOADERS["digits"](DIGITS)
    assert isinstance(source.train.images, PixelImages)
    assert source.test is None
    assert source.train.images.pixels_NCHW.shape == (1797, 1, 8, 8)
    assert np.unique(source.train.images.pixels_NCHW).tolist() == [round(value * 255 / 16) for value in range(17)]
    assert np.bincount(source.train.labels).min() > 170


def test_digits_are_those_that_scikit_learn_loads() -> None:
    source, loaded = LOADERS["digits"](DIGITS), load_digits()
    assert isinstance(source.train.images, PixelImages)
    assert (source.train.images.pixels_NCHW[:, 0] == np.rint(loaded.images * (255 / 16))).all()
    assert (source.train.labels == loaded.target).all()


@pytest.mark.parametrize("content", [None, b"cut short"])
def test_digits_that_cannot_be_read_say_what_to_do(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.machinery.ModuleSpec("sklearn", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    if content is not None:
        (tmp_path / "datasets" / "data").mkdir(parents=True)
        (tmp_path / "datasets" / "data" / "digits.csv.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read digits from .*digits\.csv\.gz .* install scikit-learn anew"):
        LOADERS["digits"](DIGITS)


def test_the_statistics_of_digits_are_those_of_their_pixels() -> None:
    source = LOADERS["digits"](DIGITS)
    assert isinstance(source.train.images, PixelImages)
    pixels = source.train.images.pixels_NCHW / 255
    assert source.statistics[0][0] == pytest.approx(pixels.mean(), abs=5e-5)
    assert source.statistics[1][0] == pytest.approx(pixels.std(), abs=5e-5)


def test_the_statistics_of_photographs_are_timms() -> None:
    assert IMAGENET_STATISTICS == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def test_cifar_is_read_as_torchvision_lays_it_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    source = LOADERS["cifar10"](cifar_config(tmp_path))
    assert isinstance(source.train.images, PixelImages)
    assert source.test is not None
    assert source.train.images.pixels_NCHW.shape == (100, 3, 32, 32)
    first = np.random.default_rng(1).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)[0]
    assert (source.train.images.pixels_NCHW[0] == first).all()
    assert source.test.labels.tolist() == [row % 10 for row in range(20)]


def test_the_root_of_cifar_may_be_the_folder_of_the_batches(tmp_path: Path) -> None:
    assert cifar_root(cifar_config(tmp_path / "cifar-10-batches-py")) == cifar_root(cifar_config(tmp_path)) == tmp_path


def test_cifar_that_is_not_there_says_where_it_was_looked_for(own_cache: Path) -> None:
    folder = own_cache / "cifar10/cifar-10-batches-py"
    with pytest.raises(DataError) as caught:
        LOADERS["cifar10"](cifar_config())
    assert str(caught.value) == (
        f"cifar10 is not at {folder}: start a sweep, which fetches it once, on a machine with a network, "
        "or let data.root name the folder that holds cifar-10-batches-py"
    )


def test_a_missing_or_altered_batch_of_cifar_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar10(tmp_path, monkeypatch)
    batch = folder / "data_batch_3"
    content = batch.read_bytes()
    batch.write_bytes(content[:-1] + b"?")
    again = f"; delete {folder} and start again to fetch cifar10 anew"
    with pytest.raises(DataError) as altered:
        LOADERS["cifar10"](cifar_config(tmp_path))
    assert str(altered.value) == f"a file in {folder} is damaged: its checksum is wrong{again}"
    batch.unlink()
    with pytest.raises(DataError) as missing:
        LOADERS["cifar10"](cifar_config(tmp_path))
    assert str(missing.value) == f"{batch} is missing{again}"


class SlowDownload:
    """Stands in for torchvision's class: counts its downloads, each of which takes a while."""

    base_folder = "batches"
    url = "https://example.org/archive.tar.gz"
    downloads: ClassVar[list[Path]] = []

    def __init__(self, root: Path, *, download: bool) -> None:
        assert download
        sys.stdout.write("torchvision talks")
        self.downloads.append(root)
        time.sleep(0.05)
        (root / self.base_folder).mkdir(parents=True)


def test_many_cold_starters_download_once_and_keep_stdout_clean(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sources, "_cifar_class", lambda _name: SlowDownload)
    monkeypatch.setattr(SlowDownload, "downloads", [])
    threads = [threading.Thread(target=fetch_cifar, args=(cifar_config(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SlowDownload.downloads == [own_cache / "cifar10"]
    assert capsys.readouterr().out == ""


def test_what_is_there_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_cifar_class", lambda _name: SlowDownload)
    monkeypatch.setattr(SlowDownload, "downloads", [])
    (tmp_path / "batches").mkdir()
    fetch_cifar(cifar_config(tmp_path))
    assert SlowDownload.downloads == []


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("File not found or corrupted.")])
def test_a_failed_download_names_address_folder_and_way_out(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(sources, "_cifar_class", lambda _name: SlowDownload)
    monkeypatch.setattr(SlowDownload, "__init__", refuse)
    with pytest.raises(DataError) as caught:
        fetch_cifar(cifar_config(tmp_path))
    assert str(caught.value).startswith(
        f"cannot fetch cifar10 from {SlowDownload.url} to {tmp_path} ({error}); fetch the"
    )
    assert str(caught.value).endswith("let data.root name the folder of batches")


@pytest.mark.parametrize("name", ["image_folder", "parquet"])
def test_a_root_that_is_no_folder_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    advice = "let it name the folder that holds the dataset"
    for root, message in (
        (None, f"dataset {name} needs data.root, the folder that holds it"),
        (tmp_path / "gone", f"data.root {tmp_path / 'gone'} does not exist: {advice}"),
        (tmp_path / "file", f"data.root {tmp_path / 'file'} is not a folder: {advice}"),
    ):
        with pytest.raises(DataError) as caught:
            LOADERS[name](DataConfig(name=name, num_classes=2, id="x", root=None if root is None else str(root)))
        assert str(caught.value) == message


def test_images_are_read_as_grey_or_rgb_only(tmp_path: Path) -> None:
    config = DataConfig(name="parquet", num_classes=2, in_chans=4, id="x", root=str(tmp_path))
    with pytest.raises(DataError, match=r"^data\.in_chans is 4: images are read as 1 channel \(grey\) or 3 \(RGB\)$"):
        LOADERS["parquet"](config)
