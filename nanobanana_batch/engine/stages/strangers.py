"""Tasks that the provider lists and none of our attempts has: whose they can be, and whose they must be.

A task has no name by which it could be told whose it is, only a model and a time. So it counts against every
request that may have made it: those without an answer, of this run and of earlier ones, and those that were
sent anew before they were answered. Only if there is a single one it is taken to be that one's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import anyio

from nanobanana_batch.engine.limits.gate import SubmitGate
from nanobanana_batch.engine.parts import Record
from nanobanana_batch.engine.work import Stop, Work
from nanobanana_batch.providers.base import ListedTask, Listing, Provider
from nanobanana_batch.state.doubts import Unaccounted

WINDOW_S = 60.0
"""How far a task's time may lie from its request's, both by our clock."""
_APART_S = 30.0
"""Between two readings of the list: one serves all requests that were sent before it."""
_AT_ONCE = 3
"""Repeats that made a new task and are each held beside the list at once."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One reading of the list."""

    tasks: tuple[ListedTask, ...]
    """`created_at` by our clock."""
    back_to: float
    """Unix seconds by our clock: of what was made since, none is missing."""


class Strangers:
    """The provider's list, held beside our requests."""

    def __init__(self, provider: Provider, gate: SubmitGate, stop: Stop, record: Record) -> None:
        self._provider = provider
        self._gate = gate
        self._stop = stop
        self._record = record
        offered = provider.capabilities
        self._doubts = self._record.store.doubts(offered.name, offered.account)
        self._began = self._record.clock.moment()
        self._seen: _Seen | None = None
        self._read_at = -math.inf
        """Loop time at which it was asked for last."""
        self._asked_at: float | None = None
        """Moment of the first request of the reading."""
        self._is_offered, self._has_listed = True, False
        self.is_unheard = False
        """Whether the list was asked for last without an answer, although there is one."""
        self._repeated_at: dict[int, float] = {}
        """Moment at which a request was repeated last in this run, by attempt."""
        self._anew: list[Unaccounted] | None = None
        self._reading = anyio.Lock()

    def note_loss(self) -> None:
        """One more reply was lost: what the list showed before is no longer all."""
        self._seen = None

    def note_repeat(self, work: Work) -> None:
        """It is sent once more: from now on it may have made a task of this time, too."""
        self._repeated_at[work.attempt] = self._record.clock.moment()

    async def task_of(
        self, work: Work, oldest: Callable[[], float], *, at_once: bool = False
    ) -> ListedTask | None:
        """The task that must be this request's; None where it would be a guess.

        It is the only stranger of its model near in time, no other request may have made it, and it can be
        read under that id. `oldest`: Unix time of the oldest request that waits for this, reckoned when it is
        needed; `at_once`: however lately the list was read. It is read, too, for a request of which nobody
        knows when it was sent: if the clock is wrong now, the reply puts it right.
        """
        if self._has_rivals(work):
            return None
        seen, sent_at = await self._read(oldest, at_once=at_once), self._sent_at(work)
        if seen is None or sent_at is None or seen.back_to > sent_at - WINDOW_S:
            return None
        fitting = [task for task in self._nobodys(seen) if fits(task, work.model, sent_at)]
        # Looked up after the list was read: a task on it has had its intent on disk before.
        if len(fitting) != 1 or any(self._possible(fitting, {work.attempt})):
            return None
        if self._record.ages.may_be_younger(work.attempt, work.intended_at):
            return None
        return fitting[0] if await self._is_readable(fitting[0].task_id) else None

    async def _is_readable(self, task_id: str) -> bool:
        """A list may name its tasks otherwise than reads do: adopted so, the row could never be collected."""
        if not await self._turn():
            return False
        read = await self._provider.read_many([task_id])
        is_there = task_id in read.reports
        self._record.log("listed_task_read", task_id=task_id, is_there=is_there, failure=read.failure)
        if read.retry_after_s is not None:
            self._gate.hold_briefly(read.retry_after_s)
        return is_there

    async def speak_against(self, anew: Collection[Work]) -> list[str]:
        """Tasks that can only be first tasks of requests whose repeat has made another; none while in doubt.

        Each other request that may have made a stranger takes one away. If there are more than all of ours
        together may have made, somebody else uses the account, and nothing is known of any.
        """
        dated = [(work, at) for work in anew if (at := self._sent_at(work)) is not None]
        oldest = min((at for _, at in dated), default=None)
        seen = None if oldest is None else await self._read(lambda: oldest, at_once=len(anew) <= _AT_ONCE)
        if seen is None:
            return []
        fitting = [
            task for task in self._nobodys(seen) if any(fits(task, work.model, at) for work, at in dated)
        ]
        others = sum(1 for _ in self._possible(fitting, {work.attempt for work, _ in dated}))
        is_telling = others < len(fitting) <= others + len(dated)
        return [task.task_id for task in fitting] if is_telling else []

    def _nobodys(self, seen: _Seen) -> list[ListedTask]:
        known = self._record.store.task_is_known
        return [task for task in seen.tasks if not known(task.task_id)]

    def _has_rivals(self, work: Work) -> bool:
        """Whether a task made when this was sent could be another request's: then the list cannot tell."""
        sent_at = self._sent_at(work)
        return sent_at is not None and any(
            self._possible([ListedTask("", work.model, sent_at)], {work.attempt})
        )

    def _sent_at(self, work: Work) -> float | None:
        return self._record.ages.sent_at(work.attempt, work.intended_at)

    def _possible(self, tasks: Collection[ListedTask], but: Collection[int]) -> Iterator[Unaccounted]:
        """The other requests that may have made one of these, whatever their model: it may have two names.

        One by one: who asks whether there is any need not look at thousands.
        """
        times = [task.created_at for task in tasks]
        for one in self._unaccounted():
            if one.attempt not in but:
                first, last = self._span(one)
                if any(first <= at <= last for at in times):
                    yield one

    def _span(self, one: Unaccounted) -> tuple[float, float]:
        """From when to when what it may have made can have been made; any time where nobody knows."""
        clock, sent_at = self._record.clock, self._record.ages.sent_at(one.attempt, one.intended_at)
        if sent_at is None:
            return -math.inf, math.inf
        first, began = -math.inf if one.sent > 1 else sent_at, clock.at(self._began)
        # An earlier run may have repeated it for as long as that went on.
        last = max(sent_at, began if sent_at < began else -math.inf)
        if (repeated_at := self._repeated_at.get(one.attempt)) is not None:
            last = max(last, clock.at(repeated_at))
        return first - WINDOW_S, last + WINDOW_S

    def _unaccounted(self) -> Iterator[Unaccounted]:
        if self._anew is None:  # as of the first question, however early its answer is found
            self._anew = list(self._doubts.sent_anew())
        yield from self._doubts.unanswered()
        yield from self._anew

    async def _read(self, oldest: Callable[[], float], *, at_once: bool) -> _Seen | None:
        """The reading at hand, while it is fresh; not too many of them."""
        async with self._reading:
            is_fresh = anyio.current_time() - self._read_at < _APART_S
            if self._seen is not None and is_fresh:
                return self._seen
            if not self._is_offered or (is_fresh and not at_once):
                return None
            self._asked_at = None
            age_s = self._record.now() - oldest() + 2 * WINDOW_S
            listing = await self._provider.list_recent(age_s, self._turn)
            self._read_at = anyio.current_time()
            self._hear(listing)
            self._seen = None if listing.failure else self._by_our_clock(listing)
            return self._seen

    async def _turn(self) -> bool:
        """A reading is a request like any other: it waits when the provider asks for that."""
        await self._gate.passed(self._stop)
        self._asked_at = self._record.clock.moment() if self._asked_at is None else self._asked_at
        return not self._stop.asked

    def _by_our_clock(self, listing: Listing) -> _Seen:
        theirs, asked_at = listing.provider_time, self._asked_at
        apart_s = 0.0
        if theirs is not None and asked_at is not None:
            apart_s = theirs - self._record.clock.at(asked_at)
        tasks = tuple(
            ListedTask(task.task_id, task.model, task.created_at - apart_s) for task in listing.tasks
        )
        return _Seen(tasks, listing.back_to - apart_s)

    def _hear(self, listing: Listing) -> None:
        self._record.log("tasks_listed", tasks=len(listing.tasks), failure=listing.failure)
        if listing.retry_after_s is not None:
            self._gate.hold_briefly(listing.retry_after_s)
        if listing.stop:
            self._stop.ask(f"The provider does not list recent tasks ({listing.failure}).")
        self.is_unheard = bool(listing.failure) and (listing.is_offered or self._has_listed)
        if not listing.failure:
            self._has_listed = True
        elif not listing.is_offered and not self._has_listed:
            self._is_offered = False


def fits(task: ListedTask, model: str, sent_at: float) -> bool:
    """Whether a task can have come of a request, by model and time (Unix seconds)."""
    return task.model == model and abs(task.created_at - sent_at) <= WINDOW_S
