"""Guards of money and files, one test each: it fails when its guard is taken out of the code."""

from __future__ import annotations

import errno
import hashlib
import itertools
import re
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar, cast

import anyio
import pytest
import trio.testing

from nanobanana_batch import pipeline, session
from nanobanana_batch.auditing import make_audit, repair_folder
from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.connection import LAST, Connection, Line, remembered
from nanobanana_batch.engine.answers import stop_sentence
from nanobanana_batch.engine.context import Context, OnUnknown, Settings
from nanobanana_batch.engine.journal import Journal, in_place
from nanobanana_batch.engine.owed import Owed
from nanobanana_batch.engine.pace import Gate, Outage
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.signals import listen
from nanobanana_batch.engine.slots import Slots
from nanobanana_batch.engine.space import RESERVE_BYTES, Space
from nanobanana_batch.engine.trouble import Patience
from nanobanana_batch.engine.work import FirstLook, Stop, Tally, resumed
from nanobanana_batch.errors import DiskFailed, FolderInUse, LinkFailed, StateFailed, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import STATE_NAME, Folder, create, was_worked_on
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.files.log import NO_LOG
from nanobanana_batch.model import Image, RowStatus
from nanobanana_batch.pipeline import Outcome, Retry
from nanobanana_batch.providers.base import (
    Accepted,
    AccountRead,
    Body,
    Capabilities,
    Idempotency,
    KeyAnswer,
    KeyMemory,
    KeyQuestion,
    Listing,
    NotSent,
    Rejected,
    SubmitOutcome,
    TasksRead,
    Unknown,
)
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.replies import read_submit_reply
from nanobanana_batch.session import Session, fetch_anew, keep_changed, notice_lost_files
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.open_attempts import OpenAttempt
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.scope import EVERY_ROW, Scope
from nanobanana_batch.state.store import Repeat, Store
from tests.unit.fake_provider import Answer, FakeProvider, FakeTask, Script, Turn, picture
from tests.unit.night import Beside, Night
from tests.unit.test_state_store import FACTS, drafts, intent, take
from tests.unit.wire import (
    BAD_REQUEST,
    CONFLICT,
    FORBIDDEN,
    NO_CREDITS,
    PAGE,
    UNAVAILABLE,
    Task,
    accepted,
    error,
    failed,
    finished,
    reply,
    slow,
    unavailable,
    working,
)

T = TypeVar("T")
PROMPTS = [f"a picture of the number {n}" for n in range(30)]
DONE, FAILED, PENDING = RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.PENDING
UNKNOWN, RUNNING, EXPIRED = RowStatus.UNKNOWN, RowStatus.RUNNING, RowStatus.EXPIRED
NEVER_S = 1e6
HONOURED, UNPROVEN, IGNORED = Idempotency.HONOURED, Idempotency.UNPROVEN, Idempotency.IGNORED


def night(folder: Path, provider: FakeProvider, count: int = 30, **settings: object) -> Night:
    """A run over the first prompts."""
    return Night(folder, provider, PROMPTS[:count], Settings(**settings))  # type: ignore[arg-type]


def paid(it: Night) -> list[int]:
    """How often each body was paid for, most often first."""
    return sorted(it.provider.paid().values(), reverse=True)


def script(steps: Mapping[int, Answer]) -> Script:
    """What becomes of some submits by their number; the others are fine."""
    return lambda n: steps.get(n)


def within(seconds: float) -> Beside:
    """Fails a run that takes longer, also one that waits for ever."""

    async def watch(engine: Run, stop: Stop) -> None:
        await anyio.sleep(seconds)
        raise TimeoutError(f"the run did not end within {seconds:g} s")

    return watch


def stop_now_at(seconds: float) -> Beside:
    """A second wish to stop at a moment."""

    async def stop_now(engine: Run, stop: Stop) -> None:
        await anyio.sleep(seconds)
        engine.stop_now()
        await within(NEVER_S)(engine, stop)

    return stop_now


def stop_at(seconds: float) -> Beside:
    """A first wish to stop at a moment."""

    async def interrupt(engine: Run, stop: Stop) -> None:
        await anyio.sleep(seconds)
        stop.ask("Interrupted.", interrupted=True)
        await within(NEVER_S)(engine, stop)

    return interrupt


def stranger(created: float, model: str = "model-a") -> dict[str, FakeTask]:
    """A task that someone else made with the same account."""
    return {"theirs": FakeTask("theirs", b"theirs", "their-key", model, created, created + 20.0)}


@dataclass
class Watched(FakeProvider):
    """Knows when it was asked what, and how much at once; may be down for a while."""

    down_from: float = NEVER_S
    down_until: float = NEVER_S
    read_s: float = 0.0
    submitted_at: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    at_once: list[int] = field(default_factory=list)
    on_wire: int = 0
    probed_at: list[float] = field(default_factory=list)
    answers_probe: Callable[[int], bool] = lambda n: True
    read_at: dict[str, list[float]] = field(default_factory=dict)
    reading: int = 0
    most_reading: int = 0
    listed_at: list[float] = field(default_factory=list)
    offers: dict[str, object] = field(default_factory=dict)

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, **self.offers)  # type: ignore[arg-type]

    @property
    def is_down(self) -> bool:
        """Whether nobody can reach it just now."""
        return self.down_from <= anyio.current_time() < self.down_until

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        self.submitted_at.append(anyio.current_time())
        self.bodies.append(body)
        if self.is_down:
            await anyio.sleep(self.submit_s)
            return NotSent("connection refused")
        self.on_wire += 1
        self.at_once.append(self.on_wire)
        try:
            return await super().submit(body, idempotency_key)
        finally:
            self.on_wire -= 1

    async def read_account(self) -> AccountRead:
        """Nobody answers while it is down."""
        self.account_reads.append(anyio.current_time())
        if self.is_down:
            return AccountRead(is_up=False, failure="connection refused")
        return await super().read_account()

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        for id_ in task_ids:
            self.read_at.setdefault(id_, []).append(anyio.current_time())
        if self.is_down:
            return TasksRead(failure="connection refused")
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        try:
            await anyio.sleep(self.read_s)
            return await super().read_many(task_ids)
        finally:
            self.reading -= 1

    async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
        self.probed_at.append(anyio.current_time())
        if not self.answers_probe(len(self.probed_at) - 1):
            return KeyAnswer(KeyMemory.NO_ANSWER, Unknown("no reply"))
        return await super().proves_idempotency(used_key, question)

    async def list_recent(self, age_s: float, turn: Turn) -> Listing:
        self.listed_at.append(anyio.current_time())
        return await super().list_recent(age_s, turn)


# --- submitting --------------------------------------------------------------------------------------


def test_a_request_that_hangs_for_ever_is_cut_short_and_held(tmp_path: Path) -> None:
    """A POST without end does not keep its slot for ever, and its row may have been paid."""
    provider = FakeProvider(idempotency=IGNORED, lists_tasks=False, submit_s=5000.0)
    it = night(tmp_path, provider, 1)
    it.run()
    assert it.took_s < 600
    assert it.statuses() == [UNKNOWN]


def test_a_hard_stop_never_gives_a_request_more_time_than_it_had(tmp_path: Path) -> None:
    """A grace at the end only shortens."""
    it = night(tmp_path, FakeProvider(submit_s=5000.0), 1, paid_grace_s=2.0, hard_stop_grace_s=30.0)
    it.run(stop_now_at(1.0))
    assert it.took_s < 5


