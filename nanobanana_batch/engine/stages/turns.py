"""Who is read when: all whose turn is at the same moment are read together, in the order of their moments."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator

import anyio

from nanobanana_batch.engine.work import Work

_SHARE_OF_LATEST = 0.1
"""With which the latest read counts in how late reads are."""


class Turns:
    """Each task has one turn at most: another one takes the place of the last. All in loop time."""

    def __init__(self) -> None:
        self._moments: list[float] = []
        """A heap."""
        self._at: dict[float, list[tuple[int, Work]]] = {}
        self._due: deque[tuple[float, int, Work]] = deque()
        self._numbers = itertools.count(1)
        self._wake = anyio.Event()
        self.late_s = 0.0
        """How much later than at their moment tasks are read, lately."""

    def put(self, work: Work, at: float) -> None:
        """Give a task its turn at a moment."""
        work.look = next(self._numbers)
        if at not in self._at:
            self._at[at] = []
            heapq.heappush(self._moments, at)
            if self._moments[0] == at:
                self._wake.set()
        self._at[at].append((work.look, work))

    async def come(self, most: int, near_s: float) -> None:
        """Return when it is someone's turn; fewer than `most` wait for who is due so soon after them."""
        while not self._is_someones() or self._is_worth_waiting(most, near_s):
            self._wake = anyio.Event()
            wait_s = self._moments[0] - anyio.current_time() if self._moments else float("inf")
            with anyio.move_on_after(wait_s):
                await self._wake.wait()

    def _is_worth_waiting(self, most: int, near_s: float) -> bool:
        return len(self._due) < most and bool(self._moments) and self._moments[0] - self._due[0][0] <= near_s

    def take(self, most: int) -> list[Work]:
        """Up to so many whose turn it is, the first that were due in front; they have none any more."""
        taken: list[Work] = []
        now = anyio.current_time()
        while len(taken) < most and self._is_someones():
            at, _, work = self._due.popleft()
            work.look = 0
            taken.append(work)
            late_s = now - at
        if taken:
            self.late_s += _SHARE_OF_LATEST * (late_s - self.late_s)
        return taken

    def waiting(self) -> Iterator[Work]:
        """All that have a turn."""
        everyone = itertools.chain(*self._at.values(), ((look, work) for _, look, work in self._due))
        return (work for look, work in everyone if work.look == look)

    def _is_someones(self) -> bool:
        now = anyio.current_time()
        while self._moments and self._moments[0] <= now:
            at = heapq.heappop(self._moments)
            self._due.extend((at, look, work) for look, work in self._at.pop(at))
        while self._due and self._due[0][2].look != self._due[0][1]:
            self._due.popleft()  # it was given another turn since
        return bool(self._due)
