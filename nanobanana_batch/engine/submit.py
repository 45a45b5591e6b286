"""The stage that costs money: intent on disk, one POST, its answer on disk, then the slot moves on.

The section from intent to recorded answer cannot be cancelled, only cut short at a deadline; what
is cut short stays an intent on disk, which the next run treats as possibly paid.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from nanobanana_batch.engine.context import Context
from nanobanana_batch.engine.pace import backoff_s
from nanobanana_batch.engine.work import Work
from nanobanana_batch.files.images import stem_is_taken
from nanobanana_batch.providers.base import Accepted, Decision, NotSent, Rejected, SubmitOutcome, Unknown
from nanobanana_batch.state import facts
from nanobanana_batch.state.store import RowToSend

_TROUBLE = 3
"""Requests in a row without a usable answer."""


class PaidSections:
    """The stretches in which a paid request is on the wire: not cancellable, only cut short at a deadline."""

    def __init__(self, grace_s: float, hard_stop_grace_s: float) -> None:
        self._grace_s = grace_s
        self._hard_stop_grace_s = hard_stop_grace_s
        self._open: set[anyio.CancelScope] = set()

    @contextmanager
    def one(self) -> Iterator[anyio.CancelScope]:
        """One such stretch."""
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._grace_s) as section:
            self._open.add(section)
            try:
                yield section
            finally:
                self._open.discard(section)

    def cut_short(self) -> None:
        """Leave those that are open only a short grace: a person asked a second time to stop."""
        deadline = anyio.current_time() + self._hard_stop_grace_s
        for section in self._open:
            section.deadline = min(section.deadline, deadline)


class Submitter:
    """Sends rows, and attempts that a person wants to be sent again."""

    def __init__(
        self,
        context: Context,
        sections: PaidSections,
        *,
        on_accepted: Callable[[Work], None],
        on_unknown: Callable[[Work], None],
    ) -> None:
        self._context = context
        self._sections = sections
        self._on_accepted = on_accepted
        self._on_unknown = on_unknown
        self._unknown_in_a_row = 0
        self._probe = anyio.Lock()

    async def work(self, incoming: MemoryObjectReceiveStream[RowToSend | Work]) -> None:
        """Send what comes in, each item holding a slot, until the stream ends."""
        async with incoming:
            async for item in incoming:
                if not await self._context.space.enough_for_one_more():
                    self._context.slots.give_back()
                elif isinstance(item, Work):
                    item.intended_at = self._context.now()
                    await self._send(item, facts.SentAgain(item.attempt, item.intended_at))
                else:
                    await self._send(*self._intend(item))

    def _intend(self, row: RowToSend) -> tuple[Work, facts.Intent]:
        context, offered = self._context, self._context.provider.capabilities
        body = context.provider.encode(row.request)
        work = Work(
            attempt=context.store.next_attempt(),
            id=row.id,
            model=row.request.model,
            stem=row.stem or self._free_stem(row),
            body=body,
            idempotency_key=secrets.token_hex(24),
            account=offered.account,
            intended_at=context.now(),
        )
        intent = facts.Intent(
            row=row.row,
            attempt=work.attempt,
            number=row.number,
            stem=work.stem,
            provider=offered.name,
            account=offered.account,
            body=body,
            fingerprint=hashlib.sha256(body).hexdigest(),
            idempotency_key=work.idempotency_key,
            at=work.intended_at,
        )
        return work, intent

    def _free_stem(self, row: RowToSend) -> str:
        """The id, unless a row that has left the manifest or a stranger's file has the name."""
        context = self._context
        if not context.store.stem_is_taken(row.id) and not stem_is_taken(context.folder, row.id):
            return row.id
        return f"{row.id}~{row.row_key.rpartition('-')[2][:10]}"

    async def _send(self, work: Work, fact: facts.Intent | facts.SentAgain) -> None:
        """Send until there is an answer other than "not sent"; gives the slot back unless accepted."""
        context = self._context
        while not context.stop.asked:
            async with self._one_at_a_time_in_trouble():
                await context.gate.passed(context.stop)
                if context.stop.asked:
                    break
                outcome = await self._post(work, fact)
            if isinstance(outcome, Accepted):
                self._unknown_in_a_row = 0
                context.outage.worked()
                context.tally.all_well()
                self._on_accepted(work)
                return
            if not self._may_send_again(work, outcome):
                break
            work.failed_submits += 1
            await context.stop.sleep(backoff_s(work.failed_submits))
            work.intended_at = context.now()
            fact = facts.SentAgain(work.attempt, work.intended_at)
        context.slots.give_back()

    @asynccontextmanager
    async def _one_at_a_time_in_trouble(self) -> AsyncIterator[None]:
        """While answers stay away each request is a probe that may cost a row: one is enough."""
        if self._unknown_in_a_row < _TROUBLE:
            yield
            return
        async with self._probe:
            yield

    async def _post(self, work: Work, fact: facts.Intent | facts.SentAgain) -> SubmitOutcome:
        context = self._context
        with self._sections.one():
            await context.journal.record(fact)
            outcome = await context.provider.submit(work.body, work.idempotency_key)
            return await record_answer(context, work, outcome)
        return Unknown("the request was cut short")

    def _may_send_again(self, work: Work, outcome: SubmitOutcome) -> bool:
        """Whether the same request is to be sent once more; counts what is final."""
        context = self._context
        match outcome:
            case NotSent():
                if context.outage.failed():
                    context.stop.ask(f"The provider cannot be reached: {outcome.reason}.")
                context.tally.trouble("provider cannot be reached, trying again")
                return True
            case Rejected(decision=Decision.SLOW_DOWN | Decision.RETRY_REQUEST):
                context.outage.worked()
                context.gate.hold(outcome.retry_after_s or backoff_s(work.failed_submits))
                return True
            case Rejected(decision=Decision.STOP_RUN):
                context.stop.ask(stop_sentence(outcome))
                if work.is_doubtful:
                    self._on_unknown(work)
            case Unknown():
                self._slow_down_after(outcome)
                work.is_doubtful = True
                self._on_unknown(work)
            case Rejected() if work.is_doubtful and not outcome.is_verdict:
                self._on_unknown(work)
            case _:
                context.outage.worked()
                context.tally.failed += 1
        return False

    def _slow_down_after(self, outcome: Unknown) -> None:
        """One lost reply is bad luck; several in a row are a provider in trouble, and each may cost a row."""
        context = self._context
        self._unknown_in_a_row += 1
        context.gate.hold(outcome.retry_after_s or backoff_s(self._unknown_in_a_row - 1))
        if context.outage.failed():
            context.stop.ask(f"The provider gives no usable answers ({outcome.reason}).")


