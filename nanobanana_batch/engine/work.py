"""What the stages share: the attempts in flight, what people see of them, and the wish to stop."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields

import anyio

from nanobanana_batch.files.log import NO_LOG, Log
from nanobanana_batch.state.lifecycle import UNANSWERED, Phase
from nanobanana_batch.state.open_attempts import OpenAttempt, OwedImage
from nanobanana_batch.state.scope import Scope


@dataclass(slots=True, kw_only=True)
class Work(OpenAttempt):
    """One attempt on its way; holds a slot from before its submit until it is terminal or set aside."""

    others: list[Work] = field(default_factory=list)
    """The other rows of a job, until its results are there."""
    posted_at: float = 0.0
    """Loop time of its latest sending in this run; 0: none."""
    lost_at: float = 0.0
    """Loop time at which it was clear that this sending has no answer; 0: in an earlier run."""
    is_wanted: bool = True
    """Its row is in the manifest, and one of those that this run is about: it may be sent again."""
    has_left: bool = False
    """Its row has left the manifest: nothing is ever sent for it again but what is free."""
    is_heard: bool = False
    """All that is free was asked about it, and answered."""
    is_shown: bool = False
    """Its task was read in this run, and has shown all of its links."""
    is_forgotten: bool = False
    """The provider says that it does not know its task."""
    is_intended: bool = False
    """Its intent is on disk, or just being written."""
    is_doubtful: bool = False
    """An earlier sending of it may have been paid: no later answer can say that nothing was."""
    is_remembered: bool = False
    """The provider answers a repeat of it with the first task: sent again, it is the same payment."""
    credits_used: float = 0.0
    """As the report of a job says, until its results are there; 0: it does not."""
    answer_at: int = 0
    """Where in the file of its request's results its own begins."""
    was_gone: bool = False
    """That file was deleted by somebody, and is to be had again."""
    dead_links: frozenset[str] = field(default_factory=frozenset)
    """Links of which their host said that they are gone, when their life was over."""
    has_slot: bool = True
    """Not while it is set aside, and looked at now and then."""
    is_old: bool = False
    """It was sent by an earlier run."""
    is_expired: bool = False
    """An earlier run had to leave it for good; it is tried once more."""
    look: int = 0
    """Number of its turn among those that wait to be read; 0: it does not wait."""
    hinted: bool = False
    """A callback came for it."""
    called_at: float = 0.0
    """Loop time at which the first one came that no read has belied; 0: none."""
    read_at: float = -math.inf
    """Loop time at which it was last asked about."""
    worked_at: float = -math.inf
    """The same of the last time that it was still working."""
    has_ended: bool = False
    """A read has shown its end."""
    is_reported: bool = False
    """A person was told that it seems stuck."""
    since: float = 0.0
    """Loop time at which waiting for it began."""
    failed_submits: int = 0
    again_after_s: float = 0.0
    """If its row may have another attempt: not before so long, as the provider asks."""
    failed_reads: int = 0
    failed_since_interrupt: int = 0
    """Reads, since a person asked to stop."""
    unclear_reads: int = 0
    unclear_since: float = 0.0
    """Loop time of the first of these."""
    failed_downloads: int = 0
    """In a row, each."""

    @property
    def members(self) -> list[Work]:
        """All rows of the request."""
        return [self, *self.others]

    @property
    def owed_images(self) -> list[OwedImage]:
        """Those that are not saved yet."""
        return [image for image in self.images if not image.is_saved]

    @property
    def dies_at(self) -> float:
        """Unix seconds at which the first link of these ends; 0: none is known."""
        return min((image.dies_at for image in self.owed_images), default=0.0)


def resumed(known: OpenAttempt, scope: Scope) -> Work:
    """An attempt of an earlier run, as the state knows it."""
    return Work(
        **{each.name: getattr(known, each.name) for each in fields(known)},
        is_wanted=scope.holds(known.position),
        has_left=known.position is None,
        is_intended=True,
        is_old=True,
        is_expired=known.phase is Phase.EXPIRED,
        is_doubtful=known.phase in UNANSWERED,
        since=anyio.current_time(),
    )


@dataclass(frozen=True, slots=True)
class Onward:
    """Whom a request goes on to that has an answer."""

    accepted: Callable[[Work], None]
    """What it asked for is being made."""
    answered: Callable[[Work], None]
    """What came of it is in a file of the folder."""


class Stop:
    """The wish to stop submitting: the first reason given counts. `interrupted`: a person asked for it.

    `needs_change`: another run stops as soon, until the person has done what the reason says. What is paid
    for is collected with all patience, unless a person interrupts, before or after: then it `is_hurried`.
    """

    def __init__(self, log: Log = NO_LOG, tell: Callable[[str], None] = lambda text: None) -> None:
        self.reason = ""
        self.interrupted = False
        self.needs_change = False
        self.is_hurried = False
        self._log = log
        self._tell = tell
        self._asked = anyio.Event()
        self._hurry = anyio.Event()

    @property
    def asked(self) -> bool:
        """Whether submitting has to stop."""
        return self._asked.is_set()

    def ask(self, reason: str, *, interrupted: bool = False, needs_change: bool = False) -> None:
        """Stop submitting; what is paid for is still collected."""
        if interrupted:
            self.is_hurried = True
            self._hurry.set()
        if not self.asked:
            self.reason, self.interrupted, self.needs_change = reason, interrupted, needs_change
            self._asked.set()
            self._log("stop", reason=reason, interrupted=interrupted)
            if not interrupted:
                # The whole reason is told at the end, which may come at once.
                self._tell(f"{_beginning(reason)}; what is paid for is being collected.")

    async def sleep(self, seconds: float) -> None:
        """Sleep for so many seconds, but no longer than until someone asks to stop."""
        with anyio.move_on_after(seconds):
            await self._asked.wait()

    async def hurried(self) -> None:
        """Return when a person interrupts."""
        await self._hurry.wait()

    async def unless_hurried(self, wait: Callable[[], Awaitable[object]]) -> None:
        """Wait for something, but no longer than until a person interrupts."""
        await no_longer_than(self._hurry, wait)


async def no_longer_than(event: anyio.Event, wait: Callable[[], Awaitable[object]]) -> bool:
    """Wait for something, but no longer than until an event; says whether that came."""
    has_come = False
    async with anyio.create_task_group() as both:

        async def watch() -> None:
            nonlocal has_come
            await event.wait()
            has_come = True
            both.cancel_scope.cancel()

        both.start_soon(watch)
        await wait()
        both.cancel_scope.cancel()
    return has_come


def _beginning(reason: str) -> str:
    """What happened, without the particulars and what to do about it."""
    return re.split(r" \(|[:;.](?:\s|$)", reason, maxsplit=1)[0]


class FirstLook:
    """Holds new submits back until each attempt of the earlier run was looked at once."""

    def __init__(self) -> None:
        self._left: set[int] = set()
        """Of those that are taken up so far."""
        self._done = anyio.Event()

    def expect(self, work: Work) -> None:
        """This attempt is being taken up."""
        self._left.add(work.attempt)

    def at(self, work: Work) -> None:
        """This attempt was looked at."""
        self._left.difference_update(member.attempt for member in work.members)
        if not self._left:
            self._done.set()

    async def finished(self) -> None:
        """Return when all that are taken up were: call it when no more of them come."""
        while self._left:
            self._done = anyio.Event()
            await self._done.wait()
