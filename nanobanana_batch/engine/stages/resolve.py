"""Finds out what became of requests that got no answer. None of them is ever simply sent anew.

In this order: the same key with identical bytes, where the provider is known to remember keys that
far back; the provider's task list, when exactly one task that is nobody's fits exactly one such
request; else the row is held, and only a person's word (`--on-unknown resubmit`) sends it again.
What is held is looked at again when the provider works again, now and then, and at the end.
"""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

import anyio
import anyio.abc

from nanobanana_batch.engine.limits.pace import LONGEST_HOLD_S, backoff_s
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.parts import Collecting, Pacing, Record, Wire
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.stages.answers import (
    Answers,
    note_rejection,
    record_answer,
    slow_down,
    stop_sentence,
)
from nanobanana_batch.engine.stages.jobs import jobs_of, take_slots
from nanobanana_batch.engine.stages.keys import Keys
from nanobanana_batch.engine.stages.same_request import may_be_sent_again
from nanobanana_batch.engine.stages.strangers import WINDOW_S, Strangers
from nanobanana_batch.engine.work import Onward, Work
from nanobanana_batch.model import Kind, TaskMade
from nanobanana_batch.providers.base import Answered, Decision, NotSent, Rejected, SubmitOutcome, Unknown

_ABOUT_THE_FIRST = frozenset({"paid_outcome_unknown", "idempotency_conflict"})
"""Answers about the first request under a key: the provider works."""
_NOT_SHOWN = "the provider does not show what became of it"
_UNDATED = (
    "the provider does not show what became of it, and nobody knows when it was sent: a clock was wrong then"
)
_DECIDED_S = 1.5
"""Until then a request without an answer is likely to be being decided still."""
_LONGEST_DECISION_S = 900.0
"""How long a request may be being decided before others come first."""
_LISTED_S = 300.0
"""So long a job that was made may be missing in the list of jobs."""
_LONGEST_REST_S = 600.0
"""Between two times that what is held is looked at."""
_MOST_ROUNDS = 5
"""In which a request fails although the provider works for others; then only the next run tries again."""
_LOOK_S = 5.0
"""How often who waits for nothing but time looks whether someone asks to stop."""


@dataclass(slots=True, eq=False)
class _Case:
    """One request that may have been paid."""

    work: Work
    due: float = 0.0
    """Loop time of its next turn."""
    tries: int = 0
    """Repeats of this round that failed."""
    rounds: int = 0
    """Rounds that failed although the provider worked when they began."""
    alone_since: float = -math.inf
    """Loop time at which this round began, if nobody's request went well just then."""
    decided_since: float = math.inf
    """Loop time at which the provider said first that it is being decided."""
    looks_again: bool = False
    """It was held last for trouble that may pass."""
    is_noted: bool = False
    """It is on disk that nothing shows what became of it."""
    is_listed: bool = False
    """The list is to be read for it once more when those are answered that were under way with it."""


