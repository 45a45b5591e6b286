"""Chance that is the same in every night of one seed, whatever order requests come in."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable


class Dice:
    """Thrown anew for the n-th request of a kind about the same thing."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._seen: Counter[tuple[str, str]] = Counter()

    def of(self, what: str, subject: str) -> random.Random:
        """For the next request of this kind."""
        self._seen[what, subject] += 1
        return random.Random(f"{self._seed}:{what}:{subject}:{self._seen[what, subject]}")

    def happens(self, what: str, subject: str) -> Callable[[float], bool]:
        """Whether something of a share happens to the next request of this kind."""
        dice = self.of(what, subject)
        return lambda share: dice.random() < share

    def is_first(self, what: str, subject: str) -> bool:
        """Whether only one was asked for so far."""
        return self._seen[what, subject] == 1
