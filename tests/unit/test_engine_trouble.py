"""Sequences of trouble that a second reader thought of; each once paid twice, lost an image, or hung."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import (
    Idempotency,
    KeyAnswer,
    KeyQuestion,
    SubmitOutcome,
    TasksRead,
    Unknown,
)
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.state.scope import Scope
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import PROMPTS, Night, night, paid
from tests.unit.wire import (
    BAD_GATEWAY,
    BAD_REQUEST,
    FORBIDDEN,
    NO_CREDITS,
    UNAVAILABLE,
    Task,
    accepted,
    finished,
    slow,
    working,
)

DONE, FAILED, PENDING = RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.PENDING
UNKNOWN, RUNNING, READY = RowStatus.UNKNOWN, RowStatus.RUNNING, RowStatus.READY
DAY_S = 86400.0


class Forgetting(FakeProvider):
    """A provider that remembers keys for a day."""

    days = 0

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        self._forget()
        return await super().submit(body, idempotency_key)

    async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
        self._forget()
        return await super().proves_idempotency(used_key, question)

    def _forget(self) -> None:
        for task in self.tasks.values():
            if self.days and int(task.id.removeprefix("task-")) == 0:
                task.key = "forgotten"


@pytest.mark.parametrize("trust", [Idempotency.UNPROVEN, Idempotency.HONOURED])
def test_an_old_request_is_not_repeated_under_a_key_that_is_forgotten(
    tmp_path: Path, trust: Idempotency
) -> None:
    """A key that is remembered today says nothing about one of three days ago."""
    provider = Forgetting(idempotency=trust, lists_tasks=False)
    provider.on_submit = lambda n: "lost" if n == 0 else None
    it = night(tmp_path, provider, 1, resolve_tries=0)
    it.run()
    assert it.statuses() == [UNKNOWN]
    provider.days = 3
    later = Night(tmp_path, provider, PROMPTS[:2], Settings(), now=lambda: anyio.current_time() + 3 * DAY_S)
    later.run()
    assert later.statuses() == [UNKNOWN, DONE]
    assert paid(later) == [1, 1]


def test_another_accounts_request_is_not_repeated(tmp_path: Path) -> None:
    """With another key the provider cannot know the request, and would be paid again."""
    provider = FakeProvider(lists_tasks=False, on_submit=lambda n: "lost" if n == 0 else None)
    it = night(tmp_path, provider, 1, resolve_tries=0)
    it.run()
    assert it.statuses() == [UNKNOWN]
    other = FakeProvider(account="two")
    again = Night(tmp_path, other, PROMPTS[:3])
    again.run()
    assert again.statuses() == [UNKNOWN, DONE, DONE]
    assert len(other.tasks) == 2


@pytest.mark.parametrize("edit", ["left", "limit"])
def test_what_was_not_sent_is_forgotten_when_nobody_wants_it_any_more(tmp_path: Path, edit: str) -> None:
    """Rows that left the manifest, or lie beyond --limit, are not paid for because a try once failed."""
    provider = FakeProvider(on_submit=lambda n: NO_CREDITS)
    it = night(tmp_path, provider, 5)
    it.run()
    assert it.statuses() == [PENDING] * 5
    provider.on_submit = lambda n: None
    it.prompts = ["the only one"] if edit == "left" else it.prompts
    it.settings = Settings(scope=Scope(before=1))
    it.run()
    assert len(provider.tasks) == 1


def test_nothing_is_paid_after_the_wish_to_stop_although_the_gate_opens(tmp_path: Path) -> None:
    """Workers that wait for a rate limit to pass leave at once and send nothing."""
    provider = FakeProvider(on_submit=lambda n: slow(600.0) if n < 8 else None)

    async def interrupt(engine: Run, stop: Stop) -> None:
        await anyio.sleep(30.0)
        stop.ask("Interrupted.", interrupted=True)

    it = night(tmp_path, provider)
    it.run(interrupt)
    assert len(provider.tasks) == 0
    assert it.took_s < 60


@pytest.mark.parametrize("answer", [FORBIDDEN, NO_CREDITS], ids=["403", "402"])
def test_a_no_to_a_repeated_request_does_not_settle_that_it_was_unpaid(tmp_path: Path, answer: Reply) -> None:
    """The first sending may have been paid all the same: the row stays held and its image is found later."""
    provider = FakeProvider(lists_tasks=False, on_submit=lambda n: "lost" if n == 0 else answer)
    it = night(tmp_path, provider, 1)
    it.run()
    assert it.statuses() == [UNKNOWN]
    provider.on_submit = lambda n: None
    it.run()
    assert it.statuses() == [DONE]
    assert paid(it) == [1]


@pytest.mark.parametrize("answer", [FORBIDDEN, NO_CREDITS], ids=["403", "402"])
def test_a_no_to_a_resubmitted_request_leaves_it_unknown(tmp_path: Path, answer: Reply) -> None:
    """`--on-unknown resubmit` that meets a no does not turn the row into one that may be sent unasked."""
    provider = FakeProvider(remembers_keys=False, lists_tasks=False)
    provider.on_submit = lambda n: "lost" if n == 0 else None
    it = night(tmp_path, provider, 1)
    it.run()
    provider.on_submit = lambda n: answer
    it.settings = Settings(on_unknown=OnUnknown.RESUBMIT)
    it.run()
    assert it.statuses() == [UNKNOWN]
    provider.on_submit = lambda n: None
    it.settings = Settings()
    it.run()
    assert it.statuses() == [UNKNOWN]
    assert paid(it) == [1]


def test_one_refusal_of_a_link_is_not_believed(tmp_path: Path) -> None:
    """404 once, then the image, under the very same link."""
    gone = LinkFailed("HTTP 404", dead=True)
    it = night(tmp_path, FakeProvider(on_link=lambda n, task: gone if n < 3 else None), 3)
    it.run()
    assert it.statuses() == [DONE] * 3


def test_an_untried_second_link_is_tried_before_giving_up(tmp_path: Path) -> None:
    """Two links, the first dead, and the re-read has none: the second one has the image."""
    provider = FakeProvider()

    def read(n: int, task: FakeTask) -> Task | None:
        if anyio.current_time() < task.done_at:
            return None
        links = (f"https://x/{task.id}/dead", f"https://x/{task.id}/good") if not provider.links else ()
        return finished(task.id, *links)

    provider.on_read = read
    provider.on_link = lambda n, task: LinkFailed("gone", dead=True) if n == 0 else None
    it = night(tmp_path, provider, 1)
    it.run()
    assert it.statuses() == [DONE]


def test_what_was_set_aside_is_looked_at_again_in_the_same_run(tmp_path: Path) -> None:
    """The image host is down for ten minutes of a long run; everything is collected before it ends."""
    down = LinkFailed("503")
    provider = FakeProvider(latency_s=60.0)
    provider.on_link = lambda n, task: down if anyio.current_time() < 700 else None
    it = Night(tmp_path, provider, [f"prompt {n}" for n in range(60)], Settings(concurrency=4))
    it.run()
    assert it.statuses() == [DONE] * 60


def test_a_resumed_request_that_is_rejected_does_not_block_the_run(tmp_path: Path) -> None:
    """The provider's verdict on a repeated request ends the row, and new rows go on."""
    provider = FakeProvider(idempotency=Idempotency.HONOURED, on_submit=lambda n: Unknown("reset"))
    night(tmp_path, provider, 1, resolve_tries=0).run()
    provider.on_submit = lambda n: BAD_REQUEST if n == 1 else None
    it = night(tmp_path, provider, 3)
    it.run()
    assert it.statuses() == [FAILED, DONE, DONE]


