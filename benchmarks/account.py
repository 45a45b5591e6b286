"""An account at a provider: so many new requests a minute from all who use it, and nothing in an outage.

Real engines (`real_workers`) and modelled ones (`model_workers`) send to the same one. All times are seconds
of a virtual clock.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from enum import Enum

_MINUTE_S = 60.0


class Verdict(Enum):
    """What becomes of a request for something new."""

    TAKEN = "a task is made"
    TURNED_AWAY = "429"
    DOWN = "no connection"


@dataclass(frozen=True)
class Terms:
    """What the provider grants, and how long its tasks take."""

    per_min: float
    """New requests, for the whole account; a bucket that is filled steadily, and holds two seconds' worth."""
    outage: tuple[float, float] = (math.inf, math.inf)
    """From when until when nobody reaches it."""
    task_s: float = 15.0
    """Median of the tasks' times, which are lognormal."""
    sigma: float = 0.4
    wire_s: float = 0.2
    """From a request until its reply."""
    at_random: float = 0.0
    """Share of new requests that are turned away for no reason."""
    asks_s: float = 0.0
    """For how long those that are turned away are asked to wait; 0: it says nothing of that."""

    @property
    def bucket(self) -> float:
        """Requests that may come at once."""
        return max(2.0, self.per_min / 30.0)

    def is_down(self, now: float) -> bool:
        """Whether nobody reaches it."""
        return self.outage[0] <= now < self.outage[1]

    def draw_task_s(self, dice: random.Random) -> float:
        """How long one takes."""
        return self.task_s * math.exp(self.sigma * dice.gauss(0.0, 1.0))


@dataclass
class Account:
    """What was asked of it."""

    terms: Terms
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    tokens: float = math.inf
    at: float = 0.0
    taken: int = 0
    turned_away: int = 0
    refused: int = 0
    """Requests for something new that found nobody."""
    probes: int = 0
    """Free questions whether it is up."""
    reads: int = 0
    reads_in_outage: int = 0
    lags_s: list[float] = field(default_factory=list)
    """From the end of a task until a read told of it; of tasks that an outage did not touch."""
    first_after_outage: float = math.inf
    """When something new was taken again."""

    @property
    def asked(self) -> int:
        """Requests of all kinds but downloads."""
        return self.taken + self.turned_away + self.refused + self.probes + self.reads

    def ask(self, now: float) -> Verdict:
        """For something new."""
        if self.terms.is_down(now):
            self.refused += 1
            return Verdict.DOWN
        self._fill(now)
        if self.tokens < 1.0 or (self.terms.at_random and self.dice.random() < self.terms.at_random):
            self.turned_away += 1
            return Verdict.TURNED_AWAY
        self.tokens -= 1.0
        self.taken += 1
        if now >= self.terms.outage[1]:
            self.first_after_outage = min(self.first_after_outage, now)
        return Verdict.TAKEN

    def _fill(self, now: float) -> None:
        if self.terms.per_min < math.inf:
            more = (now - self.at) * self.terms.per_min / _MINUTE_S
            self.tokens, self.at = min(self.terms.bucket, self.tokens + more), now

    def read(self, now: float) -> bool:
        """A read of tasks; whether it is answered."""
        self.reads += 1
        is_down = self.terms.is_down(now)
        self.reads_in_outage += is_down
        return not is_down

    def probe(self, now: float) -> bool:
        """A question whether it is up."""
        self.probes += 1
        return not self.terms.is_down(now)
