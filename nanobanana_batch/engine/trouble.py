"""What can be wrong with a task that is paid for, and with the place that its image comes from or goes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.wording import counted, duration_text, time_text

DISK = "the disk"


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
    id: str = ""
    """The row's."""
    dies_at: float = 0.0
    """Unix seconds: the provider keeps its image until then, as far as is known."""
    failures: int = 0
    """How often it was fetched in vain."""
    place: str = ""
    """Where it was to be fetched from or saved: a host, or the disk."""
    is_lasting: bool = False
    """The place was not reached, or refused to do anything: that is nothing about this image."""
    is_counted: bool = False
    """It has had its chance to pass."""
    failed_at: float = 0.0
    tries: int = 0
    next_at: float = 0.0

    @property
    def cannot(self) -> str:
        """What does not work, and why, as the beginning of a sentence."""
        why = self.words.rstrip(".")
        if self.place == DISK:
            return f"images cannot be saved ({why})"
        return f"images cannot be fetched from {self.place} ({why})"


def waiting_sentence(
    one: Trouble,
    owed: Sequence[Trouble],
    consequence: str,
    left_s: float,
    now_s: float,
    commands: FolderCommands,
) -> str:
    """What is waited for, why, until when, and what a person can do; `now_s` in Unix seconds."""
    count, them = len(owed), "it" if len(owed) == 1 else "them"
    images = f"{counted(count, 'paid image')} {'is' if count == 1 else 'are'}"
    rows = owed[0].id if count == 1 else f"the first: {owed[0].id}"
    until, dies_at = time_text(now_s, left_s), min(trouble.dies_at for trouble in owed)
    kept = time_text(dies_at, 0.0) if dies_at else ""
    return "".join(
        (
            f"{one.cannot}{f'; {consequence}' if consequence else ''}. {images} owed ({rows});",
            f" trying again for up to {duration_text(left_s)}"
            if left_s >= 1
            else " not tried again in this run",
            f", until {until}" if left_s >= 1 and until else "",
            f" (the provider keeps {them} until {kept})" if kept else "",
            f". Ctrl-C stops waiting; {commands.repair()}, or the same command, fetches {them} later.",
        )
    )


@dataclass(slots=True)
class Place:
    """A host of links, or the disk. Times are of the loop; infinite ones never were."""

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


def host_of(link: str) -> str:
    """Of a link, for a person: what follows the host may be a permission to read."""
    try:
        return urlsplit(link).hostname or "?"
    except ValueError:
        return "?"
