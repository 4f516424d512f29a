"""Arrays survive the file exactly; damaged bytes are one kind of error, whatever was damaged; pickles are refused."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest

from orchestrator.npz_files import npz_bytes, read_npz

ARRAYS = {
    "flags": np.packbits(np.arange(360) % 3 == 0),
    "count": np.int64(360),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "deep": np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5),
    "nothing": np.zeros((0, 7)),
    "holes": np.array([1.0, np.nan, -np.inf]),
}


def test_arrays_come_back_as_numpy_reads_them() -> None:
    content = npz_bytes(ARRAYS)
    found = read_npz(content)
    with np.load(io.BytesIO(content), allow_pickle=False) as expected:
        assert list(found) == expected.files == list(ARRAYS)
        for name in expected.files:
            assert found[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(found[name], expected[name])
            assert found[name].flags.writeable


def test_a_long_description_is_read_whole() -> None:
    wide = np.zeros(1, dtype=[(f"a_field_with_a_long_name_{number}", "<f4") for number in range(20)])
    assert read_npz(npz_bytes({"wide": wide}))["wide"].dtype == wide.dtype


def test_damage_is_an_error_of_value_or_harms_nothing() -> None:
    content, choice, num_found = npz_bytes(ARRAYS), random.Random(0), 0
    for _ in range(3000):
        damaged = bytearray(content)
        if choice.random() < 0.3:
            del damaged[choice.randrange(len(damaged)) :]
        else:
            damaged[choice.randrange(len(damaged))] ^= 1 << choice.randrange(8)
        try:
            found = read_npz(bytes(damaged))
        except ValueError:
            num_found += 1
            continue
        for name in found.keys() & ARRAYS.keys():
            np.testing.assert_array_equal(found[name], ARRAYS[name])
    assert num_found > 2000


def test_objects_are_refused() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, bomb=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="Python objects are not read"):
        read_npz(buffer.getvalue())
