"""What went to a provider under another name, or with another key: whether it is this provider's now.

The same account under another name is the same provider, and a request there stays what it is. Where that
is beyond doubt it moves by itself: its task can be read here, or its host is this one. Else a person says so,
and what went to another account is then given up, and its row paid for here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from itertools import chain, islice
from pathlib import Path

from nanobanana_batch.engine.parts import Record, Wire
from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.engine.spent import Spent
from nanobanana_batch.files.answers import answer_of
from nanobanana_batch.model import Kind
from nanobanana_batch.provider_names import LOOPBACK
from nanobanana_batch.providers.base import Capabilities, TasksRead
from nanobanana_batch.state import facts
from nanobanana_batch.state.lifecycle import OPEN, RUNNING, UNANSWERED, Phase
from nanobanana_batch.state.open_attempts import OpenAttempt
from nanobanana_batch.state.store import Store


class Fate(Enum):
    """What becomes of an attempt that is not this provider's, by name or key."""

    MOVES = auto()
    MOVES_IF_READABLE = auto()
    MOVES_OR_IS_GIVEN_UP = auto()
    """Moves if it is readable, and is given up if the provider says that it does not know it."""
    IS_GIVEN_UP = auto()


_READ = frozenset({Fate.MOVES_IF_READABLE, Fate.MOVES_OR_IS_GIVEN_UP})


async def take_over(settings: Settings, wire: Wire, record: Record, folder: Path, spent: Spent) -> None:
    """Before anything is looked up; what is not moved here cannot be read, or repeated.

    A read's worth at a time. They wait for nobody who waits to pay for something new: what is paid for is
    collected after this. Whoever is asked to wait asks no more here.
    """
    offered = wire.provider.capabilities
    found = elsewhere(record.store, offered.name, offered.account, settings)
    failure = ""
    while some := list(islice(found, offered.read_at_once)):
        asked = [known.task_id for known, fate in some if fate in _READ]
        read = TasksRead()
        if asked and not failure and not wire.stop.asked:
            read = await wire.provider.read_many(asked)
            wire.gate.hold_briefly(read.retry_after_s or 0.0)
            failure = read.failure  # nothing is lost by it: the next run asks again
        ends = [
            (known, fate, end)
            for known, fate in some
            if (end := _end(record, folder, known, fate, read, offered)) is not None
        ]
        for known, _, end in ends:
            if isinstance(end, facts.GivenUp):
                spent.resume(known)
        if ends:
            await record.journal.record(*(end for _, _, end in ends))
        for known, fate, _ in ends:
            record.log("taken_over", id=known.id, provider=known.provider, fate=fate.name.lower())


def _end(
    record: Record, folder: Path, known: OpenAttempt, fate: Fate, read: TasksRead, offered: Capabilities
) -> facts.Moved | facts.GivenUp | None:
    """What is written down of an attempt; None: it stays where it is."""
    if known.kind is not Kind.TASK and answer_of(folder, known.idempotency_key):
        return None  # its images are here, and not yet written down
    if fate is Fate.MOVES or known.task_id in read.reports:
        return facts.Moved(known.request, offered.name, offered.account)
    is_unknown_here = fate is Fate.MOVES_OR_IS_GIVEN_UP and known.task_id in read.absent
    if fate is Fate.IS_GIVEN_UP or is_unknown_here:
        return facts.GivenUp(known.attempt, record.now())
    return None


def elsewhere(
    store: Store, provider: str, account: str, settings: Settings
) -> Iterator[tuple[OpenAttempt, Fate]]:
    """What is to be taken over, and how. Without an account (no key is known) nothing of others.

    By a person's word a provider's own are settled first: what another account has at another host is paid
    for again only by one that has nothing of its own to settle.
    """
    if not store.open_elsewhere(provider):
        return
    spoken_of = RUNNING if settings.gives_up else frozenset[Phase]()
    if settings.on_unknown is OnUnknown.RESUBMIT:
        spoken_of = UNANSWERED
    found = [store.open_attempts(phase) for phase in sorted(OPEN)]
    has_own = any(store.is_any_open(phase, provider, with_resting=True) for phase in spoken_of)
    for known in chain(*found):
        is_left = known.position is None and settings.gives_up_left
        is_spoken_of = known.phase in spoken_of and (is_left or settings.scope.holds(known.position))
        is_same_host = _is_same_host(known.provider, provider)
        is_its_turn = is_same_host or is_left or not has_own
        is_taken_over = is_spoken_of and settings.takes_over and is_its_turn
        if known.rests and not settings.asks_resting:
            continue
        if known.provider == provider:
            continue  # with another key it is sent again, if a person says so, as one that may be paid twice
        if known.account == account:
            if is_spoken_of or (known.phase in UNANSWERED and is_same_host):
                yield known, Fate.MOVES
            elif known.phase in RUNNING:
                yield known, Fate.MOVES_IF_READABLE
        elif account and known.phase in RUNNING and is_same_host:
            yield known, Fate.MOVES_OR_IS_GIVEN_UP if is_taken_over else Fate.MOVES_IF_READABLE
        elif account and is_taken_over:
            yield known, Fate.IS_GIVEN_UP


def _is_same_host(one: str, other: str) -> bool:
    """Of two names (profile and host); a provider without a host is known by its profile alone."""
    hosts = {name.partition("@")[2] for name in (one, other)}
    return "" not in hosts and (len(hosts) == 1 or hosts <= LOOPBACK)
