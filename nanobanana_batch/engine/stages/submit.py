"""The stage that costs money: intent on disk, one POST, its answer on disk, then the slot moves on.

The section from intent to recorded answer cannot be cancelled, only cut short at a deadline; what
is cut short stays an intent on disk, which the next run treats as possibly paid.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from enum import Enum

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from nanobanana_batch.engine.limits.not_taken import NotTaken
from nanobanana_batch.engine.limits.pace import backoff_s
from nanobanana_batch.engine.parts import Collecting, Pacing, Record, Spending, Wire
from nanobanana_batch.engine.stages.answers import (
    Answers,
    note_rejection,
    reason,
    record_answer,
    slow_down,
    stop_sentence,
)
from nanobanana_batch.engine.stages.jobs import (
    NOT_OFFERED,
    Making,
    Prepared,
    gathered,
    give_slots_back,
    prepared,
    prepared_again,
)
from nanobanana_batch.engine.stages.references import References, Sendable, Unusable
from nanobanana_batch.engine.stages.same_request import may_be_sent_again
from nanobanana_batch.engine.work import Onward, Work
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


_HELD_BACK = NotSent("held back: the provider has asked to wait just now, or the journal is not written")
"""While a request is written to the disk another one may be answered."""


class Submitter:
    """Sends rows, and attempts that a person wants to be sent again."""

    def __init__(
        self,
        wire: Wire,
        pacing: Pacing,
        record: Record,
        spending: Spending,
        collecting: Collecting,
        answers: Answers,
        onward: Onward,
        on_unknown: Callable[[Work], None],
    ) -> None:
        self._wire = wire
        self._pacing = pacing
        self._record = record
        self._spending = spending
        self._collecting = collecting
        self._answers = answers
        self._references = References(
            wire.provider, wire.gate, wire.stop, record, pacing.retry_budget, wire.outage.another()
        )
        self._making = Making(wire, record, spending.budget, collecting.stems)
        self._onward = onward
        self._on_unknown = on_unknown
        self._not_taken = NotTaken()

    async def work(self, incoming: MemoryObjectReceiveStream[RowToSend | Work]) -> None:
        """Send what comes in, each item holding a slot, until the stream ends."""
        async with incoming:
            async for item in incoming:
                with self._spending.slots.sending():
                    if isinstance(item, Work):
                        await self._resend(item)
                    elif self._wire.provider.capabilities.kind is Kind.JOB:
                        await self._send_job(item, incoming)
                    else:
                        await self._send_row(item)

    async def _send_job(
        self, first: RowToSend, incoming: MemoryObjectReceiveStream[RowToSend | Work]
    ) -> None:
        """One request for as many rows as there are; what comes in between is sent by itself afterwards."""
        rows, other = await gathered(first, incoming, self._wire.provider.capabilities.rows_at_once)
        if not await self._spending.space.enough_for_one_more():
            self._give_back(len(rows))
        else:
            async with prepared(self._making, self._references, rows) as found:
                await self._send_prepared(found)
        if other is not None:
            await self._resend(other)

    async def _send_prepared(self, found: Prepared) -> None:
        for row, why in found.unusable:
            await self._fail_unsent(row, why)
        if found.failure is not None:
            self._wire.breaker.failed(found.failure.message, may_cost=False)
        for row in found.left:
            if not self._wire.stop.asked:
                self._spending.retries.add(row.row, row.number)
        self._give_back(len(found.unusable) + len(found.left))
        if found.job is not None:
            await self._send(found.job.work, *found.job.intents)

    def _give_back(self, slots: int) -> None:
        for _ in range(slots):
            self._spending.slots.give_back()

    async def _resend(self, work: Work) -> None:
        """A request that may have been paid, sent anew on a person's word: it may be paid once more."""
        if work.kind is Kind.JOB:
            may_be = await prepared_again(self._wire.provider, self._record, work)
        else:
            may_be = may_be_sent_again(self._wire, self._record, work)
        if may_be and await self._spending.space.enough_for_one_more():
            if not work.is_remembered:
                for member in work.members:
                    request = self._record.store.row_to_send(member.row).request
                    await self._spending.budget.set_aside_again(member.attempt, request)
            if not self._wire.stop.asked:
                work.sent += not work.is_remembered
                await self._send(work, self._sent_again(work))
                return
            self._give_back_again(work)
        give_slots_back(self._spending.slots, work)

    def _give_back_again(self, work: Work) -> None:
        for member in work.members:
            self._spending.budget.give_back_again(member.attempt)

    def _sent_again(self, work: Work) -> facts.SentAgain:
        account = self._wire.provider.capabilities.account
        now, others = self._record.now(), account if account != work.account else ""
        work.account = account
        return facts.SentAgain(work.request, now, work.is_remembered, others)

    async def _send_row(self, row: RowToSend) -> None:
        """Everything that can be missing is looked at first, the money last."""
        if not await self._spending.space.enough_for_one_more():
            self._spending.slots.give_back()
            return
        async with self._references.ready(row.request) as ready:
            match ready:
                case Sendable():
                    await self._send_ready(row, ready)
                case Unusable():
                    await self._fail_unsent(row, ready)
                    self._spending.slots.give_back()
                case None:
                    self._spending.slots.give_back()

    async def _send_ready(self, row: RowToSend, ready: Sendable) -> None:
        model = row.request.model
        if self._not_taken.wait_s(model, anyio.current_time()) and self._has_room_to_put_off():
            self._put_off(row.row, row.number, model)
            self._spending.slots.give_back()
            return
        key = secrets.token_hex(24)
        callback_url = None if self._wire.callbacks is None else self._wire.callbacks.url_for(key)
        try:
            body = self._wire.provider.encode(ready.request, callback_url)
        except NotOffered as error:
            await self._fail_unsent(row, Unusable(NOT_OFFERED, str(error)))
            self._spending.slots.give_back()
            return
        attempt = self._record.store.next_attempt()
        price = await self._spending.budget.set_aside(attempt, row.request)
        if self._wire.stop.asked:
            self._spending.budget.give_back(attempt)
            self._spending.slots.give_back()
            return
        intent = replace(self._intent(row, attempt, body, key), credits_expected=price, uploads=ready.uploads)
        await self._send(_work_of(row, intent), intent)

    async def _fail_unsent(self, row: RowToSend, why: Unusable) -> None:
        """The row has failed; there is no request, and there never was one to pay for."""
        attempt = self._record.store.next_attempt()
        intent = self._intent(row, attempt, b"", secrets.token_hex(24))
        rejected = facts.Rejected(attempt, why.code, why.message, False, None, intent.at)
        await self._record.journal.record(intent, rejected)
        self._collecting.outcomes.rejected(why.code, why.message)

    def _intent(self, row: RowToSend, attempt: int, body: bytes, key: str) -> facts.Intent:
        offered = self._wire.provider.capabilities
        return facts.Intent(
            row=row.row,
            row_key=row.row_key,
            model=row.request.model,
            base_key=row.base_key,
            attempt=attempt,
            number=row.number,
            stem=row.stem or self._collecting.stems.free(row),
            provider=offered.name,
            account=offered.account,
            body=body,
            fingerprint=hashlib.sha256(body).hexdigest(),
            idempotency_key=key,
            at=self._record.now(),
            kind=offered.kind,
        )

    async def _send(self, work: Work, *intents: Sending) -> None:
        """Send until there is an answer other than "not sent"; gives the slots back unless accepted.

        `intents`: what is written down before; of a job also which other rows it is for.
        """
        self._pacing.retry_budget.earn()
        while repetition := await self._send_once(work, intents):
            work.failed_submits += 1
            if repetition is _Repetition.PUT_OFF:
                for member in work.members:
                    self._put_off(member.row, member.number, member.model)
                break
            await self._before(repetition, work)
            intents = (self._sent_again(work),)
        if work.results:
            self._onward.answered(work)
            return
        if work.task_id:
            self._onward.accepted(work)
            return
        if isinstance(intents[0], facts.Intent) and not work.is_intended:
            for member in work.members:
                self._spending.budget.give_back(member.attempt)
        if isinstance(intents[0], facts.SentAgain):
            self._give_back_again(work)
        give_slots_back(self._spending.slots, work)

    def _is_put_off(self, work: Work, outcome: Rejected) -> bool:
        """Others are taken, and those of this model are not: they are no reason for the others to wait."""
        now = anyio.current_time()
        if not self._not_taken.refused(work.model, now) or work.is_doubtful:
            return False
        if self._not_taken.lasting_s(work.model, now) > self._wire.outage.longest_s:
            self._wire.stop.ask(
                f"The provider takes nothing for {work.model} ({reason(outcome)}), for too long now."
            )
        self._record.tally.say_once(
            f"The provider takes nothing for {work.model} just now ({outcome.code}); its rows come later."
        )
        return self._has_room_to_put_off()

    def _has_room_to_put_off(self) -> bool:
        return len(self._spending.retries) < _MOST_PUT_OFF

    def _put_off(self, row: int, number: int, model: str) -> None:
        wait_s = self._not_taken.wait_s(model, anyio.current_time())
        in_s = self._spending.retries.add(row, number, at_least_s=wait_s)
        self._record.log("put_off", model=model, in_s=in_s)

    async def _before(self, repetition: _Repetition, work: Work) -> None:
        """Where the breaker is open it says when; who was told to slow down has the pace of all."""
        if repetition is _Repetition.PACED:
            await self._wire.stop.sleep(backoff_s(work.failed_submits, first_s=0.1, longest_s=2.0))
        elif not self._wire.breaker.is_open:
            await self._wire.stop.sleep(backoff_s(work.failed_submits, longest_s=_LONGEST_PAUSE_S))
            await self._pacing.retry_budget.spend(self._wire.stop)

    async def _send_once(self, work: Work, intents: tuple[Sending, ...]) -> _Repetition | None:
        """One request, when the pace allows; says whether and how the same one is to be sent once more."""
        while not self._wire.stop.asked:
            has_waited = self._wire.breaker.is_open
            async with self._wire.breaker.passed() as is_trial:

                def is_void(is_trial: bool = is_trial) -> bool:
                    return self._wire.stop.asked or (self._wire.breaker.is_open and not is_trial)

                wanted_at = await self._turn(work, is_void, has_waited=has_waited)
                if not is_void():  # no trouble has come while it waited for its turn
                    return await self._post_and_judge(work, intents, wanted_at)
        return None

    async def _post_and_judge(
        self, work: Work, intents: tuple[Sending, ...], wanted_at: float
    ) -> _Repetition | None:
        sent_at = anyio.current_time()
        with self._pacing.pace.one(wanted_at):
            outcome = await self._post(work, intents)
        if isinstance(outcome, TaskMade | Answered):
            self._wire.breaker.worked()
            self._pacing.pace.accepted()
            if work.failed_submits:
                self._pacing.retry_budget.worked()
            self._not_taken.taken(work.model, anyio.current_time())
            self._collecting.outcomes.accepted()
            return None
        if outcome is _HELD_BACK:
            return _Repetition.PACED
        return self._may_send_again(work, outcome, sent_at)

    async def _turn(self, work: Work, is_void: Callable[[], bool], *, has_waited: bool) -> float:
        """Returns since when it could have gone out, as far as it is for us to say.

        Who had to wait for the whole provider queues up anew: nobody makes up for a pause in one burst.
        """
        await self._record.surviving.passed()
        if has_waited or not work.failed_submits:
            await self._pacing.rate.passed(self._wire.stop)
        wanted_at = anyio.current_time()
        while not is_void():
            if not self._wire.gate.is_open:
                await self._wire.gate.passed(self._wire.stop)
                await self._pacing.rate.passed(self._wire.stop)
            await self._pacing.pace.turn(is_void)
            if self._wire.gate.is_open:
                break
        return wanted_at

    async def _post(self, work: Work, intents: tuple[Sending, ...]) -> SubmitOutcome:
        fact = intents[0]
        with self._pacing.sections.one() as section:
            work.is_intended = True
            await self._record.journal.record(self._dated(work, fact), *intents[1:])
            outcome: SubmitOutcome = _HELD_BACK
            if await self._record.surviving.kept() and self._wire.gate.is_open:
                work.posted_at = anyio.current_time()
                outcome = await self._wire.provider.submit(work.body, work.idempotency_key)
                self._pacing.sections.answered(section, outcome)
            is_anew = isinstance(fact, facts.SentAgain) and not fact.is_same_payment
            with self._wire.gate.heard(outcome):
                return await record_answer(self._answers, work, outcome, is_anew=is_anew)
        return Unknown("the request was cut short")

    def _dated(self, work: Work, fact: Sending) -> Sending:
        """It has waited for its turn: its task is looked for, and its key lives, from this moment on.

        Of the same payment the key is as old as its first sending.
        """
        if isinstance(fact, facts.Joined) or (isinstance(fact, facts.SentAgain) and fact.is_same_payment):
            return fact
        work.intended_at = self._record.now()
        return replace(fact, at=work.intended_at)

    def _may_send_again(self, work: Work, outcome: SubmitOutcome, sent_at: float) -> _Repetition | None:
        """Whether and how the same request is to be sent once more; counts what is final."""
        match outcome:
            case NotSent():
                self._wire.breaker.failed(outcome.reason, is_reached=False)
                return _Repetition.AFTER_TROUBLE
            case Rejected(decision=Decision.SLOW_DOWN):
                slow_down(self._answers, outcome, sent_at)
                return _Repetition.PACED
            case Rejected(decision=Decision.RETRY_REQUEST):
                if self._is_put_off(work, outcome):
                    self._wire.gate.hold_briefly(outcome.retry_after_s or 0.0)
                    return _Repetition.PUT_OFF
                slow_down(self._answers, outcome, sent_at)
                return _Repetition.AFTER_TROUBLE
            case Rejected(decision=Decision.WAIT_FOR_RESET):
                slow_down(self._answers, outcome, sent_at)
                return _Repetition.AFTER_TROUBLE
            case Rejected(is_address=True) if self._wire.outage.has_worked:
                self._wire.breaker.failed(reason(outcome), may_cost=False)
                return _Repetition.AFTER_TROUBLE
            case Rejected(decision=Decision.STOP_RUN):
                self._wire.stop.ask(stop_sentence(outcome), needs_change=True)
                if work.is_doubtful:
                    self._on_unknown(work)
            case Unknown():
                self._note_trouble(outcome)
                if outcome.is_unclear:
                    self._collecting.owed.unclear_request(work, outcome.reason)
                work.is_doubtful = True
                self._on_unknown(work)
            case Rejected() if work.is_doubtful and not outcome.is_verdict:
                self._on_unknown(work)
            case Rejected():
                self._wire.breaker.worked()
                for member in work.members:
                    note_rejection(self._collecting.outcomes, member, outcome)
        return None

    def _note_trouble(self, outcome: Unknown) -> None:
        """One lost reply is bad luck; several in a row are a provider in trouble."""
        if outcome.is_reply:
            self._wire.outage.contact()
        self._wire.breaker.failed(outcome.reason)
        if outcome.retry_after_s is not None:
            self._wire.gate.hold(outcome.retry_after_s, outcome.reason)


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
