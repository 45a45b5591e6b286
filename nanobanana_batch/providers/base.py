"""What the engine may ask of a provider, and every answer it must be able to take.

The answers are types, not exceptions, wherever money hangs on them: nobody can forget to catch an
outcome that a `match` has to name.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from nanobanana_batch.model import Kind, Request, TaskMade


class NotOffered(Exception):
    """A request gives what this provider's profile has no name for; nothing was sent."""


class Decision(Enum):
    """What to do about an error of the provider."""

    FAIL_ROW = "the row fails, no retry"
    REFUSE = "the provider's content rules refused it, no retry"
    NEW_ATTEMPT = "the task failed, a new paid one may succeed"
    RETRY_REQUEST = "the request may be sent again"
    SLOW_DOWN = "wait for the whole provider, then send again"
    STOP_RUN = "nothing else will work: stop submitting"
    WAIT_FOR_RESET = "a daily quota is used up: nothing was made, and nothing is before it resets"


@dataclass(frozen=True, slots=True)
class Answered:
    """The reply is what came of the request, images and all: kept as it is, and read with `read_results`."""

    reply: bytes
    request_id: str | None = None
    credits_used: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider itself said no: no task exists, nothing is paid."""

    decision: Decision
    code: str
    message: str
    request_id: str | None = None
    retry_after_s: float | None = None
    is_verdict: bool = False
    """The provider itself judged this very request (its own envelope, HTTP 400, 404, 413 or 422)."""
    is_address: bool = False
    """The address seems to have no such API: 404 or 405 without the provider's own words."""
    status: int = 0
    """The HTTP status that it came with; an older provider's code may be no more than a number."""
    resets_in_s: float | None = None
    """Of WAIT_FOR_RESET: seconds until the quota is there again; None where the reply does not say."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request reached the provider."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request may have been paid; nobody knows yet."""

    reason: str
    code: str = ""
    retry_after_s: float | None = None
    request_id: str | None = None
    is_reply: bool = False
    """A whole reply came, only no usable one."""
    is_unclear: bool = False
    """The reply says that the request went well, in a form that nobody here understands."""


SubmitOutcome = TaskMade | Answered | Rejected | NotSent | Unknown


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one row, as the file of a request's results tells it."""

    name: str
    """By which its request asked for it; empty in the reply to a request for one row."""
    images: int = 0
    """How many there are, the one that counts first; 0: it has none, and `error_*` and `decision` say why."""
    error_code: str = ""
    error_message: str = ""
    decision: Decision = Decision.FAIL_ROW
    at: int = 0
    """Where in the file that is said, for `image_in`."""


class TaskState(StrEnum):
    """What the provider says of a task."""

    WORKING = "working"
    COMPLETED = "completed"
    FAILED = "failed"
    UNCLEAR = "unclear"
    """Its status is in no table, or it is finished and shows no link that can be used."""


@dataclass(frozen=True, slots=True)
class TaskReport:
    """One task as the provider tells it.

    `links` only when completed (at least one), `error_*`, `decision` and `retry_after_s` only when failed,
    `words` and `is_finished` only when unclear.
    """

    task_id: str
    state: TaskState
    links: tuple[str, ...] = ()
    credits_used: float | None = None
    error_code: str = ""
    error_message: str = ""
    decision: Decision = Decision.FAIL_ROW
    retry_after_s: float | None = None
    """The whole provider is to be asked for less for so long (a task that failed with `rate_limited`)."""
    words: str = ""
    """What the reply says of the task, for a person: short, on one line, without links and keys."""
    is_finished: bool = False
    """It says that it is finished: only its links are not to be seen."""


@dataclass(frozen=True, slots=True)
class TasksRead:
    """The outcome of reading several tasks; one that stands in neither set could not be read this time."""

    reports: Mapping[str, TaskReport] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    """The provider says that it does not know these."""
    failure: str = ""
    """Why some or all could not be read; empty when all could."""
    retry_after_s: float | None = None
    requests: int = 1
    """How many requests it took."""
    is_reply: bool = False
    """Of a failure: a whole reply came, only no usable one."""
    stop: bool = False
    """The failure will not go away by itself (a rejected key), by more than a proxy's word."""


