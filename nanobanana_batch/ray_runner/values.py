"""What the driver, the shards and the limiter tell each other; plain values, since they go over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.jobs.order import Order
from nanobanana_batch.jobs.outcome import Outcome

SUMMED = (
    "total",
    "completed",
    "failed",
    "refused",
    "expired",
    "unknown",
    "in_flight",
    "in_flight_allowed",
    "images",
    "credits",
)
"""What of a shard's `Tally` adds up over all of them."""
Counts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one shard is to do. No key of an account is in it: the limiter hands that out."""

    order: Order
    settings: Settings
    pilot: int | None
    key_variable: str
    """Of the environment, from which the provider's key is read; empty: it needs none."""
    bring_to: str | None
    """Where the folder goes when the shard ends."""

    @property
    def number(self) -> int:
        """Of the shard."""
        assert self.order.shard is not None
        return self.order.shard.number


@dataclass(frozen=True, slots=True)
class Refused:
    """An error of ours that ended a shard, as the driver raises it again."""

    kind: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How a shard ended; one of the two."""

    number: int
    folder: Path
    outcome: Outcome | None = None
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What the limiter knows. `incarnation`: another one for each process that it is in."""

    incarnation: str
    counts: Mapping[int, Counts] = field(default_factory=dict)
    """By the number of the shard."""
    said: tuple[str, ...] = ()
    """What shards have said since the look before."""
    has_key: bool = False
    leases: Mapping[int, float] = field(default_factory=dict)
    """Credits that each shard has paid or may pay."""


def counts_of(tally: Tally) -> dict[str, float]:
    """What is told of a shard."""
    return {name: getattr(tally, name) for name in SUMMED}


def add_up(tally: Tally, counts: Mapping[int, Counts]) -> None:
    """Show all shards as one run."""
    for name in SUMMED:
        total = sum(each[name] for each in counts.values())
        setattr(tally, name, total if name == "credits" else int(total))
