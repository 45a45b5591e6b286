"""What one run consists of, handed to every stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from nanobanana_batch.engine.journal import Blocking, Journal
from nanobanana_batch.engine.pace import Gate, Outage
from nanobanana_batch.engine.space import Space
from nanobanana_batch.engine.work import FirstLook, Slots, Stop, Tally
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.providers.base import Provider
from nanobanana_batch.state.facts import Phase
from nanobanana_batch.state.store import Store


class OnUnknown(StrEnum):
    """What to do with a request that may have been paid and cannot be matched with a task."""

    HOLD = "hold"
    RESUBMIT = "resubmit"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run behaves; times in seconds."""

    concurrency: int = 64
    """Tasks in flight."""
    submit_concurrency: int = 8
    """Paid requests on the wire."""
    download_concurrency: int = 16
    read_concurrency: int = 4
    on_unknown: OnUnknown = OnUnknown.HOLD
    limit: int | None = None
    """Only the first so many rows of the manifest."""
    new_rows: bool = True
    """Whether rows that were never sent are sent."""
    retried: frozenset[Phase] = frozenset()
    """Rows whose latest attempt ended so are paid for once more."""
    max_outage_s: float = 8 * 3600.0
    first_contact_s: float = 60.0
    """How long to try a provider that has never answered in this run."""
    paid_grace_s: float = 90.0
    """Bound on sending one paid request and recording its answer."""
    hard_stop_grace_s: float = 3.0
    """What is left of that when a person asks a second time to stop."""
    resolve_tries: int = 6
    read_tries: int = 3
    """Reads in a row that say "no such task", or fail while stopping, before a task is set aside."""
    download_tries: int = 8
    """Downloads in a row that fail before a task is set aside."""
    gone_tries: int = 6
    """How often the image has to be said to be gone before that is believed."""
    stuck_after_s: float = 1800.0
    """A task that works longer gives its slot back and is looked at now and then."""
    revisit_s: float = 600.0
    """How often what was set aside is looked at."""

    def rows_to_send(self) -> list[tuple[frozenset[Phase], bool]]:
        """Which rows are paid for, in turn: (phases of the latest attempt, only if there was one before).

        The empty set stands for rows that were never sent. A retry that could not be sent is still
        that retry; a row that was never sent at all is not made by one.
        """
        not_sent = frozenset({Phase.NOT_SENT})
        if self.new_rows:
            return [(not_sent, False), (frozenset(), False)]
        return [(self.retried, False), (not_sent, True)] if self.retried else []


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of one run."""

    settings: Settings
    provider: Provider
    store: Store
    journal: Journal
    disk: Disk
    folder: Path
    space: Space
    blocking: Blocking
    slots: Slots
    stop: Stop
    gate: Gate
    outage: Outage
    tally: Tally
    first_look: FirstLook
    arriving: set[str]
    """Task ids whose acceptance is just being written down."""
    now: Callable[[], float]
    """Unix seconds, only written down and compared with the provider's times; nothing waits by it."""
