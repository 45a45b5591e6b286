"""What the stages share: the attempts in flight, the count of slots, and the wish to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from nanobanana_batch.state.facts import Phase
from nanobanana_batch.state.store import OpenAttempt


@dataclass(slots=True)
class Work:
    """One attempt on its way; holds a slot from before its submit until it is terminal or set aside."""

    attempt: int
    id: str
    model: str
    stem: str
    body: bytes
    idempotency_key: str
    account: str
    intended_at: float
    is_wanted: bool = True
    """Its row is in the manifest (and within --limit): it may be sent again."""
    is_doubtful: bool = False
    """An earlier sending of it may have been paid: no later answer can say that nothing was."""
    task_id: str = ""
    estimated_s: float | None = None
    accepted_at: float = 0.0
    """Unix seconds; only to say when links will die."""
    links: tuple[str, ...] = ()
    dies_at: float = 0.0
    credits_used: float = 0.0
    dead_links: frozenset[str] = field(default_factory=frozenset)
    """Links of which their host said that they are gone."""
    gone: int = 0
    """How often its image was said to be gone: a dead link, or no link at all."""
    since: float = 0.0
    """Loop time at which waiting for it began."""
    failed_submits: int = 0
    failed_reads: int = 0
    failed_downloads: int = 0
    """In a row, each."""


def resumed(known: OpenAttempt, limit: int | None) -> Work:
    """An attempt of an earlier run, as the state knows it."""
    return Work(
        attempt=known.attempt,
        id=known.id,
        model=known.model,
        stem=known.stem,
        body=known.body,
        idempotency_key=known.idempotency_key,
        account=known.account,
        intended_at=known.intended_at,
        is_wanted=known.position is not None and (limit is None or known.position < limit),
        is_doubtful=known.phase in (Phase.INTENT, Phase.UNKNOWN),
        task_id=known.task_id or "",
        estimated_s=known.estimated_s,
        accepted_at=known.accepted_at or known.intended_at,
        links=known.links,
        dies_at=known.dies_at or 0.0,
        since=anyio.current_time(),
    )


@dataclass(slots=True)
class Tally:
    """Counts of one run for people to watch; the truth is in the state."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    unknown: int = 0
    in_flight: int = 0
    credits: float = 0.0
    changed: Callable[[], None] = lambda: None
    announce: Callable[[str], None] = lambda text: None
    """Says something to the person, on a line of its own."""
    _trouble: str = ""

    def trouble(self, text: str) -> None:
        """Something is holding the run up; said once until all is well again."""
        if not self._trouble:
            self.announce(text)
        self._trouble = text

    def all_well(self) -> None:
        """The provider works: nothing is holding the run up."""
        self._trouble = ""


class Slots:
    """The bounded semaphore: how many tasks may be in flight."""

    def __init__(self, count: int, tally: Tally) -> None:
        self._free = anyio.Semaphore(count)
        self._tally = tally
        self._taken = 0
        self._empty = anyio.Event()

    async def take(self) -> None:
        """Wait for a free slot."""
        await self._free.acquire()
        self._taken += 1
        self._show()

    def give_back(self) -> None:
        """A task is terminal or set aside."""
        self._taken -= 1
        self._free.release()
        self._show()
        if not self._taken:
            self._empty.set()

    @property
    def taken(self) -> int:
        """How many are."""
        return self._taken

    @property
    def are_free(self) -> bool:
        """Whether nothing is in flight."""
        return not self._taken

    async def all_free(self) -> None:
        """Return when nothing is in flight."""
        while self._taken:
            self._empty = anyio.Event()
            await self._empty.wait()

    def _show(self) -> None:
        self._tally.in_flight = self._taken
        self._tally.changed()


class Stop:
    """The wish to stop submitting: the first reason given counts. `interrupted`: a person asked for it."""

    def __init__(self) -> None:
        self.reason = ""
        self.interrupted = False
        self._asked = anyio.Event()

    @property
    def asked(self) -> bool:
        """Whether submitting has to stop."""
        return self._asked.is_set()

    def ask(self, reason: str, *, interrupted: bool = False) -> None:
        """Stop submitting; what is paid for is still collected."""
        if not self.asked:
            self.reason, self.interrupted = reason, interrupted
            self._asked.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until someone asks to stop."""
        with anyio.move_on_after(seconds):
            await self._asked.wait()


class FirstLook:
    """Holds new submits back until each attempt of the earlier run was looked at once."""

    def __init__(self, attempts: set[int]) -> None:
        self._left = attempts
        self._done = anyio.Event()
        if not attempts:
            self._done.set()

    def at(self, work: Work) -> None:
        """This attempt was looked at."""
        self._left.discard(work.attempt)
        if not self._left:
            self._done.set()

    async def finished(self) -> None:
        """Return when all were."""
        await self._done.wait()