async def record_answer(context: Context, work: Work, outcome: SubmitOutcome) -> SubmitOutcome:
    """Write an answer down, and return it as it is to be understood.

    A task that belongs to another attempt already is no answer to this one.
    """
    if not isinstance(outcome, Accepted):
        await context.journal.record(answer(work, outcome, context.now()))
        return outcome
    name = context.provider.capabilities.name
    if outcome.task_id in context.arriving or context.store.task_is_known(name, outcome.task_id):
        return await record_answer(
            context, work, Unknown(f"answered with another row's task {outcome.task_id}")
        )
    context.arriving.add(outcome.task_id)
    try:
        await context.journal.record(answer(work, outcome, context.now()))
    finally:
        context.arriving.discard(outcome.task_id)
    return outcome


def answer(work: Work, outcome: SubmitOutcome, now: float) -> facts.Fact:
    """The fact that an outcome of a paid request is; fills in what the attempt has learnt.

    Of a doubtful attempt only a task, or the provider's verdict on the request itself, settles anything.
    """
    match outcome:
        case Accepted():
            work.task_id, work.estimated_s, work.accepted_at = outcome.task_id, outcome.estimated_s, now
            return facts.Accepted(
                work.attempt,
                outcome.task_id,
                outcome.request_id,
                outcome.credits_reserved,
                outcome.estimated_s,
                now,
            )
        case Rejected(decision=Decision.FAIL_ROW | Decision.REFUSE | Decision.NEW_ATTEMPT) if (
            outcome.is_verdict or not work.is_doubtful
        ):
            refused = outcome.decision is Decision.REFUSE
            return facts.Rejected(
                work.attempt, outcome.code, outcome.message, refused, outcome.request_id, now
            )
        case NotSent() | Rejected() if not work.is_doubtful:
            return facts.NotSent(work.attempt, reason(outcome))
        case _:
            return facts.Unanswered(work.attempt, f"may have been paid: {reason(outcome)}")


def reason(outcome: SubmitOutcome) -> str:
    """What an answer was, for a person."""
    match outcome:
        case Unknown() | NotSent():
            return outcome.reason
        case Rejected():
            return f"{outcome.code}: {outcome.message}"
        case Accepted():
            return outcome.task_id


def stop_sentence(outcome: Rejected) -> str:
    """Why the provider's answer ends the run, and what to do, in one sentence."""
    said = f"{outcome.code}: {outcome.message}".rstrip(": .")
    if outcome.code == "unauthorized" or outcome.code == "http_401":
        return f"The provider rejects the API key ({said}); check it and run again."
    if outcome.code.startswith("http_404") or outcome.code.startswith("http_405"):
        return f"There is no such API at this address ({said}); check --base-url."
    return f"The account's credits or quota are used up ({said}); top up and run again."
