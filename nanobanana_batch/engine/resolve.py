"""Finds out what became of requests that got no answer. None of them is ever simply sent anew.

In this order: the same key with identical bytes, where the provider is known to remember keys that
far back; the provider's task list, when exactly one task that is nobody's fits exactly one such
request; else the row is held, and only a person's word (`--on-unknown resubmit`) sends it again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import anyio

from nanobanana_batch.engine.context import Context
from nanobanana_batch.engine.pace import backoff_s
from nanobanana_batch.engine.same_request import may_be_sent_again
from nanobanana_batch.engine.submit import (
    PaidSections,
    note_rejection,
    record_answer,
    slow_down,
    stop_sentence,
)
from nanobanana_batch.engine.work import Work
from nanobanana_batch.providers.base import (
    Accepted,
    Decision,
    Idempotency,
    ListedTask,
    NotSent,
    Rejected,
    SubmitOutcome,
    Unknown,
)

_LIST_WINDOW_S = 60.0
"""How far a task's time, by the provider's clock, may lie from the request's, by ours."""
_ABOUT_THE_FIRST = frozenset({"paid_outcome_unknown", "idempotency_conflict"})
"""Answers about the first request under a key: the provider works."""
_SAME_AGE_S = 600.0
"""A key that is remembered speaks for requests that are older by no more than this."""


