"""The engine in virtual time, against a provider whose ledger says what was paid."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency, NotSent, Unknown
from nanobanana_batch.state.facts import Accepted, Fact, FileDeleted, FileUploaded, Intent, Saved
from nanobanana_batch.state.store import Store
from tests.unit.fake_provider import Answer, FakeProvider, FakeTask
from tests.unit.night import PROMPTS, Night
from tests.unit.wire import NO_CREDITS, error, failed, reply, slow

DONE, FAILED, REFUSED = RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.REFUSED
RUNNING, READY, PENDING = RowStatus.RUNNING, RowStatus.READY, RowStatus.PENDING
UNKNOWN, EXPIRED = RowStatus.UNKNOWN, RowStatus.EXPIRED


def night(folder: Path, provider: FakeProvider | None = None, count: int = 30, **settings: object) -> Night:
    """A run over the first prompts."""
    return Night(folder, provider or FakeProvider(), PROMPTS[:count], Settings(**settings))  # type: ignore[arg-type]


def paid_once(it: Night) -> bool:
    """Whether no body was paid for twice."""
    return all(count == 1 for count in it.provider.paid().values())


class KilledAt:
    """A store that dies at its n-th commit, before or after writing, as a killed process would."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._left = at
        self._after = after

    def __call__(self, path: Path) -> Store:
        """A store that counts."""
        outer = self

        class Dying(Store):
            def apply(self, batch: Sequence[Fact]) -> None:
                outer._left -= 1
                if outer._left == 0 and not outer._after:
                    raise KeyboardInterrupt
                super().apply(batch)
                if outer._left == 0:
                    raise KeyboardInterrupt

        return Dying(path)

    @property
    def was_reached(self) -> bool:
        """Whether the n-th commit was reached."""
        return self._left <= 0


def killed(it: Night, where: KilledAt) -> None:
    """Run until the store dies."""
    it.make_store = where
    with suppress(KeyboardInterrupt, BaseExceptionGroup):
        it.run()
    it.make_store = Store


def test_every_row_is_completed_and_paid_once(tmp_path: Path) -> None:
    """Thirty rows make thirty tasks and thirty files."""
    it = night(tmp_path)
    it.run()
    assert it.statuses() == [DONE] * 30
    assert len(it.provider.tasks) == 30
    assert paid_once(it)
    assert all((tmp_path / str(row.path)).is_file() for row in it.rows())


def test_a_second_run_sends_nothing(tmp_path: Path) -> None:
    """What is completed is never submitted, read or fetched again."""
    it = night(tmp_path)
    it.run()
    before = (it.provider.submits, sum(it.provider.reads.values()), it.provider.links)
    it.run()
    assert (it.provider.submits, sum(it.provider.reads.values()), it.provider.links) == before


def test_the_semaphore_bounds_tasks_in_flight(tmp_path: Path) -> None:
    """Never more tasks run at the provider than --concurrency allows."""
    it = night(tmp_path, concurrency=4)
    it.run()
    assert it.provider.most_running == 4


def test_an_intent_is_on_disk_before_anything_is_sent(tmp_path: Path) -> None:
    """At the moment of each submit the state file already holds an intent for it."""
    provider = FakeProvider()
    it = night(tmp_path, provider)
    intents: list[int] = []

    def look(n: int) -> None:
        with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as db:
            intents.append(db.execute("SELECT count(*) FROM attempts").fetchone()[0])

    provider.on_submit = look
    it.run()
    assert len(intents) == 30
    assert all(count > n for n, count in enumerate(intents))


@pytest.mark.parametrize("after", [False, True], ids=["before-the-commit", "after-the-commit"])
@pytest.mark.parametrize("remembers", [True, False], ids=["keys-honoured", "keys-ignored"])
def test_death_at_any_state_write_neither_pays_twice_nor_loses(
    tmp_path: Path, after: bool, remembers: bool
) -> None:
    """Killed at its n-th commit for every n, and run again: each row is paid once and completed, or held."""
    at = 0
    while True:
        at += 1
        it = night(tmp_path / str(at), FakeProvider(remembers_keys=remembers), count=5, submit_concurrency=2)
        where = KilledAt(at, after=after)
        killed(it, where)
        if not where.was_reached:
            break
        it.run()
        it.run()
        held = it.statuses().count(UNKNOWN)
        assert paid_once(it), f"killed at commit {at}"
        assert it.statuses().count(DONE) + held == 5
        assert held <= (0 if remembers else 2)
    assert at > 10


