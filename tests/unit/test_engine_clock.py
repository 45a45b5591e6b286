"""A clock that was wrong, or is: nothing is paid twice, adopted, or given up by it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.clock import Clock
from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import (
    Idempotency,
    KeyAnswer,
    KeyQuestion,
    Listing,
    SubmitOutcome,
    Unknown,
)
from nanobanana_batch.state.scope import Scope
from nanobanana_batch.state.store import Store
from tests.unit.fake_provider import Answer, FakeProvider, FakeTask, Turn
from tests.unit.night import Night

HOUR_S, DAY_S = 3600.0, 86400.0
DONE, UNKNOWN, READY = RowStatus.COMPLETED, RowStatus.UNKNOWN, RowStatus.READY
HONOURED, UNPROVEN, IGNORED = Idempotency.HONOURED, Idempotency.UNPROVEN, Idempotency.IGNORED
PROMPTS = [f"a picture of the number {n}" for n in range(6)]
NOTHING_CAME = Unknown("reset")


@dataclass
class Folder:
    """A folder over days, at a machine whose clock is not always right; each run begins at a true time."""

    path: Path
    provider: FakeProvider
    said: list[str]

    def run(
        self,
        rows: int,
        *,
        at: float,
        clock_ahead: float = 0.0,
        answers: Callable[[int], Answer] = lambda n: None,
        **settings: object,
    ) -> Night:
        """One run; submits are numbered from 0 in each."""
        before, self.provider.clock_offset_s, self.provider.replies = self.provider.submits, at, 0
        self.provider.on_submit = lambda n: answers(n - before)
        it = Night(self.path, self.provider, PROMPTS[:rows], Settings(**settings))  # type: ignore[arg-type]
        it.now = lambda: anyio.current_time() + at + clock_ahead
        it.on_announce = self.said.append
        it.run()
        return it

    def paid(self) -> list[int]:
        """How often each body was paid for, most often first."""
        return sorted(self.provider.paid().values(), reverse=True)


@dataclass
class Timely(FakeProvider):
    """Its tasks have the true time of each run; keys may be forgotten."""

    forgets: bool = False

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        self._forget()
        return await super().submit(body, idempotency_key)

    def make(self, body: bytes, key: str) -> FakeTask:
        task = super().make(body, key)
        task.created += self.clock_offset_s
        return task

    async def list_recent(self, age_s: float, turn: Turn) -> Listing:
        listing = await super().list_recent(age_s, turn)
        made = {task.id: task.created for task in self.tasks.values()}
        tasks = tuple(replace(task, created_at=made[task.task_id]) for task in listing.tasks)
        return replace(listing, tasks=tasks)

    async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
        self._forget()
        return await super().proves_idempotency(used_key, question)

    def _forget(self) -> None:
        if self.forgets:
            for task in self.tasks.values():
                task.key = "forgotten"
            self.forgets = False


def folder(path: Path, provider: FakeProvider) -> Folder:
    return Folder(path, provider, [])


def lost(*numbers: int) -> Callable[[int], Answer]:
    """The replies to these submits are lost."""
    return lambda n: "lost" if n in numbers else None


# --- requests without an answer ----------------------------------------------------------------------


def test_a_request_from_the_future_is_not_young(tmp_path: Path) -> None:
    """Sent while the clock was three days ahead, a day before the provider forgot its key."""
    provider = Timely(HONOURED, lists_tasks=False)
    it = folder(tmp_path, provider)
    it.run(1, at=0.0, clock_ahead=3 * DAY_S, answers=lost(0), resolve_tries=0)
    provider.forgets = True
    later = it.run(2, at=2 * DAY_S)
    assert later.statuses() == [UNKNOWN, DONE]
    assert it.paid() == [1, 1]
    assert "a clock was wrong" in str(later.rows()[0].error_message)


def test_a_clock_that_is_behind_makes_no_key_young(tmp_path: Path) -> None:
    """The provider is asked for its time before a key of an earlier run is relied on."""
    provider = Timely(idempotency=HONOURED, lists_tasks=False, tells_time=True)
    them = folder(tmp_path, provider)
    them.run(2, at=0.0, answers=lost(0, 1), submit_concurrency=1, resolve_tries=0)
    provider.forgets, provider.keys_come_first = True, False
    it = them.run(2, at=2 * DAY_S, clock_ahead=-2 * DAY_S)
    assert it.statuses() == [UNKNOWN, UNKNOWN]
    assert them.paid() == [1, 1]


@pytest.mark.parametrize("trust", [HONOURED, UNPROVEN])
def test_its_own_key_still_finds_its_task(tmp_path: Path, trust: Idempotency) -> None:
    """The free question about that very key does not ask how old it is."""
    provider = Timely(trust, lists_tasks=False)
    it = folder(tmp_path, provider)
    it.run(1, at=0.0, clock_ahead=3 * DAY_S, answers=lost(0), resolve_tries=0)
    later = it.run(1, at=HOUR_S)
    assert later.statuses() == [DONE]
    assert it.paid() == [1]
    assert provider.probes == 1


def test_what_was_shown_of_a_key_near_in_time_says_nothing_of_it(tmp_path: Path) -> None:
    """The other key is remembered since it is of today."""
    provider = Timely(UNPROVEN, lists_tasks=False)
    it = folder(tmp_path, provider)
    it.run(1, at=0.0, clock_ahead=3 * DAY_S, answers=lost(0), resolve_tries=0)
    provider.forgets = True
    it.run(2, at=2 * DAY_S, scope=Scope(before=2), resolve_tries=0)
    assert it.run(3, at=2 * DAY_S + HOUR_S, answers=lost(0)).statuses() == [UNKNOWN, DONE, DONE]
    assert it.paid() == [1, 1, 1]


def test_a_request_dated_after_a_later_one_has_no_age(tmp_path: Path) -> None:
    """Its time is past by now, and it is young by that: only the order of attempts knows better."""
    provider = Timely(HONOURED, lists_tasks=False)
    it = folder(tmp_path, provider)
    it.run(1, at=0.0, clock_ahead=10 * HOUR_S, answers=lost(0), resolve_tries=0)
    it.run(2, at=HOUR_S, resolve_tries=0)
    provider.forgets = True
    later = it.run(2, at=26 * HOUR_S)
    assert later.statuses() == [UNKNOWN, DONE]
    assert it.paid() == [1, 1]


def test_a_request_that_was_only_overtaken_keeps_its_age(tmp_path: Path) -> None:
    """It was told to wait for a few minutes while a later one went through: its time is right."""
    provider = Timely(HONOURED, lists_tasks=False, keys_come_first=False)
    it = folder(tmp_path, provider)
    it.run(2, at=0.0, answers=lost(0), resolve_tries=0, submit_concurrency=1)
    with closing(sqlite3.connect(tmp_path / STATE_NAME, isolation_level=None)) as db:
        db.execute("UPDATE requests SET intended_at = intended_at + 300 WHERE request = 1")
    assert it.run(2, at=HOUR_S).statuses() == [DONE, DONE]
    assert it.paid() == [1, 1]


def test_the_list_tells_nothing_while_a_request_without_a_date_may_have_made_its_task(tmp_path: Path) -> None:
    """The only stranger near in time: the undated request never arrived, but who could know that."""
    provider = Timely(IGNORED)
    it = folder(tmp_path, provider)
    it.run(1, at=0.0, clock_ahead=3 * DAY_S, answers=lambda n: NOTHING_CAME)
    assert it.run(2, at=DAY_S, answers=lost(0)).statuses() == [UNKNOWN, UNKNOWN]
    assert provider.listings >= 1


def test_the_list_tells_nothing_of_a_request_dated_before_earlier_ones(tmp_path: Path) -> None:
    """A clock three days behind when it was sent: what the list shows of that time is somebody else's."""
    provider = Timely(IGNORED, lists_tasks=False)
    it = folder(tmp_path, provider)
    it.run(1, at=3 * DAY_S)
    it.run(2, at=3 * DAY_S + HOUR_S, clock_ahead=-3 * DAY_S, answers=lambda n: NOTHING_CAME)
    provider.tasks["theirs"] = FakeTask("theirs", b"theirs", "their-key", "model-a", HOUR_S, HOUR_S)
    provider.lists_tasks = True
    assert it.run(2, at=3 * DAY_S + 2 * HOUR_S).statuses() == [DONE, UNKNOWN]
    assert provider.listings >= 1


