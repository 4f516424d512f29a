"""Every random source is its own stream, keyed by the seed and a purpose, never by the order of calls.

So two trials of one seed share every draw that both make: the order of the images, crops, mixing, and the initial value
of each parameter they have in common.
"""

from __future__ import annotations

import hashlib


def stream_seed(seed: int, purpose: str, *keys: str | int) -> int:
    """A 63-bit seed for the stream (seed, purpose, keys), e.g. `stream_seed(0, "order", epoch)`."""
    text = "\x1f".join(str(part) for part in (seed, purpose, *keys))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