@pytest.mark.parametrize("after", [False, True])
def test_without_the_intent_record_the_same_death_pays_twice(tmp_path: Path, after: bool) -> None:
    """The test of the test: a protocol that writes the intent only with the answer fails it."""

    class Forgetful(KilledAt):
        def __call__(self, path: Path) -> Store:
            store = super().__call__(path)
            intents: dict[int, Fact] = {}
            write = store.apply

            def apply(batch: Sequence[Fact]) -> None:
                intents.update({fact.attempt: fact for fact in batch if isinstance(fact, Intent)})
                rest: list[Fact] = []
                for fact in batch:
                    if isinstance(fact, Intent):
                        continue
                    if not isinstance(fact, FileUploaded | FileDeleted) and fact.attempt in intents:
                        rest.append(intents.pop(fact.attempt))
                    rest.append(fact)
                write(rest)

            store.apply = apply  # type: ignore[method-assign]
            return store

    twice = False
    for at in range(1, 20):
        it = night(tmp_path / str(at), count=5, submit_concurrency=2)
        killed(it, Forgetful(at, after=after))
        it.run()
        twice = twice or not paid_once(it)
    assert twice


def test_a_lost_reply_is_found_by_its_key(tmp_path: Path) -> None:
    """A provider that remembers keys answers the repeated request with the first task."""
    provider = FakeProvider(on_submit=lambda n: "lost" if n in (0, 7, 8) else None)
    it = night(tmp_path, provider)
    it.run()
    assert it.statuses() == [DONE] * 30
    assert len(provider.tasks) == 30


def test_all_replies_lost_are_found_by_their_own_keys(tmp_path: Path) -> None:
    """With no accepted request to ask about, the keys of the lost ones themselves are asked about."""
    provider = FakeProvider(on_submit=lambda n: "lost" if n < 3 else None)
    it = night(tmp_path, provider, count=3)
    it.run()
    assert it.statuses() == [DONE] * 3
    assert len(provider.tasks) == 3


def test_one_lost_reply_is_found_in_the_list(tmp_path: Path) -> None:
    """Without keys, the only task that is nobody's is adopted by the only row without an answer."""
    provider = FakeProvider(remembers_keys=False, on_submit=lambda n: "lost" if n == 29 else None)
    it = night(tmp_path, provider)
    it.run()
    assert it.statuses() == [DONE] * 30
    assert len(provider.tasks) == 30


def test_two_lost_replies_are_not_guessed_apart(tmp_path: Path) -> None:
    """Two rows and two tasks without names would be a guess: both rows are held, in later runs too."""
    provider = FakeProvider(remembers_keys=False, on_submit=lambda n: "lost" if n in (28, 29) else None)
    it = night(tmp_path, provider)
    it.run()
    it.run()
    assert it.statuses() == [DONE] * 28 + [UNKNOWN] * 2
    assert len(provider.tasks) == 30


def test_a_request_on_the_wire_is_not_mistaken_for_a_lost_one(tmp_path: Path) -> None:
    """The list may show a task whose answer is just arriving: no other row adopts it."""
    provider = FakeProvider(remembers_keys=False, submit_s=5.0)
    provider.on_submit = lambda n: Unknown("reset") if n == 0 else None
    it = night(tmp_path, provider, count=10)
    it.run()
    assert it.statuses().count(UNKNOWN) == 1
    assert it.statuses()[0] is UNKNOWN
    assert paid_once(it)
    assert len(provider.tasks) == 9


def test_a_profile_that_ignores_keys_never_repeats(tmp_path: Path) -> None:
    """Neither list nor keys: the row is held and nothing is sent for it."""
    provider = FakeProvider(idempotency=Idempotency.IGNORED, lists_tasks=False)
    provider.on_submit = lambda n: "lost" if n == 3 else None
    it = night(tmp_path, provider)
    it.run()
    assert it.statuses().count(UNKNOWN) == 1
    assert provider.submits == 30
    assert provider.probes == 0


