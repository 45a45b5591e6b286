"""The bounded semaphore: how many tasks are in flight, and how many may be.

The bound is the person's, or what the provider takes at once where that is fewer (`task_bound`). A rate of
requests that it does not take is no reason to have fewer in flight (`submit_rate`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from nanobanana_batch.engine.limits.task_bound import TaskBound
from nanobanana_batch.engine.tally import Tally


class Slots:
    """Taken before a row is submitted, given back when its task is terminal or set aside."""

    def __init__(self, count: int, tally: Tally) -> None:
        self.provider = TaskBound(count)
        """What is known of how many the provider takes."""
        self._share: int | None = None
        """How many are this run's, where several share what the person allows."""
        self._tally = tally
        self._taken = 0
        self._unsent = 0
        self._waiting = 0
        self._queue: deque[tuple[anyio.Event, bool]] = deque()
        """Who waits, and whether it is for what is paid for."""
        self._empty = anyio.Event()

    @property
    def bound(self) -> int:
        """How many may be taken now."""
        return self._bound_of(is_paid=False)

    def share(self, count: int) -> None:
        """So many are this run's from now on; what is taken beyond them stays taken."""
        self._share = count
        self._admit()

    @property
    def running(self) -> int:
        """How many tasks run, as far as is known: slots that are taken by what is not to be sent any more."""
        return max(0, self._taken - self._unsent)

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

    async def take(self, *, is_paid: bool = False) -> None:
        """Wait for a free slot; first come, first served.

        `is_paid`: for what is paid for, and runs whatever this run may do: beyond its share, and past those
        who wait for that.
        """
        turn = anyio.Event(), is_paid
        self._queue.append(turn)
        self._admit()
        try:
            await turn[0].wait()
        except BaseException:
            if turn[0].is_set():
                self.give_back()
            else:
                self._queue.remove(turn)
            raise

    def take_beyond(self) -> None:
        """Without waiting, be it one more than there are: it belongs to a request that has one."""
        self._taken += 1
        self._show()

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

    @contextmanager
    def sending(self) -> Iterator[None]:
        """A holder whose task is not made yet."""
        self._unsent += 1
        try:
            yield
        finally:
            self._unsent -= 1

    def _bound_of(self, *, is_paid: bool) -> int:
        bound = self.provider.at(anyio.current_time())
        return bound if is_paid or self._share is None else min(bound, self._share)

    def _admit(self) -> None:
        while (turn := self._next()) is not None:
            self._taken += 1
            self._queue.remove(turn)
            turn[0].set()
        self._show()

    def _next(self) -> tuple[anyio.Event, bool] | None:
        """Who may go; while the first waits for the share of this run, the first of those who need none."""
        if not self._queue or self._taken >= self._bound_of(is_paid=True):
            return None
        if self._taken < self.bound:
            return self._queue[0]
        return next((turn for turn in self._queue if turn[1]), None)

    def _show(self) -> None:
        self._tally.in_flight, self._tally.in_flight_allowed = self._taken, self.bound
