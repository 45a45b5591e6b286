"""What can be wrong with a task that is paid for, and with the place that its image comes from or goes to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """Why an image that is paid for is not there."""

    UNCLEAR = "what the provider says of it is not understood"
    UNFETCHED = "it is finished, and cannot be fetched or saved"
    LATE = "its task works for too long, or is never told of"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, in seconds, and for how many."""

    max_outage_s: float
    stuck_after_s: float
    revisit_s: float
    most_in_flight: int


@dataclass(slots=True)
class Trouble:
    """What is wrong with one task or request. Times are of the loop."""

    kind: Kind
    since: float
    words: str
    place: str = ""
    """Where it was to be fetched from or saved: a host, or the disk."""
    is_lasting: bool = False
    """The place was not reached, or refused to do anything: that is nothing about this image."""
    is_counted: bool = False
    """It has had its chance to pass."""
    failed_at: float = 0.0
    tries: int = 0
    next_at: float = 0.0


@dataclass(slots=True)
class Place:
    """A host of links, or the disk."""

    worked_at: float = -math.inf
    failed_at: float = -math.inf
    failing: set[int] = field(default_factory=set)
    """Attempts that failed there since it worked."""
    tries: int = 0
    """Of one after the other, since then."""
    next_at: float = 0.0

    @property
    def is_failing(self) -> bool:
        """Whether the last that was tried there failed."""
        return self.failed_at > self.worked_at
