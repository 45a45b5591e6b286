"""What went to a provider under another name, or with another key: whether it is this provider's now.

The same account under another name is the same provider, and a request there stays what it is. Where that
is beyond doubt it moves by itself: its task can be read here, or its host is this one. Else a person says so,
and what went to another account is then given up, and its row paid for here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from pathlib import Path

from nanobanana_batch.engine.parts import Record, Wire
from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.engine.spent import Spent
from nanobanana_batch.files.answers import answer_of
from nanobanana_batch.model import Kind
from nanobanana_batch.provider_names import LOOPBACK
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
    """Before anything is looked up; what is not moved here cannot be read, or repeated."""
    offered = wire.provider.capabilities
    found = list(elsewhere(record.store, offered.name, offered.account, settings))
    asked = [known.task_id for known, fate in found if fate in _READ]
    readable, absent = await _read(wire, asked)
    for known, fate in found:
        if known.kind is not Kind.TASK and answer_of(folder, known.idempotency_key):
            continue  # its images are here, and not yet written down
        if fate is Fate.MOVES or known.task_id in readable:
            await record.journal.record(facts.Moved(known.request, offered.name, offered.account))
        elif fate is Fate.IS_GIVEN_UP or (fate is Fate.MOVES_OR_IS_GIVEN_UP and known.task_id in absent):
            spent.resume(known)
            await record.journal.record(facts.GivenUp(known.attempt, record.now()))
        else:
            continue
        record.log("taken_over", id=known.id, provider=known.provider, fate=fate.name.lower())


async def _read(wire: Wire, task_ids: Sequence[str]) -> tuple[set[str], set[str]]:
    """Those that can be read here, and those that the provider says it does not know; the others stay.

    They wait for nobody who waits to pay for something new: what is paid for is collected after this. Whoever
    is asked to wait asks no more here.
    """
    readable, absent = set[str](), set[str]()
    at_once = wire.provider.capabilities.read_at_once
    for begin in range(0, len(task_ids), at_once):
        if wire.stop.asked:
            break
        read = await wire.provider.read_many(task_ids[begin : begin + at_once])
        readable |= read.reports.keys()
        absent |= read.absent
        wire.gate.hold_briefly(read.retry_after_s or 0.0)
        if read.failure:
            break  # nothing is lost by it: the next run asks again
    return readable, absent


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
    found = [known for phase in sorted(OPEN) for known in store.open_attempts(phase)]
    has_own = any(known.provider == provider and known.phase in spoken_of for known in found)
    for known in found:
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