def test_a_name_that_a_stranger_has_is_not_reserved(tmp_path: Path) -> None:
    """The row's name is known before it is paid for, and is its own."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "row-0.webp").write_bytes(b"mine")
    it = night(tmp_path, FakeProvider(), 1)
    it.run()
    assert re.fullmatch(r"images/row-0~[0-9a-f]{10}\.png", str(it.rows()[0].path))


def test_a_row_keeps_its_name_when_it_is_made_again(tmp_path: Path) -> None:
    """The name that was reserved at the first attempt is that of the second."""
    provider = FakeProvider()
    provider.on_read = lambda n, task: failed(task.id) if task.id == "task-0" else None
    it = night(tmp_path, provider, 1)
    it.run()
    assert it.statuses() == [FAILED]
    it.settings = Settings(new_rows=False, retried=frozenset({Phase.FAILED}))
    it.run()
    assert it.rows()[0].path == "images/row-0.png"


def test_one_accepted_request_is_contact_enough_for_a_long_outage(tmp_path: Path) -> None:
    """Who has accepted a request is waited for, not given up after a minute."""
    provider = Watched(down_from=0.3, down_until=600.0)
    it = night(tmp_path, provider, 3, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.stop.reason == ""
    assert it.statuses() == [DONE] * 3


def test_a_rate_limit_is_contact_enough_for_a_long_outage(tmp_path: Path) -> None:
    """ "Slow down" is an answer: the address is right."""
    provider = Watched(down_from=0.3, down_until=600.0, on_submit=lambda n: slow(1.0) if n == 0 else None)
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.stop.reason == ""
    assert it.statuses() == [DONE]


def test_connections_are_tried_less_and_less_often(tmp_path: Path) -> None:
    """An hour without a provider costs some tens of tries, not thousands."""
    provider = Watched(down_from=0.0)
    it = night(tmp_path, provider, 1, first_contact_s=3600.0)
    it.run(within(NEVER_S))
    assert 30 < len(provider.submitted_at) + len(provider.account_reads) < 400


def test_a_request_that_went_out_late_is_looked_for_at_its_own_time(tmp_path: Path) -> None:
    """Not sent for ten minutes, then sent and lost: its task is as old as the last sending."""
    provider = Watched(remembers_keys=False, down_from=0.1, down_until=600.0)
    provider.on_submit = lambda n: "lost" if n == 1 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 2
    assert paid(it) == [1, 1]


def test_in_trouble_only_one_request_is_on_the_wire(tmp_path: Path) -> None:
    """After several lost answers in a row each more is a probe: one at a time."""
    provider = Watched(idempotency=IGNORED, lists_tasks=False, submit_s=40.0)
    provider.on_submit = lambda n: UNAVAILABLE
    it = Night(tmp_path, provider, PROMPTS, Settings(submit_concurrency=8, first_contact_s=NEVER_S))
    it.run(within(NEVER_S))
    assert max(provider.at_once[:8]) == 8
    assert max(provider.at_once[16:]) == 1


def test_after_trouble_requests_go_out_together_again(tmp_path: Path) -> None:
    """One good answer ends the caution."""
    provider = Watched(idempotency=IGNORED, lists_tasks=False, submit_s=5.0)
    provider.on_submit = lambda n: UNAVAILABLE if n < 4 else None
    it = night(tmp_path, provider, 30, submit_concurrency=4)
    it.run(within(NEVER_S))
    assert max(provider.at_once[12:]) == 4
    assert it.statuses().count(DONE) == 26


def test_a_request_that_may_be_repeated_is(tmp_path: Path) -> None:
    """A provider's "send it again" ends no row."""
    again = slow(words="once more")
    it = night(tmp_path, FakeProvider(on_submit=lambda n: again if n == 0 else None), 2)
    it.run()
    assert it.statuses() == [DONE] * 2


@pytest.mark.parametrize("trust", [IGNORED, HONOURED, UNPROVEN])
def test_after_a_503_nobody_asks_before_the_time_it_says(tmp_path: Path, trust: Idempotency) -> None:
    """Neither the next request, nor the repetition of this one, nor the question for its key."""
    provider = Watched(idempotency=trust, lists_tasks=False)
    provider.on_submit = lambda n: unavailable(300.0) if n == 0 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert provider.submitted_at[1] - provider.submitted_at[0] >= 300
    assert all(at >= 300 for at in provider.probed_at)


@pytest.mark.parametrize("trust", [HONOURED, UNPROVEN])
def test_a_wish_to_stop_ends_asking_about_unknown_requests(tmp_path: Path, trust: Idempotency) -> None:
    """Nothing is repeated or asked for once someone wants to stop, although the gate is passed at once."""
    provider = Watched(idempotency=trust, lists_tasks=False)
    provider.on_submit = lambda n: unavailable(300.0)
    it = night(tmp_path, provider, 1)
    it.run(stop_at(10.0))
    assert it.took_s < 60
    assert (provider.submits, it.statuses()) == (1, [UNKNOWN])


@pytest.mark.parametrize("answer", [FORBIDDEN, NO_CREDITS], ids=["403", "402"])
def test_a_no_to_a_resubmitted_request_counts_as_unknown_for_who_watches(
    tmp_path: Path, answer: Reply
) -> None:
    """The row is in doubt, so it is not shown as failed."""
    provider = FakeProvider(idempotency=IGNORED, lists_tasks=False, on_submit=lambda n: Unknown("reset"))
    it = night(tmp_path, provider, 1)
    it.run()
    provider.on_submit = lambda n: answer
    it.settings = Settings(on_unknown=OnUnknown.RESUBMIT)
    it.run()
    assert (it.tally.failed, it.tally.unknown > 0) == (0, True)


def test_a_rejected_row_counts_as_failed_for_who_watches(tmp_path: Path) -> None:
    """The progress bar reaches its end."""
    it = night(tmp_path, FakeProvider(on_submit=lambda n: BAD_REQUEST if n == 0 else None), 3)
    it.run()
    assert (it.tally.failed, it.tally.completed) == (1, 2)


def test_two_answers_at_once_with_one_task_are_one_answer(tmp_path: Path) -> None:
    """The second of two rows that are told the same task in the same moment is held, and the run goes on."""
    provider = FakeProvider(remembers_keys=False, lists_tasks=False)
    provider.on_submit = lambda n: accepted("task-0") if n == 1 else None
    it = night(tmp_path, provider, 2, submit_concurrency=2)
    it.run()
    assert sorted(it.statuses()) == [DONE, UNKNOWN]


def test_one_dead_link_of_a_fresh_task_is_not_believed_by_a_real_clock(tmp_path: Path) -> None:
    """How old a task's links are is counted from its acceptance."""
    gone = LinkFailed("HTTP 404", dead=True)
    it = night(tmp_path, FakeProvider(on_link=lambda n, task: gone if n < 3 else None), 3)
    it.now = lambda: 1.7e9 + anyio.current_time()
    it.run()
    assert it.statuses() == [DONE] * 3


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (reply(401, error("unauthorized", "no")), "API key"),
        (reply(401, PAGE), "API key"),
        (reply(404, PAGE), "--base-url"),
        (reply(405, PAGE), "--base-url"),
        (NO_CREDITS, "top up"),
    ],
)
def test_the_reason_for_stopping_says_what_to_do(answer: Reply, advice: str) -> None:
    """Nobody is sent to buy credits for a wrong key."""
    outcome = read_submit_reply(answer)
    assert isinstance(outcome, Rejected)
    assert advice in stop_sentence(outcome)


# --- resolving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", [HONOURED, UNPROVEN])
@pytest.mark.parametrize("edit", ["left", "limit"])
def test_an_unknown_request_that_nobody_wants_any_more_is_never_sent(
    tmp_path: Path, trust: Idempotency, edit: str
) -> None:
    """It never arrived: repeating it would pay for a row that left the manifest or lies beyond --limit."""
    provider = FakeProvider(idempotency=trust, lists_tasks=False)
    provider.on_submit = lambda n: Unknown("reset") if n == 1 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1, resolve_tries=0)
    it.run()
    assert it.statuses() == [DONE, UNKNOWN]
    provider.on_submit = lambda n: None
    it.settings = Settings(scope=Scope(before=1)) if edit == "limit" else Settings()
    it.prompts = it.prompts[: 1 if edit == "left" else 2]
    it.run(within(NEVER_S))
    assert len(provider.tasks) == 1


@pytest.mark.parametrize("trust", [HONOURED, UNPROVEN])
def test_an_unwanted_request_that_did_arrive_is_followed(tmp_path: Path, trust: Idempotency) -> None:
    """What is paid for is collected although its row has left the manifest."""
    provider = FakeProvider(idempotency=trust, lists_tasks=False)
    provider.on_submit = lambda n: "lost" if n == 1 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1, resolve_tries=0)
    it.run()
    it.settings, it.prompts = Settings(), it.prompts[:1]
    it.run(within(NEVER_S))
    assert len(list((tmp_path / "images").iterdir())) == 2
    assert paid(it) == [1, 1]


def test_a_request_that_never_arrived_is_sent_under_a_key_that_would_be_remembered(tmp_path: Path) -> None:
    """The key of an accepted request is known to the provider, so the lost one can be repeated safely."""
    provider = FakeProvider(lists_tasks=False, on_submit=lambda n: Unknown("reset") if n == 1 else None)
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run()
    assert it.statuses() == [DONE] * 2
    assert paid(it) == [1, 1]


@pytest.mark.parametrize("created", [-120.0, 120.0])
def test_a_task_of_another_time_is_not_adopted(tmp_path: Path, created: float) -> None:
    """Two minutes before or after the request it was someone else's."""
    provider = FakeProvider(idempotency=IGNORED, tasks=stranger(created))
    provider.on_submit = lambda n: Unknown("reset")
    it = night(tmp_path, provider, 1)
    it.run()
    it.run()
    assert it.statuses() == [UNKNOWN]


def test_a_task_of_another_model_is_not_adopted(tmp_path: Path) -> None:
    """Same moment, other model: someone else's."""
    provider = FakeProvider(idempotency=IGNORED, tasks=stranger(0.1, "model-b"))
    provider.on_submit = lambda n: Unknown("reset")
    it = night(tmp_path, provider, 1)
    it.run()
    assert it.statuses() == [UNKNOWN]


