"""Reads running tasks, many at once and never more often than the provider asks, until they end.

A read that fails or makes no sense changes nothing. A task is never given up here in favour of a new
one: what cannot be read now is read later, in this run or the next.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable

import anyio
import anyio.abc

from nanobanana_batch.engine.context import Context
from nanobanana_batch.engine.pace import backoff_s
from nanobanana_batch.engine.work import Work
from nanobanana_batch.providers.base import Decision, TaskReport, TasksRead, TaskState
from nanobanana_batch.state import facts

_LONGEST_INTERVAL_S = 15.0
_LONGEST_FIRST_WAIT_S = 20.0


class Waiter:
    """All tasks that run at the provider, ordered by when to look at them next."""

    def __init__(self, context: Context, *, on_ready: Callable[[Work], None]) -> None:
        self._context = context
        self._on_ready = on_ready
        self._interval_s = context.provider.capabilities.poll_interval_s
        self._due: list[tuple[float, int, Work]] = []
        self._order = itertools.count()
        self._wake = anyio.Event()
        self._reads = anyio.Semaphore(context.settings.read_concurrency)

    def add(self, work: Work) -> None:
        """Watch a task that was just accepted."""
        work.since, work.fails = anyio.current_time(), 0
        expected = (work.estimated_s or 0.0) * 0.5
        self.look_in(work, min(max(expected, self._interval_s), _LONGEST_FIRST_WAIT_S))

    def look_in(self, work: Work, seconds: float) -> None:
        """Read the task in so many seconds."""
        heapq.heappush(self._due, (anyio.current_time() + seconds, next(self._order), work))
        self._wake.set()

    async def run(self) -> None:
        """Read what is due, until cancelled."""
        async with anyio.create_task_group() as readers:
            while True:
                await self._until_due()
                await self._reads.acquire()
                if batch := self._take_due():
                    readers.start_soon(self._read, batch)
                else:
                    self._reads.release()

    async def _until_due(self) -> None:
        while True:
            self._wake = anyio.Event()
            wait = self._due[0][0] - anyio.current_time() if self._due else float("inf")
            if wait <= 0:
                return
            with anyio.move_on_after(wait):
                await self._wake.wait()

    def _take_due(self) -> list[Work]:
        """Up to one read's worth; what is due in a moment comes along, so that reads are full."""
        horizon = anyio.current_time() + self._interval_s * 0.25
        batch: list[Work] = []
        if not self._due or self._due[0][0] > anyio.current_time():
            return batch
        while (
            self._due
            and self._due[0][0] <= horizon
            and len(batch) < self._context.provider.capabilities.read_at_once
        ):
            batch.append(heapq.heappop(self._due)[2])
        return batch

    async def _read(self, batch: list[Work]) -> None:
        context = self._context
        try:
            await context.gate.passed()
            read = await context.provider.read_many([work.task_id for work in batch])
        finally:
            self._reads.release()
        if read.failure:
            self._note_failure(read)
        elif not context.stop.asked:
            context.tally.all_well()
        await self._record_ends(batch, read)
        for work in batch:
            context.first_look.at(work)

    def _note_failure(self, read: TasksRead) -> None:
        context = self._context
        context.tally.note = f"reading tasks fails: {read.failure}"
        if read.retry_after_s is not None:
            context.gate.hold(read.retry_after_s)
        if read.stop:
            context.stop.ask(f"Running tasks cannot be read ({read.failure}).")

    async def _record_ends(self, batch: list[Work], read: TasksRead) -> None:
        """Write all ends of one read in one go, then act on them."""
        ended: list[tuple[Work, TaskReport]] = []
        for work in batch:
            report = read.reports.get(work.task_id)
            if (
                report is not None
                and report.state is not TaskState.WORKING
                and not self._is_empty_success(work, report)
            ):
                ended.append((work, report))
            else:
                self._look_again(work, report, read)
        if not ended:
            return
        await self._context.journal.record(*(self._fact(work, report) for work, report in ended))
        for work, report in ended:
            self._act(work, report)

    def _is_empty_success(self, work: Work, report: TaskReport) -> bool:
        """Completed without links: an end only when the links that there were are known to be dead."""
        return report.state is TaskState.COMPLETED and not report.links and not work.dead_links

    def _look_again(self, work: Work, report: TaskReport | None, read: TasksRead) -> None:
        if report is not None and report.state is TaskState.WORKING:
            work.fails = 0
            age = anyio.current_time() - work.since
            self.look_in(
                work, min(max(self._interval_s, age * 0.1), max(_LONGEST_INTERVAL_S, self._interval_s))
            )
            return
        work.fails += 1
        if read.stop or (work.task_id in read.absent and work.fails >= self._context.settings.absent_tries):
            self._set_aside(work)
            return
        self.look_in(work, self._interval_s + backoff_s(work.fails))

    def _set_aside(self, work: Work) -> None:
        """It stays `running` in the state, and the next run reads it again."""
        self._context.slots.give_back()

    def _fact(self, work: Work, report: TaskReport) -> facts.Fact:
        now = self._context.now()
        if report.state is TaskState.FAILED:
            refused = report.decision is Decision.REFUSE
            retryable = report.decision is Decision.NEW_ATTEMPT
            return facts.Failed(
                work.attempt, report.error_code, report.error_message, retryable, refused, now
            )
        fresh = tuple(link for link in report.links if link not in work.dead_links)
        if not fresh:
            return facts.Expired(work.attempt, "its links are dead and the provider has no others", now)
        lifetime_s = self._context.provider.capabilities.link_lifetime_s
        work.links, work.dies_at = fresh, work.accepted_at + lifetime_s
        return facts.Ready(work.attempt, fresh, work.dies_at, report.credits_used, now)

    def _act(self, work: Work, report: TaskReport) -> None:
        context = self._context
        context.outage.worked()
        if report.state is TaskState.COMPLETED and work.links and set(work.links) - work.dead_links:
            context.tally.credits += report.credits_used or 0.0
            self._on_ready(work)
            return
        context.tally.failed += 1
        context.slots.give_back()


def oldest_first(works: Iterable[Work]) -> list[Work]:
    """Those whose links die first at the front."""
    return sorted(works, key=lambda work: (work.dies_at or work.accepted_at, work.attempt))
