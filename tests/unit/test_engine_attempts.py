"""New paid attempts for failed tasks: only where a new one may cure it, bounded, and never two at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.limits.outcomes import MaxFailures
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency, SubmitOutcome, Unknown
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.scope import Scope
from tests.unit.beside import interrupted_at
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import Beside, Night
from tests.unit.test_engine_pace import Watched
from tests.unit.wire import NO_CREDITS, Task, failed

PROMPTS = [f"a picture of the number {n}" for n in range(40)]
DONE, FAILED, PENDING, RUNNING = RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.PENDING, RowStatus.RUNNING
DAY_S = 86400.0
BUSY = failed("", "service_error", "busy")
NEVER = MaxFailures(share=1.0)


def failing(is_failing: Callable[[FakeTask], bool], report: Task = BUSY) -> FakeProvider:
    """A provider some of whose tasks fail when their time is over."""

    def read(n: int, task: FakeTask) -> Task | None:
        is_over = anyio.current_time() >= task.done_at
        return {**report, "id": task.id} if is_over and is_failing(task) else None

    return FakeProvider(on_read=read)


def night(folder: Path, provider: FakeProvider, count: int, **settings: object) -> Night:
    """A run that no number of failures ends."""
    given = {"max_failures": NEVER} | settings
    return Night(folder, provider, PROMPTS[:count], Settings(**given))  # type: ignore[arg-type]


def kill_at(seconds: float) -> Beside:
    """Tear the run down."""

    async def kill(engine: Run, stop: Stop) -> None:
        await anyio.sleep(seconds)
        engine.stop_now()

    return kill


def paid(it: Night) -> list[int]:
    """How often each body was paid for."""
    return sorted(it.provider.paid().values())


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_a_row_whose_tasks_always_fail_is_paid_so_often_and_no_more(tmp_path: Path, most: int) -> None:
    """`--max-attempts`, in one run, and none more in the next."""
    it = night(tmp_path, failing(lambda task: True), 6, max_attempts=most)
    for _ in range(2):
        it.run(interrupted_at(DAY_S))
        assert paid(it) == [most] * 6
        assert it.statuses() == [FAILED] * 6
    assert it.stop.reason == ""


def test_a_second_attempt_cures_a_failure_that_passes(tmp_path: Path) -> None:
    """Every other task fails: all rows complete, each earlier task having ended before the next one."""
    it = night(tmp_path, failing(lambda task: int(task.id[5:]) % 2 == 0 and int(task.id[5:]) < 40), 30)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 30
    assert max(paid(it)) <= 3
    last_done: dict[bytes, float] = {}
    for task in it.provider.tasks.values():
        assert task.created >= last_done.get(task.body, 0.0)
        last_done[task.body] = task.done_at


@pytest.mark.parametrize("code", ["invalid_parameters", "content_filter"])
def test_a_verdict_is_not_paid_for_again(tmp_path: Path, code: str) -> None:
    """Neither a refusal nor a failure that a new task would meet again."""
    it = night(tmp_path, failing(lambda task: True, failed("", code)), 4)
    it.run(interrupted_at(DAY_S))
    it.run(interrupted_at(DAY_S))
    assert paid(it) == [1] * 4


def test_attempts_wait_a_while(tmp_path: Path) -> None:
    """A provider that fails everything at once is not asked again in the same moment by everybody."""
    provider = failing(lambda task: int(task.id[5:]) < 20)
    it = night(tmp_path, provider, 20)
    it.run(interrupted_at(DAY_S))
    waits = [float(str(fields["in_s"])) for event, fields in it.events if event == "another_attempt"]
    assert len(waits) == 20
    assert 2 * min(waits) < max(waits) <= 8.0


def test_attempts_are_counted_over_restarts(tmp_path: Path) -> None:
    """Killed at any moment again and again, with tasks that always fail: three a row in all, then no more."""
    provider = failing(lambda task: True)
    provider.latency_s = 5.0
    it = night(tmp_path, provider, 5)
    for n in range(30):
        it.run(kill_at(3.1 + 0.7 * (n % 9)))
        assert max(paid(it), default=0) <= 3
    it.run(interrupted_at(DAY_S))
    assert paid(it) == [3] * 5
    assert it.statuses() == [FAILED] * 5


def test_a_run_that_ends_between_failure_and_new_attempt_is_continued(tmp_path: Path) -> None:
    """The wish to stop comes first: no new attempt then, but in the next run."""
    provider = failing(lambda task: int(task.id[5:]) < 6)
    it = night(tmp_path, provider, 6)

    async def interrupt(engine: Run, stop: Stop) -> None:
        await anyio.sleep(10.0)
        stop.ask("Interrupted.", interrupted=True)

    it.run(interrupt)
    assert paid(it) == [1] * 6
    assert it.statuses() == [FAILED] * 6
    it.run(interrupted_at(DAY_S))
    assert paid(it) == [2] * 6
    assert it.statuses() == [DONE] * 6


@pytest.mark.parametrize("edit", ["left", "limit"])
def test_a_failed_row_that_nobody_wants_any_more_gets_no_attempt(tmp_path: Path, edit: str) -> None:
    """It left the manifest, or lies beyond `--limit`: also when its task fails only now."""
    provider = failing(lambda task: True)
    it = night(tmp_path, provider, 4)
    it.run(kill_at(10.0))
    assert paid(it) == [1] * 4
    it.prompts = PROMPTS[:1] if edit == "left" else it.prompts
    it.settings = replace(it.settings, scope=Scope(before=1))
    it.run(interrupted_at(DAY_S))
    it.run(interrupted_at(DAY_S))
    assert paid(it) == [1, 1, 1, 3]


def test_requests_that_were_not_sent_are_no_attempts(tmp_path: Path) -> None:
    """Three runs meet an account without credits; the row still gets its three paid attempts."""
    provider = failing(lambda task: int(task.id[5:]) < 2)
    provider.on_submit = lambda n: NO_CREDITS if n < 3 else None
    it = night(tmp_path, provider, 1)
    for _ in range(3):
        it.run(interrupted_at(DAY_S))
        assert it.statuses() == [PENDING]
    it.run(interrupted_at(DAY_S))
    assert paid(it) == [3]
    assert it.statuses() == [DONE]


def test_requests_that_were_not_sent_do_not_use_up_what_a_restart_may_send(tmp_path: Path) -> None:
    """The task failed when the run was over: the next run counts what was paid, not what was tried."""
    provider = failing(lambda task: True)
    provider.on_submit = lambda n: NO_CREDITS if n < 3 else None
    it = night(tmp_path, provider, 1)
    for _ in range(3):
        it.run(interrupted_at(DAY_S))

    async def interrupt(engine: Run, stop: Stop) -> None:
        await anyio.sleep(10.0)
        stop.ask("Interrupted.", interrupted=True)

    it.run(interrupt)
    assert paid(it) == [1]
    it.run(interrupted_at(DAY_S))
    assert paid(it) == [3]


def test_a_retry_by_a_person_is_one_more_attempt(tmp_path: Path) -> None:
    """`retry --only failed` after three: a fourth, and when that fails too no fifth by itself."""
    it = night(tmp_path, failing(lambda task: True), 2)
    it.run(interrupted_at(DAY_S))
    assert paid(it) == [3, 3]
    it.settings = replace(it.settings, new_rows=False, retried=frozenset({Phase.FAILED}))
    it.run(interrupted_at(DAY_S))
    assert paid(it) == [4, 4]
    it.settings = replace(it.settings, new_rows=True, retried=frozenset())
    it.run(interrupted_at(DAY_S))
    assert paid(it) == [4, 4]


def test_collecting_pays_for_no_new_attempt(tmp_path: Path) -> None:
    """`audit --repair` and the like read tasks of earlier runs; one that failed waits for a run."""
    provider = failing(lambda task: True)
    it = night(tmp_path, provider, 2)
    it.run(kill_at(10.0))
    it.settings = replace(it.settings, new_rows=False)
    it.run(interrupted_at(DAY_S))
    assert paid(it) == [1, 1]
    assert it.statuses() == [FAILED] * 2


def test_attempts_of_an_earlier_run_go_on_where_they_were(tmp_path: Path) -> None:
    """A row failed twice when the process died: it has one attempt left, and a new row has three."""
    provider = failing(lambda task: True)
    it = night(tmp_path, provider, 1, max_attempts=2)
    it.run(interrupted_at(DAY_S))
    it.settings, it.prompts = replace(it.settings, max_attempts=3), PROMPTS[:2]
    it.run(interrupted_at(DAY_S))
    assert paid(it) == [3, 3]


def test_a_lost_reply_of_a_second_attempt_is_found_and_not_paid_again(tmp_path: Path) -> None:
    """The second attempt is as careful as the first: its own key, its own doubt."""
    provider = failing(lambda task: task.id == "task-0")
    provider.on_submit = lambda n: "lost" if n == 1 else None
    it = night(tmp_path, provider, 1)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE]
    assert paid(it) == [2]
    assert len({task.key for task in provider.tasks.values()}) == 2


@pytest.mark.parametrize(
    ("lost", "last", "per_min"),
    [((3, 14), 14, None), ((0, 2), 2, 6.0)],
    ids=["a-key-like-it", "the-same-key"],
)
def test_a_provider_that_has_lost_its_memory_is_not_paid_twice(
    tmp_path: Path, lost: tuple[int, ...], last: int, per_min: float | None
) -> None:
    """It remembered keys a while ago, then it was restarted: what was proved before is no proof now."""

    class Restarted(FakeProvider):
        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            number = self.submits
            outcome = await super().submit(body, idempotency_key)
            if number == last:
                for task in self.tasks.values():
                    task.key = "forgotten"
            return outcome

    provider = Restarted(lists_tasks=False, on_submit=lambda n: "lost" if n in lost else None)
    it = night(tmp_path, provider, 20, submit_concurrency=1, submits_per_min=per_min)
    it.run(interrupted_at(DAY_S))
    assert max(paid(it)) == 1
    assert Counter(it.statuses()) == {DONE: 19, RowStatus.UNKNOWN: 1}


def test_a_proof_says_nothing_of_a_request_that_is_lost_after_it(tmp_path: Path) -> None:
    """What loses the replies, a restart, loses the memory with them: the proof was asked for in between."""

    class Restarts(FakeProvider):
        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            number = self.submits
            outcome = await super().submit(body, idempotency_key)
            if number == 1:
                await anyio.sleep(30.0)
                for task in self.tasks.values():
                    task.key = "forgotten"
            return outcome

    provider = Restarts(lists_tasks=False, on_submit=lambda n: "lost" if n in (1, 4) else None)
    it = night(tmp_path, provider, 20, submit_concurrency=4, submits_per_min=60.0)
    it.run(interrupted_at(DAY_S))
    assert provider.probes >= 2
    assert max(paid(it)) == 1
    assert Counter(it.statuses()) == {DONE: 19, RowStatus.UNKNOWN: 1}


def test_lost_replies_at_the_end_of_a_run_are_found_soon(tmp_path: Path) -> None:
    """Each first sending loses its reply, each repeat is answered: who answers is not spared repeats."""
    seen = set[bytes]()

    class Forgetful(Watched):
        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            outcome = await super().submit(body, idempotency_key)
            is_first = body not in seen
            seen.add(body)
            return Unknown("the reply was lost") if is_first and len(seen) > 2 else outcome

    provider = Forgetful(idempotency=Idempotency.HONOURED, latency_s=5.0)
    it = night(tmp_path, provider, 40)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 40
    assert len(provider.tasks) == 40
    assert it.took_s < 120.0
    first: dict[str, float] = {}
    again = [at - first[key] for at, key in provider.sent if first.setdefault(key, at) not in (0.0, at)]
    assert min(again) > 1.0, "it is likely to be being decided still"


def test_one_proof_serves_all_requests_that_were_lost_before_it(tmp_path: Path) -> None:
    """Every other of forty replies is lost, which shows after half a minute: few questions are enough."""

    class Silent(FakeProvider):
        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            outcome = await super().submit(body, idempotency_key)
            await anyio.sleep(30.0 if isinstance(outcome, Unknown) else 0.0)
            return outcome

    provider = Silent(lists_tasks=False, on_submit=lambda n: "lost" if n < 40 and n % 2 else None)
    it = night(tmp_path, provider, 40, submit_concurrency=40, submits_per_min=600.0)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 40
    assert paid(it) == [1] * 40
    assert provider.probes <= 3


def test_a_held_row_that_is_sent_again_is_still_one_attempt(tmp_path: Path) -> None:
    """`--on-unknown resubmit` sends the same attempt; its task fails, and two more may follow."""
    provider = failing(lambda task: True)
    provider.lists_tasks = provider.remembers_keys = False
    provider.on_submit = lambda n: "lost" if n == 0 else None
    it = night(tmp_path, provider, 1)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [RowStatus.UNKNOWN]
    it.settings = replace(it.settings, on_unknown=OnUnknown.RESUBMIT)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [FAILED]
    assert paid(it) == [4]
