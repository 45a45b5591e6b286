"""The bounded semaphore: how many tasks are in flight, and how many may be.

The bound follows how the provider copes: one step up for two accepted requests, one halving for each
burst of rate limiting, between 1 and what the person allows. With a smaller step a provider that answers
429 to one request in twenty, however few there are, would bring a night down to five tasks in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from nanobanana_batch.engine.work import Tally

_STEP = 0.5


class Slots:
    """Taken before a row is submitted, given back when its task is terminal or set aside."""

    def __init__(self, count: int, tally: Tally) -> None:
        self._most = count
        self._bound = float(count)
        self._tally = tally
        self._taken = 0
        self._waiting = 0
        self._queue: deque[anyio.Event] = deque()
        self._empty = anyio.Event()
        self._halved_at = 0.0

    @property
    def bound(self) -> int:
        """How many may be taken now."""
        return max(1, int(self._bound))

    @property
    def halvings(self) -> int:
        """How often the bound is to be doubled until it is what the person allows, rounded down."""
        return (self._most // self.bound).bit_length() - 1

    @property
    def taken(self) -> int:
        """How many are."""
        return self._taken

    @property
    def are_free(self) -> bool:
        """Whether nothing is in flight."""
        return not self._taken

    @property
    def moving(self) -> int:
        """How many are taken by someone who does not wait for the others."""
        return self._taken - self._waiting

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A holder who goes on only when others make room."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def take(self) -> None:
        """Wait for a free slot; first come, first served."""
        turn = anyio.Event()
        self._queue.append(turn)
        self._admit()
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.give_back()
            else:
                self._queue.remove(turn)
            raise

    def give_back(self) -> None:
        """A task is terminal or set aside."""
        self._taken -= 1
        self._admit()
        self._show()
        if not self._taken:
            self._empty.set()

    async def all_free(self) -> None:
        """Return when nothing is in flight."""
        while self._taken:
            self._empty = anyio.Event()
            await self._empty.wait()

    def went_well(self) -> None:
        """A request was accepted: room for a little more."""
        self._bound = min(float(self._most), self._bound + _STEP)
        self._admit()

    def rate_limited(self, sent_at: float) -> bool:
        """A request that was sent at a loop time was told to slow down; says whether that is news.

        What was sent before the last halving belongs to the same burst.
        """
        if sent_at <= self._halved_at:
            return False
        self._halved_at = anyio.current_time()
        self._bound = max(1.0, min(self._bound, float(max(self._taken, 1))) / 2.0)
        return True

    def _admit(self) -> None:
        while self._queue and self._taken < self.bound:
            self._taken += 1
            self._queue.popleft().set()
        self._show()

    def _show(self) -> None:
        self._tally.in_flight = self._taken
        self._tally.changed()
