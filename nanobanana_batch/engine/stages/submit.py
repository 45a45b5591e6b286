"""The stage that costs money: intent on disk, one POST, its answer on disk, then the slot moves on.

The section from intent to recorded answer cannot be cancelled, only cut short at a deadline; what
is cut short stays an intent on disk, which the next run treats as possibly paid.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from nanobanana_batch.engine.context import Context
from nanobanana_batch.engine.limits.not_taken import NotTaken
from nanobanana_batch.engine.limits.pace import backoff_s
from nanobanana_batch.engine.stages.answers import (
    note_rejection,
    reason,
    record_answer,
    slow_down,
    stop_sentence,
)
from nanobanana_batch.engine.stages.jobs import (
    NOT_OFFERED,
    Prepared,
    gathered,
    give_slots_back,
    prepared,
    prepared_again,
)
from nanobanana_batch.engine.stages.references import References, Sendable, Unusable
from nanobanana_batch.engine.stages.same_request import may_be_sent_again
from nanobanana_batch.engine.stages.stems import free_stem
from nanobanana_batch.engine.work import Work
from nanobanana_batch.model import Kind, TaskMade
from nanobanana_batch.providers.base import (
    Answered,
    Decision,
    NotOffered,
    NotSent,
    Rejected,
    SubmitOutcome,
    Unknown,
)
from nanobanana_batch.state import facts
from nanobanana_batch.state.store import RowToSend

_LONGEST_PAUSE_S = 5.0
"""Before a repetition while the breaker is closed; then it is for that to say."""
_MOST_PUT_OFF = 10_000
"""Rows that wait since their model is not taken just now: each is kept in memory."""


Sending = facts.Intent | facts.SentAgain | facts.Joined


class _Repetition(Enum):
    """How a request is to be sent once more."""

    PACED = "it was told to slow down: in its turn"
    PUT_OFF = "its model has no turn just now: others first"
    AFTER_TROUBLE = "the provider is in trouble: after a while, as one of few"


_HELD_BACK = NotSent("held back: the provider has asked to wait just now")
"""While a request is written to the disk another one may be answered."""


class PaidSections:
    """The stretches in which a paid request is on the wire: not cancellable, only cut short at a deadline."""

    def __init__(self, grace_s: float, hard_stop_grace_s: float) -> None:
        self._grace_s = grace_s
        self._hard_stop_grace_s = hard_stop_grace_s
        self._open: set[anyio.CancelScope] = set()
        self._is_cut_short = False

    @contextmanager
    def one(self) -> Iterator[anyio.CancelScope]:
        """One such stretch."""
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._grace_s) as section:
            self._open.add(section)
            try:
                yield section
            finally:
                self._open.discard(section)

    def answered(self, section: anyio.CancelScope, outcome: SubmitOutcome) -> None:
        """A reply with images is in memory, and nowhere else: its file is waited for as long as it takes.

        Only a journal that fails, or a person who asks a second time to stop, ends that.
        """
        if isinstance(outcome, Answered) and not self._is_cut_short:
            section.deadline = math.inf

    def cut_short(self) -> None:
        """Leave those that are open only a short grace: a person asked a second time to stop."""
        self._is_cut_short = True
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
        on_answered: Callable[[Work], None],
        on_unknown: Callable[[Work], None],
    ) -> None:
        self._context = context
        self._sections = sections
        self._references = References(context)
        self._on_accepted = on_accepted
        self._on_answered = on_answered
        self._on_unknown = on_unknown
        self._not_taken = NotTaken()

    async def work(self, incoming: MemoryObjectReceiveStream[RowToSend | Work]) -> None:
        """Send what comes in, each item holding a slot, until the stream ends."""
        async with incoming:
            async for item in incoming:
                with self._context.slots.sending():
                    if isinstance(item, Work):
                        await self._resend(item)
                    elif self._context.provider.capabilities.kind is Kind.JOB:
                        await self._send_job(item, incoming)
                    else:
                        await self._send_row(item)

    async def _send_job(
        self, first: RowToSend, incoming: MemoryObjectReceiveStream[RowToSend | Work]
    ) -> None:
        """One request for as many rows as there are; what comes in between is sent by itself afterwards."""
        context = self._context
        rows, other = await gathered(first, incoming, context.provider.capabilities.rows_at_once)
        if not await context.space.enough_for_one_more():
            self._give_back(len(rows))
        else:
            async with prepared(context, self._references, rows) as found:
                await self._send_prepared(found)
        if other is not None:
            await self._resend(other)

    async def _send_prepared(self, found: Prepared) -> None:
        context = self._context
        for row, why in found.unusable:
            await self._fail_unsent(row, why)
        if found.failure is not None:
            context.breaker.failed(found.failure.message, may_cost=False)
        for row in found.left:
            if not context.stop.asked:
                context.retries.add(row.row, row.number)
        self._give_back(len(found.unusable) + len(found.left))
        if found.job is not None:
            await self._send(found.job.work, *found.job.intents)

    def _give_back(self, slots: int) -> None:
        for _ in range(slots):
            self._context.slots.give_back()

    async def _resend(self, work: Work) -> None:
        """A request that may have been paid, sent anew on a person's word: it may be paid once more."""
        context = self._context
        is_job = work.kind is Kind.JOB
        may_be = await prepared_again(context, work) if is_job else may_be_sent_again(context, work)
        if may_be and await context.space.enough_for_one_more():
            if not work.is_remembered:
                for member in work.members:
                    request = context.store.row_to_send(member.row).request
                    await context.budget.set_aside_again(member.attempt, request)
            if not context.stop.asked:
                work.sent += not work.is_remembered
                await self._send(work, self._sent_again(work))
                return
            self._give_back_again(work)
        give_slots_back(context, work)

    def _give_back_again(self, work: Work) -> None:
        for member in work.members:
            self._context.budget.give_back_again(member.attempt)

    def _sent_again(self, work: Work) -> facts.SentAgain:
        account = self._context.provider.capabilities.account
        now, others = self._context.now(), account if account != work.account else ""
        work.account = account
        return facts.SentAgain(work.request, now, work.is_remembered, others)

    async def _send_row(self, row: RowToSend) -> None:
        """Everything that can be missing is looked at first, the money last."""
        context = self._context
        if not await context.space.enough_for_one_more():
            context.slots.give_back()
            return
        async with self._references.ready(row.request) as ready:
            match ready:
                case Sendable():
                    await self._send_ready(row, ready)
                case Unusable():
                    await self._fail_unsent(row, ready)
                    context.slots.give_back()
                case None:
                    context.slots.give_back()

    async def _send_ready(self, row: RowToSend, ready: Sendable) -> None:
        context, model = self._context, row.request.model
        if self._not_taken.wait_s(model, anyio.current_time()) and self._has_room_to_put_off():
            self._put_off(row.row, row.number, model)
            context.slots.give_back()
            return
        key = secrets.token_hex(24)
        callback_url = None if context.callbacks is None else context.callbacks.url_for(key)
        try:
            body = context.provider.encode(ready.request, callback_url)
        except NotOffered as error:
            await self._fail_unsent(row, Unusable(NOT_OFFERED, str(error)))
            context.slots.give_back()
            return
        attempt = context.store.next_attempt()
        price = await context.budget.set_aside(attempt, row.request)
        if context.stop.asked:
            context.budget.give_back(attempt)
            context.slots.give_back()
            return
        intent = replace(self._intent(row, attempt, body, key), credits_expected=price, uploads=ready.uploads)
        await self._send(_work_of(row, intent), intent)

    async def _fail_unsent(self, row: RowToSend, why: Unusable) -> None:
        """The row has failed; there is no request, and there never was one to pay for."""
        context, attempt = self._context, self._context.store.next_attempt()
        intent = self._intent(row, attempt, b"", secrets.token_hex(24))
        rejected = facts.Rejected(attempt, why.code, why.message, False, None, intent.at)
        await context.journal.record(intent, rejected)
        context.outcomes.rejected(why.code, why.message)

    def _intent(self, row: RowToSend, attempt: int, body: bytes, key: str) -> facts.Intent:
        context = self._context
        offered = context.provider.capabilities
        return facts.Intent(
            row=row.row,
            row_key=row.row_key,
            model=row.request.model,
            base_key=row.base_key,
            attempt=attempt,
            number=row.number,
            stem=row.stem or free_stem(context, row),
            provider=offered.name,
            account=offered.account,
            body=body,
            fingerprint=hashlib.sha256(body).hexdigest(),
            idempotency_key=key,
            at=context.now(),
            kind=offered.kind,
        )

    async def _send(self, work: Work, *intents: Sending) -> None:
        """Send until there is an answer other than "not sent"; gives the slots back unless accepted.

        `intents`: what is written down before; of a job also which other rows it is for.
        """
        context = self._context
        context.retry_budget.earn()
        while repetition := await self._send_once(work, intents):
            work.failed_submits += 1
            if repetition is _Repetition.PUT_OFF:
                for member in work.members:
                    self._put_off(member.row, member.number, member.model)
                break
            await self._before(repetition, work)
            intents = (self._sent_again(work),)
        if work.results:
            self._on_answered(work)
            return
        if work.task_id:
            self._on_accepted(work)
            return
        if isinstance(intents[0], facts.Intent) and not work.is_intended:
            for member in work.members:
                context.budget.give_back(member.attempt)
        if isinstance(intents[0], facts.SentAgain):
            self._give_back_again(work)
        give_slots_back(context, work)

    def _is_put_off(self, work: Work, outcome: Rejected) -> bool:
        """Others are taken, and those of this model are not: they are no reason for the others to wait."""
        context, now = self._context, anyio.current_time()
        if not self._not_taken.refused(work.model, now) or work.is_doubtful:
            return False
        if self._not_taken.lasting_s(work.model, now) > context.settings.max_outage_s:
            context.stop.ask(
                f"The provider takes nothing for {work.model} ({reason(outcome)}), for too long now."
            )
        context.tally.say_once(
            f"The provider takes nothing for {work.model} just now ({outcome.code}); its rows come later."
        )
        return self._has_room_to_put_off()

    def _has_room_to_put_off(self) -> bool:
        return len(self._context.retries) < _MOST_PUT_OFF

    def _put_off(self, row: int, number: int, model: str) -> None:
        wait_s = self._not_taken.wait_s(model, anyio.current_time())
        in_s = self._context.retries.add(row, number, at_least_s=wait_s)
        self._context.log("put_off", model=model, in_s=in_s)

    async def _before(self, repetition: _Repetition, work: Work) -> None:
        """Where the breaker is open it says when; who was told to slow down has the pace of all."""
        context = self._context
        if repetition is _Repetition.PACED:
            await context.stop.sleep(backoff_s(work.failed_submits, first_s=0.1, longest_s=2.0))
        elif not context.breaker.is_open:
            await context.stop.sleep(backoff_s(work.failed_submits, longest_s=_LONGEST_PAUSE_S))
            await context.retry_budget.spend(context.stop)

    async def _send_once(self, work: Work, intents: tuple[Sending, ...]) -> _Repetition | None:
        """One request, when the pace allows; says whether and how the same one is to be sent once more."""
        context = self._context
        while not context.stop.asked:
            async with context.breaker.passed() as is_trial:

                def is_void(is_trial: bool = is_trial) -> bool:
                    return context.stop.asked or (context.breaker.is_open and not is_trial)

                wanted_at = await self._turn(work, is_void)
                if not is_void():  # no trouble has come while it waited for its turn
                    return await self._post_and_judge(work, intents, wanted_at)
        return None

    async def _post_and_judge(
        self, work: Work, intents: tuple[Sending, ...], wanted_at: float
    ) -> _Repetition | None:
        context, sent_at = self._context, anyio.current_time()
        with context.pace.one(wanted_at):
            outcome = await self._post(work, intents)
        if isinstance(outcome, TaskMade | Answered):
            context.breaker.worked()
            context.pace.accepted()
            if work.failed_submits:
                context.retry_budget.worked()
            self._not_taken.taken(work.model, anyio.current_time())
            context.outcomes.accepted()
            return None
        if outcome is _HELD_BACK:
            return _Repetition.PACED
        return self._may_send_again(work, outcome, sent_at)

    async def _turn(self, work: Work, is_void: Callable[[], bool]) -> float:
        """Returns since when it could have gone out, as far as it is for us to say.

        Who had to wait for the whole provider queues up anew: nobody makes up for a pause in one burst.
        """
        context = self._context
        if not work.failed_submits:
            await context.rate.passed(context.stop)
        wanted_at = anyio.current_time()
        while not is_void():
            if not context.gate.is_open:
                await context.gate.passed(context.stop)
                if not work.failed_submits:
                    await context.rate.passed(context.stop)
            await context.pace.turn(is_void)
            if context.gate.is_open:
                break
        return wanted_at

    async def _post(self, work: Work, intents: tuple[Sending, ...]) -> SubmitOutcome:
        context, fact = self._context, intents[0]
        with self._sections.one() as section:
            work.is_intended = True
            await context.journal.record(self._dated(work, fact), *intents[1:])
            outcome: SubmitOutcome = _HELD_BACK
            if context.gate.is_open:
                work.posted_at = anyio.current_time()
                outcome = await context.provider.submit(work.body, work.idempotency_key)
                self._sections.answered(section, outcome)
            is_anew = isinstance(fact, facts.SentAgain) and not fact.is_same_payment
            with context.gate.heard(outcome):
                return await record_answer(context, work, outcome, is_anew=is_anew)
        return Unknown("the request was cut short")

    def _dated(self, work: Work, fact: Sending) -> Sending:
        """It has waited for its turn: its task is looked for, and its key lives, from this moment on.

        Of the same payment the key is as old as its first sending.
        """
        if isinstance(fact, facts.Joined) or (isinstance(fact, facts.SentAgain) and fact.is_same_payment):
            return fact
        work.intended_at = self._context.now()
        return replace(fact, at=work.intended_at)

    def _may_send_again(self, work: Work, outcome: SubmitOutcome, sent_at: float) -> _Repetition | None:
        """Whether and how the same request is to be sent once more; counts what is final."""
        context = self._context
        match outcome:
            case NotSent():
                context.breaker.failed(outcome.reason, is_reached=False)
                return _Repetition.AFTER_TROUBLE
            case Rejected(decision=Decision.SLOW_DOWN):
                slow_down(context, outcome, sent_at)
                return _Repetition.PACED
            case Rejected(decision=Decision.RETRY_REQUEST):
                if self._is_put_off(work, outcome):
                    context.gate.hold_briefly(outcome.retry_after_s or 0.0)
                    return _Repetition.PUT_OFF
                slow_down(context, outcome, sent_at)
                return _Repetition.AFTER_TROUBLE
            case Rejected(decision=Decision.WAIT_FOR_RESET):
                slow_down(context, outcome, sent_at)
                return _Repetition.AFTER_TROUBLE
            case Rejected(is_address=True) if context.outage.has_worked:
                context.breaker.failed(reason(outcome), may_cost=False)
                return _Repetition.AFTER_TROUBLE
            case Rejected(decision=Decision.STOP_RUN):
                context.stop.ask(stop_sentence(outcome), needs_change=True)
                if work.is_doubtful:
                    self._on_unknown(work)
            case Unknown():
                self._note_trouble(outcome)
                if outcome.is_unclear:
                    context.owed.unclear_request(work, outcome.reason)
                work.is_doubtful = True
                self._on_unknown(work)
            case Rejected() if work.is_doubtful and not outcome.is_verdict:
                self._on_unknown(work)
            case Rejected():
                context.breaker.worked()
                for member in work.members:
                    note_rejection(context, member, outcome)
        return None

    def _note_trouble(self, outcome: Unknown) -> None:
        """One lost reply is bad luck; several in a row are a provider in trouble."""
        context = self._context
        if outcome.is_reply:
            context.outage.contact()
        context.breaker.failed(outcome.reason)
        if outcome.retry_after_s is not None:
            context.gate.hold(outcome.retry_after_s, outcome.reason)


def _work_of(row: RowToSend, intent: facts.Intent) -> Work:
    return Work(
        attempt=intent.attempt,
        request=intent.attempt,
        kind=Kind(intent.kind),
        row=row.row,
        row_key=row.row_key,
        number=row.number,
        id=row.id,
        model=row.request.model,
        resolution=row.request.resolution,
        stem=intent.stem,
        body=intent.body,
        idempotency_key=intent.idempotency_key,
        provider=intent.provider,
        account=intent.account,
        intended_at=intent.at,
        position=row.position,
    )