def test_held_rows_are_sent_again_only_when_the_person_says_so(tmp_path: Path) -> None:
    """--on-unknown resubmit pays again for what is held, and for nothing else."""
    provider = FakeProvider(remembers_keys=False, lists_tasks=False)
    provider.on_submit = lambda n: "lost" if n == 3 else None
    night(tmp_path, provider).run()
    it = night(tmp_path, provider, on_unknown=OnUnknown.RESUBMIT)
    it.run()
    assert it.statuses() == [DONE] * 30
    assert sorted(provider.paid().values()) == [1] * 29 + [2]


def test_what_was_not_sent_is_sent_again(tmp_path: Path) -> None:
    """A refused connection costs nothing, so the same request simply goes out later."""
    provider = FakeProvider(on_submit=lambda n: NotSent("refused") if n < 20 else None)
    it = night(tmp_path, provider)
    it.run()
    assert it.statuses() == [DONE] * 30
    assert paid_once(it)


def test_a_provider_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """Nothing has ever worked: the run stops after ten minutes with a reason, and nothing is unknown."""
    it = night(tmp_path, FakeProvider(on_submit=lambda n: NotSent("refused"), on_account=lambda n: "refused"))
    it.run()
    assert "cannot be reached" in it.stop.reason
    assert it.statuses() == [PENDING] * 30
    assert 600 <= it.took_s < 1200


def test_a_rate_limit_holds_back_every_row(tmp_path: Path) -> None:
    """After "retry after 90 seconds" nothing is submitted for 90 seconds, by no worker."""
    times: list[float] = []

    def limited(n: int) -> Answer:
        times.append(anyio.current_time())
        return slow(90.0) if n == 0 else None

    it = night(tmp_path, FakeProvider(on_submit=limited), submit_concurrency=1)
    it.run()
    assert it.statuses() == [DONE] * 30
    assert times[1] - times[0] >= 90


@pytest.mark.parametrize(
    ("code", "status"),
    [("some_code", FAILED), ("content_filter", REFUSED)],
)
def test_a_rejected_row_ends_and_the_others_go_on(tmp_path: Path, code: str, status: RowStatus) -> None:
    """The provider's own no is final for the row, with its code and message."""
    provider = FakeProvider(on_submit=lambda n: reply(400, error(code, "because")) if n == 2 else None)
    it = night(tmp_path, provider, submit_concurrency=1)
    it.run()
    assert it.statuses() == [DONE] * 2 + [status] + [DONE] * 27
    assert (it.rows()[2].error_code, it.rows()[2].error_message) == (code, "because")
    it.run()
    assert provider.submits == 30


def test_used_up_credits_stop_submitting_and_collect_the_rest(tmp_path: Path) -> None:
    """After 402 no new row is sent, the running ones are completed, and a later run goes on."""
    provider = FakeProvider(on_submit=lambda n: NO_CREDITS if 10 <= n < 20 else None)
    it = night(tmp_path, provider, submit_concurrency=1)
    it.run()
    assert it.statuses() == [DONE] * 10 + [PENDING] * 20
    assert "credits" in it.stop.reason
    assert provider.submits == 11
    provider.on_submit = lambda n: None
    it.run()
    assert it.statuses() == [DONE] * 30
    assert paid_once(it)


@pytest.mark.parametrize(
    ("code", "status"),
    [("invalid_parameters", FAILED), ("content_filter", REFUSED)],
)
def test_a_failed_task_ends_its_row(tmp_path: Path, code: str, status: RowStatus) -> None:
    """The code of the task stands in the results."""
    provider = FakeProvider(on_read=lambda n, task: failed(task.id, code) if task.id == "task-4" else None)
    it = night(tmp_path, provider, submit_concurrency=1)
    it.run()
    assert it.statuses() == [DONE] * 4 + [status] + [DONE] * 25
    assert it.rows()[4].error_code == code


