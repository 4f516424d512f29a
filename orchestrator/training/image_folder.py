"""A tree train/<class>/* beside val/<class>/* (or test/) in; its train and test parts and its fingerprint, out.

The tree that is not train is the test split. Classes are the folders of train, numbered in the order of their names;
images stand directly in the folder of their class.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from orchestrator.errors import DataError
from orchestrator.training.cache import decoded
from orchestrator.training.fingerprint import FileFacts, fingerprint_files, stamp_files
from orchestrator.training.images import FileImages, Mode, Split

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
TEST_TREES = ("val", "test")


def read_image_folder(root: Path, mode: Mode) -> tuple[Split, Split, str]:
    """The train and test parts below `root`, and the fingerprint of all files.

    Small images of one size are kept in memory, others are decoded at each access.

    Raises:
        DataError: a tree, a class or its images are missing, or a file is no image; the message names the path.
    """
    test_tree = _test_tree(root)
    classes = _class_names(root / "train")
    parts = [_read_tree(root, "train", classes, mode), _read_tree(root, test_tree, classes, mode)]
    files = [file for _, facts in parts for file in facts]
    train, test = (_in_memory_if_small(split, root, facts, mode) for split, facts in parts)
    return train, test, fingerprint_files(root, files)


def _test_tree(root: Path) -> str:
    if not (root / "train").is_dir():
        raise DataError(f"{root} holds no folder train: an image folder has train/<class>/* and val/<class>/*")
    found = [name for name in TEST_TREES if (root / name).is_dir()]
    if not found:
        raise DataError(
            f"{root} holds neither val nor test: the test split needs a tree val/<class>/* or test/<class>/*"
        )
    if len(found) == 2:
        raise DataError(f"{root} holds both val and test: take out the one that is not to be the test split")
    return found[0]


def _class_names(tree: Path) -> list[str]:
    names = sorted(entry.name for entry in _visible(tree) if entry.is_dir())
    if not names:
        raise DataError(f"{tree} holds no folders: each class needs a folder of its images")
    return names


def _read_tree(root: Path, tree: str, classes: list[str], mode: Mode) -> tuple[Split, list[FileFacts]]:
    """Images in the order of class and name, with what is known of each file."""
    for entry in sorted(_visible(root / tree), key=lambda entry: entry.name):
        if not entry.is_dir():
            raise DataError(f"{entry.path} is a file beside the class folders: move it into one, or out of the tree")
        if entry.name not in classes:
            raise DataError(f"{entry.path} is a class that {root / 'train'} does not have")
    files, labels = [], []
    for label, name in enumerate(classes):
        facts = _read_class(root, f"{tree}/{name}") if (root / tree / name).is_dir() else []
        if tree == "train" and not facts:
            raise DataError(f"{root / tree / name} holds no images: add some, or remove the folder")
        files += facts
        labels += [label] * len(facts)
    if not files:
        raise DataError(f"{root / tree} holds no images")
    return Split(FileImages(root, [file.name for file in files], mode), np.array(labels, dtype=np.int64)), files


def _read_class(root: Path, folder: str) -> list[FileFacts]:
    files = []
    for entry in _visible(root / folder):
        if not entry.is_file():
            raise DataError(f"{entry.path} is not a file: images stand directly in the folder of their class")
        if not entry.name.lower().endswith(EXTENSIONS):
            raise DataError(f"{entry.path} is not an image orch reads; it reads {' '.join(EXTENSIONS)}")
        facts = entry.stat()
        if facts.st_size == 0:
            raise DataError(f"{entry.path} is empty: replace it, or take it out of the dataset")
        files.append(FileFacts(f"{folder}/{entry.name}", facts.st_size, facts.st_mtime_ns))
    return sorted(files, key=lambda file: file.name)


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error


def _in_memory_if_small(split: Split, root: Path, files: list[FileFacts], mode: Mode) -> Split:
    pixels = decoded(len(split), f"{stamp_files(root, files)}-{mode}", lambda: split.images)
    return split if pixels is None else Split(pixels, split.labels)
