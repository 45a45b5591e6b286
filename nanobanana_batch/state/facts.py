"""What can become known about a paid request, its rows and its images, one frozen type each.

A request has the number of its first attempt, and most have no other: what is said of the whole request names
that. `state.lifecycle` says which fact may follow which. `at` is when it became known; all times are Unix
seconds, all credits what the provider named.
"""

from __future__ import annotations

from dataclasses import dataclass

from nanobanana_batch.model import Image, TaskMade


@dataclass(frozen=True, slots=True)
class Intent:
    """A new attempt is about to be sent; nothing has been yet."""

    row: int
    attempt: int
    """Also that of its request."""
    number: int
    """Of this attempt among its row's, 1-based."""
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
    kind: str = "task"
    """A `lifecycle.Kind`."""
    name: str = ""
    """By which the row's answer is found among those of a job."""


@dataclass(frozen=True, slots=True)
class Joined:
    """One more row is asked for in a request whose intent is written down just now."""

    row: int
    attempt: int
    request: int
    number: int
    stem: str
    name: str
    row_key: str = ""
    model: str = ""
    base_key: str = ""


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
    """The provider has taken it."""

    attempt: int
    task: TaskMade
    at: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a request, for all of its rows, is in a file of the folder."""

    attempt: int
    results: str
    """Its path in the output folder, with `/`."""
    credits_used: float | None
    at: float


@dataclass(frozen=True, slots=True)
class Ready:
    """It is known what images there are, where they are to be had, and until when (Unix seconds)."""

    attempt: int
    links: tuple[str, ...]
    """One for each image; empty where they are in the file of the request's results."""
    dies_at: float
    credits_used: float | None
    at: float
    images: int = 1
    """How many there are."""
    stems: tuple[str, ...] = ()
    """The names of the files of all but the first, without their endings."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A verified image stands under its final name, synced."""

    attempt: int
    image: Image
    at: float
    number: int = 1
    """Of the image among its attempt's, 1-based; the first one is the row's."""
    is_last: bool = True
    """With it the attempt has all of its images."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A file that had been saved is gone from the folder, or changed: it is to be fetched again."""

    attempt: int
    number: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """A file that had been gone is back, with the bytes that were saved; or a changed one is kept."""

    attempt: int
    number: int = 1


@dataclass(frozen=True, slots=True)
class Failed:
    """It ended without an image; `refused` when by content rules."""

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
    | Joined
    | SentAgain
    | NotSent
    | Unanswered
    | Rejected
    | Accepted
    | Answered
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
