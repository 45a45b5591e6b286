"""When each task is read: about when tasks like it have ended before, together, and never too often.

All that run are read at common moments, an interval of the provider's apart, so that few requests are
needed however many there are. A slot that is freed at such a moment is taken by a task whose first look is
at one of them again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import anyio

from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.limits.task_times import TaskKind, TaskTimes
from nanobanana_batch.engine.stages.turns import Turns
from nanobanana_batch.engine.work import Work
from nanobanana_batch.providers.base import Capabilities

_SLACK = 1.01
"""Moments are so many intervals apart: what was read a little late is due at the next one still."""
_FILL = 0.75
"""Of a read's tasks there are so many, if all that run are read, before there are more moments."""
_MOST_SKIPPED = 4
"""Who is to be read more seldom is read at every second moment, or every fourth."""
_PARTS = 4
"""Of an interval; at the end of each what is to be read again after a failure is read together."""
_SHARE_OF_AGE_TOLD, _WIRE_S = 0.03, 0.1
"""Who is told to have ended waits so much of its time, less the wire, for others of which that is told."""
_LONGEST_TOLD_S, _SHORTEST_TOLD_S = 0.5, 1 / 64
_WHILE_HELD = 4.0
"""So many intervals lie between two reads of a task while a free slot is of no use."""


class Schedule:
    """The turns of all tasks that run. Never two reads of a task closer than the provider's interval."""

    def __init__(
        self, offered: Callable[[], Capabilities], slots: Slots, is_held: Callable[[], bool]
    ) -> None:
        """`offered`: as it is known now; that nobody reads many at once shows with the first read.

        `is_held`: whether nothing new may be sent just now.
        """
        self._offered = offered
        self._interval_s = offered().poll_interval_s
        self._slots = slots
        self._is_held = is_held
        self._turns = Turns()
        self._times = TaskTimes(self._interval_s)

    # --- who is due ------------------------------------------------------------------------------

    async def come(self) -> None:
        """Return when a task is due."""
        offered = self._offered()
        await self._turns.come(offered.read_at_once, 1.0 / offered.reads_per_s)

    def take(self) -> list[Work]:
        """Up to one read's worth of those that are due; they have no turn any more."""
        return self._turns.take(self._offered().read_at_once)

    def waiting(self) -> Iterator[Work]:
        """All that have a turn."""
        return self._turns.waiting()

    # --- when they are ---------------------------------------------------------------------------

    def first(self, work: Work, patience_s: float) -> None:
        """A task was made just now; `patience_s`: someone else may tell of its end for so long."""
        now = anyio.current_time()
        wait_s = self._times.first_look_s(_kind_of(work), work.estimated_s, self._turns.late_s)
        at = self._moment_before(now + max(wait_s, patience_s), now + max(wait_s / 2, patience_s))
        self._turns.put(work, at)

    def again(self, work: Work, patience_s: float) -> None:
        """It was read, and still works. Counted from the asking; who answers slowly is asked less often."""
        now = anyio.current_time()
        wait_s = max(self._times.interval_s(_kind_of(work), now - work.since), patience_s)
        if self._is_held():
            wait_s = max(wait_s, self._interval_s * _WHILE_HELD)
        answered_s = min(now - work.read_at, self._interval_s)
        earliest = max(work.read_at + self._interval_s, now + answered_s)
        self._turns.put(work, self._next_moment(work.read_at, wait_s, earliest))

    def told(self, work: Work) -> None:
        """Someone says that it has ended."""
        now = anyio.current_time()
        wait_s = (now - work.since) * _SHARE_OF_AGE_TOLD - _WIRE_S
        wait_s = min(max(wait_s, _SHORTEST_TOLD_S), _LONGEST_TOLD_S)
        # Moments that tasks of any age share.
        wait_s = _SHORTEST_TOLD_S * _power_of_two(wait_s / _SHORTEST_TOLD_S)
        self._put(work, math.ceil(now / wait_s) * wait_s)

    def soon(self, work: Work) -> None:
        """As soon as it may be read."""
        self._put(work, anyio.current_time())

    def after(self, work: Work, seconds: float) -> None:
        """In so many seconds, at the earliest when the provider's interval is over."""
        part_s = self._interval_s / _PARTS
        at = anyio.current_time() + max(seconds, self._interval_s)
        self._put(work, math.ceil(at / part_s) * part_s)

    def _put(self, work: Work, at: float) -> None:
        self._turns.put(work, max(at, work.read_at + self._interval_s))

    def _moment_before(self, wanted: float, earliest: float) -> float:
        """Or the one after it, where that is too early."""
        apart_s = self._apart_s()
        at = math.floor(wanted / apart_s) * apart_s
        return at if at >= earliest else at + apart_s

    def _next_moment(self, after: float, wait_s: float, earliest: float) -> float:
        """The nearest where tasks are read at all moments; else a rarer one, to share that as well."""
        apart_s = self._apart_s()
        skipped = _power_of_two(min(wait_s / self._interval_s, _MOST_SKIPPED))
        wanted, step_s = after + wait_s * _SLACK + apart_s / 2, apart_s * skipped
        at = math.floor(wanted / step_s) * step_s
        return max(at + step_s if skipped > 1 and at < earliest else at, earliest)

    def _apart_s(self) -> float:
        """Between two moments: an interval; half of it where twice as many reads are filled, and so on."""
        offered, every_s = self._offered(), self._interval_s * _SLACK
        filled = self._slots.running / (offered.read_at_once * _FILL)
        return every_s / _power_of_two(min(filled, offered.reads_per_s * every_s))

    # --- what is learnt --------------------------------------------------------------------------

    def ended(self, work: Work) -> None:
        """It is completed. Counts if this run has watched it, and nothing but its own work has kept it."""
        if work.has_ended or work.is_old:
            return
        work.has_ended = True
        if work.failed_reads or work.unclear_reads:
            return
        before_s = (work.called_at or work.read_at) - work.since
        after_s = before_s if work.called_at else max(work.worked_at - work.since, 0.0)
        self._times.ended(_kind_of(work), after_s, before_s)


def _power_of_two(most: float) -> float:
    """The largest that is no larger, and at least 1: so moments of several distances fall together."""
    return 2.0 ** math.floor(math.log2(max(most, 1.0)))


def _kind_of(work: Work) -> TaskKind:
    return work.model, work.resolution
