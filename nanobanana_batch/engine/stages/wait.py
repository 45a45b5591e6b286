"""Reads running tasks, many at once and never more often than the provider asks, until they end.

A read that fails or makes no sense changes nothing. A task is never given up in favour of a new one, but
by a person's word: what cannot be read or fetched now is set aside, without a slot, and looked at again
later, at the end of the run, and in the next run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
import anyio.abc

from nanobanana_batch.engine.limits.pace import Rate, backoff_s
from nanobanana_batch.engine.limits.submit_pace import SubmitPace
from nanobanana_batch.engine.owed import Owed
from nanobanana_batch.engine.parts import Collecting, Record, Spending, Wire
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.stages.jobs import give_slots_back
from nanobanana_batch.engine.stages.read_trouble import ReadTrouble
from nanobanana_batch.engine.stages.schedule import Schedule
from nanobanana_batch.engine.stages.shown import ready, show
from nanobanana_batch.engine.work import Work
from nanobanana_batch.model import Kind
from nanobanana_batch.providers.base import Decision, TaskReport, TasksRead, TaskState
from nanobanana_batch.state import facts

_UNCLEAR_READS = 3
"""So often in a row a task that is over may show no link, or not be known, before that counts."""
_UNCLEAR_TRIES = 7
"""So often such a task is read before it is set aside: a minute and a half, with growing pauses."""
_LONGEST_UNCLEAR_PAUSE_S = 60.0
_UNCLEAR_FOR_S = 120.0
"""So long a word that nobody knows may be one for "still working" before it counts."""
_EXPIRED_CODES = frozenset({"expired", "task_expired", "result_expired", "results_expired", "links_expired"})
"""With these the provider says that there was an image, or may have been, and that it is too late."""


class Waiter:
    """All tasks that run at the provider, ordered by when to look at them next."""

    def __init__(
        self,
        settings: Settings,
        wire: Wire,
        pace: SubmitPace,
        record: Record,
        spending: Spending,
        collecting: Collecting,
        *,
        on_ready: Callable[[Work], None],
        on_results: Callable[[Work, str], None],
    ) -> None:
        self._settings = settings
        self._wire = wire
        self._pace = pace
        self._record = record
        self._spending = spending
        self._collecting = collecting
        self._on_ready = on_ready
        self._on_results = on_results
        self._owed: Owed = self._collecting.owed
        self._interval_s = self._wire.provider.capabilities.poll_interval_s
        self._schedule = Schedule(
            lambda: wire.provider.capabilities,
            spending.slots,
            is_held=lambda: not (wire.gate.is_open or wire.stop.asked),
        )
        self._reads = anyio.Semaphore(self._settings.read_concurrency)
        self._rate = Rate(self._wire.provider.capabilities.reads_per_s)
        self._trouble = ReadTrouble(wire, record)

    def add(self, work: Work) -> None:
        """Watch a task that was just accepted."""
        work.since, work.failed_reads = anyio.current_time(), 0
        self._schedule.first(work, self._patience_s())
        if self._wire.callbacks is not None and self._wire.callbacks.watch(work):
            self.hint(work)

    def hint(self, work: Work) -> None:
        """Someone says that a task has ended: read it at once, unless it is just being read."""
        if work.look:
            work.called_at = work.called_at or anyio.current_time()
            self._schedule.told(work)

    def look_now(self, work: Work) -> None:
        """Read a task of an earlier run."""
        if self._wire.callbacks is not None:
            self._wire.callbacks.watch(work)
        self._schedule.soon(work)

    def look_after(self, work: Work, seconds: float) -> None:
        """Read a task again in so many seconds, at the earliest when the provider's interval is over."""
        self._schedule.after(work, seconds)

    def leave(self, work: Work) -> facts.GivenUp | None:
        """It does not come for now: set aside, its status in the state stays as it is.

        Of an earlier run's task a person may have said that such a one is given up; then this is the fact to
        write down, and `given_up` comes next.
        """
        if self._may_be_given_up(work):
            return facts.GivenUp(work.attempt, self._record.now())
        if not work.is_expired:
            self._owed.put_aside(work)
        self.give_back(work)
        return None

    def _may_be_given_up(self, work: Work) -> bool:
        """Not what this run has paid for, nor what only waits for a host or a disk that does not work."""
        settings = self._settings
        is_named = work.is_wanted or (work.has_left and settings.gives_up_left)
        is_meant = settings.gives_up and work.is_old and is_named and not work.is_expired
        return is_meant and not self._wire.stop.asked and not self._owed.waits_for_a_place(work)

    def given_up(self, work: Work) -> None:
        """The row is paid for once more, by a person's word, if it is still one of the manifest."""
        if work.is_wanted:
            self._spending.retries.add(work.row, 0)
        self.give_back(work)

    def give_back(self, work: Work) -> None:
        """Its slot, if it has one, and those of the other rows of a job."""
        give_slots_back(self._spending.slots, work)

    def look_at_all_aside(self) -> None:
        """Look once more at all that is set aside."""
        self._look_at_aside(everything=True)

    def _look_at_aside(self, *, everything: bool) -> None:
        for work in self._owed.take(everything=everything):
            self.look_now(work)

    async def run(self) -> None:
        """Read what is due, and now and then what is set aside, until cancelled."""
        async with anyio.create_task_group() as readers:
            readers.start_soon(self._look_aside_regularly)
            readers.start_soon(self._look_at_failing_when_hurried)
            while True:
                await self._schedule.come()
                await self._rate.passed()
                await self._reads.acquire()
                await self._trouble.over()
                if batch := [work for work in self._schedule.take() if not self._hand_on(work)]:
                    readers.start_soon(self._read, batch)
                else:
                    self._reads.release()

    async def _look_aside_regularly(self) -> None:
        every_s = self._settings.revisit_s
        all_at = anyio.current_time() + every_s
        while True:
            await self._owed.wait(all_at - anyio.current_time())
            is_time = anyio.current_time() >= all_at
            all_at = anyio.current_time() + every_s if is_time else all_at
            self._look_at_aside(everything=is_time)

    async def _look_at_failing_when_hurried(self) -> None:
        """Who interrupts does not wait for the next try of what has failed so far: it comes now."""
        await self._wire.stop.hurried()
        for work in list(self._schedule.waiting()):
            if work.failed_downloads or work.failed_reads or work.unclear_reads:
                self._schedule.soon(work)

    def _hand_on(self, work: Work) -> bool:
        """Nothing is to be asked of what stands in a file of the folder: its images are tried again."""
        if work.results:
            self._on_ready(work)
        return bool(work.results)

    async def _read(self, batch: list[Work]) -> None:
        now = anyio.current_time()
        for work in batch:
            work.read_at = now
        try:
            read = await self._wire.provider.read_many([work.task_id for work in batch])
        finally:
            self._reads.release()
        self._rate.charge(read.requests - 1)
        self._trouble.note(read)
        await self._follow(batch, read)
        for work in batch:
            if not (work.is_expired and work.has_slot):  # else it is being fetched, which decides about it
                self._collecting.first_look.at(work)

    async def _follow(self, batch: list[Work], read: TasksRead) -> None:
        """Write all ends of one read in one go, then act on them."""
        ends = [
            each
            for work in batch
            if (end := self._judge(work, read)) is not None
            for each in _of_each_row(work, end)
        ]
        if ends:
            await self._record.journal.record(*(end for _, end in ends))
        for work, end in ends:
            self.act(work, end)

    def _judge(self, work: Work, read: TasksRead) -> facts.Fact | None:
        """What a read ends the waiting with, if it does; else the task is read again, or set aside."""
        report = read.reports.get(work.task_id)
        work.is_forgotten = report is None and (work.is_forgotten or work.task_id in read.absent)
        if report is None and work.task_id in read.absent:
            return self._unclear(work, "the provider knows no such task", is_over=True)
        if report is None:
            return self._not_read(work, read)
        if report.state is TaskState.COMPLETED:
            self._schedule.ended(work)
        work.failed_reads = work.failed_since_interrupt = 0
        match report.state:
            case TaskState.FAILED:
                return self._failed(work, report)
            case TaskState.WORKING:
                work.worked_at = work.read_at
                return self._still_working(work)
            case TaskState.UNCLEAR if not report.is_finished:
                return self._unclear(work, report.words, is_over=False)
        return self._finished(work, report)

    def _failed(self, work: Work, report: TaskReport) -> facts.Fact | None:
        code, message, now = report.error_code, report.error_message, self._record.now()
        if work.is_expired:
            return self.leave(work)
        if code in _EXPIRED_CODES:
            return facts.Expired(work.attempt, message or "the provider says that it has expired", now)
        if report.retry_after_s is not None:
            # The row waits, since it may fail so three times only; the others are sent a little more slowly.
            work.again_after_s = report.retry_after_s
            self._pace.rate_limited_task()
        refused, retryable = report.decision is Decision.REFUSE, report.decision is Decision.NEW_ATTEMPT
        return facts.Failed(work.attempt, code, message, retryable, refused, now)

    def _finished(self, work: Work, report: TaskReport) -> facts.Fact | None:
        """Its links, or those that it had; without any it is expired only when their life is over."""
        if work.kind is Kind.JOB and report.links:
            self._owed.understood(work)
            work.unclear_reads, work.credits_used = 0, report.credits_used or 0.0
            self._on_results(work, report.links[0])
            return None
        show(self._collecting.stems, work, report.links, self._wire.provider.capabilities.link_lifetime_s)
        is_past_life = self._is_past_life(work)
        links = {link for image in work.owed_images for link in image.links}
        if links and not (is_past_life and work.dead_links.issuperset(links)):
            self._owed.understood(work)
            work.unclear_reads = 0
            return ready(work, report.credits_used, self._record.now())
        if work.is_expired:
            return self.leave(work)
        if is_past_life:
            why = "its links are dead and the provider has no others"
            return facts.Expired(work.attempt, why, self._record.now())
        return self._unclear(work, report.words or "it is completed, and shows no link", is_over=True)

    def _is_past_life(self, work: Work) -> bool:
        lifetime_s = self._wire.provider.capabilities.link_lifetime_s
        return self._record.ages.since_accepted_s(work) >= lifetime_s

    def _still_working(self, work: Work) -> facts.GivenUp | None:
        self._owed.understood(work)
        work.unclear_reads = 0
        if self._is_stuck(work):
            self._report_stuck(work)
            self._owed.late(work)
            return self.leave(work)
        self._look_at_usual_pace(work)
        return None

    def _look_at_usual_pace(self, work: Work) -> None:
        was_told, work.hinted, work.called_at = work.hinted, False, 0.0
        if was_told:
            self._schedule.soon(work)  # the read may have left before the end
        else:
            self._schedule.again(work, self._patience_s())

    def _is_stuck(self, work: Work) -> bool:
        """As old as it was when it was asked for: a process that was stopped reads an answer of long ago.

        A person who gives tasks up means those that were slow in an earlier run, too.
        """
        age_s = work.read_at - work.since
        if self._settings.gives_up and work.is_old:
            age_s = max(age_s, self._record.ages.since_accepted_s(work))
        return work.is_expired or age_s > self._settings.stuck_after_s

    def _report_stuck(self, work: Work) -> None:
        """Once a task: it is neither given up nor paid for again, but a person may want to know."""
        if work.is_reported or work.is_expired:
            return
        work.is_reported = True
        age_s = work.read_at - work.since
        self._record.log("stuck", id=work.id, task_id=work.task_id, age_s=round(age_s))
        self._record.tally.say_once(
            "Some images take longer than --stuck-after: other rows go on meanwhile, and these are looked at"
            " now and then, here and in the next run, and never paid for again (`stuck` in run.log)."
        )

    def _patience_s(self) -> float:
        """With callbacks that arrive, reads are only a safety net."""
        return 0.0 if self._wire.callbacks is None else self._wire.callbacks.patience_s

    def _unclear(self, work: Work, words: str, *, is_over: bool) -> facts.GivenUp | None:
        """Told, counted, and read again: one that is over a few times, else for as long as it may work."""
        if work.is_expired:
            return self.leave(work)
        settings = self._settings
        work.unclear_since = work.unclear_since if work.unclear_reads else work.read_at
        work.unclear_reads += 1
        for_s = work.read_at - work.unclear_since
        counts = work.unclear_reads >= _UNCLEAR_READS if is_over else for_s >= _UNCLEAR_FOR_S
        counts = counts or for_s >= settings.stuck_after_s
        self._owed.unclear(work, words, counts=counts and not self._may_be_given_up(work))
        is_hurried = self._wire.stop.is_hurried and work.unclear_reads >= settings.read_tries
        had_its_chance = for_s >= settings.stuck_after_s or work.unclear_reads >= _UNCLEAR_TRIES
        if is_hurried or (had_its_chance if is_over else self._is_stuck(work)):
            return self.leave(work)
        if is_over:
            pause_s = self._interval_s * 2.0 ** (work.unclear_reads - 1)
            self.look_after(work, min(pause_s, _LONGEST_UNCLEAR_PAUSE_S))
        else:
            self._look_at_usual_pace(work)
        return None

    def _not_read(self, work: Work, read: TasksRead) -> facts.GivenUp | None:
        """No answer, or nonsense: waited out like any outage; only a person who interrupts waits less."""
        settings = self._settings
        work.failed_reads += 1
        work.failed_since_interrupt += self._wire.stop.is_hurried
        is_over = self._wire.outage.left_s("read") <= 0 or work.failed_since_interrupt >= settings.read_tries
        if read.stop or is_over or (work.is_expired and work.failed_reads >= settings.read_tries):
            self._put_off(work)
            return None
        provider_works = not read.failure or bool(read.reports)
        if provider_works and work.read_at - work.since > settings.stuck_after_s:
            self._owed.late(work)
            return self.leave(work)
        self.look_after(work, self._wire.outage.cut(self._interval_s + backoff_s(work.failed_reads), "read"))
        return None

    def _put_off(self, work: Work) -> None:
        """Nobody can say anything of it now: a person who gives tasks up did not mean that."""
        if not work.is_expired:
            self._owed.put_aside(work)
        self.give_back(work)

    def act(self, work: Work, end: facts.Fact) -> None:
        """Go on with a task as it has ended; that stands in the state."""
        if self._wire.callbacks is not None:
            self._wire.callbacks.ended(work)
        match end:
            case facts.Ready():
                self._on_ready(work)
                return
            case facts.GivenUp():
                self.given_up(work)
                return
            case facts.Failed() if end.retryable and self._may_try_again(work):
                wait_s = self._spending.retries.add(work.row, work.number, at_least_s=work.again_after_s)
                self._record.log("another_attempt", id=work.id, code=end.code, after=work.number, in_s=wait_s)
            case facts.Failed():
                self._collecting.outcomes.failed(end.code, end.message, refused=end.refused)
            case facts.Expired():
                self._collecting.outcomes.failed("expired", end.message)
        self.give_back(work)

    def _may_try_again(self, work: Work) -> bool:
        """In this run: what is to wait for longer than an outage is left to the next one."""
        settings = self._settings
        is_waited_for = work.again_after_s <= settings.max_outage_s
        return is_waited_for and settings.may_try_again(work, self._record.store.tasks_of(work.row))


def _of_each_row(work: Work, end: facts.Fact) -> list[tuple[Work, facts.Fact]]:
    """What ends a job ends it for each of its rows, which are on their own then."""
    if not work.others or not isinstance(end, facts.Failed | facts.Expired | facts.GivenUp):
        return [(work, end)]
    members, work.others = work.members, []
    return [(member, replace(end, attempt=member.attempt)) for member in members]