def test_a_listed_task_that_cannot_be_read_under_its_id_is_not_adopted(tmp_path: Path) -> None:
    """A list with ids of its own: the row would wait for a task that nobody knows, and never be collected."""

    class OwnIds(FakeProvider):
        is_mended = False

        async def list_recent(self, age_s: float, turn: Turn) -> Listing:
            listing = await super().list_recent(age_s, turn)
            tasks = [task if self.is_mended else replace(task, task_id="list-7") for task in listing.tasks]
            return replace(listing, tasks=tuple(tasks))

    provider = OwnIds(idempotency=IGNORED, on_submit=lambda n: "lost")
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [UNKNOWN]
    provider.is_mended = True
    it.run(within(NEVER_S))
    assert (it.statuses(), paid(it)) == ([DONE], [1])


def test_one_task_for_two_unknown_requests_is_not_guessed(tmp_path: Path) -> None:
    """Only one of the two arrived, and nobody can say which."""
    provider = FakeProvider(idempotency=IGNORED)
    provider.on_submit = lambda n: "lost" if n == 0 else Unknown("reset")
    it = night(tmp_path, provider, 2)
    it.run()
    assert it.statuses() == [UNKNOWN] * 2


def test_the_list_of_another_account_is_not_searched(tmp_path: Path) -> None:
    """What this key's account has made cannot be the request of another."""
    provider = FakeProvider(on_submit=lambda n: Unknown("reset"), lists_tasks=False)
    night(tmp_path, provider, 1, resolve_tries=0).run()
    it = night(tmp_path, FakeProvider(account="two", tasks=stranger(0.1)), 1)
    it.run()
    assert it.statuses() == [UNKNOWN]


class SlowAnswers(Watched):
    """Makes the task at once and answers late; its list takes a while to come."""

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        if not self.submits:
            self.submits += 1
            return Unknown("reset")
        task = self._make(body, idempotency_key)
        await anyio.sleep(20.0)
        return read_submit_reply(accepted(task.id))

    async def list_recent(self, age_s: float, turn: Turn) -> Listing:
        await anyio.sleep(10.0)
        return await super().list_recent(age_s, turn)


def test_a_request_that_went_out_while_the_list_came_is_counted(tmp_path: Path) -> None:
    """Its task is on the list and its answer is not here yet: it is not another request's."""
    provider = SlowAnswers(idempotency=IGNORED)
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [UNKNOWN, DONE]


def test_a_question_without_an_answer_is_asked_again(tmp_path: Path) -> None:
    """The provider is busy twice when it is asked for the key: the third time counts."""
    provider = Watched(lists_tasks=False, answers_probe=lambda n: n >= 2)
    provider.on_submit = lambda n: "lost" if n == 0 else None
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE]
    assert provider.probed_at[2] > provider.probed_at[0]


def test_a_key_that_nobody_could_ask_about_is_not_trusted(tmp_path: Path) -> None:
    """No answer is not a yes."""
    provider = Watched(lists_tasks=False, remembers_keys=False, answers_probe=lambda n: False)
    provider.on_submit = lambda n: "lost" if n == 0 else None
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert (provider.submits, it.statuses()) == (1, [UNKNOWN])


def test_each_key_is_asked_about_once(tmp_path: Path) -> None:
    """A question is a request as well; its answer holds for the run."""
    provider = Watched(lists_tasks=False, on_submit=lambda n: "lost" if n in (3, 4, 5) else None)
    it = night(tmp_path, provider, 8, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 8
    assert len(provider.probed_at) <= 3


def test_new_evidence_is_used_as_soon_as_it_is_there(tmp_path: Path) -> None:
    """A held row is tried again after the first acceptance of the run, not after the last."""
    provider = Watched(lists_tasks=False, on_submit=lambda n: Unknown("reset") if n == 0 else None)
    it = night(tmp_path, provider, 10, concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 10
    assert provider.bodies.index(provider.bodies[0], 1) < 5


def test_what_is_held_does_not_ask_again_with_every_acceptance(tmp_path: Path) -> None:
    """One held row costs a few looks at the list, not one for each row of the manifest."""
    provider = Watched(remembers_keys=False, on_submit=lambda n: Unknown("reset") if n == 0 else None)
    it = night(tmp_path, provider, 30)
    it.run(within(NEVER_S))
    assert it.statuses().count(UNKNOWN) == 1
    assert len(provider.listed_at) <= 4


def test_what_is_held_is_looked_for_once_more_at_the_end(tmp_path: Path) -> None:
    """The list could not be read when the answer was lost; before the run ends it can."""

    class Late(FakeProvider):
        async def list_recent(self, age_s: float, turn: Turn) -> Listing:
            return (
                await super().list_recent(age_s, turn)
                if anyio.current_time() > 10
                else Listing(failure="no reply")
            )

    provider = Late(remembers_keys=False, on_submit=lambda n: "lost" if n == 0 else None)
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 2


def test_a_repeated_request_keeps_the_providers_pace(tmp_path: Path) -> None:
    """ "Retry after 200 seconds" holds for a repetition as for any request."""
    provider = Watched(idempotency=HONOURED, lists_tasks=False)
    provider.on_submit = script({0: "lost", 1: slow(200.0)})
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE]
    assert provider.submitted_at[2] - provider.submitted_at[1] >= 200


@dataclass
class Stubborn(FakeProvider):
    """Has one answer to some bodies."""

    always: dict[bytes, Reply] = field(default_factory=dict)

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        always = self.always.get(body)
        return read_submit_reply(always) if always else await super().submit(body, idempotency_key)


def unknown_row(folder: Path, provider: FakeProvider, count: int = 1) -> Night:
    """A folder whose first row was sent and lost."""
    script, provider.on_submit = provider.on_submit, lambda n: "lost"
    night(folder, provider, 1, resolve_tries=0).run()
    provider.on_submit = script
    return night(folder, provider, count)


def test_a_hard_stop_still_records_the_answer_to_a_repeated_request(tmp_path: Path) -> None:
    """The answer arrives within the grace: the task is known from then on."""
    it = unknown_row(tmp_path, FakeProvider(idempotency=HONOURED, lists_tasks=False))
    it.provider.submit_s = 1.0
    it.run(stop_now_at(0.5))
    assert it.statuses() == [RUNNING]


def test_a_repetition_that_hangs_is_cut_short(tmp_path: Path) -> None:
    """New rows do not wait for ever for an old one."""
    it = unknown_row(tmp_path, FakeProvider(idempotency=HONOURED, lists_tasks=False))
    it.provider.submit_s, it.settings = 5000.0, Settings(max_outage_s=1800.0)
    it.run()
    assert it.took_s < 3600
    assert it.statuses() == [UNKNOWN]


@pytest.mark.parametrize(
    "answer",
    [NO_CREDITS, FORBIDDEN, UNAVAILABLE, CONFLICT],
    ids=["402", "403", "503", "conflict"],
)
def test_a_resumed_request_without_a_good_answer_blocks_nothing(tmp_path: Path, answer: Reply) -> None:
    """The row stays held, the run ends, and other rows go on unless the account is empty."""
    it = unknown_row(tmp_path, Stubborn(idempotency=HONOURED, lists_tasks=False), 2)
    assert isinstance(it.provider, Stubborn)
    it.provider.always = {it.provider.tasks["task-0"].body: answer}
    it.run(within(NEVER_S))
    assert it.statuses() == [UNKNOWN, PENDING if answer is NO_CREDITS else DONE]
    assert (it.stop.reason != "") == (answer is NO_CREDITS)


def test_a_conflict_is_not_asked_about_again_and_again(tmp_path: Path) -> None:
    """The same key with other bytes: no repetition will change that."""
    it = unknown_row(tmp_path, Watched(idempotency=HONOURED, lists_tasks=False, on_submit=lambda n: CONFLICT))
    it.run(within(NEVER_S))
    assert it.provider.submits <= 3


def test_a_no_that_passes_does_not_lose_the_repeated_request(tmp_path: Path) -> None:
    """A proxy's 403 to a repetition leaves the row held; the look at the end of the run finds its task."""
    provider = FakeProvider(idempotency=HONOURED, lists_tasks=False)
    provider.on_submit = script({0: "lost", 1: FORBIDDEN})
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE]
    assert paid(it) == [1]


def test_a_repetition_that_reaches_nobody_gives_the_provider_up(tmp_path: Path) -> None:
    """Nothing was reached for ten minutes: say so."""
    it = unknown_row(tmp_path, Watched(idempotency=HONOURED, lists_tasks=False))
    assert isinstance(it.provider, Watched)
    it.provider.down_from, it.settings = 0.0, Settings(resolve_tries=50)
    it.run(within(NEVER_S))
    assert "cannot be reached" in it.stop.reason
    assert it.statuses() == [UNKNOWN]


