"""Finds out what became of requests that got no answer. None of them is ever simply sent anew.

In this order: the same key with identical bytes, where the provider is known to remember keys; the
provider's task list, when exactly one task that is nobody's fits exactly one such request; else the
row is held, and only a person's word (`--on-unknown resubmit`) sends it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import anyio

from nanobanana_batch.engine.context import Context
from nanobanana_batch.engine.pace import backoff_s
from nanobanana_batch.engine.submit import PaidSections, answer, stop_sentence
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
from nanobanana_batch.state import facts

_LIST_WINDOW_S = 60.0
"""How far a task's time, by the provider's clock, may lie from the request's, by ours."""


class Resolver:
    """All requests that may have been paid. They hold no slot until a task is found for them."""

    def __init__(
        self, context: Context, sections: PaidSections, *, on_accepted: Callable[[Work], None]
    ) -> None:
        self._context = context
        self._sections = sections
        self._on_accepted = on_accepted
        self._trust = context.provider.capabilities.idempotency
        self._may_ask_own_key = False
        self._open: list[Work] = []
        self._held: list[Work] = []
        self._wake = anyio.Event()
        self._idle = anyio.Event()
        self._idle.set()

    def add(self, work: Work) -> None:
        """Find out about one more."""
        self._open.append(work)
        self._context.tally.unknown += 1
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

    async def finished(self) -> None:
        """Return when nothing is being found out."""
        await self._idle.wait()

    def try_held_again(self) -> None:
        """There is new evidence: a request was accepted, so its key can be asked about."""
        if self._trust is Idempotency.UNPROVEN:
            self._reopen()

    def try_last_resort(self) -> None:
        """No request will be accepted any more: ask about the keys of the held requests themselves."""
        if self._trust is Idempotency.UNPROVEN:
            self._may_ask_own_key = True
            self._reopen()

    def give_up(self) -> list[Work]:
        """Those for which nothing could be found out; they are no longer looked after here."""
        given_up, self._held = self._held, []
        return given_up

    def _reopen(self) -> None:
        for work in self.give_up():
            self._context.tally.unknown -= 1
            self.add(work)

    async def _resolve(self, batch: list[Work]) -> None:
        if self._context.stop.asked:
            self._set_aside(batch)
        elif await self._keys_are_honoured(batch):
            for work in batch:
                await self._repeat(work)
        else:
            await self._look_in_list(batch)

    async def _keys_are_honoured(self, batch: list[Work]) -> bool:
        """Whether repeating is safe: by the profile's word, or because the provider has shown it.

        The key of an accepted request is asked about. Without one the oldest request's own key has
        to do, as a last resort: it says something only if that request has arrived.
        """
        if self._trust is Idempotency.UNPROVEN:
            name = self._context.provider.capabilities.name
            accepted = self._context.store.latest_accepted_key(name)
            own = (
                min(batch, key=lambda work: work.intended_at).idempotency_key
                if self._may_ask_own_key
                else None
            )
            key = accepted or own
            shown = await self._ask_about(key) if key else None
            if shown:
                self._trust = Idempotency.HONOURED
            elif shown is False and accepted:
                self._trust = Idempotency.IGNORED
                self._context.tally.note = (
                    "the provider does not remember idempotency keys; they are not relied on"
                )
        return self._trust is Idempotency.HONOURED

    async def _ask_about(self, key: str) -> bool | None:
        for tries in range(self._context.settings.resolve_tries):
            await self._context.gate.passed()
            shown = await self._context.provider.proves_idempotency(key)
            if shown is not None or self._context.stop.asked:
                return shown
            await self._context.stop.sleep(backoff_s(tries))
        return None

    async def _repeat(self, work: Work) -> None:
        """The same bytes under the same key: the provider answers with the first task, or makes it now."""
        context = self._context
        outcome: SubmitOutcome = Unknown("the run was stopped")
        for tries in range(context.settings.resolve_tries):
            await context.gate.passed()
            if context.stop.asked:
                break
            outcome = Unknown("the repeated request was cut short")
            with self._sections.one():
                outcome = await context.provider.submit(work.body, work.idempotency_key)
                if isinstance(outcome, Accepted):
                    await context.journal.record(answer(work, outcome, context.now()))
            if isinstance(outcome, Accepted):
                await self._follow(work)
                return
            if await self._is_settled(work, outcome):
                return
            await context.stop.sleep(wait_s(outcome) or backoff_s(tries))
        await self._hold(work, reason(outcome))

    async def _look_in_list(self, batch: list[Work]) -> None:
        """Adopt what fits beyond doubt; hold the rest."""
        context = self._context
        name = context.provider.capabilities.name
        since = min(work.intended_at for work in batch) - _LIST_WINDOW_S
        listed = await context.provider.list_recent(since)
        # Looked up after the list was read: a task on it has had its intent on disk before.
        strangers = [task for task in listed or () if not context.store.task_is_known(name, task.task_id)]
        unknown = Counter(context.store.unanswered_models(name))
        for work in batch:
            task = match(work, strangers, unknown[work.model])
            if task is None:
                await self._hold(work, "the provider does not show what became of it")
            else:
                await context.journal.record(answer(work, Accepted(task.task_id), context.now()))
                await self._follow(work)

    async def _follow(self, work: Work) -> None:
        """The task is known: from here on it is like any other."""
        self._context.tally.unknown -= 1
        self._context.first_look.at(work)
        await self._context.slots.take()
        self._on_accepted(work)

    async def _hold(self, work: Work, why: str) -> None:
        await self._context.journal.record(facts.Unanswered(work.attempt, f"may have been paid: {why}"))
        self._set_aside([work])

    def _set_aside(self, works: list[Work]) -> None:
        for work in works:
            self._held.append(work)
            self._context.first_look.at(work)

    async def _is_settled(self, work: Work, outcome: SubmitOutcome) -> bool:
        """Whether repeating once more is pointless; what is final is written down."""
        context = self._context
        match outcome:
            case Unknown(code="idempotency_conflict"):
                await self._hold(work, "the provider knows its key with another body")
            case Rejected(decision=Decision.FAIL_ROW | Decision.REFUSE):
                await context.journal.record(answer(work, outcome, context.now()))
                context.tally.unknown -= 1
                context.tally.failed += 1
            case Rejected(decision=Decision.STOP_RUN):
                context.stop.ask(stop_sentence(outcome))
                await self._hold(work, f"{outcome.code}: {outcome.message}")
            case _:
                if isinstance(outcome, NotSent) and context.outage.failed():
                    context.stop.ask(f"The provider cannot be reached: {outcome.reason}.")
                return False
        return True


def match(work: Work, strangers: list[ListedTask], unknown_of_model: int) -> ListedTask | None:
    """The task that must be this request's; None where it would be a guess.

    It is the model's only stranger near in time, and no other request of the model lacks an answer.
    """
    fitting = [task for task in strangers if task.model == work.model and _is_near(task, work)]
    return fitting[0] if unknown_of_model == 1 and len(fitting) == 1 else None


def _is_near(task: ListedTask, work: Work) -> bool:
    return abs(task.created_at - work.intended_at) <= _LIST_WINDOW_S


def wait_s(outcome: SubmitOutcome) -> float | None:
    """How long the provider asks to wait, if it does."""
    return outcome.retry_after_s if isinstance(outcome, Unknown | Rejected) else None


def reason(outcome: SubmitOutcome) -> str:
    """What the last answer to a repeated request was, for a person."""
    match outcome:
        case Unknown() | NotSent():
            return outcome.reason
        case Rejected():
            return f"{outcome.code}: {outcome.message}"
        case Accepted():
            return outcome.task_id
