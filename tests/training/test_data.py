from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.configs import DataConfig
from orchestrator.errors import DataError
from orchestrator.training import data
from orchestrator.training.data import Dataset, Split, load_data, prepare_data
from orchestrator.training.fingerprint import fingerprint_arrays
from orchestrator.training.images import PixelImages
from tests.training.pictures import (
    DIGITS,
    encode,
    folder_config,
    make_pixels,
    parquet_config,
    write_cifar10,
    write_shard,
    write_tree,
)


def images_of(split: Split | None) -> list[bytes]:
    assert split is not None
    return [np.asarray(split.images[row]).tobytes() for row in range(len(split))]


def write_shards(root: Path, labels: list[int], test_labels: list[int]) -> DataConfig:
    pixels = make_pixels(len(labels) + len(test_labels))
    blobs: list[bytes | None] = [encode(image) for image in pixels]
    write_shard(root / "train-0.parquet", blobs[: len(labels)], labels)
    write_shard(root / "test-0.parquet", blobs[len(labels) :], test_labels)
    return parquet_config(root)


def message_of(config: DataConfig) -> str:
    with pytest.raises(DataError) as loaded:
        load_data(config, 8)
    with pytest.raises(DataError) as prepared:
        prepare_data(config)
    assert str(loaded.value) == str(prepared.value)
    return str(loaded.value)


def test_digits_fall_into_three_parts_of_fixed_size() -> None:
    digits = load_data(DIGITS, 8)
    assert digits.val is not None
    assert [len(split) for split in (digits.train, digits.val, digits.test)] == [1294, 144, 359]
    for split in (digits.train, digits.val, digits.test):
        shares = np.bincount(split.labels, minlength=10) / len(split)
        assert shares == pytest.approx(np.full(10, 0.1), abs=0.01)


