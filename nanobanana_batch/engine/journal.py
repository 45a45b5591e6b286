"""A fact is on disk before anyone acts on it; facts that come together share one commit.

While one commit is being synced the next facts gather, so the disk sets the size of the groups.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Protocol, TypeVar

import anyio

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.files.log import Log
from nanobanana_batch.state.facts import Accepted, Fact, Saved
from nanobanana_batch.state.store import Store

T = TypeVar("T")

_SNAKE = re.compile(r"(?<!^)(?=[A-Z])")
_NOT_LOGGED = frozenset({"body", "links", "url", "fingerprint", "account", "provider", "at"})
"""Prompts and addresses are private; the rest is in the state, or said by the line itself."""


def log_fact(log: Log, fact: Fact) -> None:
    """One line of the run's log for a fact."""
    fields = {name: getattr(fact, name) for name in fact.__slots__ if name not in _NOT_LOGGED}
    fields = {name: value for name, value in fields.items() if value not in (None, "", (), False)}
    if isinstance(fact, Saved):
        fields["image"] = fact.image.path
    if isinstance(fact, Accepted):
        del fields["task"]
        told = {name: getattr(fact.task, name) for name in fact.task.__slots__}
        fields |= {name: value for name, value in told.items() if value not in (None, "", False)}
    log(_event_of(type(fact).__name__), **fields)


@cache
def _event_of(name: str) -> str:
    return _SNAKE.sub("_", name).lower()


class Blocking(Protocol):
    """Runs a blocking call without holding up the event loop."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        """The call's result; an exception of the call is raised here."""


async def in_place(call: Callable[[], T]) -> T:
    """`Blocking` for tests in virtual time, where a thread would let the clock run away."""
    return call()


class _Entry:
    __slots__ = ("done", "error", "facts")

    def __init__(self, facts: tuple[Fact, ...]) -> None:
        self.facts = facts
        self.done = anyio.Event()
        self.error: Exception | None = None


class Journal:
    """The engine's way to the store; `run` has to be running while `record` is awaited.

    Each of `after` is told every fact, in order, once it is on disk and before anyone acts on it.
    """

    def __init__(
        self, store: Store, blocking: Blocking, after: Sequence[Callable[[Fact], None]] = ()
    ) -> None:
        self.arriving: set[str] = set()
        """Task ids whose acceptance is just being written down."""
        self._store = store
        self._after = after
        self._blocking = blocking
        self._waiting: list[_Entry] = []
        self._wake = anyio.Event()
        self._closed = False
        self._failure: Exception | None = None
        self._failed = anyio.Event()

    async def record(self, *facts: Fact) -> None:
        """Return when the facts survive power loss.

        Raises:
            StateFailed: they could not be written; the whole run stops.
        """
        if self._failure is not None:
            raise self._failure
        entry = _Entry(facts)
        self._waiting.append(entry)
        self._wake.set()
        await entry.done.wait()
        if entry.error is not None:
            raise entry.error

    async def pause(self, seconds: float) -> None:
        """Sleep, as long as facts can be written.

        Raises:
            StateFailed: they cannot any more, or could not before; the whole run stops.
        """
        with anyio.move_on_after(seconds):
            await self._failed.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Let `run` end once everything that was handed in is written."""
        self._closed = True
        self._wake.set()

    async def run(self) -> None:
        """Write what comes in until `close`."""
        try:
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._waiting:
                    await self._commit()
                if self._closed:
                    return
        except BaseException as error:  # also where it is torn down: who cannot be cancelled waits for it
            self._fail(error)
            raise

    async def _commit(self) -> None:
        batch, self._waiting = self._waiting, []
        facts = [fact for entry in batch for fact in entry.facts]
        try:
            await self._blocking(lambda: self._store.apply(facts))
        except BaseException:
            self._waiting = [*batch, *self._waiting]
            raise
        for fact in facts:
            for tell in self._after:
                tell(fact)
        for entry in batch:
            entry.done.set()

    def _fail(self, error: BaseException) -> None:
        """Nothing is written any more."""
        if not isinstance(error, Exception):
            error = StateFailed("The state is not written any more.")
        self._failure = error
        self._failed.set()
        for entry in self._waiting:
            entry.error = self._failure
            entry.done.set()