@pytest.mark.parametrize(
    ("trust", "created", "first"),
    [(HONOURED, 0.0, "lost"), (HONOURED, -1000.0, Unknown("reset")), (UNPROVEN, 0.0, Unknown("reset"))],
    ids=["a-replayed-answer", "a-stranger-of-another-time", "a-provider-that-proved-it"],
)
def test_a_stranger_on_the_list_does_not_make_keys_distrusted(
    tmp_path: Path, trust: Idempotency, created: float, first: Answer
) -> None:
    """Someone else's task is no sign that a key was ignored: the next lost request is still repeated."""
    provider = FakeProvider(idempotency=trust, tasks=stranger(created) | stranger(created + 1.0))
    provider.tasks["task-x"] = FakeTask("task-x", b"other", "other-key", "model-a", created, created)
    provider.on_submit = script({1: first, 5: Unknown("reset")})
    it = night(tmp_path, provider, 6, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 6


# --- waiting and downloading -------------------------------------------------------------------------


def test_a_long_estimate_does_not_put_off_the_first_look(tmp_path: Path) -> None:
    """The provider thinks that it takes a day; the image is there after twenty seconds."""

    class Gloomy(FakeProvider):
        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            outcome = await super().submit(body, idempotency_key)
            return replace(outcome, estimated_s=86400.0) if isinstance(outcome, Accepted) else outcome

    it = night(tmp_path, Gloomy(), 2)
    it.run()
    assert it.took_s < 100


def test_reads_keep_to_the_providers_batch_and_to_their_number(tmp_path: Path) -> None:
    """No read asks for more than 50 tasks, and only a few are under way."""
    provider = Watched(read_s=20.0)
    it = Night(
        tmp_path, provider, [f"p{n}" for n in range(300)], Settings(concurrency=300, read_concurrency=2)
    )
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 300
    assert max(size for _, size in provider.batches) <= 50
    assert provider.most_reading == 2


def test_a_rate_limit_on_reads_holds_back_reads(tmp_path: Path) -> None:
    """After "retry after 200 seconds" nobody reads for so long."""
    times: list[float] = []

    class Limited(FakeProvider):
        async def read_many(self, task_ids: Collection[str]) -> TasksRead:
            times.append(anyio.current_time())
            return await super().read_many(task_ids)

    it = night(tmp_path, Limited(on_batch=lambda n: slow(200.0) if n == 0 else None), 2)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 2
    assert times[1] - times[0] >= 200


def test_reads_that_are_refused_for_good_end_the_run(tmp_path: Path) -> None:
    """The key was withdrawn while tasks run: the run says so at once, and they stay collectable."""
    withdrawn = reply(401, error("unauthorized", "withdrawn"))
    it = night(tmp_path, FakeProvider(on_batch=lambda n: withdrawn), 3)
    it.run(within(300))
    assert "cannot be read" in it.stop.reason
    assert it.statuses() == [RUNNING] * 3


def test_one_unreadable_task_is_no_outage(tmp_path: Path) -> None:
    """While others are read the provider is there."""

    class Partly(FakeProvider):
        async def read_many(self, task_ids: Collection[str]) -> TasksRead:
            read = await super().read_many(task_ids)
            if anyio.current_time() > 1000 or "task-0" not in task_ids:
                return read
            reports = {id_: report for id_, report in read.reports.items() if id_ != "task-0"}
            return TasksRead(reports, failure="HTTP 500")

    it = night(tmp_path, Partly(latency_s=1500.0), 3, max_outage_s=30.0)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 3


def test_a_task_is_ready_on_disk_before_its_image_is_fetched(tmp_path: Path) -> None:
    """Whoever dies while fetching finds the links again."""
    phases: list[str] = []

    def look(n: int, task: FakeTask) -> None:
        with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as db:
            query = "SELECT attempts.phase FROM attempts JOIN requests USING (request) WHERE task_id = ?"
            phases.extend(db.execute(query, (task.id,)).fetchone())

    it = night(tmp_path, FakeProvider(on_link=look), 5)
    it.run()
    assert phases == ["ready"] * 5


@pytest.mark.parametrize("interval_s", [3.0, 30.0])
def test_long_tasks_are_read_now_and_then(tmp_path: Path, interval_s: float) -> None:
    """At most every 15 s, but never more often than the provider asks."""
    provider = Watched(latency_s=1000.0, offers={"poll_interval_s": interval_s})
    it = night(tmp_path, provider, 1)
    it.run()
    times = provider.read_at["task-0"]
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert interval_s <= min(gaps)
    assert max(gaps) <= max(15.0, interval_s) + interval_s / 2


def test_a_finished_task_without_links_past_their_life_is_expired(tmp_path: Path) -> None:
    """That its links are gone was to be expected: one look is enough."""
    provider = Watched(offers={"link_lifetime_s": 10.0})
    provider.on_read = lambda n, task: finished(task.id) if anyio.current_time() >= task.done_at else None
    it = night(tmp_path, provider, 1)
    it.run(within(120))
    assert it.statuses() == [EXPIRED]
    assert len([at for at in provider.read_at["task-0"] if at >= 20.2]) == 1


def test_a_dead_link_past_its_life_is_believed_at_once(tmp_path: Path) -> None:
    """No six tries for what has to be dead."""
    provider = Watched(offers={"link_lifetime_s": 10.0})
    provider.on_link = lambda n, task: LinkFailed("gone", dead=True)
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [EXPIRED]
    assert provider.links == 1


def test_a_new_link_is_tried_before_an_old_one(tmp_path: Path) -> None:
    """After a failure the link of the re-read comes first."""
    tried: list[str] = []

    class Renewing(FakeProvider):
        def open_link(self, url: str) -> AbstractAsyncContextManager[Body]:
            tried.append(url)
            return super().open_link(url)

    def fail_once(n: int, task: FakeTask) -> LinkFailed | None:
        task.link += 1
        return LinkFailed("HTTP 503") if n == 0 else None

    it = night(tmp_path, Renewing(on_link=fail_once), 1)
    it.run()
    assert [url.rpartition("/")[2] for url in tried] == ["0", "1"]


@dataclass
class SlowLinks(FakeProvider):
    """Ten seconds an image."""

    opened: list[str] = field(default_factory=list)

    def open_link(self, url: str) -> AbstractAsyncContextManager[Body]:
        self.opened.append(url.split("/")[-2])
        return self._slowly(super().open_link(url))

    @asynccontextmanager
    async def _slowly(self, link: AbstractAsyncContextManager[Body]) -> AsyncIterator[Body]:
        await anyio.sleep(10.0)
        async with link as body:
            yield body


def test_an_attempt_that_is_found_while_others_are_resumed_is_not_taken_twice(tmp_path: Path) -> None:
    """Its task is found while finished images still wait for a slot: one follows it, not two."""
    provider = SlowLinks(lists_tasks=False, on_link=lambda n, task: LinkFailed("503"), latency_s=1.0)
    night(tmp_path, provider, 4, download_tries=1).run()
    provider.on_submit, provider.latency_s = (lambda n: "lost"), 300.0
    night(tmp_path, provider, 5, resolve_tries=0, download_tries=1).run()
    provider.on_submit, provider.on_link = (lambda n: None), (lambda n, task: None)
    it = night(tmp_path, provider, 5, concurrency=2)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 5
    assert paid(it) == [1] * 5


def test_images_with_the_least_time_left_are_fetched_first(tmp_path: Path) -> None:
    """The task that was accepted first is fetched next although others were finished before it."""
    provider = SlowLinks(submit_s=1.0)
    provider.on_read = lambda n, task: (
        working(task.id) if task.id == "task-0" and anyio.current_time() < 60 else None
    )
    it = night(tmp_path, provider, 12, submit_concurrency=1, download_concurrency=1)
    it.run()
    assert it.statuses() == [DONE] * 12
    assert provider.opened.index("task-0") < 9


def test_a_resumed_task_is_not_taken_for_stuck(tmp_path: Path) -> None:
    """How long it has worked is counted from this run's first look, by the loop's own clock."""
    known = OpenAttempt(
        attempt=1,
        row=1,
        number=1,
        id="a",
        model="m",
        resolution=None,
        stem="a",
        phase=Phase.ACCEPTED,
        position=0,
        body=b"{}",
        idempotency_key="key",
        intended_at=5.0,
        accepted_at=5.0,
        task_id="t",
    )

    async def check() -> None:
        await anyio.sleep(100.0)
        work = resumed(known, EVERY_ROW)
        assert (work.since, work.accepted_at) == (anyio.current_time(), 5.0)

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(check, backend="trio", backend_options={"clock": clock})


@dataclass
class Lenient(Night):
    """As a run of the pipeline: it waits for no first look at another provider's tasks."""

    def _context(self, store: Store) -> Context:
        return replace(super()._context(store), first_look=FirstLook(set()))


def test_another_providers_tasks_are_left_alone(tmp_path: Path) -> None:
    """They cannot be read or repeated here, and keep their state for the provider that has them."""
    it = night(tmp_path, FakeProvider(on_submit=lambda n: "lost" if n == 2 else None), 3, resolve_tries=0)
    it.run(stop_now_at(5.0))
    before = it.statuses()
    other = Watched(offers={"name": "other", "account": "another"})
    Lenient(tmp_path, other, PROMPTS[:3]).run(within(NEVER_S))
    assert it.statuses() == before
    assert (other.submits, other.read_at, other.probed_at) == (0, {}, [])


def test_only_the_first_rows_are_sent_under_a_limit(tmp_path: Path) -> None:
    """--limit counts rows of the manifest."""
    provider = FakeProvider()
    it = night(tmp_path, provider, 30, scope=Scope(before=7))
    it.run()
    assert it.statuses() == [DONE] * 7 + [PENDING] * 23


def test_a_rejected_row_is_not_met_again_in_the_run_that_retries_it(tmp_path: Path) -> None:
    """`retry --only failed` tries each row once, however it ends."""
    provider = FakeProvider(on_submit=lambda n: BAD_REQUEST)
    it = night(tmp_path, provider, 5)
    it.run()
    it.settings = Settings(new_rows=False, retried=frozenset({Phase.REJECTED}))
    it.run(within(NEVER_S))
    assert provider.submits == 10


def test_a_resubmitted_row_that_left_the_manifest_is_not_paid_for(tmp_path: Path) -> None:
    """`--on-unknown resubmit` sends rows of the manifest only."""
    provider = FakeProvider(idempotency=IGNORED, lists_tasks=False)
    provider.on_submit = lambda n: Unknown("reset") if n == 1 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run()
    it.settings, it.prompts = Settings(on_unknown=OnUnknown.RESUBMIT), it.prompts[:1]
    it.run()
    assert provider.submits == 2


def test_a_wish_to_stop_ends_waiting_for_resubmission(tmp_path: Path) -> None:
    """What is held is not sent again after someone asked to stop."""
    provider = FakeProvider(idempotency=IGNORED, lists_tasks=False)
    provider.on_submit = lambda n: Unknown("reset") if n == 0 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1, on_unknown=OnUnknown.RESUBMIT)
    it.run(stop_at(5.0))
    assert provider.submits == 2
    assert it.statuses() == [UNKNOWN, DONE]


