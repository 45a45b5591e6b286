"""Groups of pictures that are nearly the same, against the plain way of finding them."""

from __future__ import annotations

import random

import pytest

from nanobanana_batch.checks.likeness import firsts


def plainly(fingerprints: list[int], most_bits: int) -> list[int]:
    """Each with each."""
    heads: list[int] = []
    found = []
    for index, one in enumerate(fingerprints):
        near = (head for head in heads if (fingerprints[head] ^ one).bit_count() <= most_bits)
        first = next(near, index)
        heads += [index] if first == index else []
        found.append(first)
    return found


@pytest.mark.parametrize("most_bits", [0, 3, 6, 16])
def test_groups_are_those_of_the_plain_way(most_bits: int) -> None:
    """More than a block of them, with equal ones, near ones and strangers."""
    chance = random.Random(7)
    heads = [chance.getrandbits(64) for _ in range(60)]
    some = [
        head ^ sum(1 << bit for bit in chance.sample(range(64), chance.randrange(8)))
        for head in heads
        for _ in range(4)
    ]
    chance.shuffle(some)
    some += [*some[:20], 0, 2**64 - 1]
    assert firsts(some, most_bits) == plainly(some, most_bits)


def test_more_groups_than_are_compared_at_a_time() -> None:
    """The last finds its like among the first of five thousand."""
    chance = random.Random(8)
    some = [chance.getrandbits(64) for _ in range(5000)]
    found = firsts([*some, some[3] ^ 1, some[4900] ^ 2], 2)
    assert found == [*range(5000), 3, 4900]


def test_a_chain_makes_no_group_of_strangers() -> None:
    """Each is near to the next, and the last is far from the first."""
    assert firsts([0b0, 0b11, 0b1111, 0b111111], 2) == [0, 0, 2, 2]


def test_nothing_is_like_nothing() -> None:
    """An empty run."""
    assert firsts([], 6) == []