def test_a_dead_link_is_read_anew(tmp_path: Path) -> None:
    """A link of which its host says that it is gone is replaced by the task's new one."""

    def die_once(n: int, task: FakeTask) -> LinkFailed | None:
        if n != 0:
            return None
        task.link += 1
        return LinkFailed("gone", dead=True)

    it = night(tmp_path, FakeProvider(on_link=die_once))
    it.run()
    assert it.statuses() == [DONE] * 30


def test_a_link_that_is_dead_for_good_expires_when_its_life_is_over(tmp_path: Path) -> None:
    """Until then its host is in trouble; then the row is expired, and the task id is kept for support."""
    dead = LinkFailed("gone", dead=True)
    it = night(
        tmp_path,
        FakeProvider(on_link=lambda n, task: dead if task.id == "task-0" else None),
        submit_concurrency=1,
    )
    it.run()
    assert it.statuses() == [READY] + [DONE] * 29
    it.now = lambda: anyio.current_time() + 86400.0
    it.run()
    assert it.statuses() == [EXPIRED] + [DONE] * 29
    assert it.rows()[0].task_id == "task-0"


@pytest.mark.parametrize(
    "body", [b"<html>sorry</html>", b"", b"\x89PNG\r\n\x1a\n cut"], ids=["html", "empty", "cut"]
)
def test_a_bad_body_is_never_kept_and_fetched_again(tmp_path: Path, body: bytes) -> None:
    """What is not a whole image leaves no file, and the next try gets the image."""
    it = night(tmp_path, FakeProvider(on_link=lambda n, task: body if n < 10 else None))
    it.run()
    assert it.statuses() == [DONE] * 30
    assert len(list((tmp_path / "images").iterdir())) == 30


def test_a_body_that_stays_bad_leaves_the_row_ready_for_the_next_run(tmp_path: Path) -> None:
    """The image may still be had later, so the row is neither failed nor expired."""
    provider = FakeProvider(on_link=lambda n, task: b"<html>" if task.id == "task-0" else None)
    it = night(tmp_path, provider, submit_concurrency=1)
    it.run()
    assert it.statuses() == [READY] + [DONE] * 29
    provider.on_link = lambda n, task: None
    it.run()
    assert it.statuses() == [DONE] * 30
    assert len(provider.tasks) == 30


def test_a_task_that_the_provider_does_not_know_is_set_aside_not_paid_again(tmp_path: Path) -> None:
    """It stays running with its task id, and a later run finds it."""
    provider = FakeProvider()
    it = night(tmp_path, provider, count=3, submit_concurrency=1)

    async def hide_one(engine: Run, stop: Stop) -> None:
        await anyio.sleep(2.0)
        hidden.append(provider.tasks.pop("task-0"))

    hidden: list[FakeTask] = []
    it.run(hide_one)
    assert it.statuses() == [RUNNING, DONE, DONE]
    provider.tasks["task-0"] = hidden[0]
    it.run()
    assert it.statuses() == [DONE] * 3
    assert provider.submits == 3


def test_the_first_wish_to_stop_drains(tmp_path: Path) -> None:
    """No new row after it, and everything that was paid for is collected."""

    async def interrupt(engine: Run, stop: Stop) -> None:
        await anyio.sleep(1.0)
        stop.ask("Interrupted.", interrupted=True)

    it = night(tmp_path, concurrency=8)
    it.run(interrupt)
    assert it.statuses().count(DONE) == len(it.provider.tasks) == 8
    assert it.statuses().count(PENDING) == 22
    it.run()
    assert it.statuses() == [DONE] * 30
    assert paid_once(it)


@pytest.mark.parametrize("tenths", range(0, 60, 3))
def test_stopping_at_once_at_any_moment_resumes_without_paying_twice(tmp_path: Path, tenths: int) -> None:
    """The second wish to stop leaves everything where it is; the next run completes it."""

    async def stop_now(engine: Run, stop: Stop) -> None:
        await anyio.sleep(tenths / 10)
        engine.stop_now()

    it = night(tmp_path, FakeProvider(latency_s=2.0), concurrency=6)
    it.run(stop_now)
    it.run()
    assert it.statuses() == [DONE] * 30
    assert paid_once(it)


