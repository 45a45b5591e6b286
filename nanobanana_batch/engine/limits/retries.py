"""Rows whose task failed in a way that a new one may cure: each waits a while, then is paid for once more.

They are known to the state as well, so that nothing is forgotten when a run ends before their time.
"""

from __future__ import annotations

import heapq

import anyio

from nanobanana_batch.engine.limits.pace import backoff_s

_FIRST_S = 4.0


class Retries:
    """Rows of this run by when they may be sent again."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._due)

    def add(self, row: int, attempts: int, *, at_least_s: float = 0.0) -> float:
        """A row that has had so many attempts; says in how many seconds it is due."""
        wait_s = at_least_s + backoff_s(attempts, first_s=_FIRST_S)
        heapq.heappush(self._due, (anyio.current_time() + wait_s, row))
        return wait_s

    def take_due(self) -> int | None:
        """A row whose time has come, if there is one."""
        if self._due and self._due[0][0] <= anyio.current_time():
            return heapq.heappop(self._due)[1]
        return None
