"""Reads running tasks, many at once and never more often than the provider asks, until they end.

A read that fails or makes no sense changes nothing. A task is never given up in favour of a new one:
what cannot be read or fetched now is set aside, without a slot, and looked at again later, at the
end of the run, and in the next run.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

import anyio
import anyio.abc

from nanobanana_batch.engine.context import Context
from nanobanana_batch.engine.pace import Gate, Rate, backoff_s
from nanobanana_batch.engine.work import Work
from nanobanana_batch.providers.base import Decision, TaskReport, TasksRead, TaskState
from nanobanana_batch.state import facts

_LONGEST_INTERVAL_S = 15.0
_LONGEST_FIRST_WAIT_S = 60.0
_LONGEST_PAUSE_S = 30.0
"""After reads that failed: they cost nothing, and links are waiting."""
_SHARE_OF_ESTIMATE = 0.8
"""Of the time that the provider expects a task to take, until it is read for the first time."""
_TICKS = 4
"""Parts of the shortest interval at whose ends tasks are read together."""
_MOST_DOUBLINGS = 4
"""Of such a part, so that a provider in trouble is not asked about each of its few tasks alone."""


class Waiter:
    """All tasks that run at the provider, ordered by when to look at them next."""

    def __init__(self, context: Context, *, on_ready: Callable[[Work], None]) -> None:
        self._context = context
        self._on_ready = on_ready
        self._interval_s = context.provider.capabilities.poll_interval_s
        self._due: list[tuple[float, int, Work]] = []
        self._order = itertools.count(1)
        self._wake = anyio.Event()
        self._reads = anyio.Semaphore(context.settings.read_concurrency)
        self._aside: list[Work] = []
        self._rate = Rate(context.provider.capabilities.reads_per_s)
        self._failures = 0
        """Reads in a row that told nothing."""
        self._pause = Gate()

    def add(self, work: Work) -> None:
        """Watch a task that was just accepted."""
        work.since, work.failed_reads = anyio.current_time(), 0
        expected = (work.estimated_s or 0.0) * _SHARE_OF_ESTIMATE
        wait_s = min(max(expected, self._interval_s), _LONGEST_FIRST_WAIT_S)
        self._look_in(work, max(wait_s, self._patience_s()))
        if self._context.hints is not None and self._context.hints.watch(work):
            self.hint(work)

    def hint(self, work: Work) -> None:
        """Someone says that a task has ended: read it at once, unless it is just being read."""
        if work.look:
            self._look_in(work, 0.0)

    def look_now(self, work: Work) -> None:
        """Read a task of an earlier run."""
        if self._context.hints is not None:
            self._context.hints.watch(work)
        self._look_in(work, 0.0)

    def look_after(self, work: Work, seconds: float) -> None:
        """Read a task again, at the earliest when the provider's interval is over."""
        self._look_in(work, max(seconds, self._interval_s))

    def set_aside(self, work: Work) -> None:
        """Give the slot back; its status in the state stays as it is."""
        self._aside.append(work)
        self._context.slots.give_back()

    async def revisit(self) -> None:
        """Look once more at all that is set aside, as slots allow."""
        works, self._aside = self._aside, []
        while works and not self._context.stop.asked:
            await self._context.slots.take()
            work = works.pop(0)
            work.failed_reads = work.failed_downloads = 0
            self.look_now(work)
        self._aside += works

    async def run(self) -> None:
        """Read what is due, and now and then what is set aside, until cancelled."""
        async with anyio.create_task_group() as readers:
            readers.start_soon(self._revisit_regularly)
            while True:
                await self._until_due()
                await self._pause.passed(self._context.stop)
                await self._rate.passed()
                await self._reads.acquire()
                if batch := self._take_due():
                    readers.start_soon(self._read, batch)
                else:
                    self._reads.release()

    async def _revisit_regularly(self) -> None:
        while True:
            await anyio.sleep(self._context.settings.revisit_s)
            await self.revisit()

    def _look_in(self, work: Work, seconds: float) -> None:
        """Not before that time; on the next tick after it, so that tasks are read together."""
        tick_s = self._tick_s()
        at = math.ceil((anyio.current_time() + seconds) / tick_s) * tick_s
        work.look = next(self._order)
        heapq.heappush(self._due, (at, work.look, work))
        self._wake.set()

    def _tick_s(self) -> float:
        """The fewer tasks the provider copes with, the longer a read waits for others to join."""
        has_company = self._context.provider.capabilities.read_at_once > 1
        doublings = min(self._context.slots.halvings, _MOST_DOUBLINGS) if has_company else 0
        return self._interval_s / _TICKS * (1 << doublings)

    async def _until_due(self) -> None:
        while True:
            self._wake = anyio.Event()
            while self._due and self._due[0][2].look != self._due[0][1]:
                heapq.heappop(self._due)  # it was given another turn since
            wait = self._due[0][0] - anyio.current_time() if self._due else math.inf
            if wait <= 0:
                return
            with anyio.move_on_after(wait):
                await self._wake.wait()

    def _take_due(self) -> list[Work]:
        """Up to one read's worth."""
        now, most = anyio.current_time(), self._context.provider.capabilities.read_at_once
        batch: list[Work] = []
        while self._due and self._due[0][0] <= now and len(batch) < most:
            _, look, work = heapq.heappop(self._due)
            if work.look == look:
                work.look = 0
                batch.append(work)
        return batch

    async def _read(self, batch: list[Work]) -> None:
        context = self._context
        try:
            await context.gate.passed()
            read = await context.provider.read_many([work.task_id for work in batch])
        finally:
            self._reads.release()
        self._rate.charge(read.requests - 1)
        self._note(read)
        await self._follow(batch, read)
        for work in batch:
            context.first_look.at(work)

    def _note(self, read: TasksRead) -> None:
        context = self._context
        if read.reports or read.absent or not read.failure:
            context.outage.worked("read")
            self._failures = 0
        else:
            self._failures += 1
            pause_s = backoff_s(self._failures, longest_s=_LONGEST_PAUSE_S)
            self._pause.hold(context.outage.cut(pause_s, "read"))
        if not read.failure:
            context.tally.all_well("read")
            return
        context.tally.trouble(f"reading tasks fails: {read.failure}", "read")
        if read.retry_after_s is not None:
            context.gate.hold(read.retry_after_s)
        if read.stop:
            context.stop.ask(f"Running tasks cannot be read ({read.failure}).")
        elif not read.reports and not read.absent and context.outage.failed("read"):
            context.stop.ask(f"The provider cannot be reached ({read.failure}).")

    async def _follow(self, batch: list[Work], read: TasksRead) -> None:
        """Write all ends of one read in one go, then act on them."""
        ends: list[tuple[Work, facts.Fact]] = []
        for work in batch:
            report = read.reports.get(work.task_id)
            end = self._end(work, report) if report is not None else None
            if end is not None:
                ends.append((work, end))
            elif report is not None and report.state is TaskState.WORKING:
                self._still_working(work)
            else:
                self._not_read(work, read)
        if ends:
            await self._context.journal.record(*(end for _, end in ends))
        for work, end in ends:
            self._act(work, end)

    def _still_working(self, work: Work) -> None:
        work.failed_reads = work.failed_since_stop = 0
        age_s = anyio.current_time() - work.since
        if age_s > self._context.settings.stuck_after_s:
            self._report_stuck(work, age_s)
            self.set_aside(work)
            return
        longest_s = max(_LONGEST_INTERVAL_S, self._interval_s)
        wait_s = min(max(self._interval_s, age_s * 0.1), longest_s)
        hinted, work.hinted = work.hinted, False
        self._look_in(work, self._interval_s if hinted else max(wait_s, self._patience_s()))

    def _report_stuck(self, work: Work, age_s: float) -> None:
        """Once a task: it is neither given up nor paid for again, but a person may want to know."""
        if work.is_reported:
            return
        work.is_reported = True
        self._context.log("stuck", id=work.id, task_id=work.task_id, age_s=round(age_s))
        self._context.tally.say_once(
            "Some tasks take longer than --stuck-after: they are set aside, looked at now and then, here and"
            " in the next run, and never paid for again (`stuck` in run.log)."
        )

    def _patience_s(self) -> float:
        """With callbacks that arrive, reads are only a safety net."""
        return 0.0 if self._context.hints is None else self._context.hints.patience_s

    def _not_read(self, work: Work, read: TasksRead) -> None:
        """No answer, nonsense, "no such task", or finished without a link."""
        work.failed_reads += 1
        work.failed_since_stop += self._context.stop.asked
        tries = self._context.settings.read_tries
        give_up = (
            (work.task_id in read.absent and work.failed_reads >= tries)
            or work.failed_since_stop >= tries
            or (work.failed_since_stop > 0 and self._context.outage.is_given_up)
        )
        settings = self._context.settings
        provider_works = not read.failure or bool(read.reports)
        longest_s = settings.stuck_after_s + (0.0 if provider_works else settings.max_outage_s)
        is_stuck = anyio.current_time() - work.since > longest_s
        if read.stop or give_up or is_stuck or self._is_believed_gone(work):
            self.set_aside(work)
            return
        self.look_after(work, self._interval_s + backoff_s(work.failed_reads))

    def _end(self, work: Work, report: TaskReport) -> facts.Fact | None:
        """What a report ends the waiting with, if it does."""
        now = self._context.now()
        if report.state is TaskState.FAILED:
            refused = report.decision is Decision.REFUSE
            retryable = report.decision is Decision.NEW_ATTEMPT
            return facts.Failed(
                work.attempt, report.error_code, report.error_message, retryable, refused, now
            )
        if report.state is not TaskState.COMPLETED:
            return None
        work.failed_reads = 0
        if links := self._links_to_try(work, report):
            lifetime_s = self._context.provider.capabilities.link_lifetime_s
            work.links, work.dies_at = links, work.accepted_at + lifetime_s
            return facts.Ready(work.attempt, links, work.dies_at, report.credits_used, now)
        work.gone += 1
        if self._is_believed_gone(work) and (work.dead_links or self._is_past_life(work)):
            return facts.Expired(work.attempt, "its links are dead and the provider has no others", now)
        return None

    def _links_to_try(self, work: Work, report: TaskReport) -> tuple[str, ...]:
        """New links first, then known ones that were not tried; a dead one again until it is believed."""
        known = dict.fromkeys((*report.links, *work.links))
        untried = tuple(link for link in known if link not in work.dead_links)
        if untried or self._is_believed_gone(work):
            return untried
        return report.links

    def _is_believed_gone(self, work: Work) -> bool:
        """One refusal may be a slip of the link's host; past the links' life it was to be expected."""
        return work.gone >= (1 if self._is_past_life(work) else self._context.settings.gone_tries)

    def _is_past_life(self, work: Work) -> bool:
        lifetime_s = self._context.provider.capabilities.link_lifetime_s
        return self._context.now() - work.accepted_at >= lifetime_s

    def _act(self, work: Work, end: facts.Fact) -> None:
        context = self._context
        if context.hints is not None:
            context.hints.ended(work)
        match end:
            case facts.Ready():
                work.credits_used = end.credits_used or 0.0
                self._on_ready(work)
                return
            case facts.Failed() if end.retryable and self._may_try_again(work):
                wait_s = context.again.add(work.row, work.number)
                context.log("another_attempt", id=work.id, code=end.code, after=work.number, in_s=wait_s)
            case facts.Failed():
                context.ends.failed(end.code, end.message, refused=end.refused)
            case facts.Expired():
                context.ends.failed("expired", end.message)
        context.slots.give_back()

    def _may_try_again(self, work: Work) -> bool:
        return self._context.settings.may_try_again(work, self._context.store.tasks_of(work.row))
