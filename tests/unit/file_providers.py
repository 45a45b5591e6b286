"""Providers that answer with files: one with the images in its reply, one with jobs of many rows.

Each is a whole small provider of its own wire format, that of no real one: the shape of the engine is tried
with it. Bytes go through its own parser, as those of a real one do.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from nanobanana_batch.errors import ImageRejected, LinkFailed
from nanobanana_batch.model import Kind, Request
from nanobanana_batch.providers.base import (
    Answered,
    Body,
    Capabilities,
    Decision,
    Idempotency,
    JobsFound,
    Listing,
    Result,
    SubmitOutcome,
    Unknown,
)
from tests.unit.fake_provider import FakeProvider, FakeTask, MemoryBody, Turn, picture_of

Told = dict[str, object]
"""A line of results, or a reply: `images` (base64), or `refused` or `failed` (why)."""


def told_of(body: bytes, images: int, name: str = "") -> Told:
    """What a provider says of a row that went well."""
    drawn = [base64.b64encode(picture_of(body, number)).decode() for number in range(1, images + 1)]
    return {"name": name, "images": drawn}


def read_line(line: bytes) -> Result | None:
    """The parser of both."""
    try:
        told = json.loads(line)
        name = str(told["name"])
    except (ValueError, TypeError, KeyError):
        return None
    if isinstance(told.get("images"), list) and told["images"]:
        return Result(name, len(told["images"]))
    if "refused" in told:
        return Result(name, 0, "refused", str(told["refused"]), Decision.REFUSE)
    if "busy" in told:
        return Result(name, 0, "no_image", str(told["busy"]), Decision.NEW_ATTEMPT)
    return Result(name, 0, "failed", str(told.get("failed", "it says nothing")))


class FileReader:
    """See `base.ReadsResults`."""

    def credits_in(self, path: Path) -> float | None:
        """As the first line says, which may be the only one."""
        with path.open("rb") as file:
            told = json.loads(file.readline())
        return float(told["credits"]) if "credits" in told else None

    def read_results(self, path: Path) -> Iterator[Result]:
        """One line a row."""
        at = 0
        with path.open("rb") as file:
            for line in file:
                if (result := self.line_read(line)) is not None:
                    yield replace(result, at=at)
                at += len(line)

    def image_in(self, path: Path, at: int, number: int) -> Iterator[bytes]:
        """Of the line that begins there."""
        with path.open("rb") as file:
            file.seek(at)
            line = file.readline()
        result = self.line_read(line)
        if result is None or result.images < number:
            raise ImageRejected("its results have no such image")
        data = base64.b64decode(json.loads(line)["images"][number - 1])
        yield data[: len(data) // 2]
        yield data[len(data) // 2 :]

    def line_read(self, line: bytes) -> Result | None:
        """A test may count them."""
        return read_line(line)


@dataclass
class DirectProvider(FileReader, FakeProvider):
    """The images come in the reply, and nothing can be asked about it afterwards."""

    idempotency: Idempotency = Idempotency.IGNORED
    submit_s: float = 20.0
    on_reply: Callable[[int, FakeTask], Told | None] = lambda n, task: None
    """What the reply to the n-th request (0-based) says, if not all went well."""

    @property
    def capabilities(self) -> Capabilities:
        """As a provider of tasks, but for the kind of its answers."""
        return replace(super().capabilities, kind=Kind.DIRECT, offers_callbacks=False)

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        """Each request is paid for, whatever its key."""
        number, self.submits = self.submits, self.submits + 1
        await anyio.sleep(self.submit_s)
        scripted = self.on_submit(number)
        if isinstance(scripted, Unknown):
            return scripted
        if scripted is not None and scripted != "lost":
            raise TypeError(f"{scripted} is no answer of this provider")
        task = self.make(body, idempotency_key)
        if scripted == "lost":
            return Unknown("the reply was lost")
        told = self.on_reply(number, task) or told_of(body, self.images)
        return Answered(json.dumps({"name": "", "credits": 2.0} | told).encode(), credits_used=2.0)

    async def list_recent(self, age_s: float, turn: Turn) -> Listing:
        """There is no list."""
        return Listing(is_offered=False, failure="there is none")


Line = dict[str, object] | bytes
"""A line of results: what it says, or its bytes."""


@dataclass
class JobProvider(FileReader, FakeProvider):
    """One paid request for many rows; its results are a file with a line for each, in any order."""

    idempotency: Idempotency = Idempotency.IGNORED
    rows_at_once: int = 4
    listed_after_s: float = 0.0
    """So late a new job is in the list."""
    on_lines: Callable[[list[Line]], list[Line]] = lambda lines: lines
    """The results of a job, of the lines as they would be."""
    on_results: Callable[[int], LinkFailed | None] = lambda n: None
    """Why the n-th fetching of results (0-based) fails."""
    fetched: int = 0

    @property
    def capabilities(self) -> Capabilities:
        """As a provider of tasks, but for the kind of its answers."""
        offered = replace(super().capabilities, offers_callbacks=False)
        return replace(offered, kind=Kind.JOB, rows_at_once=self.rows_at_once)

    async def prepare(self, rows: Sequence[tuple[str, Request]], name: str) -> bytes:
        """All of it in the body."""
        await anyio.sleep(0.1)
        asked = [{"name": each, **request.given()} for each, request in rows]
        return json.dumps({"model": rows[0][1].model, "name": name, "rows": asked}).encode()

    async def find_job(self, name: str) -> JobsFound:
        """By name, oldest first."""
        await anyio.sleep(0.1)
        self.listings += 1
        now = anyio.current_time() - self.listed_after_s
        ids = [task.id for task in self.tasks.values() if task.key == name and task.created <= now]
        return JobsFound(tuple(ids), is_complete=True)

    async def list_recent(self, age_s: float, turn: Turn) -> Listing:
        """Jobs are found by their names."""
        raise AssertionError("a job is looked for by its name")

    def open_results(self, link: str) -> AbstractAsyncContextManager[Body]:
        """A line for each row."""
        return self._results(link)

    @asynccontextmanager
    async def _results(self, link: str) -> AsyncIterator[Body]:
        number, self.fetched = self.fetched, self.fetched + 1
        if (failure := self.on_results(number)) is not None:
            raise failure
        task = self.tasks[link.rpartition("/")[0].rpartition("/")[2]]
        lines: list[Line] = [
            told_of(str(row["prompt"]).encode(), self.images, row["name"])
            for row in json.loads(task.body)["rows"]
        ]
        said = [
            line if isinstance(line, bytes) else json.dumps(line).encode() for line in self.on_lines(lines)
        ]
        data = b"".join(line + b"\n" for line in said)
        yield MemoryBody(data, len(data))

    def paid(self) -> Counter[bytes]:
        """How often each prompt was paid for."""
        rows = [row for task in self.tasks.values() for row in json.loads(task.body)["rows"]]
        return Counter(str(row["prompt"]).encode() for row in rows)
