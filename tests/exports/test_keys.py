"""What keys are taken is remembered in little memory, and nothing is forgotten."""

from __future__ import annotations

import random

import pytest

from nanobanana_batch.exports.keys import Numbers


@pytest.mark.parametrize("size", [2, 1 << 10])
def test_each_number_is_new_once(size: int) -> None:
    """As with a set, however often the table has grown; the places of many of them are the same."""
    chance, numbers, seen = random.Random(7), Numbers(size), set[int]()
    for _ in range(5_000):
        number = chance.choice([chance.getrandbits(64), chance.getrandbits(8) << 56, chance.getrandbits(11)])
        number = number or 1  # the two are one: they are hashes
        assert numbers.add(number) is (number not in seen)
        seen.add(number)


def test_a_number_of_nothing_is_one_too() -> None:
    """A hash may be 0, which stands for an empty place."""
    numbers = Numbers()
    assert numbers.add(0)
    assert not numbers.add(0)