@dataclass(frozen=True, slots=True)
class ListedTask:
    """One line of the provider's list of recent tasks; `created_at` in Unix seconds by its clock."""

    task_id: str
    model: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Listing:
    """What the list of recent tasks shows: every task made since `back_to`, by the provider's clock."""

    tasks: tuple[ListedTask, ...] = ()
    back_to: float = math.inf
    """Older ones may be missing; infinite where any may be."""
    provider_time: float | None = None
    """Unix seconds by the provider's clock (its `Date` header) when it was asked."""
    is_offered: bool = True
    """Whether there is such a list at all (contract: "Recent tasks")."""
    failure: str = ""
    """Why it could not be read; empty when it could."""
    retry_after_s: float | None = None
    stop: bool = False
    """The failure will not go away by itself (a rejected key), by more than a proxy's word."""


class Idempotency(StrEnum):
    """Whether a repeated request under the same idempotency key is known not to be paid again."""

    HONOURED = "honoured"
    UNPROVEN = "unproven"
    IGNORED = "ignored"


class KeyQuestion(Enum):
    """A body that nobody can accept: sent under a used key, it asks at no cost who remembers keys."""

    NO_JSON = "not even JSON, for a provider that looks at the key first"
    NO_PROMPT = "JSON that names no model and no prompt, for one that parses before that"


class KeyMemory(Enum):
    """What the answer to such a question shows."""

    REMEMBERED = "it knows that the key was used"
    UNSHOWN = "it judged the body: it looks at that first, or does not know the key"
    NO_ANSWER = "it said nothing of either"


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """The answer to a question about a key; of `outcome` holds what holds of any: to wait, or to stop."""

    memory: KeyMemory
    outcome: SubmitOutcome


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider offers and asks for, as data."""

    name: str
    """Profile and host: stands in the state for whose tasks they are."""
    account: str
    """A mark of the API key, which tells accounts apart and does not give the key away."""
    idempotency: Idempotency
    key_lifetime_s: float
    """How long the provider remembers an idempotency key, where `idempotency` is `honoured`."""
    read_at_once: int
    """How many tasks one read may ask for."""
    poll_interval_s: float
    """Shortest time between two reads of one task."""
    link_lifetime_s: float
    reads_per_s: float = 10.0
    """Most requests a second that ask about tasks."""
    offers_callbacks: bool = False
    """Whether a request may name a callback URL."""
    offers_uploads: bool = False
    """Whether local reference images can be uploaded."""
    kind: Kind = Kind.TASK
    """What `submit` is answered with; but for tasks the provider is one that `ReadsResults`, too."""
    rows_at_once: int = 1
    """How many rows one request may ask for; more than one only where it is answered with a job."""


@dataclass(frozen=True, slots=True)
class AccountRead:
    """What a free question about the account was answered with; also the proof that the provider is up."""

    is_up: bool
    """The provider itself answered, be it with a refusal: it takes requests."""
    remaining_credits: float | None = None
    """Of the key, else of the user; None where it is not told, or unlimited."""
    is_unlimited: bool = False
    rejected: str = ""
    """Why the key is not accepted; empty when it is, or when nobody said."""
    failure: str = ""
    """Why there is no usable answer; empty when there is one."""
    retry_after_s: float | None = None
    provider_time: float | None = None
    """Unix seconds by the provider's clock (its `Date` header)."""
    is_reply: bool = False
    """A whole reply came, be it no usable one."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file that the provider holds for us: its public address, until `expires_at` (Unix seconds)."""

    file_id: str
    url: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class UploadFailed:
    """A file that was not taken; uploads cost nothing, so that trying again is always safe.

    `decision` is FAIL_ROW (this file is not accepted), STOP_RUN (nothing will be), SLOW_DOWN or
    RETRY_REQUEST; `is_full` when the account holds as many files as it may.
    """

    decision: Decision
    code: str
    message: str
    is_full: bool = False
    retry_after_s: float | None = None
    is_reply: bool = True
    """A whole reply came; False: nobody answered, or the file could not be read."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it, for a log; neither the key nor a link or a query is in it."""

    method: str
    route: str
    """The path with its ids left open, such as `/v1/tasks/{id}`, or `link:` and a link's host."""
    status: int | None
    """None: there was no reply."""
    ms: float
    request_id: str | None
    failure: str
    """Why there is no complete reply; empty when there is one."""
    sent_bytes: int
    received_bytes: int
    body: str | None = None
    """The beginning of the reply, where it was asked for; the body sent stands in the state."""


