"""One run: older work first, then new rows, until everything is terminal, held or someone stops it.

Unknown requests are resolved, running tasks read and finished images fetched before anything new is
paid for. A wish to stop ends submitting only; what is paid for is still collected.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from nanobanana_batch.engine.assembly import Parts
from nanobanana_batch.engine.settings import OnUnknown
from nanobanana_batch.engine.stages.download import Downloader
from nanobanana_batch.engine.stages.jobs import grouped, take_slots
from nanobanana_batch.engine.stages.resolve import Resolver
from nanobanana_batch.engine.stages.results import Results, sweep
from nanobanana_batch.engine.stages.submit import Submitter
from nanobanana_batch.engine.stages.takeover import take_over
from nanobanana_batch.engine.stages.wait import Waiter
from nanobanana_batch.engine.unfinished import unfinished
from nanobanana_batch.engine.work import Onward, Work, resumed
from nanobanana_batch.model import Kind
from nanobanana_batch.state import facts
from nanobanana_batch.state.lifecycle import UNANSWERED, Phase
from nanobanana_batch.state.open_attempts import OpenAttempt
from nanobanana_batch.state.store import Repeat, RowToSend

_COLLECTED = (Phase.READY, Phase.ACCEPTED, Phase.EXPIRED)
"""In these phases nothing has to be found out: what is in them is read, or fetched."""
_ROWS_AT_ONCE = 256
_LOOK_S = 1.0
"""How often it is looked whether a row is due for another attempt."""
_LOOK_AT_REST_S = 5.0
"""The same for what is set aside."""


class Run:
    """The stages of one run, joined; `go` returns when there is nothing left to do."""

    def __init__(self, parts: Parts) -> None:
        self._settings = parts.settings
        self._wire = parts.wire
        self._record = parts.record
        self._spending = parts.spending
        self._collecting = parts.collecting
        self._files = parts.files
        self._counts, self._spent = parts.counts, parts.spent
        self._commands = parts.commands
        self._sections = parts.pacing.sections
        self._join(parts)
        self._stages: anyio.CancelScope | None = None
        self._left: list[Work] = []
        """Requests without an answer that nobody wants any more."""
        parts.spending.budget.is_finding_out = lambda: self._resolver.is_asking
        if parts.wire.callbacks is not None:
            parts.wire.callbacks.on_hint = self._waiter.hint

    def _join(self, parts: Parts) -> None:
        """Each stage is given what it uses."""
        settings, wire, pacing, record = parts.settings, parts.wire, parts.pacing, parts.record
        spending, collecting, files, answers = parts.spending, parts.collecting, parts.files, parts.answers
        self._waiter = Waiter(
            settings,
            wire,
            pacing.pace,
            record,
            spending,
            collecting,
            on_ready=lambda work: self._downloader.add(work),
            on_results=lambda job, link: self._results.fetch(job, link),
        )
        self._downloader = Downloader(
            settings,
            wire.provider,
            wire.stop,
            record,
            files,
            spending.space,
            collecting,
            waiting=lambda: self._waiter,
            on_missing=lambda work: self._results.add(work),
        )
        self._results = Results(
            wire.provider,
            record,
            files,
            collecting,
            self._waiter,
            tries=settings.download_tries,
            commands=parts.commands,
            on_ready=self._downloader.add,
        )
        found = Onward(self._waiter.add, self._results.add)
        self._resolver = Resolver(settings, wire, pacing, record, spending.slots, collecting, answers, found)
        sent = Onward(self._accepted, self._results.add)
        self._submitter = Submitter(
            wire, pacing, record, spending, collecting, answers, sent, self._resolver.add
        )

    async def go(self) -> None:
        """Resume, submit, collect.

        Raises:
            StateFailed, DiskFailed: going on could pay twice or lose what is paid for.
        """
        async with self._journal_running():
            with anyio.CancelScope() as self._stages:
                async with anyio.create_task_group() as stages:
                    submits, incoming = anyio.create_memory_object_stream[RowToSend | Work]()
                    async with incoming:
                        for _ in range(self._senders):
                            stages.start_soon(self._submitter.work, incoming.clone())
                    for _ in range(self._settings.download_concurrency):
                        stages.start_soon(self._downloader.work)
                    stages.start_soon(self._waiter.run)
                    stages.start_soon(self._results.work)
                    stages.start_soon(self._resolver.run)
                    async with submits:
                        await self._feed(submits)
                    stages.cancel_scope.cancel()

    @property
    def _senders(self) -> int:
        """Requests on the wire: a direct answer takes as long as a task does."""
        settings, kind = self._settings, self._wire.provider.capabilities.kind
        if kind is Kind.JOB:
            return 1  # else rows that come one by one would be spread over several jobs
        return settings.concurrency if kind is Kind.DIRECT else settings.submit_concurrency

    def stop_now(self) -> None:
        """Leave everything where it is; only paid requests on the wire get a short grace."""
        self._sections.cut_short()
        if self._stages is not None:
            self._stages.cancel()

    @asynccontextmanager
    async def _journal_running(self) -> AsyncIterator[None]:
        """The journal outlives the stages: what a stage still writes while being cancelled is written."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._record.journal.run)
            group.start_soon(self._record.surviving.run)
            try:
                yield
            finally:
                self._record.journal.close()
                self._record.surviving.close()

    async def _feed(self, submits: MemoryObjectSendStream[RowToSend | Work]) -> None:
        await take_over(self._settings, self._wire, self._record, self._files.folder, self._spent)
        # Looked up before anything moves: what fails from here on waits in `again`.
        to_repeat = [
            (which, self._record.store.rows_to_repeat(which, self._settings.scope))
            for which in self._settings.rows_to_repeat()
        ]
        await self._resume()
        await self._collecting.first_look.finished()
        for which, rows in to_repeat:
            await self._repeat(submits, which, rows)
        for row in self._new_rows():
            await self._submit_due(submits)
            await self._submit(submits, row)
        await self._all_done(submits)
        if not self._wire.stop.asked:
            self._resolver.try_last_resort()
        if not self._wire.stop.is_hurried and self._wire.outage.left_s("read") > 0:
            self._waiter.look_at_all_aside()
        await self._all_done(submits)
        if self._settings.on_unknown is OnUnknown.RESUBMIT:
            for work in self._resolver.give_up():
                if any(member.is_wanted for member in work.members):
                    await self._submit(submits, work)
                else:
                    self._left.append(work)
            await self._all_done(submits)
        await self._leave()
        self._collecting.owed.finish()

    async def _resume(self) -> None:
        """Which there are is looked up before anything moves: what is resolved is not to be found twice.

        Tasks are read from the state as slots come free, so that it takes no more memory to resume many.
        """
        ready, accepted, expired = [self._attempts(phase, is_alone=True) for phase in _COLLECTED]
        unknown = grouped([work for phase in sorted(UNANSWERED) for work in self._attempts(phase)])
        shared = [work for phase in _COLLECTED for work in self._attempts(phase, is_alone=False)]
        linked = [work for work in shared if work.phase is Phase.READY and not work.results]
        running = grouped([work for work in shared if work.phase is not Phase.READY or work.results])
        await self._record.blocking(lambda: sweep(self._record.store, self._files))
        answered = [work for work in running if work.results]
        for work in unknown:
            if work.kind is not Kind.TASK and await self._results.adopt(work):
                answered.append(work)
            else:
                self._resolver.add(work)
        for work in chain(linked, ready):
            await self._spending.slots.take(is_paid=True)
            self._downloader.add(work)
        for work in answered:
            await take_slots(self._spending.slots, work, is_paid=True)
            self._results.add(work)
        for work in chain((work for work in running if not work.results), accepted, expired):
            await take_slots(self._spending.slots, work, is_paid=True)
            self._waiter.look_now(work)

    def _attempts(self, phase: Phase, *, is_alone: bool | None = None) -> Iterator[Work]:
        """Which these are is settled by the call; each is counted when its turn comes."""
        settings, name = self._settings, self._wire.provider.capabilities.name
        known = unfinished(self._record.store, name, settings, phase, is_alone=is_alone)
        return map(self._taken_up, known)

    def _taken_up(self, known: OpenAttempt) -> Work:
        work = resumed(known, self._settings.scope)
        self._collecting.first_look.expect(work)
        self._spent.resume(work)
        if work.is_wanted:
            self._counts.resume(work.attempt, work.phase, work.row)
        if work.attempt != work.request:
            self._counts.joined(work.request, work.attempt)
        return work

    async def _leave(self) -> None:
        """What nothing is known of and whose rows left the manifest: said once, and asked no more."""
        unanswered = [] if self._wire.stop.asked else [*self._left, *self._resolver.give_up()]
        unanswered = [work for work in unanswered if work.is_heard]
        forgotten = [] if self._wire.stop.is_hurried else self._collecting.owed.forgotten()
        now, commands = self._record.now(), self._commands
        for works, what, only in (
            (unanswered, "Requests without an answer", "unknown"),
            (forgotten, "Tasks that the provider does not know any more,", "running"),
        ):
            left = [member for work in works for member in work.members if member.has_left]
            if left and works is unanswered and self._settings.gives_up_left:
                await self._record.journal.record(*(facts.GivenUp(work.attempt, now) for work in left))
            elif left:
                requests = sorted({work.request for work in left})
                await self._record.journal.record(*(facts.Rested(request, now) for request in requests))
                self._record.tally.say_once(
                    f"{what} whose rows have left the manifest: {len(left):,} (first: {left[0].id}). They may"
                    " have been paid; nothing shows what became of them, so no run asks about them again."
                    f" {commands.retry(only)} asks once more, and gives them up."
                )

    async def _repeat(
        self, submits: MemoryObjectSendStream[RowToSend | Work], which: Repeat, rows: Sequence[int]
    ) -> None:
        """Another attempt for rows of earlier runs, as far as their images have not turned up since."""
        still = frozenset(self._record.store.rows_to_repeat(which, self._settings.scope))
        for row in rows:
            if self._wire.stop.asked:
                return
            if row not in still:
                continue
            if Phase.NOT_SENT not in which.phases:
                self._counts.repeat(row, min(which.phases))
            await self._submit(submits, self._record.store.row_to_send(row))

    def _new_rows(self) -> Iterator[RowToSend]:
        """Those that were never sent, in manifest order, a few at a time."""
        settings, after = self._settings, -1
        while settings.new_rows and not self._wire.stop.asked:
            rows = self._record.store.new_rows(after, settings.scope, _ROWS_AT_ONCE)
            if not rows:
                return
            for row in rows:
                yield row
                if self._wire.stop.asked:
                    return
            after = rows[-1].position

    async def _submit_due(self, submits: MemoryObjectSendStream[RowToSend | Work]) -> None:
        """Rows whose task failed in this run and whose waiting time is over."""
        while not self._wire.stop.asked and (row := self._spending.retries.take_due()) is not None:
            await self._submit(submits, self._record.store.row_to_send(row))

    async def _submit(
        self, submits: MemoryObjectSendStream[RowToSend | Work], item: RowToSend | Work
    ) -> None:
        """Take the slot first, then hand the item over: nothing queues up before the semaphore."""
        if self._wire.stop.asked:
            return
        if isinstance(item, Work):
            await take_slots(self._spending.slots, item)
        else:
            await self._spending.slots.take()
        self._spending.space.hand_over()
        await submits.send(item)

    def _accepted(self, work: Work) -> None:
        self._waiter.add(work)
        self._resolver.try_held_again()

    async def _all_done(self, submits: MemoryObjectSendStream[RowToSend | Work]) -> None:
        """Nothing in flight or awaited, nothing being found out, nothing waiting for another attempt."""
        while not self._is_idle():
            await self._submit_due(submits)
            self._collecting.owed.say_what_is_left()
            with anyio.move_on_after(_LOOK_S if len(self._spending.retries) else _LOOK_AT_REST_S):
                await self._spending.slots.all_free()
                await self._resolver.finished()
                if not self._is_idle():
                    await anyio.sleep(_LOOK_AT_REST_S)

    def _is_idle(self) -> bool:
        is_settled = self._collecting.owed.is_settled or self._wire.stop.is_hurried
        again_is_done = self._wire.stop.asked or not len(self._spending.retries)
        return self._spending.slots.are_free and self._resolver.is_idle and is_settled and again_is_done
