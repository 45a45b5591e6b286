"""Several runs that share limits while anything happens to them: whole engines, seeded, in virtual time.

Shards are killed and come back, who shares the limits dies and is started again on a machine with another
clock, the way to it is cut, or its answers come a minute late, as for a process that was stopped. Whatever
happens, all of them together send no more in any minute than a person allows, and no row is paid twice.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
import trio.testing

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.jobs.procs.counts import counts_of
from nanobanana_batch.ray_runner.limiter import Limiter
from nanobanana_batch.sharing.link import LinkLost
from nanobanana_batch.sharing.values import Grant, Limits, Report
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.store import Store
from tests.unit.night import Night
from tests.unit.test_engine_shared import Busy, completed, go

SHARDS, ROWS, PER_MIN = 3, 60, 40
TROUBLED_S = 240.0
HOUR_S = 3600.0
CALM = counts_of(Tally())


@dataclass
class Process:
    """One that works on a shard: its way to who shares the limits, and its end."""

    world: World
    shard: int
    is_dead: bool = False
    """It says nothing any more, and ends before it writes anything down."""
    life: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def exchange(self, report: Report) -> Grant:
        """Over a wire that may be cut."""
        world = self.world
        await anyio.sleep(world.dice.uniform(0.0, 0.3))
        if self.is_dead or anyio.current_time() < max(world.cut_until_s[self.shard], world.down_until_s):
            await anyio.sleep(world.dice.choice((0.0, 10.0)))
            raise LinkLost("out of reach")
        grant = world.limiter.exchange(report.as_json(), CALM, [])
        await anyio.sleep(world.late_s.pop(self.shard, 0.0))
        if world.dice.random() < 0.05:
            raise LinkLost("the answer was lost")
        return Grant.from_json(grant)

    def store(self, path: Path) -> Store:
        """Of its folder, as long as it lives."""
        process = self

        class Mortal(Store):
            def apply(self, batch: Sequence[Fact]) -> None:
                if process.is_dead:
                    raise KeyboardInterrupt
                super().apply(batch)

        return Mortal(path)


@dataclass
class World:
    """All shards, who shares the limits among them, and what happens; made on a clock that runs."""

    folder: Path
    dice: random.Random
    shop: Busy = field(default_factory=Busy)
    down_until_s: float = 0.0
    cut_until_s: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    late_s: dict[int, float] = field(default_factory=dict)
    """How much later a shard's next answer comes."""
    began_at: list[float] = field(default_factory=list)
    """When processes of shards did."""

    def __post_init__(self) -> None:
        self.limiter = self._limiter(is_restarted=False)
        self.nights = [self._night(number) for number in range(SHARDS)]
        self.processes = [Process(self, number) for number in range(SHARDS)]

    def _limiter(self, *, is_restarted: bool) -> Limiter:
        ahead_s = self._hours()
        limits = Limits(SHARDS, 60, PER_MIN)
        return Limiter(limits, is_restarted=is_restarted, now=lambda: anyio.current_time() + ahead_s)

    def _hours(self) -> float:
        return self.dice.uniform(-9.0, 9.0) * HOUR_S

    def _night(self, number: int) -> Night:
        prompts = [f"shard {number}: picture {n}" for n in range(ROWS)]
        how = Settings(concurrency=60, submits_per_min=PER_MIN)
        it, ahead_s = Night(self.folder / str(number), self.shop, prompts, how), self._hours()
        it.now = lambda: anyio.current_time() + 9 * HOUR_S + ahead_s
        return it

    async def work_on(self, number: int) -> None:
        """A process after the other, until the shard's run ends by itself."""
        while True:
            process = self.processes[number] = Process(self, number)
            self.nights[number].make_store = process.store
            self.began_at.append(anyio.current_time())
            with process.life, suppress(KeyboardInterrupt, BaseExceptionGroup):
                await go(self.nights[number], process)
            if not process.is_dead:
                return
            await anyio.sleep(self.dice.choice((0.0, 5.0, 60.0)))

    async def trouble(self) -> None:
        """For some minutes; then all is well."""
        while anyio.current_time() < TROUBLED_S:
            await anyio.sleep(self.dice.uniform(2.0, 25.0))
            shard, now = self.dice.randrange(SHARDS), anyio.current_time()
            match self.dice.randrange(4):
                case 0:
                    self.processes[shard].is_dead = True
                    self.processes[shard].life.cancel()
                case 1:
                    self.limiter = self._limiter(is_restarted=True)
                    self.down_until_s = now + self.dice.uniform(0.0, 10.0)
                case 2:
                    self.cut_until_s[shard] = now + self.dice.uniform(5.0, 90.0)
                case 3:
                    self.late_s[shard] = self.dice.uniform(25.0, 70.0)

    def in_any_minute(self) -> int:
        """Requests that were taken in the worst one; the first of each process waits for none."""
        first, sent = sorted(self.began_at), sorted(self.shop.sent_at)

        def within(times: list[float], since: float) -> int:
            return sum(since <= at < since + 60.0 for at in times)

        return max(within(sent, since) - within(first, since) for since in sent)


async def lived_through(folder: Path, seed: int) -> World:
    """All that happens, to its end."""
    world = World(folder, random.Random(seed))
    async with anyio.create_task_group() as group:
        group.start_soon(world.trouble)
        for number in range(SHARDS):
            group.start_soon(world.work_on, number)
    return world


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_all_together_keep_the_limit_and_no_row_is_paid_twice(
    tmp_path: Path, seed: int
) -> None:
    """In any minute no more than is allowed, but one that each shard is ahead."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    how = {"backend": "trio", "backend_options": {"clock": clock}}
    world = anyio.run(lived_through, tmp_path, seed, **how)  # type: ignore[arg-type]
    assert completed(world.nights) == SHARDS * ROWS
    assert set(world.shop.paid().values()) == {1}
    assert world.in_any_minute() <= PER_MIN + SHARDS