Observer = Callable[[Exchange], None]
"""Is told of every request, once, when it has ended."""


class Body(Protocol):
    """The bytes behind a link."""

    @property
    def size_bytes(self) -> int | None:
        """The announced length, if any."""

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """The bytes in pieces of about 1 MiB.

        Raises:
            LinkFailed: the connection broke, or fewer bytes came than were announced.
        """


class Provider(Protocol):
    """A provider of images. No method but `submit` can cost anything."""

    @property
    def capabilities(self) -> Capabilities:
        """What it offers."""

    def provider_time(self) -> float | None:
        """Unix seconds by its own clock, now; None while no reply has told."""

    def encode(self, request: Request, callback_url: str | None = None) -> bytes:
        """The exact body that `submit` sends; reference images are public URLs by now.

        Raises:
            NotOffered: the profile has changed since the row was checked, and cannot say it any more.
        """

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        """Send a paid request once. Never raises for what the network or the provider does."""

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        """Read up to `read_at_once` tasks."""

    async def list_recent(self, age_s: float, turn: Callable[[], Awaitable[bool]]) -> Listing:
        """The account's tasks of the last so many seconds, if it lists them.

        `turn` is awaited before each request, and says whether to go on.
        """

    async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
        """Ask whether a key that was used is remembered; no task can come of it."""

    async def read_account(self) -> AccountRead:
        """Ask something that costs nothing: is the provider up, is the key accepted, what is left."""

    async def upload(self, path: Path, media_type: str) -> Uploaded | UploadFailed:
        """Give the provider a local reference image."""

    async def delete_upload(self, file_id: str) -> bool:
        """Delete a file that was uploaded; True when it is gone, also when it had been before."""

    def open_link(self, url: str) -> AbstractAsyncContextManager[Body]:
        """Open a download; the key is not sent.

        Raises:
            LinkFailed: the host gave no usable body.
        """


@runtime_checkable
class ReadsResults(Protocol):
    """The part of a provider that finds images in a file: the reply to a request, or a job's results.

    All of them block; call them in a thread.
    """

    def credits_in(self, path: Path) -> float | None:
        """What the request has cost, as its reply says; None where it does not.

        Raises:
            OSError: the file cannot be read.
        """

    def read_results(self, path: Path) -> Iterator[Result]:
        """What came of each row, in the order of the file; of what cannot be understood nothing is said.

        Raises:
            OSError: the file cannot be read.
        """

    def image_in(self, path: Path, at: int, number: int) -> Iterator[bytes]:
        """The bytes of one image (1-based) of a row, in pieces; `at`: as its result says.

        Raises:
            OSError: the file cannot be read.
            ImageRejected: it has no such image.
        """


@runtime_checkable
class RunsJobs(ReadsResults, Protocol):
    """The part of a provider whose requests are jobs of many rows. All but `submit` cost nothing."""

    async def prepare(self, rows: Sequence[tuple[str, Request]], name: str) -> bytes | UploadFailed:
        """The body of one job for rows, each with the name of its answer; `name` is the job's, and unique.

        Raises:
            NotOffered: a row asks for what this provider cannot say.
        """

    async def find_job(self, name: str) -> JobsFound:
        """The account's jobs of this name."""

    def open_results(self, link: str) -> AbstractAsyncContextManager[Body]:
        """The results of a job that has ended, from where its report says they are.

        Raises:
            LinkFailed: there is no usable body.
        """


@dataclass(frozen=True, slots=True)
class JobsFound:
    """The jobs of a name. None at all says something only where `is_complete`."""

    job_ids: tuple[str, ...] = ()
    """The oldest first."""
    is_complete: bool = False
    """Every job of the account was looked at."""
    failure: str = ""
