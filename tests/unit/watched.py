"""Providers that know when they were asked what, and some that answer slowly, or always the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from nanobanana_batch.providers.base import (
    AccountRead,
    Body,
    Capabilities,
    KeyAnswer,
    KeyMemory,
    KeyQuestion,
    Listing,
    NotSent,
    SubmitOutcome,
    TasksRead,
    Unknown,
)
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.tasks.replies import read_submit_reply
from tests.unit.fake_provider import FakeProvider, Turn
from tests.unit.night import NEVER_S


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


@dataclass
class Stubborn(FakeProvider):
    """Has one answer to some bodies."""

    always: dict[bytes, Reply] = field(default_factory=dict)

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        always = self.always.get(body)
        return read_submit_reply(always) if always else await super().submit(body, idempotency_key)
