"""Tasks are read about when others like them have ended, and never closer than the provider asks."""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.callback_urls import callback_token
from nanobanana_batch.engine.callbacks import Callbacks
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.model import RowStatus, TaskMade
from nanobanana_batch.providers.base import Capabilities, SubmitOutcome, TasksRead
from nanobanana_batch.providers.http import Reply
from tests.unit.beside import within
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import NEVER_S, Night
from tests.unit.wire import BAD_GATEWAY, Task, failed, slow

DONE = RowStatus.COMPLETED


@dataclass
class Various(FakeProvider):
    """Tasks of different times, of which it may think something else."""

    median_s: float = 15.0
    estimate_s: float | None = None
    interval_s: float = 3.0
    read_s: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    read_at: dict[str, list[float]] = field(default_factory=dict)

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, poll_interval_s=self.interval_s)

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        self.latency_s = self.median_s * math.exp(self.chance.gauss(0.0, 0.4))
        made = await super().submit(body, idempotency_key)
        return replace(made, estimated_s=self.estimate_s) if isinstance(made, TaskMade) else made

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        for id_ in task_ids:
            self.read_at.setdefault(id_, []).append(anyio.current_time())
        await anyio.sleep(self.read_s * self.chance.random())
        return await super().read_many(task_ids)

    def closest_s(self) -> float:
        """Between two reads of one task."""
        return min(b - a for times in self.read_at.values() for a, b in pairwise(times))

    def late_s(self, after: int) -> float:
        """How long after its end a task is seen to have ended, in the mean, from the n-th on."""
        tasks = list(self.tasks.values())[after:]
        return sum(self.read_at[task.id][-1] - task.done_at for task in tasks) / len(tasks)


def night(folder: Path, provider: FakeProvider, count: int, **settings: object) -> Night:
    """Rows of one kind."""
    prompts = [f"a picture of the number {n}" for n in range(count)]
    return Night(folder, provider, prompts, Settings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("estimate_s", [15.0, 30.0, 300.0, None])
def test_ends_are_seen_soon_whatever_the_provider_expects(tmp_path: Path, estimate_s: float | None) -> None:
    """Once a few have ended: half an interval late in the mean, which is what reading allows."""
    provider = Various(estimate_s=estimate_s)
    it = night(tmp_path, provider, 200, concurrency=32)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 200
    assert provider.late_s(after=50) < 1.8


@pytest.mark.parametrize("interval_s", [3.0, 10.0])
def test_no_task_is_read_closer_than_the_provider_asks(tmp_path: Path, interval_s: float) -> None:
    """Reads that take up to four seconds, fail now and then, and are told to slow down; also a stop."""
    provider = Various(estimate_s=20.0, interval_s=interval_s, read_s=4.0)
    answers: dict[int, Reply | str] = {2: slow(20.0), 7: BAD_GATEWAY, 9: "no reply"}
    provider.on_batch = lambda n: answers.get(n % 12)
    it = night(tmp_path, provider, 60, concurrency=20)

    async def stop(engine: Run, stop: Stop) -> None:
        await anyio.sleep(60.0)
        stop.ask("Interrupted.", interrupted=True)
        await within(NEVER_S)(engine, stop)

    it.run(stop)
    assert provider.closest_s() >= interval_s


def test_calls_that_are_not_true_do_not_make_a_task_be_read_more_often(tmp_path: Path) -> None:
    """Every tenth of a second someone says that it has ended."""
    provider = Various(median_s=60.0)
    it = night(tmp_path, provider, 3)
    it.make_callbacks = lambda tally, log: Callbacks("https://front.example/here", tally, log)

    async def lie(engine: Run, stop: Stop) -> None:
        while True:
            await anyio.sleep(0.1)
            for task in list(provider.tasks.values()):
                assert it.callbacks is not None
                it.callbacks.came(callback_token(task.key))

    it.run(lie)
    assert it.statuses() == [DONE] * 3
    assert 3.0 <= provider.closest_s() < 3.5


def test_an_outage_does_not_spoil_what_was_learnt(tmp_path: Path) -> None:
    """Ten minutes in which no read works: the tasks after it are looked at as those before it."""
    provider = Various(median_s=15.0, estimate_s=15.0)

    async def outage(engine: Run, stop: Stop) -> None:
        await anyio.sleep(60.0)
        provider.on_batch = lambda n: BAD_GATEWAY
        await anyio.sleep(600.0)
        provider.on_batch = lambda n: None

    it = night(tmp_path, provider, 200, concurrency=16)
    it.run(outage)
    assert it.statuses() == [DONE] * 200
    after = [n for n, task in enumerate(provider.tasks.values()) if task.created > 680.0]
    assert provider.late_s(after=after[0]) < 2.0


def test_an_outage_at_the_beginning_is_not_learnt_from(tmp_path: Path) -> None:
    """All of the first tasks are seen to have ended ten minutes late: the next ones did not take so long."""
    provider = Various(median_s=15.0, estimate_s=15.0)

    async def outage(engine: Run, stop: Stop) -> None:
        provider.on_batch = lambda n: BAD_GATEWAY
        await anyio.sleep(600.0)
        provider.on_batch = lambda n: None

    it = night(tmp_path, provider, 100, concurrency=16)
    it.run(outage)
    assert it.statuses() == [DONE] * 100
    assert it.took_s < 600.0 + 60.0 + 84 / 16 * 20.0
    assert provider.late_s(after=20) < 3.0


def test_tasks_that_fail_at_once_do_not_make_the_others_be_read_sooner(tmp_path: Path) -> None:
    """A third is refused after a second: only what an image took is learnt."""
    provider = Various(median_s=60.0, estimate_s=60.0)

    def refuse(n: int, task: FakeTask) -> Task | None:
        is_refused = int(task.id.removeprefix("task-")) % 3 == 0
        return failed(task.id, "content_policy_violation", "no") if is_refused else None

    provider.on_read = refuse
    it = night(tmp_path, provider, 150, concurrency=16)
    it.run(within(NEVER_S))
    made = [task for n, task in enumerate(provider.tasks.values()) if n >= 60 and n % 3]
    first = [provider.read_at[task.id][0] - task.created for task in made]
    assert sum(first) / len(first) > 20.0
