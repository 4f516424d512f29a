"""Ten rounds of random kills; `python -m tests.faults.soak --rounds 200` does more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.soak import VICTIMS, soak


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_random_kills_lose_nothing(tmp_path: Path) -> None:
    tally = soak(tmp_path, num_rounds=10, seed=1)
    assert tally.num_rounds == 10
    assert sum(tally.kills.values()) >= 5, "most rounds must have killed somebody"
    assert set(tally.kills) == set(VICTIMS), "each kind of process must have been killed"
    assert tally.num_missed <= 2
    assert tally.epochs_again <= 4 * sum(tally.kills.values())
