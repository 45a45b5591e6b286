"""Callbacks only make a task be read at once; false, early, late and missing ones change nothing else."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from nanobanana_batch.engine.callback_urls import callback_token
from nanobanana_batch.engine.callbacks import Callbacks
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import SubmitOutcome, TasksRead
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import Night
from tests.unit.wire import working

PROMPTS = [f"a picture of the number {n}" for n in range(60)]
DONE = RowStatus.COMPLETED
FRONT = "https://front.example/here"


@dataclass
class Calling(FakeProvider):
    """Calls back when a task has ended; `delay_s` after that, as often as `times` says."""

    delay_s: float = 0.5
    times: Callable[[int], int] = lambda number: 1
    """Of the n-th task."""
    came: Callable[[str], None] = lambda token: None
    asked: dict[str, list[float]] = field(default_factory=dict)
    """When each task was read."""

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        """Note it."""
        for id_ in task_ids:
            self.asked.setdefault(id_, []).append(anyio.current_time())
        return await super().read_many(task_ids)

    async def call_back(self) -> None:
        """What the provider does beside: look each tenth of a second which calls are due."""
        called: set[str] = set()
        while True:
            await anyio.sleep(0.1)
            now = anyio.current_time()
            for number, task in enumerate(list(self.tasks.values())):
                if task.id not in called and now >= task.done_at + self.delay_s:
                    called.add(task.id)
                    for _ in range(self.times(number)):
                        self.came(callback_token(task.key))


@dataclass
class Fronted(Night):
    """A night with a receiver."""

    said: list[str] = field(default_factory=list)

    def calling(self) -> Calling:
        """The provider."""
        assert isinstance(self.provider, Calling)
        return self.provider

    async def beside(self, engine: Run, stop: Stop) -> None:
        """The provider's calls go to the run's hints."""
        self.tally.announce = self.said.append
        assert self.callbacks is not None
        self.calling().came = self.callbacks.came
        await self.calling().call_back()


def night(folder: Path, provider: Calling, count: int, **settings: object) -> Fronted:
    """A run whose provider may call."""
    it = Fronted(folder, provider, PROMPTS[:count], Settings(**settings))  # type: ignore[arg-type]
    it.make_callbacks = lambda tally, log: Callbacks(FRONT, tally, log)
    return it


def test_with_callbacks_a_task_is_read_once(tmp_path: Path) -> None:
    """Forty tasks of forty seconds: each is read when its callback came, and at no other time."""
    provider = Calling(latency_s=40.0)
    it = night(tmp_path, provider, 40)
    it.run(it.beside)
    assert it.statuses() == [DONE] * 40
    assert all(len(times) == 1 for times in provider.asked.values())
    for id_, (time,) in provider.asked.items():
        assert 0.0 <= time - provider.tasks[id_].done_at < 2.5


def test_each_request_names_its_own_address(tmp_path: Path) -> None:
    """The token behind the front is another one for each attempt, and follows from its key."""
    provider = Calling()
    it = night(tmp_path, provider, 5)
    it.run(it.beside)
    urls = {f'"callback_url": "{FRONT}/{callback_token(task.key)}"' for task in provider.tasks.values()}
    assert len(urls) == 5
    assert all(any(url in task.body.decode() for url in urls) for task in provider.tasks.values())


def test_missing_callbacks_are_noticed_and_reading_goes_on(tmp_path: Path) -> None:
    """None ever comes: after three tasks the usual pace is back, told once; all rows complete."""
    provider = Calling(latency_s=20.0, times=lambda number: 0)
    it = night(tmp_path, provider, 40, concurrency=4)
    it.run(it.beside)
    assert it.statuses() == [DONE] * 40
    [told] = [text for text in it.said if "no callbacks" in text]
    assert FRONT in told  # which way is to be looked at
    assert it.took_s < 60 + 10 * 30


def test_now_and_then_a_missing_one_does_not_end_trust(tmp_path: Path) -> None:
    """Every fifth call is lost: its task is read by the safety net, the others as soon as they are called."""
    provider = Calling(latency_s=20.0, times=lambda number: int(number % 5 > 0))
    it = night(tmp_path, provider, 40, concurrency=4, submit_concurrency=1)
    it.run(it.beside)
    assert it.statuses() == [DONE] * 40
    assert not [text for text in it.said if "no callbacks" in text]
    assert sum(len(times) for times in provider.asked.values()) <= 60


def test_calls_that_come_several_times_change_nothing(tmp_path: Path) -> None:
    """Five calls for each end: one read, one image, one payment."""
    provider = Calling(latency_s=20.0, times=lambda number: 5)
    it = night(tmp_path, provider, 20)
    it.run(it.beside)
    assert it.statuses() == [DONE] * 20
    assert all(len(times) == 1 for times in provider.asked.values())
    assert set(provider.paid().values()) == {1}


def test_a_call_before_the_acceptance_is_on_disk_is_not_forgotten(tmp_path: Path) -> None:
    """The task has ended before its submit was answered: it is read as soon as it is known."""

    class Early(Calling):
        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            outcome = await super().submit(body, idempotency_key)
            self.came(callback_token(idempotency_key))
            await anyio.sleep(1.0)
            return outcome

    provider = Early(latency_s=0.5, times=lambda number: 0)
    it = night(tmp_path, provider, 8)
    it.run(it.beside)
    assert it.statuses() == [DONE] * 8
    for id_, times in provider.asked.items():
        assert times[0] - provider.tasks[id_].done_at < 2.5


def test_a_call_while_its_task_is_being_read_makes_it_read_once_more(tmp_path: Path) -> None:
    """The read on the way may have left before the end: the next one follows at the provider's interval."""

    class Slow(Calling):
        async def read_many(self, task_ids: Collection[str]) -> TasksRead:
            read = await super().read_many(task_ids)
            if len(self.asked["task-0"]) == 1:
                await anyio.sleep(5.0)
            return read

    provider = Slow(latency_s=62.0, delay_s=0.0)
    it = night(tmp_path, provider, 1)
    it.run(it.beside)
    assert it.statuses() == [DONE]
    first, second = provider.asked["task-0"]
    assert 60.0 <= first < 62.0
    assert 3.0 <= second - first < 12.0