def test_reads_that_fail_for_ever_end_the_run(tmp_path: Path) -> None:
    """After the longest outage the run stops with a reason; the tasks stay collectable."""
    it = night(tmp_path, FakeProvider(on_batch=lambda n: "connection refused"), 3, max_outage_s=3600.0)
    it.run()
    assert it.statuses() == [RUNNING] * 3
    assert "cannot be reached" in it.stop.reason
    healthy = Night(tmp_path, FakeProvider(tasks=it.provider.tasks), PROMPTS[:3])
    healthy.run()
    assert healthy.statuses() == [DONE] * 3


def test_the_first_interrupt_ends_a_run_whose_provider_is_down(tmp_path: Path) -> None:
    """Draining does not wait for what cannot be read."""
    provider = FakeProvider(latency_s=10.0)

    async def interrupt(engine: Run, stop: Stop) -> None:
        await anyio.sleep(5.0)
        provider.tasks.clear()
        stop.ask("Interrupted.", interrupted=True)

    it = night(tmp_path, provider, 3)
    it.run(interrupt)
    assert it.statuses() == [RUNNING] * 3
    assert it.took_s < 300


def test_a_stuck_task_gives_its_slot_back(tmp_path: Path) -> None:
    """One task that never ends does not stop a run at --concurrency 1, and is never paid again."""
    provider = FakeProvider()
    provider.on_read = lambda n, task: working(task.id) if task.id == "task-0" else None
    it = night(tmp_path, provider, 5, concurrency=1)
    it.run()
    assert it.statuses() == [RUNNING] + [DONE] * 4
    assert paid(it) == [1] * 5


