"""What the driver, the shards and the limiter tell each other; plain values, since they go over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.jobs.order import Order
from nanobanana_batch.jobs.outcome import Outcome
from nanobanana_batch.jobs.procs.counts import Counts


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
    program: str = ""
    """Which program the driver is, to the letter; empty: any will do."""
    files: Mapping[str, str] = field(default_factory=dict)
    """What the manifest was made from where the driver is: paths, and the SHA-256 of what is in them."""

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
    """How a shard ended: with an outcome, or refused."""

    number: int
    folder: Path
    outcome: Outcome | None = None
    refused: Refused | None = None
    node: str = ""
    """Ray's name of the one where its folder is; empty: not known."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the limiter knows. `incarnation`: another one for each process that it is in."""

    incarnation: str
    counts: Mapping[int, Counts] = field(default_factory=dict)
    """By the number of the shard."""
    said: tuple[tuple[int, str], ...] = ()
    """What shards have said since the look before, by their numbers."""
    has_key: bool = False
    leases: Mapping[int, float] = field(default_factory=dict)
    """Credits that each shard has paid or may pay."""
