"""Which digests came is remembered in little memory, and nothing is forgotten or mixed up."""

from __future__ import annotations

import random

import pytest

from nanobanana_batch.digests import Digests


@pytest.mark.parametrize("size", [2, 1 << 10])
@pytest.mark.parametrize("length", [8, 16, 32])
def test_each_digest_has_the_number_with_which_it_came(length: int, size: int) -> None:
    """As with a dictionary, however often the table has grown; many begin or end with the same bytes."""
    chance, digests, known = random.Random(7), Digests(length, size), dict[bytes, int]()
    for _ in range(5_000):
        digest = chance.choice(
            [
                chance.randbytes(length),
                bytes(length - 1) + chance.randbytes(1),
                chance.randbytes(1) + bytes(length - 1),
                bytes(8) + chance.randbytes(length - 8),
            ]
        )
        assert (digest in digests) is (digest in known)
        is_new = digest not in known
        assert digests.add(digest) == (known.setdefault(digest, len(known)), is_new)
    assert list(digests) == list(known)
    assert len(digests) == len(known)


def test_a_digest_of_nothing_is_one_too() -> None:
    """Zeros alone are no empty place."""
    digests = Digests(8)
    assert bytes(8) not in digests
    assert digests.add(bytes(8)) == (0, True)
    assert bytes(8) in digests
