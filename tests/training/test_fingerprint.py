from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import DataError
from orchestrator.training import fingerprint
from orchestrator.training.fingerprint import FileFacts, fingerprint_arrays, fingerprint_files, stamp_files


def facts_of(root: Path) -> list[FileFacts]:
    stats = [(path, path.stat()) for path in sorted(root.iterdir())]
    return [FileFacts(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def fingerprint_of(root: Path) -> str:
    return fingerprint_files(root, facts_of(root))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    root.mkdir()
    for name in ("a", "b", "c"):
        (root / name).write_bytes(name.encode() * 1000)
    return root


def test_a_fingerprint_is_16_hex_digits(files: Path) -> None:
    assert len(fingerprint_of(files)) == len(fingerprint_arrays(np.zeros(3))) == 16
    int(fingerprint_of(files), 16)


@pytest.mark.parametrize("position", [0, 500, 999])
def test_every_byte_counts(files: Path, position: int) -> None:
    before = fingerprint_of(files)
    content = bytearray((files / "b").read_bytes())
    content[position] ^= 1
    (files / "b").write_bytes(content)
    assert fingerprint_of(files) != before


def test_a_name_and_a_missing_file_count(files: Path) -> None:
    seen = {fingerprint_of(files)}
    (files / "c").rename(files / "d")
    seen.add(fingerprint_of(files))
    (files / "d").unlink()
    seen.add(fingerprint_of(files))
    assert len(seen) == 3


def test_place_and_time_do_not_count_but_are_in_the_stamp(files: Path, tmp_path: Path) -> None:
    fingerprints, stamps = {fingerprint_of(files)}, {stamp_files(files, facts_of(files))}
    os.utime(files / "a", ns=(1, 1))
    fingerprints.add(fingerprint_of(files))
    stamps.add(stamp_files(files, facts_of(files)))
    moved = files.rename(tmp_path / "moved")
    fingerprints.add(fingerprint_of(moved))
    stamps.add(stamp_files(moved, facts_of(moved)))
    assert len(fingerprints) == 1
    assert len(stamps) == 3


def test_large_sets_are_sampled_at_both_ends_of_files(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "READ_WHOLE", 2999)
    monkeypatch.setattr(fingerprint, "SAMPLED_BYTES", 10)
    seen = [fingerprint_of(files)]
    for position in (9, 990, 500):
        content = bytearray((files / "b").read_bytes())
        content[position] ^= 1
        (files / "b").write_bytes(content)
        seen.append(fingerprint_of(files))
    assert len(set(seen[:3])) == 3
    assert seen[3] == seen[2]


def test_a_file_that_went_away_is_named(files: Path) -> None:
    facts = facts_of(files)
    (files / "b").unlink()
    with pytest.raises(DataError, match=r"^cannot read .*/b: No such file"):
        fingerprint_files(files, facts)


def test_values_shapes_and_types_of_arrays_count() -> None:
    values = np.arange(6, dtype=np.uint8)
    changed = values.copy()
    changed[5] = 6
    kinds = [values, changed, values.reshape(2, 3), values.view(np.int8)]
    assert len({fingerprint_arrays(array) for array in kinds}) == 4
    assert fingerprint_arrays(values[::2]) == fingerprint_arrays(values[::2].copy())