@pytest.mark.parametrize("kind", ["digits", "pictures in a folder"])
def test_looking_whether_a_dataset_is_sound_waits_for_no_import_of_torch(kind: str, tmp_path: Path) -> None:
    write_tree(tmp_path, {"train/cat": 6, "train/dog": 6, "val/cat": 2, "val/dog": 2})
    config = DIGITS if kind == "digits" else folder_config(tmp_path)
    code = f"""if True:
        import sys
        from orchestrator.configs import DataConfig
        from orchestrator.training.data import prepare_data
        assert prepare_data({config!r}) == {prepare_data(config)!r}
        assert not {{"torch", "torchvision", "timm"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_change_of_the_validation_share_leaves_the_test_split_alone() -> None:
    tests = [images_of(load_data(dataclasses.replace(DIGITS, val_fraction=share), 8).test) for share in (0.0, 0.3)]
    assert tests[0] == tests[1]


def test_the_splits_are_disjoint_and_cover_all_images(tmp_path: Path) -> None:
    write_tree(tmp_path, {"train/cat": 25, "train/dog": 15, "val/cat": 3, "val/dog": 4})
    everything = [np.asarray(image).tobytes() for seed, n in ((0, 25), (1, 15)) for image in make_pixels(n, seed=seed)]
    loaded = load_data(folder_config(tmp_path, val_fraction=0.2), 8)
    train, val = images_of(loaded.train), images_of(loaded.val)
    assert len(val) == 8
    assert set(train) | set(val) == set(everything)
    assert not set(train) & set(val)
    assert images_of(loaded.test) == [
        np.asarray(image).tobytes() for seed, n in ((2, 3), (3, 4)) for image in make_pixels(n, seed=seed)
    ]


def test_images_keep_their_labels_through_the_split(tmp_path: Path) -> None:
    config = write_shards(tmp_path, [row % 2 for row in range(40)], [0, 1])
    label_of = {image.tobytes(): row % 2 for row, image in enumerate(make_pixels(42))}
    loaded = load_data(config, 8)
    for split in (loaded.train, loaded.val, loaded.test):
        assert split is not None
        assert [label_of[image] for image in images_of(split)] == split.labels.tolist()
        assert split.labels.dtype == np.int64


def test_no_validation_share_means_no_validation_split() -> None:
    loaded = load_data(dataclasses.replace(DIGITS, val_fraction=0.0), 8)
    assert loaded.val is None
    assert len(loaded.train) == 1438


def test_loading_twice_gives_the_same_object_and_another_root_another(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_tree(tmp_path / name, {"train/cat": 4, "train/dog": 4, "val/cat": 1})
    configs = [folder_config(tmp_path / name) for name in ("one", "two")]
    assert configs[0] == configs[1]
    first = load_data(configs[0], 8)
    assert load_data(configs[0], 8) is first
    assert load_data(configs[1], 8) is not first


def test_small_images_are_resized_once() -> None:
    digits = load_data(DIGITS, 16)
    for split in (digits.train, digits.val, digits.test):
        assert split is not None
        assert isinstance(split.images, PixelImages)
        assert split.images.size == (16, 16)
    assert digits.fingerprint == load_data(DIGITS, 8).fingerprint


def test_prepare_returns_the_fingerprint_that_load_sees(tmp_path: Path) -> None:
    config = write_shards(tmp_path, [0, 1] * 5, [0, 1])
    assert prepare_data(config) == load_data(config, 8).fingerprint
    assert prepare_data(DIGITS) == load_data(DIGITS, 8).fingerprint


def test_prepare_reads_the_files_anew(tmp_path: Path) -> None:
    config = write_shards(tmp_path, [0, 1] * 5, [0, 1])
    before = prepare_data(config)
    write_shards(tmp_path, [0, 1] * 5, [1, 1])
    assert load_data(config, 8).fingerprint == prepare_data(config) != before


def test_prepare_finds_a_broken_large_image(tmp_path: Path) -> None:
    write_tree(tmp_path, {"train/cat": 4, "train/dog": 4, "val/cat": 3}, side=70)
    config = folder_config(tmp_path)
    assert prepare_data(config)
    broken = tmp_path / "val/cat/1.png"
    broken.write_bytes(broken.read_bytes()[:2000])
    with pytest.raises(DataError, match=f"^{broken} cannot be decoded"):
        prepare_data(config)


def test_only_prepare_fetches(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def fetch(config: DataConfig) -> None:
        fetched.append(config.name)
        write_cifar10(own_cache / "cifar10", monkeypatch)

    monkeypatch.setattr(data, "fetch_cifar", fetch)
    config = DataConfig(name="cifar10", num_classes=10)
    with pytest.raises(DataError, match="is not at"):
        load_data(config, 32)
    assert fetched == []
    assert prepare_data(config) == load_data(config, 32).fingerprint
    assert fetched == ["cifar10"]


def test_another_number_of_classes_is_told_with_both_numbers(tmp_path: Path) -> None:
    for name, labels, num_found, num_said in (("few", [0, 1], 2, 3), ("many", [0, 1, 2], 3, 2), ("gap", [0, 2], 2, 3)):
        write_shards(tmp_path / name, labels * 5, [0])
        assert message_of(parquet_config(tmp_path / name, num_said)) == (
            f"{tmp_path / name} has {num_found} classes with training images, but data.num_classes is {num_said}"
        )


@pytest.mark.parametrize(("label", "part"), [(5, "train"), (2, "test"), (-1, "test")])
def test_a_label_out_of_range_is_told_with_its_image(label: int, part: str, tmp_path: Path) -> None:
    labels: dict[str, Any] = {"train": [0, 1] * 5, "test": [0, 1]}
    labels[part][1] = label
    config = write_shards(tmp_path, labels["train"], labels["test"])
    assert message_of(config) == (f"{tmp_path}: {part} image 1 has label {label}, outside 0..1 (data.num_classes is 2)")


def test_a_class_too_small_to_split_is_told(tmp_path: Path) -> None:
    config = write_shards(tmp_path, [0, 0, 0, 1], [0, 1])
    assert message_of(config) == (
        f"{tmp_path}: label 1 has only one image, too few to hold out a share of 0.1 for val; "
        "add images of it, or set the fraction to 0 if nothing is selected"
    )
    assert isinstance(load_data(dataclasses.replace(config, val_fraction=0.0), 8), Dataset)


def test_digits_without_a_test_share_are_told() -> None:
    assert message_of(dataclasses.replace(DIGITS, test_fraction=None)) == (
        "digits has no official test part: data.test_fraction must say the share of it"
    )


def test_the_split_of_digits_is_the_one_of_every_version() -> None:
    digits = load_data(DIGITS, 8)
    assert digits.fingerprint == "ce89a3843c1f6a4a"
    assert digits.test.labels[:12].tolist() == [3, 7, 9, 2, 8, 2, 0, 5, 7, 3, 0, 6]
    assert fingerprint_arrays(digits.train.labels) == "abe69d2c1bea6e65"
