"""A provider in memory that behaves, or misbehaves, as a test scripts it; its ledger is the judge.

What it answers are replies as they come over the wire, and the real parser makes of them what the engine
gets: a test cannot script what no provider could say. Only where there is no reply it says so by itself.
"""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
from PIL import Image as Picture

from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.model import Request
from nanobanana_batch.providers.base import (
    AccountRead,
    Body,
    Capabilities,
    Idempotency,
    KeyAnswer,
    KeyQuestion,
    Listing,
    NotSent,
    SubmitOutcome,
    TasksRead,
    Unknown,
    Uploaded,
    UploadFailed,
)
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.tasks.files import read_upload_reply
from nanobanana_batch.providers.tasks.replies import (
    failed_listing,
    failed_read,
    key_answer,
    read_credits_reply,
    read_listed_task,
    read_submit_reply,
    read_task,
)
from tests.unit.wire import (
    BAD_REQUEST,
    CONFLICT,
    NO_SUCH_ROUTE,
    Task,
    accepted,
    credits_left,
    finished,
    working,
)


def picture(text: str) -> bytes:
    """A small real PNG that differs by text."""
    shade = sum(text.encode()) % 256
    buffer = io.BytesIO()
    Picture.new("RGB", (8, 6), (shade, 255 - shade, len(text) % 256)).save(buffer, "PNG")
    return buffer.getvalue()


def picture_of(body: bytes, number: int = 1) -> bytes:
    """An image (1-based) of what a request asks for."""
    return picture(body.decode() + "." * (number - 1))


@dataclass
class FakeTask:
    """A paid task."""

    id: str
    body: bytes
    key: str
    model: str
    created: float
    done_at: float
    link: int = 0


def _content(path: Path) -> bytes:
    """Read in place: while a thread reads, the clock of a test would run away."""
    return path.read_bytes()


Answer = Reply | NotSent | Unknown | str | None
"""What becomes of a submit: a reply; "lost" (task made, no reply), NotSent or Unknown (nothing made, no
reply); None: fine."""
Turn = Callable[[], Awaitable[bool]]
Script = Callable[[int], Answer]
"""Of the n-th submit (0-based)."""


def script(steps: Mapping[int, Answer]) -> Script:
    """What becomes of some submits by their number; the others are fine."""
    return lambda n: steps.get(n)


