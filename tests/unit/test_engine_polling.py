"""Reading tasks: few requests however many run, fewer while reads fail; stuck tasks are not paid anew."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Capabilities, TasksRead
from nanobanana_batch.providers.tasks.replies import read_task
from tests.unit.beside import interrupted_at
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import Night
from tests.unit.test_engine_pace import most_within
from tests.unit.wire import BAD_GATEWAY, Task, failed, finished, working

PROMPTS = [f"a picture of the number {n}" for n in range(1000)]
DONE, RUNNING = RowStatus.COMPLETED, RowStatus.RUNNING
DAY_S, HOUR_S = 86400.0, 3600.0


@dataclass
class Reader(FakeProvider):
    """Keeps when each read came; at most `reads_per_s` are asked for."""

    reads_per_s: float = 10.0
    read_times: list[float] = field(default_factory=list)
    requests: int = 1

    @property
    def capabilities(self) -> Capabilities:
        """As the others, with its own pace."""
        return replace(super().capabilities, reads_per_s=self.reads_per_s)

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        """Note it."""
        self.read_times.append(anyio.current_time())
        return replace(await super().read_many(task_ids), requests=self.requests)


def night(folder: Path, provider: FakeProvider, count: int, **settings: object) -> Night:
    """A run over the first prompts."""
    return Night(folder, provider, PROMPTS[:count], Settings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(("at_once", "count"), [(50, 400), (1, 150)])
def test_many_tasks_in_flight_cost_few_reads_a_second(tmp_path: Path, at_once: int, count: int) -> None:
    """With batches far below the limit; without them at the limit, and never above."""
    provider = Reader(read_at_once=at_once, submit_s=0.01)
    it = night(tmp_path, provider, count, concurrency=count, submit_concurrency=50)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * count
    assert most_within(provider.read_times, 0.999) <= 10
    if at_once > 1:
        assert len(provider.read_times) <= count / at_once * 6


def test_without_batches_every_task_has_its_turn(tmp_path: Path) -> None:
    """Two reads a second for sixty tasks of five minutes: none is read often while another waits."""
    provider = Reader(read_at_once=1, reads_per_s=2.0, latency_s=300.0, submit_s=0.01)
    it = night(tmp_path, provider, 60)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 60
    assert max(provider.reads.values()) <= 2 * min(provider.reads.values()) + 2
    assert it.took_s < 600


@dataclass
class NoBatch(Reader):
    """Says that it reads many at once until the first such read is refused, as the real one does."""

    is_offered: bool = True
    asked_about: list[int] = field(default_factory=list)

    @property
    def capabilities(self) -> Capabilities:
        """Of a provider without such a read, once that is known."""
        known = super().capabilities
        return known if self.is_offered else replace(known, read_at_once=1)

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        """Of all that were asked about the first is read; the others could not be, this time."""
        self.is_offered = False
        self.asked_about.append(len(task_ids))
        return await super().read_many(list(task_ids)[:1])


def test_that_nobody_reads_many_at_once_shows_with_the_first_read(tmp_path: Path) -> None:
    """From then on each read asks for one task, so as many are read in a second as may be."""
    provider = NoBatch(submit_s=0.01, latency_s=20.0)
    it = night(tmp_path, provider, 240, concurrency=80, submit_concurrency=50)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 240
    assert provider.asked_about[0] > 1
    assert set(provider.asked_about[1:]) == {1}
    assert it.took_s < 120
    assert most_within(provider.read_times, 0.999) <= 10


def test_a_read_that_took_several_requests_slows_the_next_ones_down(tmp_path: Path) -> None:
    """Each batch has to be read in five requests, one request a second is allowed."""
    provider = Reader(requests=5, reads_per_s=1.0, submit_s=0.01, latency_s=60.0)
    it = night(tmp_path, provider, 300, concurrency=300, submit_concurrency=50)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 300
    assert most_within(provider.read_times, 19.99) <= 5


def test_failing_reads_become_seldom_and_harm_nothing(tmp_path: Path) -> None:
    """An hour in which no read works: about four a minute, then all is collected, nothing paid twice."""
    provider = Reader(latency_s=10.0)

    async def outage(engine: Run, stop: Stop) -> None:
        await anyio.sleep(5.0)
        provider.on_batch = lambda n: BAD_GATEWAY
        await anyio.sleep(HOUR_S)
        provider.on_batch = lambda n: None

    it = night(tmp_path, provider, 60, concurrency=30)
    it.run(outage)
    assert it.statuses() == [DONE] * 60
    assert set(provider.paid().values()) == {1}
    assert len([at for at in provider.read_times if 5 < at < HOUR_S]) < 400
    assert it.took_s < HOUR_S + 300


def test_a_stuck_task_is_told_once_and_collected_when_it_ends(tmp_path: Path) -> None:
    """Three hours of work: the row completes in the same run if that lasts, and is paid for once."""
    provider = Reader(latency_s=20.0)
    slow_ones = {"task-3", "task-4"}

    def read(n: int, task: FakeTask) -> Task | None:
        is_slow = task.id in slow_ones and anyio.current_time() < 3 * HOUR_S
        return working(task.id) if is_slow else None

    provider.on_read = read
    it = night(tmp_path, provider, 75, concurrency=4, submits_per_min=0.3)
    said: list[str] = []

    async def listen(engine: Run, stop: Stop) -> None:
        it.tally.announce = said.append

    it.run(listen)
    assert it.statuses() == [DONE] * 75
    assert set(provider.paid().values()) == {1}
    assert len([text for text in said if "--stuck-after" in text]) == 1
    assert [event for event, _ in it.events].count("stuck") == 2
    assert max(provider.reads[id_] for id_ in slow_ones) < 200


@pytest.mark.parametrize("said_before", ["processing", "marinating", ""])
def test_a_run_that_was_stopped_for_an_hour_takes_no_task_for_slow(tmp_path: Path, said_before: str) -> None:
    """What it reads first was said before: a word, one that nobody knows, or nothing of any task."""

    class Stopped(Reader):
        async def read_many(self, task_ids: Collection[str]) -> TasksRead:
            read = await super().read_many(task_ids)
            if len(self.read_times) > 1:
                return read
            await anyio.sleep(HOUR_S)  # as a process that is held (Ctrl-Z), or on a machine that stands still
            return read if said_before else replace(read, reports={})

    provider = Stopped(latency_s=60.0)
    provider.on_read = lambda n, task: (
        {"id": task.id, "status": said_before} if anyio.current_time() < task.done_at else None
    )
    it = night(tmp_path, provider, 8, concurrency=4)
    said: list[str] = []

    async def listen(engine: Run, stop: Stop) -> None:
        it.tally.announce = said.append

    it.run(listen)
    assert it.statuses() == [DONE] * 8
    assert [text for text in said if "--stuck-after" in text] == []
    assert [event for event, _ in it.events].count("stuck") == 0
    assert it.stop.reason == ""
    assert provider.tasks["task-4"].created > provider.read_times[1], (
        "it had the slot of one that was set aside"
    )
    assert it.took_s < HOUR_S + 180


def test_a_task_that_is_stuck_for_good_does_not_hold_the_run(tmp_path: Path) -> None:
    """It gives its slot back, the others go on; the row stays as it is, also in the next runs."""
    provider = Reader()
    provider.on_read = lambda n, task: working(task.id) if task.id == "task-0" else None
    it = night(tmp_path, provider, 12, concurrency=1)
    for _ in range(3):
        it.run(interrupted_at(DAY_S))
        assert it.statuses() == [RUNNING] + [DONE] * 11
        assert it.stop.reason == ""
    provider.on_read = lambda n, task: None
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 12
    assert set(provider.paid().values()) == {1}


def test_all_slots_full_of_stuck_tasks_come_free(tmp_path: Path) -> None:
    """Four of four hang: after half an hour other rows have their turn."""
    provider = Reader()
    provider.on_read = lambda n, task: working(task.id) if int(task.id[5:]) < 4 else None
    it = night(tmp_path, provider, 20, concurrency=4)
    it.run(interrupted_at(DAY_S))
    assert it.statuses().count(DONE) == 16
    assert it.statuses().count(RUNNING) == 4
    assert it.took_s < 3 * HOUR_S


def test_a_read_without_sense_changes_nothing(tmp_path: Path) -> None:
    """Reports of tasks that nobody asked about, or none at all: asked again, not paid again."""
    nonsense = [
        read_task(finished("somebody", "https://links.example/x/0")),
        read_task(failed("")),
    ]

    class Odd(Reader):
        async def read_many(self, task_ids: Collection[str]) -> TasksRead:
            read = await super().read_many(task_ids)
            if len(self.read_times) % 3 == 0:
                return TasksRead({report.task_id: report for report in nonsense if report is not None})
            if len(self.read_times) % 3 == 1:
                return TasksRead()
            return read

    provider = Odd()
    it = night(tmp_path, provider, 30)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 30
    assert set(provider.paid().values()) == {1}


def test_an_estimate_puts_off_the_first_look_by_a_part_of_it_only(tmp_path: Path) -> None:
    """The provider expects forty seconds: it may be wrong by half, so the first look is after a third."""
    provider = Reader(latency_s=40.0)
    it = night(tmp_path, provider, 1)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE]
    assert 10.0 <= provider.read_times[0] <= 14.0
    assert len(provider.read_times) <= 12
