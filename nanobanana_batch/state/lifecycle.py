"""The life of a paid request, of each row that it was asked for, and of each image that it owes, as data.

A **request** is one payment. An **attempt** is a row's share in it: most requests have one. An **image** is a
file that an attempt is owed. What became known is written down as facts (`state.facts`); `MOVES` says from
which phase each fact may lead to which. A fact that does not follow is a bug that could cost money: the store
stops the run instead of writing it. The writers, the sets in queries, the pictures in docs/design.md and the
tests derive from this file; only the steps of `state.schema`, which never change again, spell phases out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from nanobanana_batch.model import RowStatus
from nanobanana_batch.state import facts


class RequestPhase(StrEnum):
    """What is known of a payment."""

    INTENT = "intent"
    """It is about to be sent, or just being sent."""
    NOT_SENT = "not_sent"
    """It is certain that nothing came of it."""
    UNKNOWN = "unknown"
    """It may have been paid: no usable answer came."""
    REJECTED = "rejected"
    REFUSED = "refused"
    """By the provider's content rules."""
    ACCEPTED = "accepted"
    """The provider works on it."""
    ANSWERED = "answered"
    """The provider has said what came of it."""


class Phase(StrEnum):
    """How a row stands in a request; the first six are those of the request itself."""

    INTENT = "intent"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
    REFUSED = "refused"
    ACCEPTED = "accepted"
    READY = "ready"
    """It is known where its images are to be had."""
    SAVED = "saved"
    """All of them are files."""
    FAILED = "failed"
    EXPIRED = "expired"
    """They were made, and cannot be had any more."""


class ImagePhase(StrEnum):
    """How an image stands that an attempt is owed."""

    EXPECTED = "expected"
    SAVED = "saved"
    LOST = "lost"
    """It was a file, which is gone or changed."""
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Move:
    """What one fact does to an attempt: from one of these phases to that one."""

    fact: type[facts.Fact]
    after: frozenset[Phase]
    to: Phase
    when: str = ""
    """What the fact says besides, where it can lead to several phases."""


def _phases(*phases: Phase) -> frozenset[Phase]:
    return frozenset(phases)


UNANSWERED = _phases(Phase.INTENT, Phase.UNKNOWN)
"""It may have been paid, and nobody has said so."""
RUNNING = _phases(Phase.ACCEPTED, Phase.READY)
"""It is paid, and its images are still to come."""
OPEN = UNANSWERED | RUNNING
"""It may still cost something, or come."""
ENDED_WITHOUT_IMAGE = _phases(Phase.NOT_SENT, Phase.REJECTED, Phase.FAILED, Phase.REFUSED, Phase.EXPIRED)
"""Only after these may a row be paid for once more, by a new attempt."""
FAILURES = _phases(Phase.FAILED, Phase.REJECTED, Phase.REFUSED)
"""The provider has said that there is no image, or a person has given it up."""
PAID = RUNNING | {Phase.SAVED, Phase.EXPIRED}
"""The provider has, or had, made something of it."""
FETCHED = _phases(Phase.SAVED, Phase.EXPIRED)
"""It was paid for in the end, whether or not its image could be had."""

MOVES = (
    Move(facts.SentAgain, _phases(Phase.NOT_SENT, Phase.UNKNOWN), Phase.INTENT, "it is paid for itself"),
    Move(facts.SentAgain, _phases(Phase.UNKNOWN), Phase.INTENT, "it is the same payment"),
    Move(facts.NotSent, _phases(Phase.INTENT), Phase.NOT_SENT),
    Move(facts.Unanswered, UNANSWERED, Phase.UNKNOWN),
    Move(facts.Rejected, UNANSWERED, Phase.REJECTED),
    Move(facts.Rejected, UNANSWERED, Phase.REFUSED, "by content rules"),
    Move(facts.Accepted, UNANSWERED, Phase.ACCEPTED),
    Move(facts.Answered, UNANSWERED | {Phase.ACCEPTED, Phase.EXPIRED}, Phase.ACCEPTED),
    Move(facts.Answered, _phases(Phase.READY), Phase.READY, "once more"),
    Move(facts.Ready, _phases(Phase.ACCEPTED, Phase.READY, Phase.EXPIRED), Phase.READY),
    Move(facts.Saved, _phases(Phase.READY), Phase.SAVED, "the last of its images"),
    Move(facts.Saved, _phases(Phase.READY), Phase.READY, "others are still to come"),
    Move(facts.Lost, _phases(Phase.SAVED), Phase.ACCEPTED),
    Move(
        facts.Found,
        _phases(Phase.ACCEPTED, Phase.READY, Phase.EXPIRED, Phase.FAILED, Phase.REFUSED),
        Phase.SAVED,
        "the last of its images",
    ),
    Move(facts.Failed, RUNNING, Phase.FAILED),
    Move(facts.Failed, RUNNING, Phase.REFUSED, "by content rules"),
    Move(facts.Expired, RUNNING, Phase.EXPIRED),
    Move(facts.GivenUp, OPEN, Phase.FAILED),
)
"""All that there are. An intent makes an attempt; facts that are not here move none."""