@dataclass
class MemoryBody:
    """See `base.Body`."""

    data: bytes
    size_bytes: int | None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Two pieces, so that streaming is exercised."""
        middle = len(self.data) // 2
        for piece in (self.data[:middle], self.data[middle:]):
            await anyio.lowlevel.checkpoint()
            if piece:
                yield piece


@dataclass
class FakeProvider:
    """See `base.Provider`."""

    idempotency: Idempotency = Idempotency.UNPROVEN
    remembers_keys: bool = True
    key_lifetime_s: float = 86400.0
    account: str = "one"
    clock_offset_s: float = 0.0
    """What the provider's clock shows more than the test's."""
    tells_time: bool = False
    """Whether its replies have a `Date`."""
    replies: int = 0
    """To anything but links."""
    lists_tasks: bool = True
    latency_s: float = 20.0
    images: int = 1
    """Of each task."""
    submit_s: float = 0.2
    on_submit: Script = lambda n: None
    on_link: Callable[[int, FakeTask], bytes | LinkFailed | None] = lambda n, task: None
    on_read: Callable[[int, FakeTask], Task | None] = lambda n, task: None
    """What the n-th read of a task (1-based) says of it."""
    on_batch: Callable[[int], Reply | str | None] = lambda n: None
    """The reply to the n-th read of tasks (0-based) if it tells of none, or why there is no reply."""
    tasks: dict[str, FakeTask] = field(default_factory=dict)
    submits: int = 0
    reads: Counter[str] = field(default_factory=Counter)
    batches: list[tuple[float, int]] = field(default_factory=list)
    links: int = 0
    most_running: int = 0
    probes: int = 0
    on_probe: Callable[[int], Reply | NotSent | Unknown | None] = lambda n: None
    """The answer to the n-th question about a key (0-based)."""
    keys_come_first: bool = True
    """Whether a key is looked at before the body."""
    listings: int = 0
    on_list: Callable[[int], Reply | None] = lambda n: None
    """The reply to the n-th reading of the list (0-based), if it lists nothing."""
    read_at_once: int = 50
    on_account: Callable[[int], Reply | str | None] = lambda n: None
    """The reply to the n-th question about the account, or why there is none."""
    account_reads: list[float] = field(default_factory=list)
    """When the account was read."""
    on_upload: Callable[[int], Reply | UploadFailed | None] = lambda n: None
    """The reply to the n-th upload, or what is made of more than one: a full account, no reply."""
    uploads: int = 0
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def capabilities(self) -> Capabilities:
        """50 a read, 3 s apart, links of a day."""
        return Capabilities(
            "fake",
            self.account,
            self.idempotency,
            self.key_lifetime_s,
            self.read_at_once,
            3.0,
            86400.0,
            offers_callbacks=True,
            offers_uploads=True,
        )

    def provider_time(self) -> float | None:
        """By the `Date` of its latest reply."""
        is_told = self.tells_time and self.replies
        return anyio.current_time() + self.clock_offset_s if is_told else None

    def encode(self, request: Request, callback_url: str | None = None) -> bytes:
        """Our own vocabulary as JSON."""
        fields = request.given() | ({"callback_url": callback_url} if callback_url else {})
        return json.dumps(fields, sort_keys=True).encode()

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        """Make a task, unless the script says otherwise."""
        number, self.submits = self.submits, self.submits + 1
        await anyio.sleep(self.submit_s)
        earlier = [
            task for task in self.tasks.values() if task.key == idempotency_key and self.remembers_keys
        ]
        scripted = self.on_submit(number)
        if isinstance(scripted, Reply):
            self.replies += 1
            return read_submit_reply(scripted)
        if isinstance(scripted, NotSent | Unknown):
            return without_reply(scripted)
        task = earlier[0] if earlier else self.make(body, idempotency_key)
        if scripted == "lost":
            return Unknown("the reply was lost")
        self.replies += 1
        return read_submit_reply(self.made(task, is_replay=bool(earlier)))

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        """The state of tasks by the clock."""
        await anyio.sleep(0.05)
        scripted = self.on_batch(len(self.batches))
        self.batches.append((anyio.current_time(), len(task_ids)))
        if isinstance(scripted, str):
            return TasksRead(failure=scripted)
        self.replies += 1
        if scripted is not None:
            return failed_read(scripted)
        told = [read_task(self._told(self.tasks[id_])) for id_ in task_ids if id_ in self.tasks]
        reports = {report.task_id: report for report in told if report is not None}
        return TasksRead(reports=reports, absent=frozenset(task_ids) - frozenset(self.tasks))

    async def list_recent(self, age_s: float, turn: Turn) -> Listing:
        """All tasks, unless the script says otherwise."""
        await turn()
        number, self.listings = self.listings, self.listings + 1
        self.replies += 1
        scripted = self.on_list(number)
        if scripted is not None:
            return failed_listing(scripted)
        if not self.lists_tasks:
            return failed_listing(NO_SUCH_ROUTE)
        lines = [
            {"id": task.id, "model": task.model, "created_at": task.created + self.clock_offset_s}
            for task in self.tasks.values()
        ]
        found = tuple(listed for listed in map(read_listed_task, lines) if listed is not None)
        now = anyio.current_time() + self.clock_offset_s
        return Listing(found, back_to=-math.inf, provider_time=now)

    async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
        """Whether the key was seen, unless the script says otherwise, or the body is looked at first."""
        number, self.probes = self.probes, self.probes + 1
        scripted = self.on_probe(number)
        if scripted is None:
            is_known = self.remembers_keys and any(task.key == used_key for task in self.tasks.values())
            scripted = CONFLICT if is_known and self.keys_come_first else BAD_REQUEST
        self.replies += isinstance(scripted, Reply)
        return key_answer(
            without_reply(scripted)
            if isinstance(scripted, NotSent | Unknown)
            else read_submit_reply(scripted)
        )

    async def read_account(self) -> AccountRead:
        """Up, unless the script says otherwise."""
        self.account_reads.append(anyio.current_time())
        await anyio.sleep(0.05)
        scripted = self.on_account(len(self.account_reads) - 1)
        if isinstance(scripted, str):
            return AccountRead(is_up=False, failure=scripted)
        self.replies += 1
        return read_credits_reply(scripted or credits_left())

    async def upload(self, path: Path, media_type: str) -> Uploaded | UploadFailed:
        """Hold a file, unless the script says otherwise."""
        number, self.uploads = self.uploads, self.uploads + 1
        await anyio.sleep(0.2)
        scripted = self.on_upload(number)
        if isinstance(scripted, UploadFailed):
            return scripted
        if scripted is not None:
            return read_upload_reply(scripted, now=anyio.current_time())
        file_id = f"file-{number}"
        self.files[file_id] = _content(path)
        return Uploaded(file_id, f"https://files.example/{file_id}.png", anyio.current_time() + 72 * 3600)

    async def delete_upload(self, file_id: str) -> bool:
        """Let a file go."""
        await anyio.sleep(0.05)
        self.files.pop(file_id, None)
        return True

    def open_link(self, url: str) -> AbstractAsyncContextManager[Body]:
        """The picture of a task."""
        return self._open(url)

    def reserved(self, task: FakeTask) -> float | None:
        """Credits that are taken for a task when it is made; None: the reply does not say."""
        return 2.0

    def used(self, task: FakeTask) -> float | None:
        """What it has cost in the end."""
        return 2.0

    def paid(self) -> Counter[bytes]:
        """How often each body was paid for."""
        return Counter(task.body for task in self.tasks.values())

    @asynccontextmanager
    async def _open(self, url: str) -> AsyncIterator[Body]:
        number, self.links = self.links, self.links + 1
        before, _, which = url.rpartition("/")
        task = self.tasks[before.rpartition("/")[2]]
        scripted = self.on_link(number, task)
        if isinstance(scripted, LinkFailed):
            raise scripted
        drawn = picture_of(task.body, int(which.partition("-")[2] or "1"))
        data = drawn if scripted is None else scripted
        yield MemoryBody(data, len(data))

    def make(self, body: bytes, key: str) -> FakeTask:
        """A task, paid for now."""
        now = anyio.current_time()
        task = FakeTask(
            f"task-{len(self.tasks)}", body, key, json.loads(body)["model"], now, now + self.latency_s
        )
        self.tasks[task.id] = task
        self.most_running = max(
            self.most_running, sum(1 for task in self.tasks.values() if task.done_at > now)
        )
        return task

    def made(self, task: FakeTask, *, is_replay: bool) -> Reply:
        """The reply to the submit that made a task, or to its repetition."""
        replayed = {"idempotency_replayed": "true"} if is_replay else {}
        return accepted(task.id, credits=self.reserved(task), estimated_s=self.latency_s, **replayed)

    def _told(self, task: FakeTask) -> Task:
        self.reads[task.id] += 1
        if (scripted := self.on_read(self.reads[task.id], task)) is not None:
            return scripted
        if anyio.current_time() < task.done_at:
            return working(task.id)
        link = f"https://links.example/{task.id}/{task.link}"
        others = [f"{link}-{number}" for number in range(2, self.images + 1)]
        return finished(task.id, link, *others, credits=self.used(task))


def without_reply(outcome: NotSent | Unknown) -> NotSent | Unknown:
    """An outcome that no reply has told, as the HTTP client makes it.

    Raises:
        TypeError: it says what only a reply can say; script that reply (`tests/unit/wire.py`).
    """
    if outcome in (NotSent(outcome.reason), Unknown(outcome.reason)):
        return outcome
    raise TypeError(f"{outcome} comes of a reply: script that")


def stranger(created: float, model: str = "model-a") -> dict[str, FakeTask]:
    """A task that someone else made with the same account."""
    return {"theirs": FakeTask("theirs", b"theirs", "their-key", model, created, created + 20.0)}
