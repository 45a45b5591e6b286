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
    download_tries: int = 8
    absent_tries: int = 3

    def phases_to_send(self) -> frozenset[Phase] | None:
        """Which rows are paid for: none of these phases means new ones, None no rows at all."""
        return frozenset() if self.new_rows else (self.retried or None)


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
    now: Callable[[], float]
    """Unix seconds, only written down and compared with the provider's times; nothing waits by it."""
