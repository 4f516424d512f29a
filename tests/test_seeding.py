from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.seeding import stream_seed

KEYS = st.lists(st.text(max_size=5) | st.integers(0, 1000), max_size=3)


@given(st.integers(0, 2**31), st.text(max_size=8), KEYS)
def test_a_stream_is_a_function_of_its_keys_and_fits_63_bits(seed: int, purpose: str, keys: list) -> None:
    first = stream_seed(seed, purpose, *keys)
    assert first == stream_seed(seed, purpose, *keys)
    assert 0 <= first < 2**63


def test_streams_differ_in_seed_purpose_and_every_key() -> None:
    seeds = {stream_seed(s, p, e, k) for s in range(5) for p in ("order", "mixup") for e in range(5) for k in range(5)}
    assert len(seeds) == 250


def test_streams_do_not_run_into_each_other_where_keys_join() -> None:
    assert stream_seed(1, "a", 1, 2) != stream_seed(1, "a", 12)
    assert stream_seed(1, "ab", "c") != stream_seed(1, "a", "bc")


def test_the_value_of_a_stream_never_changes() -> None:
    assert stream_seed(0, "order", 1) == 4739946833832999988
