"""What a shard says of itself, and what it may do until it asks the next time.

Plain values, so that they go over any wire. Credits are the person's unit, times are lengths in seconds.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Self

SILENT_S = 30.0
"""A shard that says nothing for so long is taken for dead."""

Prices = dict[str, float]
"""What a request costs, by its kind in a form that only shards understand."""


class _Told:
    """A value that another process is told as one line."""

    __slots__ = ()

    def as_json(self) -> str:
        """One JSON object, on one line."""
        return json.dumps(asdict(self), allow_nan=True)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What another one has told.

        Raises:
            ValueError: it is none.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            return cls(**found)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"{text[:80]!r} is no {cls.__name__}") from error


@dataclass(frozen=True, slots=True)
class Report(_Told):
    """How one shard stands, and what it could use."""

    shard: int
    """Its number."""
    incarnation: str
    """Another one for each process that works on the shard, also for one that was started again."""
    committed: float = 0.0
    """Credits that its folder has cost or may have cost, by all runs, from its state."""
    cap: float = 0.0
    """The credits that it obeys just now: the last that it was granted."""
    could_use: float = 0.0
    """Credits beyond `committed` that it could pay soon, had it leave to."""
    refundable: float = 0.0
    """Credits of `committed` that come back where tasks fail that run."""
    next_price: float | None = None
    """What its next request costs; None: nobody knows that yet."""
    is_first: bool = False
    """The next request, or one without an answer yet, is the first of its kind: its reply tells the price."""
    estimated: float | None = None
    """What its folder will have cost when all its rows are made; None: not known."""
    prices: Prices = field(default_factory=dict)
    """What its folder's replies have said of prices."""
    concurrency: int = 0
    """Tasks in flight that it allows itself just now, as it was granted."""
    in_flight: int = 0
    """Tasks that run."""
    wanted: int = 0
    """Tasks that it would have in flight, were it alone."""
    per_min: float | None = None
    """New requests a minute that it allows itself, as it was granted; None: as many as it can."""
    accepted: int = 0
    """New requests that were taken from this process so far."""
    held_to_per_min: float | None = None
    """What it has learnt to pass, where the provider tells it to slow down; None: it is not told."""
    hold_s: float = 0.0
    """For how much longer the provider asks for no new requests."""
    trouble: str = ""
    """Why it sends nothing new: the provider gives no usable answers, or a day's quota is used up."""
    could_try: bool = True
    """It has something to send, by which it finds out that the trouble is over."""
    rows_left: int = 0
    """Rows that are not sent yet, and have no slot."""
    unsent: int = 0
    """Rows that have one and are not sent, and those of which it is not known: these may be sent again."""
    stopped: str = ""
    """Why it sends nothing more in this run, if that holds for all: not for a person's interrupt."""
    is_finished: bool = False
    """It sends nothing more, and has collected what it has paid for."""


@dataclass(frozen=True, slots=True)
class Grant(_Told):
    """What a shard may do until it is told otherwise."""

    concurrency: int = 0
    """Tasks in flight."""
    per_min: float | None = None
    """New requests a minute; None: as many as the provider takes."""
    credits: float | None = None
    """What its folder may cost, all runs together; None: the person gives no limit."""
    is_all: bool = False
    """It will not be granted more credits: what the person allows is spent, or may have been."""
    may_send: bool = False
    """Whether new requests may go out at all."""
    why: str = ""
    """Why not."""
    hold_s: float = 0.0
    """Another shard is asked to wait for so long."""
    stop: str = ""
    """Send nothing more in this run, for this reason."""
    needs_change: bool = False
    """The same command again would be stopped for the same reason."""
    prices: Prices = field(default_factory=dict)
    """What the replies to all shards have said of prices."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a person allows for all shards together."""

    shards: int
    """How many there are."""
    concurrency: int
    """Tasks in flight."""
    per_min: float | None = None
    """New requests a minute."""
    max_credits: float | None = None
    waits_for_all: bool = False
    """All of them run at the same time: nobody sends before each has said how it stands."""
    silent_s: float = SILENT_S
    """A shard that says nothing for so long is taken for dead: others have its tasks in flight then."""

    @property
    def most_credits(self) -> float:
        """As a number."""
        return math.inf if self.max_credits is None else self.max_credits