def test_the_first_reason_to_stop_is_the_one_that_is_told() -> None:
    """What came of stopping does not hide why."""
    stop = Stop()
    stop.ask("No credits.")
    stop.ask("Interrupted.", interrupted=True)
    assert (stop.reason, stop.interrupted) == ("No credits.", False)


def test_two_tasks_that_fit_are_not_guessed_apart(tmp_path: Path) -> None:
    """A stranger's task of the same moment may be ours as well as the one that is."""
    provider = FakeProvider(idempotency=IGNORED, tasks=stranger(0.1), on_submit=lambda n: "lost")
    it = night(tmp_path, provider, 1)
    it.run()
    assert it.statuses() == [UNKNOWN]


def test_nothing_new_is_sent_before_older_requests_were_asked_about(tmp_path: Path) -> None:
    """However long the provider takes to answer."""

    class Sleepy(Watched):
        async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
            await anyio.sleep(50.0)
            return await super().proves_idempotency(used_key, question)

    it = unknown_row(tmp_path, Sleepy(lists_tasks=False), 5)
    assert isinstance(it.provider, Watched)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 5
    assert it.provider.bodies[0] == it.provider.bodies[1]


def test_an_older_task_that_still_works_does_not_hold_back_new_rows(tmp_path: Path) -> None:
    """It is looked at once, then new rows go out."""
    provider = Watched(latency_s=1000.0)
    night(tmp_path, provider, 1).run(stop_now_at(5.0))
    it = night(tmp_path, provider, 2)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 2
    assert provider.submitted_at[1] < 100


def test_an_attempt_that_was_cut_off_by_a_kill_is_in_doubt(tmp_path: Path) -> None:
    """Only its intent is on disk: a later no does not say that nothing was paid."""
    provider = FakeProvider(idempotency=HONOURED, lists_tasks=False, submit_s=50.0)
    night(tmp_path, provider, 1).run(stop_now_at(1.0))
    assert phases(tmp_path) == [Phase.INTENT]
    provider.submit_s, provider.on_submit = 0.2, lambda n: NO_CREDITS
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert phases(tmp_path) == [Phase.UNKNOWN]


def test_what_was_set_aside_is_fetched_while_the_run_goes_on(tmp_path: Path) -> None:
    """Links die: an image host that works again is not left waiting for the end of the manifest."""
    saved_at: list[float] = []
    provider = Watched(latency_s=60.0)

    def link(n: int, task: FakeTask) -> LinkFailed | None:
        if anyio.current_time() < 700:
            return LinkFailed("HTTP 503")
        if task.id == "task-0":
            saved_at.append(anyio.current_time())
        return None

    provider.on_link = link
    it = Night(tmp_path, provider, [f"p{n}" for n in range(60)], Settings(concurrency=2, revisit_s=100.0))
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 60
    assert saved_at[0] < provider.submitted_at[-1]


def test_slips_of_a_read_do_not_leave_a_task_behind(tmp_path: Path) -> None:
    """ "No such task" counts only in a row, also while the run is ending."""

    class Slipping(FakeProvider):
        async def read_many(self, task_ids: Collection[str]) -> TasksRead:
            read = await super().read_many(task_ids)
            if sum(self.reads.values()) % 3 == 0:
                return read
            return TasksRead(absent=frozenset(task_ids))

    it = night(tmp_path, Slipping(latency_s=120.0), 1)
    it.run(stop_at(5.0))
    assert it.statuses() == [DONE]


def test_a_finished_task_without_links_gives_its_slot_back_soon(tmp_path: Path) -> None:
    """It is no running task: it does not wait for half an hour to be called stuck."""
    provider = FakeProvider(on_read=lambda n, task: finished(task.id))
    it = night(tmp_path, provider, 1)
    it.run(within(300))
    assert it.statuses() == [RUNNING]


def test_a_dead_link_and_a_read_without_any_are_not_the_end(tmp_path: Path) -> None:
    """The provider is about to make a new link: two slips are not six."""
    provider = FakeProvider()

    def read(n: int, task: FakeTask) -> Task | None:
        is_between = anyio.current_time() >= task.done_at and provider.links == 1 and n < 6
        return finished(task.id) if is_between else None

    def die_once(n: int, task: FakeTask) -> LinkFailed | None:
        task.link += 1
        return LinkFailed("gone", dead=True) if n == 0 else None

    provider.on_read, provider.on_link = read, die_once
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE]


def test_a_link_that_fails_while_the_run_is_ending_is_tried_three_times(tmp_path: Path) -> None:
    """Who interrupts does not wait for an image host that is down."""
    provider = FakeProvider(on_link=lambda n, task: LinkFailed("HTTP 503"))
    it = night(tmp_path, provider, 1)
    it.run(stop_at(5.0))
    assert provider.links == 3
    assert it.statuses() == [RowStatus.READY]


def test_who_watches_sees_credits_and_failures(tmp_path: Path) -> None:
    """As the provider tells them."""
    provider = FakeProvider()
    provider.on_read = lambda n, task: failed(task.id) if task.id == "task-0" else None
    it = night(tmp_path, provider, 3)
    it.run()
    assert (it.tally.completed, it.tally.failed, it.tally.credits, it.tally.in_flight) == (2, 1, 4.0, 0)


def test_small_images_let_more_be_in_flight(tmp_path: Path) -> None:
    """Once one was saved, its size and no longer a guess says what fits."""

    class Small(Disk):
        def free_bytes(self, path: Path) -> int:
            return RESERVE_BYTES + (8 << 20)

    it = Night(tmp_path, FakeProvider(), PROMPTS, disk=Small())
    it.run(within(120))
    assert it.statuses() == [DONE] * 30


def test_a_gate_is_only_held_longer() -> None:
    """A short hold does not end a long one, and who waits already sees a later one."""

    async def check() -> None:
        gate = Gate()
        gate.hold(100.0)
        gate.hold(1.0)
        async with anyio.create_task_group() as group:
            group.start_soon(gate.passed)
            await anyio.sleep(50.0)
            gate.hold(200.0)
        assert anyio.current_time() >= 250

    in_virtual_time(check)


def test_an_outage_is_counted_from_its_beginning() -> None:
    """An answer in between ends it."""

    async def check() -> None:
        outage = Outage(100.0, 10.0)
        assert not outage.failed("submit")
        outage.worked("submit")
        assert not outage.failed("submit")
        await anyio.sleep(60.0)
        assert not outage.failed("submit")
        outage.worked("submit")
        await anyio.sleep(60.0)
        assert not outage.failed("submit")
        await anyio.sleep(99.0)
        assert not outage.failed("submit")
        await anyio.sleep(1.0)
        assert outage.failed("submit")

    in_virtual_time(check)