def test_a_finished_task_without_links_is_left_for_later(tmp_path: Path) -> None:
    """Completed, but no link yet, for as long as the run lasts: not expired, and the run ends."""
    provider = FakeProvider()
    provider.on_read = lambda n, task: finished(task.id) if task.id == "task-0" else None
    it = night(tmp_path, provider, 3, submit_concurrency=1)
    it.run()
    assert it.statuses() == [RUNNING, DONE, DONE]


def test_resolving_beside_a_full_house_takes_no_attempt_twice(tmp_path: Path) -> None:
    """More finished images than slots, and an unknown request that turns out to be running."""
    provider = FakeProvider(on_link=lambda n, task: LinkFailed("503"), latency_s=1.0)
    night(tmp_path, provider, 6, download_tries=1).run()
    provider.on_submit = lambda n: "lost"
    night(tmp_path, provider, 7, resolve_tries=0, download_tries=1).run()
    provider.on_submit, provider.on_link = (lambda n: None), (lambda n, task: None)
    it = night(tmp_path, provider, 7, concurrency=1)
    it.run()
    assert it.statuses() == [DONE] * 7
    assert paid(it) == [1] * 7


def test_an_answer_with_another_rows_task_is_no_answer(tmp_path: Path) -> None:
    """A provider that gives two requests one task: the second row is held, the run goes on."""
    provider = FakeProvider(remembers_keys=False, lists_tasks=False)
    provider.on_submit = lambda n: accepted("task-0") if n == 1 else None
    it = night(tmp_path, provider, 4, submit_concurrency=1)
    it.run()
    assert it.statuses() == [DONE, UNKNOWN, DONE, DONE]


def test_a_storm_of_5xx_does_not_turn_the_whole_manifest_unknown(tmp_path: Path) -> None:
    """Each lost answer may cost a row, so the run slows down and waits for the storm to pass."""
    provider = FakeProvider(remembers_keys=False, lists_tasks=False)
    provider.on_submit = lambda n: UNAVAILABLE if anyio.current_time() < 600 else None
    it = Night(tmp_path, provider, [f"prompt {n}" for n in range(300)])
    first = provider.on_submit
    provider.on_submit = lambda n: first(n) if provider.tasks or n > 0 else None
    it.run()
    assert it.statuses().count(UNKNOWN) < 100
    assert paid(it)[0] == 1


def test_a_provider_that_gives_only_nonsense_from_the_start_is_given_up(tmp_path: Path) -> None:
    """Nothing ever worked: stop before many rows are in doubt."""
    provider = FakeProvider(lists_tasks=False, on_submit=lambda n: BAD_GATEWAY)
    it = Night(tmp_path, provider, [f"prompt {n}" for n in range(300)])
    it.run()
    assert "no usable answers" in it.stop.reason
    assert it.statuses().count(UNKNOWN) < 100
    noted = [fields for event, fields in it.events if event == "unanswered"]
    assert len(noted) <= 3 * it.statuses().count(UNKNOWN), "each is written down over and over"


def test_a_wrong_profile_is_noticed_by_the_reply(tmp_path: Path) -> None:
    """The profile says that keys are honoured, the list shows that they are not: no further repeats."""
    provider = FakeProvider(idempotency=Idempotency.HONOURED, remembers_keys=False)
    provider.on_submit = lambda n: "lost" if n in (0, 4, 8) else None
    it = night(tmp_path, provider, 12, submit_concurrency=1)
    it.run()
    assert paid(it)[0] == 2
    assert paid(it)[1] == 1


def test_reads_of_one_task_are_never_closer_than_the_provider_asks(tmp_path: Path) -> None:
    """Three seconds between two reads, whatever happens to its download."""
    times: dict[str, list[float]] = {}

    class Watching(FakeProvider):
        async def read_many(self, task_ids: Sequence[str]) -> TasksRead:  # type: ignore[override]
            for id_ in task_ids:
                times.setdefault(id_, []).append(anyio.current_time())
            return await super().read_many(task_ids)

    provider = Watching(on_link=lambda n, task: LinkFailed("503") if n < 20 else None)
    it = night(tmp_path, provider, 10)
    it.run()
    assert it.statuses() == [DONE] * 10
    gaps = [later - sooner for seen in times.values() for sooner, later in itertools.pairwise(seen)]
    assert gaps
    assert min(gaps) >= 3.0
