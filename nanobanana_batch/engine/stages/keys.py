"""Whether a request without an answer may be repeated under its key: what is known of who remembers keys.

Where the profile does not say that keys are honoured the provider is asked, at no cost, with a body that
nobody can accept under a key that was used. Such a question may look like abuse, so few are asked: an answer
serves every request about as old as that key, or younger, that was lost before the question; of a later one
it says nothing, since the provider may have lost its memory. So these wait until they are several. What the
answers show is kept in the state; a body that is judged before the key shows nothing either way.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

import anyio

from nanobanana_batch.engine.clock import APART_S
from nanobanana_batch.engine.limits.pace import backoff_s
from nanobanana_batch.engine.parts import Record, Wire
from nanobanana_batch.engine.stages.answers import Answers, slow_down, stop_sentence
from nanobanana_batch.engine.work import Work
from nanobanana_batch.model import TaskMade
from nanobanana_batch.providers.base import (
    Decision,
    Idempotency,
    KeyMemory,
    KeyQuestion,
    NotSent,
    Rejected,
    SubmitOutcome,
    Unknown,
)
from nanobanana_batch.state.doubts import UsedKey

_SAME_AGE_S = 600.0
"""A key that is remembered speaks for requests that are older by no more than this."""
_MARGIN_S = 600.0
"""Of the time for which keys live: a request is on its way for a while, and clocks differ."""
_FRESH_S = 3600.0
"""A key that was used so lately is remembered by whoever remembers any."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 600.0
"""Between two answered questions: one serves all requests that were lost meanwhile."""
_REMARK_S = 7 * 86400.0
"""For so long it is not asked again after it has shown nothing."""
_MOST_QUESTIONS = 12
"""In one run, answered or not."""
_MOST_IN_VAIN = 2
"""Keys of requests without an answer that were asked about and not known."""
_NOTE_S = 600.0
"""How often it is written down that the provider remembers keys."""
_MUTE_S = 60.0
"""After questions that got no answer none is asked for so long."""
_NOTHING_SHOWN = (
    "the provider does not show whether it recognises a request that is sent twice: one that gets no answer"
    " waits for you, unless the provider's list of tasks shows what became of it"
)
_NOT_HONOURED = (
    "the provider does not recognise a request that is sent twice, though its profile (`idempotency`) says"
    " so: one that gets no answer is not simply sent again any more"
)
_HONOURED_AFTER_ALL = (
    "the provider may recognise a request that is sent twice after all: the task that spoke against it is one"
    " of ours"
)


@dataclass(frozen=True, slots=True)
class _Noted:
    """What earlier runs have seen of the provider's memory, and when last; Unix seconds."""

    remembered_at: float = -math.inf
    unshown_at: float = -math.inf
    ignored_at: float = -math.inf
    against: tuple[str, ...] = ()
    """Tasks by which keys were taken to be ignored."""


