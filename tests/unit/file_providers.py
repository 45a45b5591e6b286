"""Providers that answer with files: one with the images in its reply, one with jobs of many rows.

Each is a whole small provider of its own wire format, that of no real one: the shape of the engine is tried
with it. Bytes go through its own parser, as those of a real one do.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio

from nanobanana_batch.errors import ImageRejected
from nanobanana_batch.model import Kind
from nanobanana_batch.providers.base import (
    Answered,
    Capabilities,
    Decision,
    Idempotency,
    Listing,
    Rejected,
    Result,
    SubmitOutcome,
    Unknown,
)
from tests.unit.fake_provider import FakeProvider, FakeTask, Turn, picture_of

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

    def read_results(self, path: Path) -> Iterator[Result]:
        """One line a row."""
        with path.open("rb") as file:
            for line in file:
                if (result := read_line(line)) is not None:
                    yield result

    def image_in(self, path: Path, name: str, number: int) -> Iterator[bytes]:
        """Of the first line of the row that has any."""
        with path.open("rb") as file:
            for line in file:
                result = read_line(line)
                if result is not None and result.name == name and result.images >= number:
                    data = base64.b64decode(json.loads(line)["images"][number - 1])
                    yield data[: len(data) // 2]
                    yield data[len(data) // 2 :]
                    return
        raise ImageRejected("its results have no such image")


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
        task = self._make(body, idempotency_key)
        if scripted == "lost":
            return Unknown("the reply was lost")
        told = self.on_reply(number, task) or told_of(body, self.images)
        return Answered(json.dumps({"name": ""} | told).encode(), credits_used=2.0)

    async def list_recent(self, age_s: float, turn: Turn) -> Listing:
        """There is no list."""
        return Listing(is_offered=False, failure="there is none")


__all__ = ["DirectProvider", "FileReader", "Rejected", "field", "read_line", "told_of"]
