"""Waiting: when tasks are read, how many at once, and what a read means for a task."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import trio.testing

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.work import resumed
from nanobanana_batch.model import RowStatus, TaskMade
from nanobanana_batch.providers.base import SubmitOutcome, TasksRead
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.open_attempts import OpenAttempt
from nanobanana_batch.state.scope import EVERY_ROW
from tests.unit.beside import stop_at, stop_now_at, within
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import NEVER_S, Night, night
from tests.unit.watched import Watched
from tests.unit.wire import finished, slow

DONE, RUNNING, EXPIRED = RowStatus.COMPLETED, RowStatus.RUNNING, RowStatus.EXPIRED


def test_a_long_estimate_does_not_put_off_the_first_look(tmp_path: Path) -> None:
    """The provider thinks that it takes a day; the image is there after twenty seconds."""

    class Gloomy(FakeProvider):
        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            outcome = await super().submit(body, idempotency_key)
            return replace(outcome, estimated_s=86400.0) if isinstance(outcome, TaskMade) else outcome

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


def test_a_finished_task_without_links_gives_its_slot_back_soon(tmp_path: Path) -> None:
    """It is no running task: it does not wait for half an hour to be called stuck."""
    provider = FakeProvider(on_read=lambda n, task: finished(task.id))
    it = night(tmp_path, provider, 1)
    it.run(within(300))
    assert it.statuses() == [RUNNING]


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


def test_an_older_task_that_still_works_does_not_hold_back_new_rows(tmp_path: Path) -> None:
    """It is looked at once, then new rows go out."""
    provider = Watched(latency_s=1000.0)
    night(tmp_path, provider, 1).run(stop_now_at(5.0))
    it = night(tmp_path, provider, 2)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 2
    assert provider.submitted_at[1] < 100