def test_reads_are_contact_enough_for_a_long_outage(tmp_path: Path) -> None:
    """A resumed run that has read its task once waits for the provider to come back."""
    provider = Watched(latency_s=300.0)
    night(tmp_path, provider, 1).run(stop_now_at(5.0))
    provider.down_from, provider.down_until = 20.0, 600.0
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.stop.reason == ""
    assert it.statuses() == [DONE]


def test_who_watches_sees_no_doubt_that_is_settled(tmp_path: Path) -> None:
    """A request that was found is not shown as unknown any more, nor is one that was judged."""
    provider = FakeProvider(idempotency=HONOURED, lists_tasks=False)
    provider.on_submit = script({0: "lost", 2: Unknown("reset"), 3: BAD_REQUEST})
    it = night(tmp_path, provider, 2, concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE, FAILED]
    assert (it.tally.unknown, it.tally.failed, it.tally.completed) == (0, 1, 1)


# --- space and journal -------------------------------------------------------------------------------


class TwoDisks(Disk):
    """Free bytes by place."""

    def __init__(self, **free: int) -> None:
        self.free = free

    def free_bytes(self, path: Path) -> int:
        return self.free[path.name]


def space_on(disk: Disk, slots: Slots, stop: Stop, tmp_path: Path) -> Space:
    """The space of a folder whose state stands on another disk."""
    owed = Owed(
        Patience(60.0, 60.0, 60.0, 9),
        slots,
        stop,
        Tally(),
        NO_LOG,
        FolderCommands(tmp_path),
        anyio.current_time,
    )
    return Space(disk, Folder(tmp_path / "images", tmp_path / "state"), slots, stop, owed)


def in_virtual_time(check: Callable[[], object]) -> None:
    """Run a coroutine function with a clock that jumps; who waits for ever fails."""

    async def bounded() -> None:
        with anyio.fail_after(NEVER_S):
            await check()  # type: ignore[misc]

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(bounded, backend="trio", backend_options={"clock": clock})


@pytest.mark.parametrize("full", ["images", "state"])
def test_either_disk_can_be_the_full_one(tmp_path: Path, full: str) -> None:
    """Neither an image nor the record of it may be what does not fit."""

    async def check() -> None:
        stop, slots = Stop(), Slots(4, Tally())
        disk = TwoDisks(**{"images": 1 << 40, "state": 1 << 40, full: 1 << 20})
        space = space_on(disk, slots, stop, tmp_path)
        await slots.take()
        space.hand_over()
        assert not await space.enough_for_one_more()
        assert "1 MiB" in stop.reason

    in_virtual_time(check)


@pytest.mark.parametrize(("largest", "enough"), [(100, False), (50, True)])
def test_twice_the_largest_image_seen_has_to_fit(tmp_path: Path, largest: int, enough: bool) -> None:
    """A small image after a large one does not make the next one small; the reserve stays free."""

    async def check() -> None:
        stop, slots = Stop(), Slots(4, Tally())
        space = space_on(TwoDisks(images=RESERVE_BYTES + (120 << 20), state=1 << 40), slots, stop, tmp_path)
        space.seen(largest << 20)
        space.seen(1)
        await slots.take()
        space.hand_over()
        assert await space.enough_for_one_more() is enough

    in_virtual_time(check)


def test_the_reserve_is_not_for_images(tmp_path: Path) -> None:
    """The state, results.csv and the log have to be written too."""

    async def check() -> None:
        stop, slots = Stop(), Slots(4, Tally())
        space = space_on(TwoDisks(images=RESERVE_BYTES + 10, state=1 << 40), slots, stop, tmp_path)
        await slots.take()
        space.hand_over()
        assert not await space.enough_for_one_more()

    in_virtual_time(check)


def test_several_who_wait_for_space_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """When only they are left nothing will change any more."""

    async def check() -> None:
        stop, slots = Stop(), Slots(4, Tally())
        space = space_on(TwoDisks(images=1, state=1 << 40), slots, stop, tmp_path)
        for _ in range(2):
            await slots.take()
            space.hand_over()
        async with anyio.create_task_group() as group:
            group.start_soon(space.enough_for_one_more)
            group.start_soon(space.enough_for_one_more)
        assert stop.asked

    in_virtual_time(check)


def test_who_waits_for_space_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    """An image that turns out small makes room; nobody is stopped meanwhile."""

    async def check() -> None:
        stop, slots, found = Stop(), Slots(4, Tally()), []
        space = space_on(TwoDisks(images=RESERVE_BYTES + (8 << 20), state=1 << 40), slots, stop, tmp_path)
        await slots.take()
        await slots.take()
        space.hand_over()

        async def ask() -> None:
            found.append(await space.enough_for_one_more())

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.sleep(30.0)
            assert (found, stop.asked) == ([], False)
            space.seen(1000)
            slots.give_back()
        assert found == [True]

    in_virtual_time(check)


class Broken(Store):
    """A store whose disk is gone."""

    def apply(self, batch: Sequence[Fact]) -> None:
        raise StateFailed("the disk is gone")


def test_after_one_failed_commit_no_fact_is_taken_any_more(tmp_path: Path) -> None:
    """Nobody acts on what was not written, neither those who waited nor those who come later."""
    failed: list[str] = []

    async def check() -> None:
        journal = Journal(Broken(tmp_path / "state.sqlite3"), in_place)

        async def record(name: str) -> None:
            with pytest.raises(StateFailed):
                await journal.record()
            failed.append(name)

        with pytest.RaisesGroup(StateFailed):
            async with anyio.create_task_group() as group:
                with anyio.fail_after(60, shield=True):
                    async with anyio.create_task_group() as asking:
                        asking.start_soon(record, "one")
                        asking.start_soon(record, "two")
                        group.start_soon(journal.run)
                    await record("later")

    in_virtual_time(check)
    assert sorted(failed) == ["later", "one", "two"]


# --- pipeline, folder, connection and audit ----------------------------------------------------------


@pytest.mark.parametrize(
    ("completed", "reason", "interrupted", "code"),
    [
        (3, "", False, 0),
        (3, "Interrupted.", True, 0),
        (2, "", False, 1),
        (2, "full", False, 3),
        (2, "", True, 130),
    ],
)
def test_the_exit_code_tells_how_a_run_ended(
    completed: int, reason: str, interrupted: bool, code: int
) -> None:
    """0 only when every row that was asked for is completed."""
    counts = Counter({DONE: completed, PENDING: 3 - completed})
    outcome = Outcome(
        folder=Path(),
        results=Path(),
        rows=3,
        counts=counts,
        credits_used=0.0,
        credits_reserved=0.0,
        same_bytes=0,
        not_as_asked=0,
        elsewhere={},
        had_work=True,
        stop_reason=reason,
        interrupted=interrupted,
    )
    assert outcome.exit_code == code


def line_to(name: str, *, embedded: bool) -> Line:
    """A connection that nobody uses."""
    return Line("evolink", name, embedded, True, lambda path, seen: nullcontext(FakeProvider()))


def done_folder(tmp_path: Path, count: int = 3) -> Path:
    """A folder with completed rows."""
    it = night(tmp_path / "out", FakeProvider(), count)
    it.run()
    assert it.statuses() == [DONE] * count
    return it.folder


def phases(folder: Path) -> list[Phase]:
    """The phase of every attempt."""
    with open_reader(folder / STATE_NAME) as reader:
        return [attempt.phase for attempt in reader.attempts()]


def noticed(folder: Path) -> list[Phase]:
    """The phases after a run has looked at the files."""
    with closing(Store(folder / STATE_NAME)) as store:
        notice_lost_files(store, folder)
    return phases(folder)


def test_only_what_is_not_there_is_lost(tmp_path: Path) -> None:
    """Neither what somebody has changed nor a folder in the way is fetched again, all at once or not."""
    folder = done_folder(tmp_path)
    images = folder / "images"
    for name in ("row-0.png", "row-1.png", "row-2.png"):
        (images / name).write_bytes(b"optimised")
    assert noticed(folder) == [Phase.SAVED] * 3
    (images / "row-1.png").unlink()
    (images / "row-1.png").mkdir()
    assert noticed(folder) == [Phase.SAVED] * 3
    (images / "row-1.png").rmdir()
    assert noticed(folder) == [Phase.SAVED, Phase.ACCEPTED, Phase.SAVED]


def test_a_file_that_is_back_counts_only_with_its_own_bytes(tmp_path: Path) -> None:
    """The same size is not enough."""
    folder = done_folder(tmp_path)
    path = folder / "images" / "row-1.png"
    data = path.read_bytes()
    path.unlink()
    assert noticed(folder)[1] is Phase.ACCEPTED
    path.write_bytes(bytes(len(data)))
    assert noticed(folder)[1] is Phase.ACCEPTED
    path.write_bytes(data)
    assert noticed(folder)[1] is Phase.SAVED


