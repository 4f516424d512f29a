from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import DataError
from orchestrator.training.image_folder import read_image_folder
from orchestrator.training.images import FileImages, PixelImages
from tests.training.pictures import encode, make_pixels, write_tree

TREE = {"train/cat": 3, "train/dog": 2, "val/cat": 1, "val/dog": 2}


def message_of(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_image_folder(root, "RGB")
    return str(caught.value)


@pytest.mark.parametrize("tree", ["val", "test"])
def test_classes_are_numbered_by_name_and_the_other_tree_is_the_test_split(tmp_path: Path, tree: str) -> None:
    write_tree(tmp_path, {name.replace("val", tree): count for name, count in TREE.items()}, side=70)
    train, test, _ = read_image_folder(tmp_path, "RGB")
    assert train.labels.tolist() == [0, 0, 0, 1, 1]
    assert test.labels.tolist() == [0, 1, 1]
    assert isinstance(train.images, FileImages)
    assert train.images.paths[0] == "train/cat/0.png"
    assert (np.asarray(train.images[3]) == make_pixels(2, 70, seed=1)[0]).all()


def test_small_images_of_one_size_are_held_as_pixels(tmp_path: Path) -> None:
    write_tree(tmp_path, TREE)
    train, _, _ = read_image_folder(tmp_path, "RGB")
    assert isinstance(train.images, PixelImages)
    assert (np.asarray(train.images[3]) == make_pixels(2, seed=1)[0]).all()


def test_the_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_tree(tmp_path / name, TREE)
    first, second = (read_image_folder(tmp_path / name, "RGB")[2] for name in ("one", "two"))
    assert first == second
    image = tmp_path / "two/val/dog/1.png"
    image.write_bytes(encode(make_pixels(1, seed=99)[0]))
    assert read_image_folder(tmp_path / "two", "RGB")[2] != first


def test_hidden_files_and_upper_case_extensions_are_no_trouble(tmp_path: Path) -> None:
    write_tree(tmp_path, TREE)
    (tmp_path / "train/cat/.DS_Store").write_bytes(b"x")
    (tmp_path / "train/.hidden").mkdir()
    (tmp_path / "train/cat/0.png").rename(tmp_path / "train/cat/0.PNG")
    assert len(read_image_folder(tmp_path, "RGB")[0]) == 5


def test_a_class_may_be_missing_from_the_test_tree(tmp_path: Path) -> None:
    write_tree(tmp_path, {"train/cat": 2, "train/dog": 2, "val/dog": 1})
    assert read_image_folder(tmp_path, "RGB")[1].labels.tolist() == [1]


def test_missing_trees_are_told(tmp_path: Path) -> None:
    assert message_of(tmp_path) == (
        f"{tmp_path} holds no folder train: an image folder has train/<class>/* and val/<class>/*"
    )
    write_tree(tmp_path, {"train/cat": 1})
    assert message_of(tmp_path).startswith(f"{tmp_path} holds neither val nor test: the test split needs a tree val/")
    write_tree(tmp_path, {"val/cat": 1, "test/cat": 1})
    assert message_of(tmp_path) == (
        f"{tmp_path} holds both val and test: take out the one that is not to be the test split"
    )


def test_empty_trees_and_classes_are_told(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "val/cat").mkdir(parents=True)
    assert message_of(tmp_path) == f"{tmp_path}/train holds no folders: each class needs a folder of its images"
    (tmp_path / "train/cat").mkdir()
    assert message_of(tmp_path) == f"{tmp_path}/train/cat holds no images: add some, or remove the folder"
    (tmp_path / "train/cat/0.png").write_bytes(encode(make_pixels(1)[0]))
    assert message_of(tmp_path) == f"{tmp_path}/val holds no images"


def test_a_class_that_train_lacks_is_told(tmp_path: Path) -> None:
    write_tree(tmp_path, {**TREE, "val/fox": 1})
    assert message_of(tmp_path) == f"{tmp_path}/val/fox is a class that {tmp_path}/train does not have"


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("train/cat/boxes.txt", "is not an image orch reads; it reads .bmp .jpeg .jpg .pgm .png .ppm .tif .tiff .webp"),
        ("train/notes.txt", "is a file beside the class folders: move it into one, or out of the tree"),
        ("val/dog/empty.png", "is empty: replace it, or take it out of the dataset"),
    ],
)
def test_a_file_that_does_not_belong_is_named(path: str, complaint: str, tmp_path: Path) -> None:
    write_tree(tmp_path, TREE)
    (tmp_path / path).touch()
    assert message_of(tmp_path) == f"{tmp_path / path} {complaint}"


def test_a_folder_inside_a_class_is_named(tmp_path: Path) -> None:
    write_tree(tmp_path, TREE)
    (tmp_path / "train/cat/images").mkdir()
    assert message_of(tmp_path) == (
        f"{tmp_path}/train/cat/images is not a file: images stand directly in the folder of their class"
    )


def test_a_broken_small_image_is_named_at_once(tmp_path: Path) -> None:
    write_tree(tmp_path, TREE)
    broken = tmp_path / "val/dog/1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    assert message_of(tmp_path).startswith(f"{broken} cannot be decoded (")
