"""Several real engines in one virtual time, each with a folder and a state of its own, at one account.

Real: everything of `engine/` and `state/`. Not real: the wire (a provider in memory, whose replies go through
the real parser), the sync of the disk, and processes: all of them take turns in one loop, whose clock jumps.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import trio.testing

from benchmarks.account import Account, Terms, Verdict
from nanobanana_batch.engine.assembly import Parts, shared
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import AccountRead, NotSent, SubmitOutcome, TasksRead
from nanobanana_batch.providers.tasks.replies import read_submit_reply
from nanobanana_batch.sharing.coordinator import Coordinator
from nanobanana_batch.sharing.values import Grant, Limits, Report
from nanobanana_batch.state.store import Store
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import Night
from tests.unit.wire import Task, slow

_NOBODY = "connection refused"


class Unsynced(Disk):
    """Power does not fail in virtual time."""

    def sync(self, fd: int) -> None:
        """Nothing."""

    def sync_folder(self, path: Path) -> None:
        """Nothing."""


@dataclass
class AtAccount(FakeProvider):
    """One worker's way to the account."""

    of: Account = field(default_factory=lambda: Account(Terms(60.0)))
    dice: random.Random = field(default_factory=random.Random)
    _known: set[str] = field(default_factory=set)

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        """See `base.Provider`."""
        await anyio.sleep(self.of.terms.wire_s)
        match self.of.ask(anyio.current_time()):
            case Verdict.DOWN:
                return NotSent(_NOBODY)
            case Verdict.TURNED_AWAY:
                return read_submit_reply(slow(self.of.terms.asks_s or None))
            case Verdict.TAKEN:
                task = self.make(body, idempotency_key)
                return read_submit_reply(self.made(task, is_replay=False))

    def make(self, body: bytes, key: str) -> FakeTask:
        """A task that takes a time of its own."""
        now, number = anyio.current_time(), len(self.tasks)
        ends = now + self.of.terms.draw_task_s(self.dice)
        task = FakeTask(f"task-{number}", body, key, "model-a", now, ends)
        self.tasks[task.id] = task
        return task

    async def read_many(self, task_ids: Sequence[str]) -> TasksRead:  # type: ignore[override]
        """See `base.Provider`."""
        if self.of.read(anyio.current_time()):
            return await super().read_many(task_ids)
        await anyio.sleep(0.05)
        return TasksRead(failure=_NOBODY)

    async def read_account(self) -> AccountRead:
        """See `base.Provider`."""
        if self.of.probe(anyio.current_time()):
            return await super().read_account()
        return AccountRead(is_up=False, failure=_NOBODY)

    def _told(self, task: FakeTask) -> Task:
        now = anyio.current_time()
        down_at, up_at = self.of.terms.outage
        if now >= task.done_at and task.id not in self._known:
            self._known.add(task.id)
            if not (task.created <= up_at and down_at <= now):
                self.of.lags_s.append(now - task.done_at)
        return super()._told(task)


@dataclass(frozen=True)
class Ran:
    """How all workers together went."""

    took_s: float
    """Virtual seconds, from the start of the first until the end of the last."""
    cpu_s: float
    account: Account
    completed: int


@dataclass
class Worker(Night):
    """A night that begins at a time of its own, and may share limits with others."""

    starts_at: float = 0.0
    ended_at: float = 0.0
    link: Near | None = None
    joined: Parts | None = None

    async def work(self) -> None:
        """From its start to its end."""
        await anyio.sleep(self.starts_at)
        self.folder.joinpath("images").mkdir(parents=True)
        await self.go(None if self.link is None else self._obey)
        self.ended_at = anyio.current_time()

    def parts(self, store: Store) -> Parts:
        """See `Night`."""
        self.joined = super().parts(store)
        return self.joined

    async def _obey(self, engine: Run, stop: Stop) -> None:
        assert self.joined is not None
        assert self.link is not None
        await shared(self.joined, self.link, None).obey()


@dataclass
class Near:
    """A way to a coordinator in the same process, which answers at once."""

    coordinator: Coordinator
    shard: int

    async def exchange(self, report: Report) -> Grant:
        """See `sharing.link.Link`."""
        return self.coordinator.exchange(report, anyio.current_time())


def run(
    folder: Path,
    account: Account,
    rows: Sequence[int],
    starts_at: Sequence[float],
    settings: Settings,
    limits: Limits | None = None,
) -> Ran:
    """Workers with so many rows each, all to their end; `limits`: what a coordinator shares among them.

    Raises:
        RuntimeError: a row was not completed.
    """
    coordinator = None if limits is None else Coordinator(limits)
    workers = [
        Worker(
            folder / f"worker-{number}",
            AtAccount(of=account, dice=random.Random(number), latency_s=account.terms.task_s),
            [f"worker {number}, picture {n}" for n in range(count)],
            settings,
            Unsynced(),
            starts_at=start,
            link=None if coordinator is None else Near(coordinator, number),
        )
        for number, (count, start) in enumerate(zip(rows, starts_at, strict=True))
    ]

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for worker in workers:
                group.start_soon(worker.work)

    began = time.process_time()
    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(all_of_them, backend="trio", backend_options={"clock": clock})
    cpu_s = time.process_time() - began
    completed = sum(worker.statuses().count(RowStatus.COMPLETED) for worker in workers)
    if completed != sum(rows) or account.taken != completed:
        raise RuntimeError(f"{completed} of {sum(rows)} rows completed, {account.taken} tasks made")
    return Ran(max(worker.ended_at for worker in workers), cpu_s, account, completed)
