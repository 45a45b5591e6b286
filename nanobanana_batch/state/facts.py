"""What can become known about an attempt, one frozen type each, with the phases in which it may.

A fact that does not follow from the attempt's phase is a bug that could cost money: the store stops
the run instead of writing it.

    intent -> not_sent | rejected | unknown | accepted -> ready -> saved
    not_sent -> intent (sent again: it is known that nothing was paid)
    unknown -> intent (sent again: the person said so) | accepted (found) | not_sent (known not to exist)
        | failed (given up: a person said so)
    accepted -> failed | refused; accepted or ready -> expired | failed (given up: a person said so)
    expired -> ready (the provider has it after all)
    saved -> accepted (its file is gone, or a repair fetches its image beside a changed one); any of the later
    phases -> saved (its file is back, or the changed one is all that there is)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nanobanana_batch.model import Image, RowStatus


class Phase(StrEnum):
    """The latest fact of an attempt."""

    INTENT = "intent"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    READY = "ready"
    SAVED = "saved"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"


ENDED_WITHOUT_IMAGE = frozenset({Phase.NOT_SENT, Phase.REJECTED, Phase.FAILED, Phase.REFUSED, Phase.EXPIRED})
"""Only after these may a row be paid for once more, by a new attempt."""

GIVEN_UP = "given_up"
"""The code of a failed attempt that a person gave up: unlike any other failed one it may be paid."""

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


@dataclass(frozen=True, slots=True)
class Intent:
    """A new attempt is about to be sent; nothing has been yet."""

    row: int
    attempt: int
    number: int
    stem: str
    provider: str
    account: str
    body: bytes
    fingerprint: str
    idempotency_key: str
    at: float
    credits_expected: float | None = None
    uploads: tuple[int, ...] = ()
    """The uploaded files that its body names."""
    row_key: str = ""
    model: str = ""
    base_key: str = ""
    """Of a row of several that ask for the same: see `state.twins`. These three are for whoever has lost the
    state."""


@dataclass(frozen=True, slots=True)
class SentAgain:
    """The very same request is about to be sent once more.

    `is_same_payment`: the provider remembers the first sending, so that nothing is paid a second time.
    """

    attempt: int
    at: float
    is_same_payment: bool = False
    account: str = ""
    """Whose key it is sent with, if that is another one now."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """It is certain that no task came of it."""

    attempt: int
    message: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """It may have been paid: no usable answer came.

    `came_to_nothing`: not by the sending that was just recorded, only by an earlier one.
    """

    attempt: int
    message: str
    came_to_nothing: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider itself said no; nothing was paid. `refused` when by its content rules."""

    attempt: int
    code: str
    message: str
    refused: bool
    request_id: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider made a task of it; `is_replay` when it says that an earlier sending of it had done so."""

    attempt: int
    task_id: str
    request_id: str | None
    credits_reserved: float | None
    estimated_s: float | None
    at: float
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """The task is done: where its images are, and until when (Unix seconds)."""

    attempt: int
    links: tuple[str, ...]
    dies_at: float
    credits_used: float | None
    at: float


@dataclass(frozen=True, slots=True)
class Saved:
    """The verified image stands under its final name, synced."""

    attempt: int
    image: Image
    at: float


@dataclass(frozen=True, slots=True)
class Lost:
    """A file that had been saved is gone from the folder, or changed: the task is to be read again."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Found:
    """A file that had been gone is back, with the bytes that were saved; or a changed one is kept."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The task ended without an image; `refused` when by content rules."""

    attempt: int
    code: str
    message: str
    retryable: bool
    refused: bool
    at: float


@dataclass(frozen=True, slots=True)
class Expired:
    """The provider says that the links are dead and has no new ones."""

    attempt: int
    message: str
    at: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A person does not wait for it any more; nobody knows whether it was, or is still, paid."""

    attempt: int
    at: float


@dataclass(frozen=True, slots=True)
class Rested:
    """Its row has left the manifest, and no free question told what became of it: no run asks again."""

    attempt: int
    at: float


@dataclass(frozen=True, slots=True)
class Moved:
    """Its provider is reached under another name now, or it can be read with another key."""

    attempt: int
    provider: str
    account: str


@dataclass(frozen=True, slots=True)
class FileUploaded:
    """The provider holds a local reference image for us, until `expires_at`."""

    upload: int
    provider: str
    account: str
    sha256: str
    file_id: str
    url: str
    expires_at: float
    at: float


@dataclass(frozen=True, slots=True)
class FileDeleted:
    """An uploaded file is about to be deleted: from now on no request may name it."""

    upload: int
    at: float


Fact = (
    Intent
    | SentAgain
    | NotSent
    | Unanswered
    | Rejected
    | Accepted
    | Ready
    | Saved
    | Lost
    | Found
    | Failed
    | Expired
    | GivenUp
    | Rested
    | Moved
    | FileUploaded
    | FileDeleted
)
