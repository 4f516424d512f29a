"""A data configuration in; the train and test parts of that dataset as they lie on this machine, out.

One loader a dataset of the catalog; nothing is split or checked here, and nothing is fetched except by `fetch_cifar`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.configs import DataConfig
from orchestrator.errors import DataError
from orchestrator.places import cache_folder
from orchestrator.training.cache import exclusive
from orchestrator.training.fingerprint import fingerprint_arrays
from orchestrator.training.image_folder import read_image_folder
from orchestrator.training.images import Mode, PixelImages, Split, channels_first
from orchestrator.training.parquet import read_parquet

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, pixels in 0..1."""

DIGITS_STATISTICS: Statistics = ((0.3053,), (0.3759,))
CIFAR10_STATISTICS: Statistics = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100_STATISTICS: Statistics = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
"""Of the 50,000 training images."""
IMAGENET_STATISTICS: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""timm's `IMAGENET_DEFAULT_MEAN` and `IMAGENET_DEFAULT_STD`, without the two seconds of its import."""


@dataclass(frozen=True, eq=False)
class Source:
    """A dataset before it is split."""

    name: str
    """For messages: the dataset, or the folder it lies in."""
    train: Split
    """All images, where the dataset has no official test part."""
    test: Split | None
    statistics: Statistics
    fingerprint: str


def _load_digits(_config: DataConfig) -> Source:
    values, labels = _digits_of_sklearn()
    pixels = np.rint(values * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    everything = Split(PixelImages(channels_first(pixels)), labels)
    return Source("digits", everything, None, DIGITS_STATISTICS, fingerprint_arrays(pixels, labels))


def _digits_of_sklearn() -> tuple[np.ndarray, np.ndarray]:
    """Values 0 to 16 of 64 pixels an image, and labels; from the file that scikit-learn brings, because its import
    takes over a second.

    Raises:
        DataError: the file is not there or broken.
    """
    spec = importlib.util.find_spec("sklearn")
    package = Path(spec.origin).parent if spec is not None and spec.origin is not None else Path("sklearn")
    path = package / "datasets" / "data" / "digits.csv.gz"
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=np.int64)
    except (EOFError, OSError, ValueError) as error:
        raise DataError(f"cannot read digits from {path} ({error}); install scikit-learn anew") from error
    return rows[:, :-1], rows[:, -1]


def _load_cifar(config: DataConfig) -> Source:
    """CIFAR-10 or CIFAR-100 as torchvision lays it out, from `data.root` or the cache folder."""
    dataset_class, root = _cifar_class(config.name), cifar_root(config)
    try:
        train, test = (dataset_class(root, train=is_train) for is_train in (True, False))
    except RuntimeError as error:
        raise DataError(_what_is_wrong(dataset_class, root, config.name)) from error
    parts = [(part.data, np.asarray(part.targets, dtype=np.int64)) for part in (train, test)]
    splits = [Split(PixelImages(channels_first(pixels)), labels) for pixels, labels in parts]
    statistics = CIFAR10_STATISTICS if config.name == "cifar10" else CIFAR100_STATISTICS
    return Source(config.name, splits[0], splits[1], statistics, fingerprint_arrays(*parts[0], *parts[1]))


def cifar_root(config: DataConfig) -> Path:
    """The folder that holds `cifar-10-batches-py` or `cifar-100-python`."""
    root = Path(config.root).expanduser() if config.root else cache_folder() / config.name
    return root.parent if root.name == _cifar_class(config.name).base_folder else root


def fetch_cifar(config: DataConfig) -> None:
    """Make sure that the files are there, fetching them if they are not; other processes of this machine wait.

    Raises:
        DataError: they cannot be fetched, or the folder cannot be written.
    """
    dataset_class, root = _cifar_class(config.name), cifar_root(config)
    with exclusive(f"{config.name}-fetch"):
        if (root / dataset_class.base_folder).is_dir():
            return
        try:
            with contextlib.redirect_stdout(sys.stderr):
                dataset_class(root, download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"cannot fetch {config.name} from {dataset_class.url} to {root} ({error}); fetch the archive where "
                f"there is a network, unpack it, and let data.root name the folder of {dataset_class.base_folder}"
            ) from error


def _cifar_class(name: str) -> Any:
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def _what_is_wrong(dataset_class: Any, root: Path, name: str) -> str:
    folder = root / dataset_class.base_folder
    files = [*dataset_class.train_list, *dataset_class.test_list]
    missing = [file for file, _ in files if not (folder / file).is_file()]
    if not folder.is_dir():
        return (
            f"{name} is not at {folder}: start a sweep, which fetches it once, on a machine with a network, "
            f"or let data.root name the folder that holds {folder.name}"
        )
    what = f"{folder / missing[0]} is missing" if missing else f"a file in {folder} is damaged: its checksum is wrong"
    return f"{what}; delete {folder} and start again to fetch {name} anew"


def _load_image_folder(config: DataConfig) -> Source:
    root = existing_root(config)
    train, test, fingerprint = read_image_folder(root, image_mode(config))
    return Source(str(root), train, test, _photo_statistics(config), fingerprint)


def _load_parquet(config: DataConfig) -> Source:
    root = existing_root(config)
    train, test, fingerprint = read_parquet(root, image_mode(config))
    return Source(str(root), train, test, _photo_statistics(config), fingerprint)


def existing_root(config: DataConfig) -> Path:
    """The folder that `data.root` names.

    Raises:
        DataError: it is not given, missing, or not a folder.
    """
    if config.root is None:
        raise DataError(f"dataset {config.name} needs data.root, the folder that holds it")
    root = Path(config.root).expanduser()
    if not root.exists():
        raise DataError(f"data.root {root} does not exist: let it name the folder that holds the dataset")
    if not root.is_dir():
        raise DataError(f"data.root {root} is not a folder: let it name the folder that holds the dataset")
    return root


def image_mode(config: DataConfig) -> Mode:
    """What images are converted to when they are decoded.

    Raises:
        DataError: `data.in_chans` is neither 1 nor 3.
    """
    modes: Mapping[int, Mode] = {1: "L", 3: "RGB"}
    if config.in_chans not in modes:
        raise DataError(f"data.in_chans is {config.in_chans}: images are read as 1 channel (grey) or 3 (RGB)")
    return modes[config.in_chans]


def _photo_statistics(config: DataConfig) -> Statistics:
    """ImageNet's, averaged over the channels for grey images."""
    if config.in_chans == 1:
        mean, std = IMAGENET_STATISTICS
        return (sum(mean) / 3,), (sum(std) / 3,)
    return IMAGENET_STATISTICS


LOADERS: Mapping[str, Callable[[DataConfig], Source]] = {
    "digits": _load_digits,
    "cifar10": _load_cifar,
    "cifar100": _load_cifar,
    "image_folder": _load_image_folder,
    "parquet": _load_parquet,
}
"""One loader a dataset of the catalog."""