class Keys:
    """The provider's memory of idempotency keys."""

    def __init__(self, wire: Wire, record: Record, answers: Answers, *, tries: int) -> None:
        self._wire = wire
        self._record = record
        self._answers = answers
        self._tries = tries
        """Of each question; 0: none is asked, and no request is repeated."""
        offered = wire.provider.capabilities
        self._account = offered.account
        self._name = f"keys of {offered.name} {offered.account}"
        self._doubts = self._record.store.doubts(offered.name, offered.account)
        self._trust = offered.idempotency
        self._noted = _read(self._record.store.meta(self._name))
        self._back_to = math.inf
        """Unix time from which on keys are remembered, as was shown in this run."""
        self._shown_at = -math.inf
        """Loop time at which that was."""
        self._shaken_at = -math.inf
        """Loop time at which the provider was in trouble last: it may have lost its memory."""
        self._failures = 0
        """In a row, when it was looked for trouble last."""
        self._unshown_until = -math.inf
        """Unix time up to which keys are forgotten, or nothing shows that they are not."""
        self._own: dict[str, tuple[KeyMemory, float]] = {}
        """What was shown of the keys of requests without an answer, and at which loop time."""
        self._judged: dict[tuple[str, KeyQuestion], float] = {}
        """At which loop time a question was answered with a verdict on its body."""
        self._questions = 0
        self._pause_s = _FIRST_PAUSE_S
        self._next_question_at = -math.inf
        """Loop time before which the key of an accepted request is not asked about."""
        self._mute_until = -math.inf
        self._asking = anyio.Lock()
        self._is_last = False
        self._has_asked_time = False
        if self._trust is Idempotency.HONOURED and self._is_noted_as_ignored():
            self._trust = Idempotency.IGNORED
        if self._is_of_late(self._noted.unshown_at):
            self._unshown_until = math.inf

    @property
    def is_on_trial(self) -> bool:
        """Whether only the profile says that keys are honoured, and nothing was seen of that lately."""
        is_noted = self._is_of_late(self._noted.remembered_at)
        return self._trust is Idempotency.HONOURED and self._shown_at == -math.inf and not is_noted

    def _is_of_late(self, noted_at: float) -> bool:
        """What was noted in the future, by a clock that was wrong, says nothing."""
        return -APART_S <= self._record.now() - noted_at < _REMARK_S

    @property
    def _has_ever_shown(self) -> bool:
        """Whether questions show anything at this provider."""
        return self._noted.remembered_at > -math.inf or self._shown_at > -math.inf

    @property
    def asks_again_at(self) -> float:
        """Loop time from which on another question may tell more; infinite where none would."""
        is_of_use = self._trust is Idempotency.UNPROVEN and self._unshown_until < math.inf
        at = max(self._next_question_at, self._mute_until)
        is_later = anyio.current_time() < at and self._questions < _MOST_QUESTIONS
        return at if is_of_use and is_later else math.inf

    def last_resort(self) -> None:
        """Nothing else is left to do: ask what was put off."""
        self._is_last, self._mute_until, self._next_question_at = True, -math.inf, -math.inf

    def note_trouble(self) -> None:
        """Look whether the provider got into trouble since: it may have lost its memory."""
        breaker = self._wire.breaker
        if breaker.is_open and breaker.failures != self._failures:
            self._shaken_at = anyio.current_time()
        self._failures = breaker.failures

    def is_ours(self, work: Work) -> bool:
        """Another account's requests cannot be asked about with this key."""
        return work.account == self._account

    async def may_repeat(self, work: Work) -> bool:
        """Whether the provider would answer with the first task, if there is one; it is asked if need be."""
        if not self._may_ask(work):
            return False
        if work.is_old and self._trust is Idempotency.HONOURED:
            await self._hear_time()
        if self.covers(work):
            return True
        if not work.is_wanted or work.sent > 1 or self._sent_at(work) is None:
            return await self._asked_about_own(work) is KeyMemory.REMEMBERED
        if self._trust is Idempotency.HONOURED:
            return False  # its key is older than keys live
        near = self._doubts.accepted_key_near(work.attempt, _SAME_AGE_S)
        if near is not None:
            await self._ask_near(near, work)
        elif not work.posted_at or self._is_last:
            await self._asked_about_own(work)  # no request was accepted that could be asked about instead
        return self.covers(work)

    def is_unheard(self, work: Work) -> bool:
        """Whether this very key was asked about, and nothing usable came."""
        shown, _ = self._own.get(work.idempotency_key, (KeyMemory.UNSHOWN, 0.0))
        return shown is KeyMemory.NO_ANSWER

    async def _hear_time(self) -> None:
        """A clock that is wrong does not know how old an earlier run's key is; a free reply has a date."""
        async with self._asking:
            if self._has_asked_time or self._record.clock.is_checked:
                return
            self._has_asked_time = True
            await self._wire.gate.passed(self._wire.stop)
            if not self._wire.stop.asked:
                read = await self._wire.provider.read_account()
                self._wire.gate.hold_briefly(read.retry_after_s or 0.0)

    def covers(self, work: Work) -> bool:
        """Whether a repeat that is sent now is known to be no second payment.

        By the profile's word for as long as keys live; by what the provider has shown of a key as old as this
        one; or by what it has shown of this very key. A row that nobody wants any more is only followed, not
        paid for, and of one that was sent anew, or while a clock was wrong, nobody knows how old its key is:
        there only the last holds.
        """
        if not self._may_ask(work):
            return False
        if self._shows_own(work) is KeyMemory.REMEMBERED:
            return True
        sent_at = self._sent_at(work)
        if not work.is_wanted or work.sent > 1 or sent_at is None:
            return False
        if self._trust is Idempotency.HONOURED:
            lives_s = self._wire.provider.capabilities.key_lifetime_s - _MARGIN_S
            return self._record.now() - sent_at < lives_s
        return sent_at >= self._back_to - _SAME_AGE_S and self._holds(self._shown_at, work)

    async def showed(self, work: Work) -> None:
        """The provider answered a repeat with the first task, or spoke of the first under its key."""
        await self._prove(self._known_since(work), anyio.current_time())

    async def doubt(self, work: Work, strangers: Collection[str]) -> None:
        """A repeat has made a new task, and tasks are listed that can only come of requests paid twice.

        They may be somebody else's, too: what the provider says about this very key, which it must know by
        now, settles it.
        """
        if await self._asked_about_own(work) is not KeyMemory.UNSHOWN:
            return
        self._trust = Idempotency.IGNORED
        self._record.tally.say_once(_NOT_HONOURED)
        await self._note(_Noted(ignored_at=self._record.now(), against=tuple(strangers)))

    def is_restored(self) -> bool:
        """Whether a conclusion was just taken back: what spoke against the provider turned out to be ours."""
        if not self._noted.against or self._is_noted_as_ignored():
            return False
        self._noted = _Noted()
        self._trust = self._wire.provider.capabilities.idempotency
        self._record.tally.say_once(_HONOURED_AFTER_ALL)
        return True

    def _may_ask(self, work: Work) -> bool:
        is_used = self._trust is not Idempotency.IGNORED and self._tries > 0
        return is_used and self.is_ours(work)

    def _holds(self, shown_at: float, work: Work) -> bool:
        """Whether what was shown at a loop time holds for a request.

        The memory may have been lost since; what loses replies, like a restart, may lose it with them.
        """
        return shown_at >= max(self._shaken_at, work.lost_at)

    def _shows_own(self, work: Work) -> KeyMemory:
        shown, asked_at = self._own.get(work.idempotency_key, (KeyMemory.NO_ANSWER, -math.inf))
        if shown is KeyMemory.REMEMBERED and not self._holds(asked_at, work):
            return KeyMemory.NO_ANSWER
        return shown if asked_at >= work.posted_at else KeyMemory.NO_ANSWER

    async def _asked_about_own(self, work: Work) -> KeyMemory:
        """What is shown of this very key."""
        async with self._asking:
            shown = self._shows_own(work)
            if shown is KeyMemory.NO_ANSWER and self._own_is_worth_asking:
                asked_at = anyio.current_time()
                shown = await self._ask(work.idempotency_key, work.posted_at)
                self._own[work.idempotency_key] = shown, asked_at
                if shown is KeyMemory.REMEMBERED:
                    await self._prove(self._known_since(work), asked_at)
        return shown

    @property
    def _own_is_worth_asking(self) -> bool:
        """That one is not known may mean that its request never arrived; some of these in a row, more."""
        if self._has_ever_shown or self._trust is Idempotency.HONOURED:
            return True
        in_vain = sum(shown is KeyMemory.UNSHOWN for shown, _ in self._own.values())
        return self._unshown_until < math.inf and in_vain < _MOST_IN_VAIN

    async def _ask_near(self, near: UsedKey, work: Work) -> None:
        """Ask about the key of an accepted request, unless the answer can be told already."""
        async with self._asking:
            sent_at = self._sent_at(work)
            is_told = sent_at is None or sent_at <= self._unshown_until + _SAME_AGE_S
            if is_told or self.covers(work) or anyio.current_time() < self._next_question_at:
                return
            asked_at, shown = anyio.current_time(), await self._ask(near.key, work.posted_at)
            self._pause_after(shown)
            if shown is KeyMemory.REMEMBERED:
                await self._prove(near.used_at, asked_at)
            elif shown is KeyMemory.UNSHOWN:
                await self._note_unshown(near)

    def _pause_after(self, shown: KeyMemory) -> None:
        if shown is not KeyMemory.NO_ANSWER:
            self._next_question_at = anyio.current_time() + self._pause_s
            self._pause_s = min(2.0 * self._pause_s, _LONGEST_PAUSE_S)

    async def _note_unshown(self, near: UsedKey) -> None:
        """An old key says how far the memory reaches; a fresh one, that it is gone or never shows."""
        self._unshown_until = max(self._unshown_until, near.used_at)
        if self._record.now() - near.used_at >= _FRESH_S:
            return
        if self._has_ever_shown:
            self._back_to, self._shown_at = math.inf, -math.inf
            return
        self._unshown_until = math.inf
        self._record.tally.say_once(_NOTHING_SHOWN)
        await self._note(_Noted(unshown_at=self._record.now()))

    async def _ask(self, key: str, used_at: float = 0.0) -> KeyMemory:
        """Each kind of question once since the key was used (loop time), while answers are about its body."""
        for question in KeyQuestion:
            if self._judged.get((key, question), -math.inf) >= used_at:
                continue
            shown = await self._answer(key, question)
            if shown is not KeyMemory.UNSHOWN:
                return shown
            self._judged[key, question] = anyio.current_time()
        return KeyMemory.UNSHOWN

    async def _answer(self, key: str, question: KeyQuestion) -> KeyMemory:
        """To one question, put again when the provider cannot answer, as any request is."""
        for tries in range(self._tries):
            async with self._wire.breaker.passed():
                await self._wire.gate.passed(self._wire.stop)
                is_mute = anyio.current_time() < self._mute_until or self._questions >= _MOST_QUESTIONS
                if self._wire.stop.asked or is_mute:
                    return KeyMemory.NO_ANSWER
                self._questions += 1
                sent_at = anyio.current_time()
                answer = await self._wire.provider.proves_idempotency(key, question)
                self._record.log(
                    "key_asked", question=question.name.lower(), shown=answer.memory.name.lower()
                )
            if answer.memory is not KeyMemory.NO_ANSWER:
                self._warn_of(answer.outcome)
                return answer.memory
            self._hear(answer.outcome, sent_at)
            await self._wire.stop.sleep(backoff_s(tries))
        self._mute_until = anyio.current_time() + _MUTE_S
        return KeyMemory.NO_ANSWER

    def _hear(self, outcome: SubmitOutcome, sent_at: float) -> None:
        """What holds of any request's answer holds of this one: to wait, to stop, trouble."""
        match outcome:
            case Rejected(decision=Decision.SLOW_DOWN | Decision.RETRY_REQUEST):
                slow_down(self._answers, outcome, sent_at)
            case Rejected(decision=Decision.STOP_RUN) if not (
                outcome.is_address and self._wire.outage.has_worked
            ):
                self._wire.stop.ask(stop_sentence(outcome), needs_change=True)
            case NotSent():
                self._wire.breaker.failed(outcome.reason, is_reached=False)
            case Unknown():
                self._wire.breaker.failed(
                    f"no answer to a test whether it recognises a request: {outcome.reason}"
                )
                self._wire.gate.hold(outcome.retry_after_s or 0.0, outcome.reason)

    def _warn_of(self, outcome: SubmitOutcome) -> None:
        """A provider that makes a task of such a body is not asked anything any more."""
        if isinstance(outcome, TaskMade) and not outcome.is_replay:
            self._questions = _MOST_QUESTIONS
            self._record.tally.say_once(
                f"the provider made a task ({outcome.task_id}) of an empty request, by which it was tested"
                " whether it recognises one that is sent twice; it may be charged for. Say"
                " `idempotency: ignored` in its profile"
            )

    def _sent_at(self, work: Work) -> float | None:
        return self._record.ages.sent_at(work.attempt, work.intended_at)

    def _known_since(self, work: Work) -> float:
        """Since when its key is used; infinite where nobody knows."""
        sent_at = self._sent_at(work)
        return math.inf if sent_at is None else sent_at

    async def _prove(self, used_at: float, shown_at: float) -> None:
        """Keys as old as this are remembered; what was shown before a time of trouble holds no more."""
        is_void = self._shown_at < self._shaken_at
        self._back_to = used_at if is_void else min(self._back_to, used_at)
        self._shown_at = max(self._shown_at, shown_at)
        if self._unshown_until == math.inf:
            self._unshown_until = -math.inf
        now = self._record.now()
        if abs(now - self._noted.remembered_at) >= _NOTE_S:
            await self._note(_Noted(remembered_at=now))

    async def _note(self, noted: _Noted) -> None:
        self._noted = noted
        await self._record.blocking(lambda: self._record.store.remember(self._name, _as_text(noted)))

    def _is_noted_as_ignored(self) -> bool:
        """Whether an earlier conclusion stands: it is not old, and its tasks are still nobody's."""
        noted, store = self._noted, self._record.store
        lives_s = self._wire.provider.capabilities.key_lifetime_s
        is_old = self._record.now() - noted.ignored_at >= lives_s
        return (
            bool(noted.against)
            and not is_old
            and not any(store.task_is_known(task_id) for task_id in noted.against)
        )


def _read(text: str | None) -> _Noted:
    known: dict[str, Any] = {} if text is None else json.loads(text)
    return _Noted(**known | {"against": tuple(known.get("against", ()))})


def _as_text(noted: _Noted) -> str:
    known = {field.name: getattr(noted, field.name) for field in fields(noted)}
    return json.dumps({name: value for name, value in known.items() if value not in (-math.inf, ())})