@pytest.mark.parametrize("ahead", [3 * DAY_S, -3 * DAY_S])
def test_within_a_run_the_first_reply_puts_dates_right(tmp_path: Path, ahead: float) -> None:
    """What was sent before it is looked for in the list at the time at which it was really sent."""
    provider = Timely(IGNORED, tells_time=True)
    it = folder(tmp_path, provider)
    assert it.run(4, at=30 * DAY_S, clock_ahead=ahead, answers=lost(2)).statuses() == [DONE] * 4
    assert it.paid() == [1] * 4


@pytest.mark.parametrize("ahead", [3 * DAY_S, -3 * DAY_S])
def test_the_first_reply_of_a_run_may_be_the_list_itself(tmp_path: Path, ahead: float) -> None:
    """Asked while the clock was wrong, understood after it was put right."""
    provider = Timely(IGNORED, lists_tasks=False, tells_time=True)
    it = folder(tmp_path, provider)
    it.run(1, at=30 * DAY_S, answers=lost(0))
    provider.lists_tasks = True
    assert it.run(1, at=30 * DAY_S + HOUR_S, clock_ahead=ahead).statuses() == [DONE]


def test_a_key_that_may_be_younger_than_noted_says_nothing_of_older_ones(tmp_path: Path) -> None:
    """It was dated three days too early: that it is remembered shows no memory of three days."""
    provider = Timely(UNPROVEN, lists_tasks=False)
    it = folder(tmp_path, provider)
    it.run(1, at=10 * DAY_S, answers=lost(0), resolve_tries=0)
    provider.forgets = True
    it.run(2, at=12 * DAY_S, clock_ahead=-3 * DAY_S, resolve_tries=0)
    it.run(3, at=12 * DAY_S + HOUR_S, answers=lost(0), resolve_tries=0)
    assert it.run(3, at=12 * DAY_S + 2 * HOUR_S).statuses() == [UNKNOWN, DONE, DONE]
    assert it.paid() == [1, 1, 1]


