"""What a run consists of, in values that say what they are; a stage is given those that it uses.

All of them together are put together in `assembly`, which no stage knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.engine.ages import Ages
from nanobanana_batch.engine.callbacks import Callbacks
from nanobanana_batch.engine.clock import Clock
from nanobanana_batch.engine.journal import Blocking, Journal
from nanobanana_batch.engine.limits.breaker import Breaker
from nanobanana_batch.engine.limits.budget import Budget
from nanobanana_batch.engine.limits.gate import SubmitGate
from nanobanana_batch.engine.limits.outcomes import Outcomes
from nanobanana_batch.engine.limits.pace import Outage, Rate, RetryBudget
from nanobanana_batch.engine.limits.paid_sections import PaidSections
from nanobanana_batch.engine.limits.retries import Retries
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.limits.space import Space
from nanobanana_batch.engine.limits.submit_pace import SubmitPace
from nanobanana_batch.engine.owed import Owed
from nanobanana_batch.engine.stems import Stems
from nanobanana_batch.engine.surviving import Surviving
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import FirstLook, Stop
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.log import Log
from nanobanana_batch.providers.base import Provider
from nanobanana_batch.state.store import Store


@dataclass(frozen=True, slots=True)
class Record:
    """What is known, and who is told: the state, the log and the person; and what time it is."""

    store: Store
    """To read; facts go by the journal."""
    journal: Journal
    surviving: Surviving
    """Of these facts, those that a place elsewhere knows."""
    blocking: Blocking
    tally: Tally
    log: Log
    clock: Clock
    ages: Ages

    def now(self) -> float:
        """Unix seconds, only written down and compared with the provider's times; nothing waits by it."""
        return self.clock.now()


@dataclass(frozen=True, slots=True)
class Wire:
    """The provider, and whether it may be asked for something just now."""

    provider: Provider
    callbacks: Callbacks | None
    stop: Stop
    gate: SubmitGate
    """Of new requests, as the provider asks."""
    breaker: Breaker
    outage: Outage


@dataclass(frozen=True, slots=True)
class Pacing:
    """How fast requests that may be paid go out, and how long each may be on the wire."""

    rate: Rate
    """Of new requests, as the person asks."""
    pace: SubmitPace
    """Of all of them, as the provider copes."""
    retry_budget: RetryBudget
    sections: PaidSections


@dataclass(frozen=True, slots=True)
class Spending:
    """Whether one more row may be paid for, and which rows wait for that."""

    slots: Slots
    budget: Budget
    space: Space
    retries: Retries


@dataclass(frozen=True, slots=True)
class Collecting:
    """What is paid for: how it ends, what cannot be had just now, and what its files are called."""

    owed: Owed
    outcomes: Outcomes
    first_look: FirstLook
    stems: Stems


@dataclass(frozen=True, slots=True)
class Files:
    """The output folder, and how it is written to."""

    folder: Path
    disk: Disk