def test_unknown_and_endless_calls_are_only_noise(tmp_path: Path) -> None:
    """Somebody calls made-up addresses, and a true one far too often: nobody is read in vain for long."""
    provider = Calling(latency_s=20.0)
    it = night(tmp_path, provider, 4)

    async def noise(engine: Run, stop: Stop) -> None:
        assert it.callbacks is not None
        for n in range(15_000):
            it.callbacks.came(f"{n:032x}")
        async with anyio.create_task_group() as group:
            group.start_soon(it.beside, engine, stop)
            while True:
                await anyio.sleep(1.0)
                for task in list(provider.tasks.values())[:1]:
                    for _ in range(50):
                        it.callbacks.came(callback_token(task.key))

    it.run(noise)
    assert it.statuses() == [DONE] * 4
    assert set(provider.paid().values()) == {1}
    assert max(len(times) for times in provider.asked.values()) <= 30
    assert [len(provider.asked[f"task-{n}"]) for n in (1, 2, 3)] == [1, 1, 1]


def test_calls_for_nobody_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Of many made-up addresses only the latest ones are remembered."""
    provider = Calling(times=lambda number: 0)
    it = night(tmp_path, provider, 1)

    async def noise(engine: Run, stop: Stop) -> None:
        assert it.callbacks is not None
        tracemalloc.start()
        for n in range(60_000):
            it.callbacks.came(f"{n:032x}")
        assert tracemalloc.get_traced_memory()[0] < 6 << 20
        tracemalloc.stop()

    it.run(noise)
    assert it.statuses() == [DONE]


def test_a_false_call_only_costs_a_read(tmp_path: Path) -> None:
    """Who knows an address cannot end a task: it is read, still works, and completes in its time."""
    provider = Calling(latency_s=50.0)
    it = night(tmp_path, provider, 3)

    async def lie(engine: Run, stop: Stop) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(it.beside, engine, stop)
            await anyio.sleep(10.0)
            assert it.callbacks is not None
            for task in provider.tasks.values():
                it.callbacks.came(callback_token(task.key))

    it.run(lie)
    assert it.statuses() == [DONE] * 3
    assert set(provider.paid().values()) == {1}


def test_tasks_of_an_earlier_run_say_nothing_about_callbacks(tmp_path: Path) -> None:
    """Their calls came when nobody listened: the new tasks of this run are waited for with the same trust."""
    provider = Calling(latency_s=40.0)
    it = night(tmp_path, provider, 6)

    async def kill(engine: Run, stop: Stop) -> None:
        await anyio.sleep(10.0)
        engine.stop_now()

    it.run(kill)
    for task in provider.tasks.values():
        task.done_at = 0.0
    it.prompts = PROMPTS[:20]
    provider.asked.clear()
    it.run(it.beside)
    assert it.statuses() == [DONE] * 20
    assert not [text for text in it.said if "no callbacks" in text]
    assert all(len(times) == 1 for times in provider.asked.values())


def test_an_image_that_fails_is_no_missing_callback(tmp_path: Path) -> None:
    """One image needs four tries; each reads its task anew, and none of that is about callbacks."""
    provider = Calling(latency_s=100.0, times=lambda number: int(number != 1))
    tries: list[int] = []

    def flaky(n: int, task: FakeTask) -> LinkFailed | None:
        if task.id == "task-1" and len(tries) < 4:
            tries.append(n)
            return LinkFailed("timeout")
        return None

    provider.on_link = flaky
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run(it.beside)
    assert it.statuses() == [DONE] * 2
    assert len(tries) == 4
    assert not [text for text in it.said if "no callbacks" in text]


def test_the_safety_net_is_slow_and_finds_everything(tmp_path: Path) -> None:
    """A task of ten minutes is read about once a minute while callbacks are trusted."""
    provider = Calling(latency_s=600.0, times=lambda number: 0)
    it = night(tmp_path, provider, 1)
    it.run(it.beside)
    assert it.statuses() == [DONE]
    assert 8 <= len(provider.asked["task-0"]) <= 12


def test_a_hinted_task_that_is_gone_is_still_not_paid_again(tmp_path: Path) -> None:
    """Called, read, unknown to the provider: set aside like any other."""
    provider = Calling(latency_s=20.0)
    provider.on_read = lambda n, task: working("another") if n < 2 else None
    it = night(tmp_path, provider, 3)
    it.run(it.beside)
    assert it.statuses() == [DONE] * 3
    assert set(provider.paid().values()) == {1}
