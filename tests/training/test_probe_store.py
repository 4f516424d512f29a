from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from orchestrator.npz_files import npz_bytes
from orchestrator.probe_catalog import PROBES
from orchestrator.training.probe_store import ProbeStore, stack_moments


def moment(epoch: int) -> dict[str, np.ndarray]:
    arrays = {name: np.full((2,) * len(info.dims), float(epoch)) for name, info in PROBES.items()}
    return arrays | {"token_cosine.raw": np.array([np.nan, epoch])}


def test_moments_come_back_by_epoch_with_their_bits(tmp_path: Path) -> None:
    store = ProbeStore(tmp_path / "probes")
    for epoch in (10, 0, 2):
        store.save(epoch, moment(epoch))
    found = ProbeStore(tmp_path / "probes").moments()
    assert [float(arrays["epoch"]) for arrays in found] == [0.0, 2.0, 10.0]
    for arrays, epoch in zip(found, (0, 2, 10), strict=True):
        for name, values in moment(epoch).items():
            np.testing.assert_array_equal(arrays[name], values)


def test_a_store_knows_what_it_has(tmp_path: Path) -> None:
    store = ProbeStore(tmp_path / "probes")
    assert not store.has(0)
    assert store.moments() == []
    store.save(0, moment(0))
    assert store.has(0)
    assert ProbeStore(tmp_path / "probes").has(0)
    assert not store.has(1)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04torn", npz_bytes(moment(0))[:-40], npz_bytes({"a": np.zeros(1)})])
def test_a_damaged_moment_counts_as_not_probed_and_is_probed_again(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = ProbeStore(tmp_path)
    (tmp_path / "0.npz").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert not store.has(0)
    assert "0.npz" in caplog.text
    store.save(0, moment(0))
    assert store.has(0)


def test_stacking_puts_moments_in_front(tmp_path: Path) -> None:
    stacked = stack_moments([moment(0), moment(5)])
    assert stacked.keys() == PROBES.keys()
    assert stacked["epoch"].tolist() == [0.0, 5.0]
    assert stacked["cka"].shape == (2, 2, 2)


def test_removing_leaves_nothing(tmp_path: Path) -> None:
    store = ProbeStore(tmp_path / "probes")
    store.save(0, moment(0))
    store.remove()
    assert list(tmp_path.iterdir()) == []