# --- what was noted of keys --------------------------------------------------------------------------


def note(path: Path, **noted: float) -> None:
    """Something that an earlier run has seen of keys."""
    store = Store(path / STATE_NAME)
    store.remember("keys of fake one", json.dumps(noted))
    store.close()


def test_that_keys_are_remembered_is_not_believed_of_the_future(tmp_path: Path) -> None:
    """Only the profile speaks for keys, so repeats go one at a time."""
    worst: list[int] = []

    provider = Timely(HONOURED, lists_tasks=False, remembers_keys=False)
    it = folder(tmp_path, provider)
    it.run(4, at=0.0, answers=lost(0, 1, 2, 3), resolve_tries=0)
    note(tmp_path, remembered_at=9 * DAY_S)
    on_wire = 0

    class Counted(Timely):
        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            nonlocal on_wire
            on_wire += 1
            worst.append(on_wire)
            try:
                return await super().submit(body, idempotency_key)
            finally:
                on_wire -= 1

    it.provider = Counted(HONOURED, lists_tasks=False, tasks=provider.tasks)
    it.run(4, at=HOUR_S)
    assert max(worst) == 1


def test_that_nothing_is_shown_is_not_believed_of_the_future(tmp_path: Path) -> None:
    """It is asked again."""
    provider = Timely(UNPROVEN, lists_tasks=False)
    it = folder(tmp_path, provider)
    it.run(1, at=0.0, answers=lost(0), resolve_tries=0)
    note(tmp_path, unshown_at=9 * DAY_S)
    assert it.run(1, at=HOUR_S).statuses() == [DONE]
    assert it.paid() == [1]


# --- images ------------------------------------------------------------------------------------------


def gone(n: int, task: object) -> LinkFailed:
    return LinkFailed("gone", dead=True)


def test_links_do_not_expire_by_a_clock_that_is_ahead(tmp_path: Path) -> None:
    """The provider's own time says that they live."""
    provider = Timely(tells_time=True, on_link=gone)
    it = folder(tmp_path, provider)
    assert it.run(1, at=0.0).statuses() == [READY]
    assert it.run(1, at=HOUR_S, clock_ahead=3 * DAY_S).statuses() == [READY]


def test_links_do_not_expire_since_the_clock_was_behind_when_the_task_was_made(tmp_path: Path) -> None:
    """An earlier request was sent three days later by what was noted: so the task may be of today."""
    provider = Timely()
    it = folder(tmp_path, provider)
    it.run(1, at=5 * DAY_S)
    provider.on_link = gone
    it.run(2, at=5 * DAY_S + HOUR_S, clock_ahead=-3 * DAY_S)
    assert it.run(2, at=5 * DAY_S + 2 * HOUR_S).statuses() == [DONE, READY]
    assert it.run(2, at=7 * DAY_S).statuses() == [DONE, RowStatus.EXPIRED]