def test_a_hard_stop_waits_only_a_moment_for_a_paid_request(tmp_path: Path) -> None:
    """A POST that hangs is cut short and its row is unknown, not forgotten."""

    async def stop_now(engine: Run, stop: Stop) -> None:
        await anyio.sleep(1.0)
        engine.stop_now()

    it = night(tmp_path, FakeProvider(submit_s=50.0), count=1)
    it.run(stop_now)
    assert it.took_s < 10
    assert it.statuses() == [UNKNOWN]


def test_older_work_comes_before_new_payments(tmp_path: Path) -> None:
    """A resumed run reads every running task once before it submits a new row."""
    provider = FakeProvider()
    it = night(tmp_path, provider, concurrency=8)

    async def stop_now(engine: Run, stop: Stop) -> None:
        await anyio.sleep(1.0)
        engine.stop_now()

    it.run(stop_now)
    running = list(provider.tasks)
    submitted_before_reads: list[int] = []
    provider.on_submit = lambda n: submitted_before_reads.append(
        sum(provider.reads[id_] == 0 for id_ in running)
    )
    it.run()
    assert it.statuses() == [DONE] * 30
    assert submitted_before_reads
    assert not any(submitted_before_reads)


def test_many_tasks_are_read_together(tmp_path: Path) -> None:
    """Forty tasks in flight cost a batch every three seconds, not forty reads."""
    provider = FakeProvider(latency_s=30.0)
    it = Night(tmp_path, provider, [f"prompt {n}" for n in range(40)], Settings(concurrency=40))
    it.run()
    assert it.statuses() == [DONE] * 40
    assert len(provider.batches) < 40


def test_a_saved_image_is_recorded_only_after_its_file_is_complete(tmp_path: Path) -> None:
    """Whenever the state says saved, the file is there with the bytes of its hash."""
    checked: list[bool] = []

    class Checking(Store):
        def apply(self, batch: Sequence[Fact]) -> None:
            for fact in batch:
                if isinstance(fact, Saved):
                    data = (tmp_path / fact.image.path).read_bytes()
                    checked.append(hashlib.sha256(data).hexdigest() == fact.image.sha256)
            super().apply(batch)

    it = night(tmp_path)
    it.make_store = Checking
    it.run()
    assert checked == [True] * 30


def test_an_answer_is_recorded_before_the_next_request_of_its_worker(tmp_path: Path) -> None:
    """With one submit at a time, each POST finds the answer to the one before it on disk."""
    accepted: list[int] = []

    class Counting(Store):
        def apply(self, batch: Sequence[Fact]) -> None:
            super().apply(batch)
            accepted.extend(fact.attempt for fact in batch if isinstance(fact, Accepted))

    found: list[bool] = []
    it = night(
        tmp_path, FakeProvider(on_submit=lambda n: found.append(len(accepted) == n)), submit_concurrency=1
    )
    it.make_store = Counting
    it.run()
    assert found == [True] * 30


def test_a_strangers_file_is_never_overwritten(tmp_path: Path) -> None:
    """A file that has a row's name already stays as it is; the image gets another name."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "row-0.png").write_bytes(b"mine")
    it = night(tmp_path, count=1)
    it.run()
    assert it.statuses() == [DONE]
    assert (tmp_path / "images" / "row-0.png").read_bytes() == b"mine"
    assert it.rows()[0].path != "images/row-0.png"


def test_an_edited_row_is_made_anew_and_the_old_image_stays(tmp_path: Path) -> None:
    """Same id, other prompt: one more paid task, two files."""
    it = night(tmp_path, count=3)
    it.run()
    old = tmp_path / str(it.rows()[1].path)
    it.prompts = [it.prompts[0], "something else", it.prompts[2]]
    it.run()
    assert it.statuses() == [DONE] * 3
    assert len(it.provider.tasks) == 4
    assert old.is_file()
    assert tmp_path / str(it.rows()[1].path) != old


def test_reordering_and_inserting_pays_only_for_what_is_new(tmp_path: Path) -> None:
    """Rows are known by their content, not by their place."""
    it = night(tmp_path, count=5)
    it.run()
    it.prompts = ["brand new", *reversed(it.prompts)]
    it.run()
    assert it.statuses() == [DONE] * 6
    assert len(it.provider.tasks) == 6