IMAGE_MOVES = {
    facts.Ready: ({ImagePhase.LOST, ImagePhase.EXPIRED}, ImagePhase.EXPECTED),
    facts.Saved: ({ImagePhase.EXPECTED, ImagePhase.LOST}, ImagePhase.SAVED),
    facts.Lost: ({ImagePhase.SAVED}, ImagePhase.LOST),
    facts.Found: ({ImagePhase.EXPECTED, ImagePhase.LOST, ImagePhase.EXPIRED}, ImagePhase.SAVED),
    facts.Expired: ({ImagePhase.EXPECTED, ImagePhase.LOST}, ImagePhase.EXPIRED),
}
"""The same for images: of one image where the fact names it, else of all of the attempt's in these phases.

Only one that was a file before can be found."""

OF_REQUEST = (
    facts.SentAgain,
    facts.NotSent,
    facts.Unanswered,
    facts.Rejected,
    facts.Accepted,
    facts.Answered,
)
"""Facts that are told of a whole request, and move all of its attempts that have not ended without it."""

CAN_REST = _phases(Phase.INTENT, Phase.UNKNOWN, Phase.ACCEPTED)
"""Of these a row that has left the manifest may be asked about no more by itself."""

GIVEN_UP = "given_up"
"""The code of a failed attempt that a person gave up: unlike any other failed one it may be paid."""

NOT_TOLD = "no_result"
"""The code of a row of which the reply or the results of its request say nothing: it may have been paid."""

MISSED = "resource_not_found"
"""The code of a task that failed since something its request names is not there."""

STATUS_OF_PHASE = {
    Phase.INTENT: RowStatus.UNKNOWN,
    Phase.NOT_SENT: RowStatus.PENDING,
    Phase.UNKNOWN: RowStatus.UNKNOWN,
    Phase.REJECTED: RowStatus.FAILED,
    Phase.ACCEPTED: RowStatus.RUNNING,
    Phase.READY: RowStatus.READY,
    Phase.SAVED: RowStatus.COMPLETED,
    Phase.FAILED: RowStatus.FAILED,
    Phase.REFUSED: RowStatus.REFUSED,
    Phase.EXPIRED: RowStatus.EXPIRED,
}


def allowed(fact: type[facts.Fact], to: Phase, when: str = "") -> frozenset[Phase]:
    """The phases from which a fact may lead to that one.

    Raises:
        KeyError: it never does.
    """
    return _ALLOWED[fact, to, when]


def phase_after(fact: facts.Fact) -> Phase | None:
    """In which phase an attempt is after a fact about it; None: as it was."""
    match fact:
        case facts.Intent():
            return Phase.INTENT
        case facts.Rejected(refused=True) | facts.Failed(refused=True):
            return Phase.REFUSED
        case facts.Saved(is_last=False):
            return None
    return _FIRST_TO.get(type(fact))


def in_sql(phases: Iterable[Phase | RequestPhase | ImagePhase]) -> str:
    """A set of phases for the brackets of `phase IN (...)`."""
    return ", ".join(f"'{phase.value}'" for phase in sorted(phases))


_ALLOWED = {(move.fact, move.to, move.when): move.after for move in MOVES}
_FIRST_TO: dict[type[facts.Fact], Phase] = {move.fact: move.to for move in reversed(MOVES)}