def test_a_task_without_links_does_not_expire_by_a_date_that_is_too_early(tmp_path: Path) -> None:
    """It is completed and shows none yet."""
    provider = Timely()
    it = folder(tmp_path, provider)
    it.run(1, at=5 * DAY_S)
    provider.latency_s = 2400.0
    it.run(2, at=5 * DAY_S + HOUR_S, clock_ahead=-3 * DAY_S, stuck_after_s=60.0)
    provider.on_read = lambda n, task: {"id": task.id, "status": "completed"}
    assert it.run(2, at=5 * DAY_S + 2 * HOUR_S).statuses() == [DONE, RowStatus.RUNNING]
    assert it.run(2, at=7 * DAY_S).statuses() == [DONE, RowStatus.EXPIRED]


def test_a_clock_that_is_set_in_the_middle_of_a_run_expires_nothing(tmp_path: Path) -> None:
    """No reply has a date here: how long a task of this run has been there is counted by other seconds."""
    provider = Timely(on_link=gone)
    it = Night(tmp_path, provider, PROMPTS[:1])
    it.now = lambda: anyio.current_time() + (3 * DAY_S if provider.links else 0.0)
    it.run()
    assert it.statuses() == [READY]
    assert "waits_for_images" in [event for event, _ in it.events]


def test_a_task_is_not_given_up_since_its_date_is_too_early(tmp_path: Path) -> None:
    """`retry --only running` means tasks that were slow, and this one may be of this minute."""
    provider = Timely()
    it = folder(tmp_path, provider)
    it.run(1, at=5 * DAY_S)
    provider.latency_s = 2400.0
    it.run(2, at=5 * DAY_S + HOUR_S, clock_ahead=-3 * DAY_S, stuck_after_s=60.0)
    it.run(2, at=5 * DAY_S + HOUR_S + 120, new_rows=False, gives_up=True, stuck_after_s=2 * HOUR_S)
    assert it.paid() == [1, 1]


# --- the clock itself --------------------------------------------------------------------------------


def clock(wall: float, theirs: float | None) -> tuple[Clock, list[str], list[tuple[str, object]]]:
    said: list[str] = []
    logged: list[tuple[str, object]] = []

    def log(event: str, /, **fields: object) -> None:
        logged.append((event, fields["ahead_s"]))

    made = Clock(lambda: wall, lambda: 7.0, lambda: theirs, Tally(announce=said.append), log)
    return made, said, logged


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (3 * DAY_S, "3 days ahead of"),
        (-3 * DAY_S, "3 days behind"),
        (2 * HOUR_S, "2 h 0 min ahead of"),
        (400.0, "7 min ahead of"),
    ],
)
def test_a_clock_that_is_wrong_is_told_once(ahead: float, words: str) -> None:
    """And the provider's is used."""
    made, said, logged = clock(1e9 + ahead, 1e9)
    assert [made.now(), made.now()] == [1e9, 1e9]
    assert said == [f"This machine's clock is {words} the provider's; the provider's is used."]
    assert logged == [("clock", ahead)]


@pytest.mark.parametrize("theirs", [None, 1e9 + 59, 1e9 - 59])
def test_a_clock_that_is_right_is_used(theirs: float | None) -> None:
    """A reply's time is of whole seconds, and of a moment ago."""
    made, said, logged = clock(1e9, theirs)
    assert made.now() == 1e9
    assert said == []
    assert logged == []


def test_two_minutes_are_put_right_and_not_worth_a_line() -> None:
    """The log has it."""
    made, said, logged = clock(1e9 + 120, 1e9)
    assert made.now() == 1e9
    assert made.at(2.0) == 1e9 - 5
    assert said == []
    assert logged == [("clock", 120)]


def test_a_person_is_told_in_a_run(tmp_path: Path) -> None:
    """Once."""
    it = folder(tmp_path, Timely(tells_time=True))
    night = it.run(3, at=30 * DAY_S, clock_ahead=3 * DAY_S, on_unknown=OnUnknown.HOLD)
    told = [text for text in it.said if "clock" in text]
    assert told == ["This machine's clock is 3 days ahead of the provider's; the provider's is used."]
    assert ("clock", {"ahead_s": 3 * 86400}) in night.events