class Resolver:
    """All requests that may have been paid. They hold no slot until a task is found for them."""

    def __init__(
        self, context: Context, sections: PaidSections, *, on_accepted: Callable[[Work], None]
    ) -> None:
        self._context = context
        self._sections = sections
        self._on_accepted = on_accepted
        self._trust = context.provider.capabilities.idempotency
        self._proof = (math.inf, -math.inf)
        """When the oldest request was sent whose like was shown to be remembered, and when that was."""
        self._remembered: dict[str, tuple[bool, float]] = {}
        """Keys that the provider was asked about, whether it knew them, and when it was asked."""
        self._open: list[Work] = []
        self._held: list[Work] = []
        self._had_evidence = False
        self._no_answers = False
        """The provider was asked about a key in vain: not worth asking about the others now."""
        self._is_waiting = False
        self._wake = anyio.Event()
        self._idle = anyio.Event()
        self._idle.set()

    def add(self, work: Work) -> None:
        """Find out about one more."""
        self._open.append(work)
        if self._idle.is_set():
            self._idle = anyio.Event()
        self._wake.set()

    async def run(self) -> None:
        """Work on what comes in, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._open:
                batch, self._open = self._open, []
                await self._resolve(batch)
            self._idle.set()

    @property
    def is_asking(self) -> bool:
        """Whether the provider is being asked; a found task that waits for a slot asks nothing."""
        return not self.is_idle and not self._is_waiting

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being found out."""
        return self._idle.is_set()

    async def finished(self) -> None:
        """Return when nothing is being found out."""
        await self._idle.wait()

    def try_held_again(self) -> None:
        """There is new evidence: the first request of this run was accepted; its key can be asked about."""
        if not self._had_evidence and self._trust is not Idempotency.IGNORED:
            self._had_evidence = True
            self._reopen()

    def try_last_resort(self) -> None:
        """Nothing else is left to do: look once more at all that is held."""
        self._reopen()

    def give_up(self) -> list[Work]:
        """Those for which nothing could be found out; they are no longer looked after here."""
        given_up, self._held = self._held, []
        return given_up

    def _reopen(self) -> None:
        for work in self.give_up():
            self.add(work)

    async def _resolve(self, batch: list[Work]) -> None:
        left: list[Work] = []
        self._no_answers = False
        for work in batch:
            if self._context.stop.asked:
                self._set_aside(work)
            elif await self._may_repeat(work):
                await self._repeat(work)
            else:
                left.append(work)
        if left:
            await self._look_in_list(left)

    async def _may_repeat(self, work: Work) -> bool:
        """Whether the provider would answer with the first task, if there is one.

        By the profile's word, for as long as it says that keys live; or because the provider has
        shown that it remembers a key as old as this one, or this very key. A key of another account
        says nothing, and a row that nobody wants any more is only followed, never paid for.
        """
        offered = self._context.provider.capabilities
        if self._trust is Idempotency.IGNORED or not self._is_our_account(work):
            return False
        if self._trust is Idempotency.HONOURED and work.is_wanted:
            return self._context.now() - work.intended_at < offered.key_lifetime_s
        if work.is_wanted and await self._remembers_that_far_back(work):
            return True
        return await self._remembers(work.idempotency_key, work.posted_at)

    async def _remembers_that_far_back(self, work: Work) -> bool:
        """One proof serves all requests about as old that were sent before it.

        Of one that was sent after the proof it says nothing: the provider may have lost its memory since.
        """
        offered, (oldest, shown_at) = self._context.provider.capabilities, self._proof
        if work.posted_at and oldest - _SAME_AGE_S <= work.posted_at <= shown_at:
            return True
        key = self._context.store.accepted_key_near(offered.name, offered.account, work.attempt, _SAME_AGE_S)
        if key is None:
            return False
        remembered = await self._remembers(key, work.posted_at)
        if self._shown(key, work.posted_at) is False:
            self._context.tally.say_once("the provider does not remember idempotency keys")
        elif remembered and work.posted_at:
            self._proof = (work.posted_at, self._remembered[key][1])
        return remembered

    async def _remembers(self, key: str, sent_at: float) -> bool:
        """Whether it does, as shown after a moment of this run."""
        context = self._context
        for tries in range(context.settings.resolve_tries):
            if self._shown(key, sent_at) is not None or self._no_answers or context.stop.asked:
                break
            async with context.breaker.passed():
                await context.gate.passed(context.stop)
                asked_at = anyio.current_time()
                shown = await context.provider.proves_idempotency(key)
            if shown is not None:
                self._remembered[key] = (shown, asked_at)
            else:
                context.breaker.failed("no answer to a question about a key")
                await context.stop.sleep(backoff_s(tries))
        known = self._shown(key, sent_at)
        self._no_answers = self._no_answers or known is None
        return bool(known)

    def _shown(self, key: str, sent_at: float) -> bool | None:
        """What the provider has shown; a memory may have been lost since, but what is forgotten stays so."""
        shown, asked_at = self._remembered.get(key, (None, 0.0))
        return None if shown and asked_at < sent_at else shown

    async def _repeat(self, work: Work) -> None:
        """The same bytes under the same key: the provider answers with the first task, or makes it now."""
        context = self._context
        if not may_be_sent_again(context, work):
            self._set_aside(work)
            return
        outcome: SubmitOutcome = Unknown("the run was stopped")
        for tries in range(context.settings.resolve_tries):
            sent_at = anyio.current_time()
            async with context.breaker.passed():
                await context.retries.spend(context.stop)
                await context.gate.passed(context.stop)
                if context.stop.asked:
                    break
                sent_at = anyio.current_time()
                outcome = Unknown("the repeated request was cut short")
                with self._sections.one():
                    outcome = await context.provider.submit(work.body, work.idempotency_key)
                    outcome = await record_answer(context, work, outcome)
                self._note_health(outcome)
            if isinstance(outcome, Accepted):
                context.ends.accepted()
                await self._notice_ignored_key(work, outcome)
                await self._follow(work)
                return
            if self._is_settled(work, outcome, sent_at, tries):
                return
            await context.stop.sleep(self._wait_s(outcome) or backoff_s(tries))
        self._set_aside(work)

    def _note_health(self, outcome: SubmitOutcome) -> None:
        match outcome:
            case Accepted():
                self._context.breaker.worked()
            case NotSent():
                self._context.breaker.failed(outcome.reason, is_reached=False)
            case Unknown() if outcome.code not in _ABOUT_THE_FIRST:
                self._context.breaker.failed(outcome.reason)

    def _is_settled(self, work: Work, outcome: SubmitOutcome, sent_at: float, tries: int) -> bool:
        """Whether repeating once more is pointless; the answer itself is on disk already."""
        context = self._context
        match outcome:
            case Rejected(is_verdict=True, decision=Decision.FAIL_ROW | Decision.REFUSE):
                note_rejection(context, work, outcome)
                context.first_look.at(work)
            case (
                Rejected(decision=Decision.FAIL_ROW | Decision.REFUSE) | Unknown(code="idempotency_conflict")
            ):
                self._set_aside(work)
            case Rejected(is_address=True) if context.outage.has_worked:
                context.breaker.failed(f"{outcome.code}: {outcome.message}")
                return False
            case Rejected(decision=Decision.STOP_RUN):
                context.stop.ask(stop_sentence(outcome), needs_change=True)
                self._set_aside(work)
            case Rejected():
                slow_down(context, outcome, sent_at)
                return False
            case _:
                return False
        return True

    async def _notice_ignored_key(self, work: Work, accepted: Accepted) -> None:
        """A new task where the list shows a stranger of that time: the profile is wrong about keys."""
        if accepted.replayed or self._trust is not Idempotency.HONOURED:
            return
        strangers = [task for task in await self._strangers(work) if fits(task, work)]
        if strangers:
            self._trust = Idempotency.IGNORED
            self._context.tally.say_once("the provider does not honour idempotency keys as its profile says")

    async def _look_in_list(self, batch: list[Work]) -> None:
        """Adopt what fits beyond doubt; hold the rest."""
        context = self._context
        for work in batch:
            if context.stop.asked:
                self._set_aside(work)
                continue
            strangers = await self._strangers(work) if self._is_our_account(work) else []
            # Counted after the list was read: a task on it has had its intent on disk before.
            unknown = Counter(context.store.unanswered_models(context.provider.capabilities.name))
            task = match(work, strangers, unknown[work.model])
            outcome: SubmitOutcome = Unknown("the provider does not show what became of it")
            if task is not None:
                outcome = Accepted(task.task_id)
            outcome = await record_answer(context, work, outcome)
            if isinstance(outcome, Accepted):
                await self._follow(work)
            else:
                self._set_aside(work)

    def _is_our_account(self, work: Work) -> bool:
        """Another account's requests cannot be asked about with this key."""
        return work.account == self._context.provider.capabilities.account

    async def _strangers(self, work: Work) -> list[ListedTask]:
        """The provider's recent tasks that belong to no attempt of ours."""
        context = self._context
        await context.gate.passed(context.stop)
        listed = await context.provider.list_recent(work.intended_at - _LIST_WINDOW_S)
        name = context.provider.capabilities.name
        return [task for task in listed or () if not context.store.task_is_known(name, task.task_id)]

    async def _follow(self, work: Work) -> None:
        """The task is known: from here on it is like any other."""
        self._context.first_look.at(work)
        self._is_waiting = True
        await self._context.slots.take()
        self._is_waiting = False
        self._on_accepted(work)

    def _set_aside(self, work: Work) -> None:
        """Held: `unknown` in the state."""
        self._held.append(work)
        self._context.first_look.at(work)

    @staticmethod
    def _wait_s(outcome: SubmitOutcome) -> float | None:
        return outcome.retry_after_s if isinstance(outcome, Unknown | Rejected) else None


def match(work: Work, strangers: list[ListedTask], unknown_of_model: int) -> ListedTask | None:
    """The task that must be this request's; None where it would be a guess.

    It is the model's only stranger near in time, and no other request of the model lacks an answer.
    """
    fitting = [task for task in strangers if fits(task, work)]
    return fitting[0] if unknown_of_model == 1 and len(fitting) == 1 else None


def fits(task: ListedTask, work: Work) -> bool:
    """Whether a task can have come of a request, by model and time."""
    return task.model == work.model and abs(task.created_at - work.intended_at) <= _LIST_WINDOW_S