@pytest.mark.parametrize("count", [1, 3])
def test_all_images_gone_at_once_were_moved(tmp_path: Path, count: int) -> None:
    """Several that vanish together are asked about before anything is sent; a single one is fetched."""
    folder = done_folder(tmp_path, count)
    (folder / "images").rename(tmp_path / "moved")
    if count == 1:
        assert noticed(folder) == [Phase.ACCEPTED]
        return
    with pytest.raises(UsageError, match="All 3 images"):
        noticed(folder)
    assert phases(folder) == [Phase.SAVED] * 3


@pytest.mark.parametrize(
    ("only", "retried", "resend"),
    [
        (Retry.FAILED, frozenset({Phase.FAILED, Phase.REJECTED}), OnUnknown.HOLD),
        (Retry.REFUSED, frozenset({Phase.REFUSED}), OnUnknown.HOLD),
        (Retry.EXPIRED, frozenset({Phase.EXPIRED}), OnUnknown.HOLD),
        (Retry.UNKNOWN, frozenset(), OnUnknown.RESUBMIT),
    ],
)
def test_retry_pays_for_one_kind_of_row_only(
    monkeypatch: pytest.MonkeyPatch, only: Retry, retried: frozenset[Phase], resend: OnUnknown
) -> None:
    """Neither new rows nor those that ended in another way are sent."""
    used: list[Settings] = []
    monkeypatch.setattr(pipeline, "_resume", lambda path, now, settings, tally, **_: used.append(settings))
    monkeypatch.setattr(pipeline, "_announce_cost", lambda *_: None)
    settings = Settings(on_unknown=OnUnknown.RESUBMIT)
    pipeline.retry(Path("out"), only, Connection(LAST), settings, Tally())
    not_sent = Repeat(frozenset({Phase.NOT_SENT}), had_more=True)
    assert used[0].rows_to_repeat() == ([Repeat(retried), not_sent] if retried else [])
    assert not used[0].new_rows
    assert used[0].on_unknown is resend


def test_collecting_sends_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """`audit --repair` fetches and pays for nothing."""
    used: list[Settings] = []
    monkeypatch.setattr(pipeline, "_resume", lambda path, now, settings, *_, **_also: used.append(settings))
    pipeline.collect(Path("out"), Connection(), Settings(), Tally())
    assert (used[0].rows_to_repeat(), used[0].new_rows) == ([], False)
    assert used[0].on_unknown is OnUnknown.HOLD


@pytest.mark.parametrize("command", ["retry", "repair"])
def test_no_command_that_writes_works_beside_a_run(tmp_path: Path, command: str) -> None:
    """`retry` and `audit --repair` leave a folder that is in use as it is."""
    folder = done_folder(tmp_path)
    (folder / "images" / "row-1.png").unlink()
    here = Connection(provider="local")
    commands: dict[str, Callable[[], object]] = {
        "retry": lambda: pipeline.retry(folder, Retry.FAILED, here, Settings(), Tally()),
        "repair": lambda: repair_folder(folder, here, Tally()),
    }
    with only_writer(folder), pytest.raises(FolderInUse):
        commands[command]()
    assert phases(folder) == [Phase.SAVED] * 3


def session_of(folder: Path, store: Store, line: Line, settings: Settings) -> Session:
    """Work on a folder."""
    return Session(store, Disk(), Folder(folder, folder), line, settings, Tally())


@pytest.mark.parametrize(("embedded", "longest_s"), [(True, 20.0), (False, 8 * 3600.0)])
def test_only_a_service_of_our_own_is_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: bool, longest_s: float
) -> None:
    """It cannot come back by itself, a provider can."""
    night(tmp_path, FakeProvider(on_submit=lambda n: NO_CREDITS), 1).run()
    used: list[Settings] = []
    driven(
        tmp_path,
        monkeypatch,
        FakeProvider(),
        lambda context: used.append(context.settings),
        embedded=embedded,
    )
    assert used[0].max_outage_s == longest_s


@pytest.mark.parametrize(("name", "elsewhere"), [("fake", {}), ("other", {"fake": 3})])
def test_a_folder_without_work_for_a_provider_connects_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, elsewhere: dict[str, int]
) -> None:
    """Three running tasks are work for their provider; another one is told whose they are."""
    night(tmp_path, FakeProvider(), 3).run(stop_now_at(5.0))
    driven: list[str] = []
    monkeypatch.setattr(session, "_drive", lambda *parts: driven.append(name))
    line = line_to(name, embedded=False)
    with closing(Store(tmp_path / STATE_NAME)) as store:
        outcome = pipeline._worked(session_of(tmp_path, store, line, Settings()))
    assert driven == (["fake"] if name == "fake" else [])
    assert outcome.elsewhere == elsewhere
    assert (outcome.exit_code, outcome.results.is_file()) == (1, True)


def test_a_lone_intent_is_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run that left nothing but a request without an answer has to be asked about."""
    night(tmp_path, FakeProvider(submit_s=50.0), 1).run(stop_now_at(1.0))
    assert phases(tmp_path) == [Phase.INTENT]
    driven: list[Settings] = []
    monkeypatch.setattr(session, "_drive", lambda used, stop, log: driven.append(used.settings))
    with closing(Store(tmp_path / STATE_NAME)) as store:
        settings = Settings(new_rows=False)
        pipeline._worked(session_of(tmp_path, store, line_to("fake", embedded=False), settings))
    assert len(driven) == 1


def test_a_limit_is_all_that_a_run_answers_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rows are completed, the others were not asked for: exit 0, and no connection is made."""
    it = night(tmp_path, FakeProvider(), 5, scope=Scope(before=2))
    it.run()
    monkeypatch.setattr(session, "_drive", lambda *parts: pytest.fail("there is nothing to do"))
    line = line_to("fake", embedded=False)
    with closing(Store(tmp_path / STATE_NAME)) as store:
        outcome = pipeline._worked(session_of(tmp_path, store, line, it.settings))
    assert (outcome.rows, outcome.exit_code) == (2, 0)


def test_the_connection_of_a_folder_is_remembered_and_can_be_moved(tmp_path: Path) -> None:
    """Later commands find the same built-in provider, at the address that is given now, if any."""
    text = Connection(provider="foxapi").as_text()
    assert remembered(text, Connection(LAST)) == Connection("foxapi")
    assert remembered(text, Connection(LAST, "https://new.example")) == Connection(
        "foxapi", "https://new.example"
    )
    assert remembered(None, Connection(LAST)) == Connection()


@pytest.mark.parametrize(
    ("left", "refused"),
    [
        ((".run.lock", "images/a.png"), True),
        ((".run.lock", "results.csv"), True),
        ((".run.lock", "images/a.png", "state.sqlite3"), True),
        ((".run.lock", "images/.a.png.part"), False),
        ((".run.lock",), False),
        (("images/a.png", "results.csv"), False),
    ],
)
def test_a_folder_whose_state_is_gone_is_told_from_a_new_one(
    tmp_path: Path, left: tuple[str, ...], refused: bool
) -> None:
    """Worked on, with something made, and no state or an empty one: nobody knows what was paid for."""
    (tmp_path / "images").mkdir()
    for name in left:
        (tmp_path / name).touch()
    worked_on = was_worked_on(tmp_path)
    if not refused:
        create(Folder(tmp_path, tmp_path), Disk(), worked_on=worked_on)
        return
    with pytest.raises(StateFailed, match="gone or empty"):
        create(Folder(tmp_path, tmp_path), Disk(), worked_on=worked_on)


def test_a_folder_that_cannot_be_made_for_want_of_space_is_a_disk_failure(tmp_path: Path) -> None:
    """Exit 3 and a sentence, no traceback."""

    class Full(Disk):
        def make_folder(self, path: Path, mode: int = 0o777) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFailed):
        create(Folder(tmp_path / "out", tmp_path / "out"), Full(), worked_on=False)


def kinds(folder: Path) -> list[str]:
    """The kinds of an audit's findings."""
    found = make_audit(Folder(folder, folder))
    assert found.exit_code == (1 if found.findings else 0)
    return sorted(finding.kind for finding in found.findings)


PAST: dict[str, tuple[Fact, ...]] = {
    "intent": (),
    "unknown": (facts.Unanswered(9, "cut"),),
    "accepted": (facts.Accepted(9, "task-x", None, 2.0, None, 1.0),),
    "failed": (
        facts.Accepted(9, "task-x", None, 2.0, None, 1.0),
        facts.Failed(9, "x", "no", True, False, 1.0),
    ),
    "ready": (
        facts.Accepted(9, "task-x", None, 2.0, None, 1.0),
        facts.Ready(9, ("https://x/1",), 1.0, None, 1.0),
    ),
    "expired": (
        facts.Accepted(9, "task-x", None, 2.0, None, 1.0),
        facts.Expired(9, "gone", 1.0),
    ),
    "given up": (
        facts.Accepted(9, "task-x", None, 2.0, None, 1.0),
        facts.GivenUp(9, 1.0),
    ),
}