class Resolver:
    """All requests that may have been paid. They hold no slot until a task is found for them."""

    def __init__(
        self,
        settings: Settings,
        wire: Wire,
        pacing: Pacing,
        record: Record,
        slots: Slots,
        collecting: Collecting,
        answers: Answers,
        onward: Onward,
    ) -> None:
        self._settings = settings
        self._wire = wire
        self._pacing = pacing
        self._record = record
        self._slots = slots
        self._collecting = collecting
        self._answers = answers
        self._onward = onward
        self._keys = Keys(wire, record, answers, tries=settings.resolve_tries)
        self._strangers = Strangers(wire.provider, wire.gate, wire.stop, record)
        self._open: list[_Case] = []
        self._held: list[_Case] = []
        """For good, as far as is known."""
        self._held_for_now: list[_Case] = []
        """For trouble that may pass: looked at again as soon as a request is accepted."""
        self._made_anew: list[Work] = []
        """Requests whose repeat has made a task, while nothing but the profile speaks for keys."""
        self._working = 0
        self._found = 0
        """Tasks that were found and wait for a slot."""
        self._alone = anyio.Lock()
        self._had_evidence = False
        self._accepted_at = -math.inf
        """Loop time at which another request was accepted last."""
        self._is_last = False
        self._wake = anyio.Event()
        self._idle = anyio.Event()
        self._idle.set()

    def add(self, work: Work) -> None:
        """Find out about one more."""
        work.lost_at = anyio.current_time() if work.posted_at else 0.0
        self._keys.note_trouble()
        self._strangers.note_loss()
        self._reopen([_Case(work)], in_s=_DECIDED_S if work.posted_at else 0.0)

    async def run(self) -> None:
        """Work on what comes in, until cancelled."""
        async with anyio.create_task_group() as group:
            for _ in range(self._settings.resolve_concurrency):
                group.start_soon(self._work, group)
            group.start_soon(self._look_again_regularly)

    @property
    def is_asking(self) -> bool:
        """Whether the provider is being asked; a found task that waits for a slot asks nothing."""
        return bool(self._open or self._working)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being found out."""
        return self._idle.is_set()

    async def finished(self) -> None:
        """Return when nothing is being found out."""
        await self._idle.wait()

    def try_held_again(self) -> None:
        """A request was accepted: the provider works, and there is one more key that can be asked about."""
        is_new = not self._had_evidence
        self._had_evidence = True
        self._accepted_at = anyio.current_time()
        if is_new or self._keys.is_restored():
            self._reopen(self._all_held())
        else:
            cases, self._held_for_now = self._held_for_now, []
            self._reopen(cases)

    def try_last_resort(self) -> None:
        """Nothing else is left to do: look once more at all that is held."""
        self._is_last = True
        self._keys.last_resort()
        self._keys.is_restored()
        self._reopen(self._all_held())

    def give_up(self) -> list[Work]:
        """Those for which nothing could be found out; they are no longer looked after here."""
        cases = self._all_held()
        for case in cases:
            case.work.is_remembered = self._keys.covers(case.work)
            case.work.is_heard = self._is_heard(case)
        return [case.work for case in cases]

    def _is_heard(self, case: _Case) -> bool:
        """Whether all that is free was answered: trouble that may pass is no answer."""
        is_in_trouble = case.looks_again or self._wire.breaker.failures or self._strangers.is_unheard
        return not is_in_trouble and not self._keys.is_unheard(case.work)

    def _all_held(self) -> list[_Case]:
        """They are not held any more."""
        cases = [*self._held, *self._held_for_now]
        self._held, self._held_for_now = [], []
        return cases

    def _reopen(self, cases: list[_Case], *, in_s: float = 0.0) -> None:
        """The youngest first, then the oldest: what is shown of their keys tells most about the others."""
        if not cases:
            return  # as after most requests: nobody is woken to find nothing
        cases.sort(key=lambda case: case.work.attempt)
        for case in (*cases[-1:], *cases[:-1]):
            case.due, case.tries, case.looks_again = anyio.current_time() + in_s, 0, False
            case.alone_since = -math.inf if self._works_now else anyio.current_time()
            self._open.append(case)
        if self._idle.is_set():
            self._idle = anyio.Event()
        self._wake.set()

    @property
    def _works_now(self) -> bool:
        return self._wire.outage.has_worked and not self._wire.breaker.failures

    async def _look_again_regularly(self) -> None:
        """What is held for trouble that passes, and what the list could not tell while others were away."""
        while True:
            await anyio.sleep(WINDOW_S)
            now, cases = anyio.current_time(), self._all_held()
            for case in cases:
                if case.due > now:
                    (self._held_for_now if case.looks_again else self._held).append(case)
            self._reopen([case for case in cases if case.due <= now])

    # --- one turn of one request ---------------------------------------------------------------------

    async def _work(self, group: anyio.abc.TaskGroup) -> None:
        while True:
            case = await self._next()
            try:
                await self._turn(case, group)
            finally:
                self._working -= 1
                self._rest()

    async def _next(self) -> _Case:
        """The first whose turn it is; all of them once someone asks to stop."""
        while True:
            now = math.inf if self._wire.stop.asked else anyio.current_time()
            due = next((case for case in self._open if case.due <= now), None)
            if due is not None:
                self._open.remove(due)
                self._working += 1
                return due
            self._wake = anyio.Event() if self._wake.is_set() else self._wake
            wait_s = min((case.due - now for case in self._open), default=math.inf)
            with anyio.move_on_after(min(wait_s, _LOOK_S) if self._open else math.inf):
                await self._wake.wait()

    def _rest(self) -> None:
        if not (self._open or self._working or self._found):
            self._idle.set()

    async def _turn(self, case: _Case, group: anyio.abc.TaskGroup) -> None:
        self._keys.note_trouble()
        if self._wire.stop.asked:
            self._hold(case)
        elif case.work.kind is Kind.JOB:
            await self._find_job(case, group)
        elif await self._keys.may_repeat(case.work) and may_be_sent_again(
            self._wire, self._record, case.work
        ):
            async with self._alone_on_trial():
                await self._repeat(case, group)
        else:
            await self._look_in_list(case, group)

    def _alone_on_trial(self) -> AbstractAsyncContextManager[object]:
        """While only the profile says that keys are honoured, no more than one payment is risked on that."""
        return self._alone if self._keys.is_on_trial else nullcontext()

    async def _repeat(self, case: _Case, group: anyio.abc.TaskGroup) -> None:
        """The same bytes under the same key: the provider answers with the first task, or makes it now."""
        work = case.work
        async with self._wire.breaker.passed():
            wanted_at = await self._its_turn(work)
            # If it never arrived, the repeat is what is paid.
            is_ours = await self._record.surviving.may_pay()
            self._keys.note_trouble()
            is_open = is_ours and self._wire.gate.is_open and not self._wire.stop.asked
            if not is_open or not self._keys.covers(work):
                self._reopen([case])
                return
            sent_at = work.posted_at = anyio.current_time()
            case.is_noted = False
            self._strangers.note_repeat(work)
            outcome: SubmitOutcome = Unknown("the repeated request was cut short")
            with self._pacing.sections.one() as section, self._pacing.pace.one(wanted_at):
                outcome = await self._wire.provider.submit(work.body, work.idempotency_key)
                self._pacing.sections.answered(section, outcome)
                with self._wire.gate.heard(outcome):
                    outcome = await record_answer(self._answers, work, outcome)
            self._note_health(outcome)
        if isinstance(outcome, TaskMade):
            await self._learn(work, outcome)
            self._follow(work, group)
        elif isinstance(outcome, Answered):
            self._collecting.outcomes.accepted()
            self._follow(work, group)
        else:
            work.lost_at = anyio.current_time()
            await self._judge(case, outcome, sent_at)

    async def _its_turn(self, work: Work) -> float:
        """Returns since when it could have gone; the first repeat of an earlier run's is like a new one."""
        await self._record.surviving.passed()
        if work.posted_at:
            await self._pacing.retry_budget.spend(self._wire.stop)
        else:
            await self._pacing.rate.passed(self._wire.stop)
        wanted_at = anyio.current_time()
        while not self._wire.stop.asked:
            await self._wire.gate.passed(self._wire.stop)
            await self._pacing.pace.turn(lambda: self._wire.stop.asked, is_repeat=True)
            if self._wire.gate.is_open:
                break
        return wanted_at

    def _note_health(self, outcome: SubmitOutcome) -> None:
        match outcome:
            case TaskMade() | Answered():
                self._wire.breaker.worked()
                self._pacing.pace.accepted()
                self._pacing.retry_budget.worked()
            case NotSent():
                self._wire.breaker.failed(outcome.reason, is_reached=False)
            case Unknown() if outcome.code not in _ABOUT_THE_FIRST:
                self._wire.breaker.failed(outcome.reason)
                self._wire.gate.hold(outcome.retry_after_s or 0.0, outcome.reason)

    async def _judge(self, case: _Case, outcome: SubmitOutcome, sent_at: float) -> None:
        """What an answer that names no task means for the request; it is on disk already."""
        work = case.work
        match outcome:
            case Rejected(is_verdict=True, decision=Decision.FAIL_ROW | Decision.REFUSE):
                for member in work.members:
                    note_rejection(self._collecting.outcomes, member, outcome)
                self._collecting.first_look.at(work)
            case Rejected(is_address=True) if self._wire.outage.has_worked:
                self._wire.breaker.failed(f"{outcome.code}: {outcome.message}")
                self._try_again(case, backoff_s(case.tries))
            case Rejected(decision=Decision.STOP_RUN):
                self._wire.stop.ask(stop_sentence(outcome), needs_change=True)
                self._hold(case)
            case Rejected(decision=Decision.SLOW_DOWN | Decision.RETRY_REQUEST):
                slow_down(self._answers, outcome, sent_at)
                self._try_again(case, 0.0)
            case Rejected(decision=Decision.WAIT_FOR_RESET):
                slow_down(self._answers, outcome, sent_at)
                self._hold_for_now(case)
            case Unknown(code="paid_outcome_unknown"):
                await self._keys.showed(work)
                self._wait_for_decision(case, outcome.retry_after_s)
            case Rejected() | Unknown(code="idempotency_conflict"):
                self._hold(case)
            case _:
                self._try_again(case, backoff_s(case.tries))

    def _wait_for_decision(self, case: _Case, wait_s: float | None) -> None:
        """The same key again and again, never a new one (contract: "Submit")."""
        now = anyio.current_time()
        case.decided_since = min(case.decided_since, now)
        soon_s = backoff_s(case.tries, first_s=1.0, longest_s=30.0)
        case.due = now + (soon_s if wait_s is None else min(wait_s, LONGEST_HOLD_S))
        case.tries += 1
        self._collecting.first_look.at(case.work)
        if now - case.decided_since < _LONGEST_DECISION_S:
            self._open.append(case)
        else:
            case.decided_since, case.rounds = math.inf, case.rounds + 1
            self._hold_for_now(case)

    def _try_again(self, case: _Case, pause_s: float) -> None:
        """Soon, unless it has had its turns: then the others come first.

        When nothing else is left to do, an outage is waited out, for as long as any; but not what fails while
        the provider works.
        """
        case.tries += 1
        case.due = anyio.current_time() + pause_s
        self._collecting.first_look.at(case.work)
        had_its_turns = case.tries >= self._settings.resolve_tries
        is_alone = self._accepted_at < case.alone_since
        if had_its_turns and (not self._is_last or not is_alone or case.rounds):
            case.rounds += not is_alone
            self._hold_for_now(case)
        else:
            self._open.append(case)

    def _hold_for_now(self, case: _Case) -> None:
        if case.rounds >= _MOST_ROUNDS:
            self._hold(case)
            return
        case.due = anyio.current_time() + min(WINDOW_S * 2.0**case.rounds, _LONGEST_REST_S)
        case.looks_again = True
        self._held_for_now.append(case)
        self._collecting.first_look.at(case.work)

    def _hold(self, case: _Case) -> None:
        """Held: `unknown` in the state."""
        case.due = math.inf
        self._held.append(case)
        self._collecting.first_look.at(case.work)

    async def _learn(self, work: Work, accepted: TaskMade) -> None:
        """What the answer to a repeat says of the provider's keys."""
        self._collecting.outcomes.accepted()
        if accepted.is_replay:
            await self._keys.showed(work)
            self._made_anew.clear()
        elif self._keys.is_on_trial:
            self._made_anew.append(work)
            if strangers := await self._strangers.speak_against(self._made_anew):
                await self._keys.doubt(work, strangers)

    # --- the list ------------------------------------------------------------------------------------

    async def _look_in_list(self, case: _Case, group: anyio.abc.TaskGroup) -> None:
        """Adopt what fits beyond doubt; hold it otherwise."""
        work = case.work
        task = None
        if self._keys.is_ours(work):
            task = await self._strangers.task_of(work, lambda: self._oldest(work), at_once=self._is_last)
        outcome: SubmitOutcome = self._not_shown(work) if task is None else TaskMade(task.task_id)
        if isinstance(outcome, TaskMade) or not case.is_noted:
            outcome = await record_answer(self._answers, work, outcome)
        if isinstance(outcome, TaskMade):
            self._follow(work, group)
            return
        case.is_noted = True
        self._hold(case)
        if work.posted_at and not case.is_listed:
            case.is_listed, case.due = True, work.posted_at + 2 * WINDOW_S
        case.due = min(case.due, self._keys.asks_again_at)

    async def _find_job(self, case: _Case, group: anyio.abc.TaskGroup) -> None:
        """By its name, which is nobody else's; that it is not there proves nothing while it may come yet."""
        work = case.work
        found = await jobs_of(self._wire.provider).find_job(work.idempotency_key)
        if found.job_ids:
            if len(found.job_ids) > 1:
                self._record.tally.announce(
                    f"A request was taken {len(found.job_ids)} times, as the jobs {', '.join(found.job_ids)}:"
                    " the first is waited for. Ask the provider about the others."
                )
            if isinstance(await record_answer(self._answers, work, TaskMade(found.job_ids[0])), TaskMade):
                self._follow(work, group)
            else:
                self._hold(case)
            return
        if not case.is_noted:
            await record_answer(self._answers, work, Unknown(found.failure or _NOT_SHOWN))
            case.is_noted = True
        now = anyio.current_time()
        case.decided_since = min(case.decided_since, now)
        if now - case.decided_since < _LISTED_S:
            case.tries += 1
            case.due = now + backoff_s(case.tries, first_s=2.0, longest_s=_LISTED_S / 10)
            self._collecting.first_look.at(work)
            self._open.append(case)
        elif found.is_complete:
            self._hold(case)
        else:
            self._hold_for_now(case)

    def _oldest(self, work: Work) -> float:
        """When the first of this one and those that wait was sent (Unix seconds), as far as that is known."""
        sent_at, works = self._record.ages.sent_at, [work, *(case.work for case in self._open)]
        sendings = [at for work in works if (at := sent_at(work.attempt, work.intended_at)) is not None]
        return min(sendings, default=self._record.now())

    def _not_shown(self, work: Work) -> Unknown:
        is_dated = self._record.ages.sent_at(work.attempt, work.intended_at) is not None
        return Unknown(_NOT_SHOWN if is_dated else _UNDATED)

    def _follow(self, work: Work, group: anyio.abc.TaskGroup) -> None:
        """The task is known: from here on it is like any other."""
        self._collecting.first_look.at(work)
        self._found += 1
        group.start_soon(self._hand_over, work)

    async def _hand_over(self, work: Work) -> None:
        await take_slots(self._slots, work, is_paid=True)
        self._found -= 1
        (self._onward.answered if work.results else self._onward.accepted)(work)
        self._rest()