@pytest.mark.parametrize(
    ("past", "found", "used", "refunded"),
    [
        ("intent", ["unknown"], 0.0, 0.0),
        ("unknown", ["unknown"], 0.0, 0.0),
        ("accepted", ["orphan"], 0.0, 0.0),
        ("ready", ["orphan"], 0.0, 0.0),
        ("failed", [], 0.0, 2.0),
        ("expired", ["orphan"], 2.0, 0.0),
        ("given up", ["given_up"], 2.0, 0.0),
    ],
)
def test_an_audit_explains_every_unfinished_attempt(
    tmp_path: Path, past: str, found: list[str], used: float, refunded: float
) -> None:
    """What may be paid, what is paid and not here, what came back; credits where nobody told the price."""
    folder = done_folder(tmp_path, 2)
    with closing(Store(folder / STATE_NAME)) as store:
        take(store, drafts("0", "1", "2"))
        new = store.new_rows(-1, EVERY_ROW, 9)[-1]
        store.apply([intent(new.row, attempt=9), *PAST[past]])
    assert kinds(folder) == found
    totals = make_audit(Folder(folder, folder)).totals
    assert (totals.credits_used, totals.credits_refunded) == (4.0 + used, refunded)


def test_an_audit_tells_a_second_payment_and_the_same_bytes_apart(tmp_path: Path) -> None:
    """A row that was expired and made again was paid twice; that both have the same bytes is no finding."""
    provider = Watched(
        offers={"link_lifetime_s": 10.0}, on_link=lambda n, task: LinkFailed("gone", dead=True)
    )
    it = night(tmp_path, provider, 2)
    it.run()
    assert kinds(tmp_path) == ["orphan", "orphan"]
    provider.on_link = lambda n, task: (
        LinkFailed("gone", dead=True) if task.id in ("task-0", "task-1") else picture("one for all")
    )
    it.settings = Settings(new_rows=False, retried=frozenset({Phase.EXPIRED}))
    it.run(stop_now_at(5.0))
    assert it.statuses() == [RUNNING] * 2
    assert kinds(tmp_path) == ["duplicate", "duplicate", *["orphan"] * 4]
    it.run()
    assert it.statuses() == [DONE] * 2
    assert kinds(tmp_path) == ["duplicate", "duplicate", "orphan", "orphan", "same_bytes"]


def test_an_audit_sees_files_below_folders(tmp_path: Path) -> None:
    """A stray image in a folder of its own is listed too."""
    folder = done_folder(tmp_path, 1)
    (folder / "images" / "more").mkdir()
    (folder / "images" / "more" / "b.png").write_bytes(b"x")
    assert kinds(folder) == ["stray"]


def test_everything_that_was_handed_in_is_written_before_the_journal_ends(tmp_path: Path) -> None:
    """Closing it loses no fact."""

    async def check() -> None:
        with closing(Store(tmp_path / "state.sqlite3")) as store:
            journal = Journal(store, in_place)
            async with anyio.create_task_group() as group:
                group.start_soon(journal.record)
                await anyio.sleep(1.0)
                journal.close()
                group.start_soon(journal.run)

    in_virtual_time(check)


def test_a_fact_that_comes_while_a_commit_fails_fails_too(tmp_path: Path) -> None:
    """Nobody waits for ever for a journal that has ended."""
    failed: list[bool] = []

    async def slowly(call: Callable[[], T]) -> T:
        await anyio.sleep(10.0)
        return call()

    async def check() -> None:
        journal = Journal(Broken(tmp_path / "state.sqlite3"), slowly)

        async def record(after_s: float) -> None:
            with anyio.fail_after(60, shield=True):
                await anyio.sleep(after_s)
                with pytest.raises(StateFailed):
                    await journal.record()
            failed.append(True)

        with pytest.RaisesGroup(StateFailed):
            async with anyio.create_task_group() as group:
                group.start_soon(record, 0.0)
                group.start_soon(record, 5.0)
                await anyio.sleep(1.0)
                group.start_soon(journal.run)

    in_virtual_time(check)
    assert failed == [True, True]


def driven(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    provider: FakeProvider,
    go: Callable[[Context], None],
    *,
    embedded: bool = False,
) -> None:
    """Drive a folder as the pipeline does, with something else in the place of the engine."""

    class Stub:
        def __init__(self, context: Context) -> None:
            self._context = context

        async def go(self) -> None:
            go(self._context)

    monkeypatch.setattr("nanobanana_batch.engine.run.Run", Stub)
    with closing(Store(tmp_path / STATE_NAME)) as store:
        line = Line("evolink", "fake", embedded, True, lambda path, seen: nullcontext(provider))
        session._drive(session_of(tmp_path, store, line, Settings()), Stop(), NO_LOG)


@pytest.mark.parametrize(("name", "waits"), [("fake", True), ("other", False)])
def test_a_run_waits_for_older_work_of_its_own_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, waits: bool
) -> None:
    """Nothing new is sent before that was looked at; another provider's tasks will not be."""
    night(tmp_path, FakeProvider(), 3).run(stop_now_at(5.0))
    found: list[bool] = []
    driven(
        tmp_path,
        monkeypatch,
        Watched(offers={"name": name}),
        lambda context: found.append(not context.first_look._done.is_set()),
    )
    assert found == [waits]


def test_what_stops_an_engine_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One error of ours, not a group of them: exit code and sentence hang on it."""

    def fail(context: Context) -> None:
        raise StateFailed("the disk is gone")

    with pytest.raises(StateFailed, match="the disk is gone"):
        driven(tmp_path, monkeypatch, FakeProvider(), fail)


def test_a_manifest_without_rows_is_refused(tmp_path: Path) -> None:
    """An emptied table must not make every row of its folder one that nobody wants."""
    table = tmp_path / "m.csv"
    table.write_text("id,prompt,model\n")
    manifest = pipeline.open_ordered(pipeline.Order(table))
    with pytest.raises(UsageError, match="no rows"), pipeline.expanded(manifest):
        pytest.fail("nobody gets here")


def test_repair_fetches_an_image_that_changed_without_changing_its_size(tmp_path: Path) -> None:
    """A run looks at names only; `audit --repair` looks at every byte."""
    folder = done_folder(tmp_path)
    path = folder / "images" / "row-1.png"
    path.write_bytes(bytes(path.stat().st_size))
    with closing(Store(folder / STATE_NAME)) as store:
        fetch_anew(store, folder)
    assert phases(folder) == [Phase.SAVED, Phase.ACCEPTED, Phase.SAVED]


@pytest.mark.parametrize(
    "then", [(), ("Ready",), ("Failed",), ("Failed, refused",), ("Expired",), ("Ready", "Expired")]
)
def test_a_changed_image_that_is_not_to_be_had_any_more_stays_its_rows(
    tmp_path: Path, then: tuple[str, ...]
) -> None:
    """However a repair ends, killed at once included, and whatever command comes next."""
    folder = done_folder(tmp_path)
    (folder / "images" / "row-0.png").write_bytes(b"optimised")
    (folder / "images" / "row-1.png").unlink()
    with closing(Store(folder / STATE_NAME)) as store:
        fetch_anew(store, folder)
        store.apply([FACTS[name](attempt) for attempt in (1, 2) for name in then])
    lost = phases(folder)[1]
    assert phases(folder) == [lost, lost, Phase.SAVED]
    assert noticed(folder) == [Phase.SAVED, lost, Phase.SAVED]
    assert noticed(folder) == [Phase.SAVED, lost, Phase.SAVED]


def test_what_a_repair_has_fetched_beside_a_changed_image_is_kept(tmp_path: Path) -> None:
    """The changed file is nobody's then; one that was removed meanwhile is lost like any other."""
    folder = done_folder(tmp_path)
    images = folder / "images"
    for name in ("row-0.png", "row-1.png"):
        (images / name).write_bytes(b"optimised")
    with closing(Store(folder / STATE_NAME)) as store:
        fetch_anew(store, folder)
        (images / "row-0~2.png").write_bytes(b"image")
        again = Image("images/row-0~2.png", "image/png", 9, 5, 5, hashlib.sha256(b"image").hexdigest())
        store.apply([FACTS["Ready"](1), facts.Saved(1, again, 9.0)])
        (images / "row-1.png").unlink()
        assert keep_changed(store, folder) == 0
    assert phases(folder) == [Phase.SAVED, Phase.ACCEPTED, Phase.SAVED]
    assert noticed(folder) == [Phase.SAVED, Phase.ACCEPTED, Phase.SAVED]


def test_the_second_signal_stops_at_once() -> None:
    """The first only ends submitting."""
    stop, stopped = Stop(), anyio.Event()

    class Stub:
        def stop_now(self) -> None:
            stopped.set()

    async def check() -> None:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(listen, cast("Run", Stub()), stop, Tally())
                await anyio.wait_all_tasks_blocked()
                signal.raise_signal(signal.SIGINT)
                await stop.sleep(30)
                assert (stop.interrupted, stopped.is_set()) == (True, False)
                signal.raise_signal(signal.SIGINT)
                await stopped.wait()
                group.cancel_scope.cancel()

    anyio.run(check)
