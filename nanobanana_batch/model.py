"""The facts that rooms hand to each other: frozen, without behaviour, in our own vocabulary.

What identifies a row lives here too, since a row key that changed by accident would pay again for
everything: the key is a hash over a canonical text with a version prefix, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring, encode_basestring_ascii
from operator import attrgetter
from typing import Any

REQUEST_FIELDS = (
    "prompt",
    "model",
    "aspect_ratio",
    "resolution",
    "images",
    "output_format",
    "web_search",
    "image_search",
    "thinking_level",
)
"""Names with a meaning in a manifest; every other name in a row is a variable."""

ROW_KEY_VERSION = "r1"


@dataclass(frozen=True, slots=True)
class LocalImage:
    """A reference image on this machine, as it was when the manifest was read."""

    name: str
    """As the person wrote it: stands among the request's images."""
    path: str
    """Absolute."""
    sha256: str
    """Of its content; this and not the name is what a row asks for."""
    size_bytes: int
    media_type: str


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the provider, free of any dialect; `None` and `()` mean "not given, not sent"."""

    model: str
    prompt: str
    aspect_ratio: str | None = None
    resolution: str | None = None
    images: tuple[str, ...] = ()
    output_format: str | None = None
    web_search: bool | None = None
    image_search: bool | None = None
    thinking_level: str | None = None
    files: tuple[LocalImage, ...] = ()
    """Those of `images` that are local files; none is left when the request is sent."""

    def given(self) -> dict[str, object]:
        """The fields that were given, in the order of the vocabulary; JSON-ready."""
        given = {name: getattr(self, name) for name in REQUEST_FIELDS}
        given["images"] = list(self.images) or None
        return {name: value for name, value in given.items() if value is not None}


def request_as_json(request: Request) -> str:
    """The whole request as JSON text: what was given, and what its local files were."""
    before, after = _stored_around_prompt(_BESIDE_PROMPT(request))
    return f"{before}{encode_basestring(request.prompt)}{after}"


def variables_as_json(variables: tuple[tuple[str, str], ...]) -> str:
    """A row's variables as a JSON object."""
    pairs = [f"{encode_basestring(name)}: {encode_basestring(text)}" for name, text in variables]
    return f"{{{', '.join(pairs)}}}"


def request_from_json(text: str) -> Request:
    """The request that `request_as_json` stored."""
    found = json.loads(text)
    found["images"] = tuple(found.get("images", ()))
    found["files"] = tuple(LocalImage(**file) for file in found.get("files", ()))
    return Request(**found)


@dataclass(frozen=True, slots=True)
class Draft:
    """One row as the manifest gives it, validated but not yet compared with the other rows."""

    source: str
    """Where it stands, for messages: `file:line` or `file row N`."""
    request: Request
    id: str | None = None
    """The person's name for it, if given; portable as a file name, not yet known to be unique."""
    variant: int = 1
    """1-based number among repetitions of the same row."""
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One image to be made: a request, a name, and a key that stays the same across edits around it."""

    position: int
    """0-based place in the manifest."""
    key: str
    id: str
    request: Request
    variant: int
    variables: tuple[tuple[str, str], ...]
    source: str


def row_key(request: Request, variant: int, occurrence: int = 0) -> str:
    """The identity of a row: hash of its canonical request, variant and occurrence.

    `occurrence` counts earlier rows of the same manifest with the same request and variant: who
    writes a prompt twice wants two images, and keeps both when the rows change places. A local file
    counts by its content, so that renaming it costs nothing.
    """
    before, after = _hashed_around_prompt(_BESIDE_PROMPT(request), variant, occurrence)
    canonical = f"{before}{encode_basestring_ascii(request.prompt)}{after}"
    return f"{ROW_KEY_VERSION}-{hashlib.sha256(canonical.encode()).hexdigest()}"


# Rows differ in their prompts and share nearly everything else: what is written around the prompt is made
# once for many rows. In JSON a quote inside of a text is escaped, so a field's name is found beyond doubt.
_BESIDE_PROMPT = attrgetter(*(field.name for field in fields(Request) if field.name != "prompt"))
_REMEMBERED = 256


@lru_cache(_REMEMBERED)
def _stored_around_prompt(beside: tuple[Any, ...]) -> tuple[str, str]:
    request = _without_prompt(beside)
    given = request.given()
    if request.files:
        given["files"] = [asdict(file) for file in request.files]
    return _split(json.dumps(given, ensure_ascii=False), '"prompt": ')


@lru_cache(_REMEMBERED)
def _hashed_around_prompt(beside: tuple[Any, ...], variant: int, occurrence: int) -> tuple[str, str]:
    canonical = json.dumps(
        {"request": _canonical(_without_prompt(beside)), "variant": variant, "occurrence": occurrence},
        sort_keys=True,
        ensure_ascii=True,
        separators=(",", ":"),
    )
    return _split(canonical, '"prompt":')


def _without_prompt(beside: tuple[Any, ...]) -> Request:
    return Request(beside[0], "", *beside[1:])


def _split(text: str, name: str) -> tuple[str, str]:
    """What stands in front of an empty prompt, with its name, and what follows it."""
    before, _, after = text.partition(f'{name}""')
    return before + name, after


def _canonical(request: Request) -> dict[str, object]:
    given = request.given()
    if request.files:
        contents = {file.name: {"sha256": file.sha256} for file in request.files}
        given["images"] = [contents.get(image, image) for image in request.images]
    return given


class RowStatus(StrEnum):
    """Where a row stands; the words are those of `status`, results.csv and the exit code."""

    PENDING = "pending"
    """Nothing was sent for it, or what was sent is known not to have been paid."""
    UNKNOWN = "unknown"
    """A request was sent and no answer came: it may have been paid, and is not sent again unasked."""
    RUNNING = "running"
    """The provider has accepted it; its task id is known."""
    READY = "ready"
    """The image is finished and its links are known; it is not on disk yet."""
    COMPLETED = "completed"
    """The verified image is in the output folder."""
    FAILED = "failed"
    """The provider rejected the request or the task failed; see error_code."""
    REFUSED = "refused"
    """The provider's content rules refused it."""
    EXPIRED = "expired"
    """The image was made, but its links died before it could be fetched; the task id is kept."""


@dataclass(frozen=True, slots=True)
class Image:
    """A verified image file in the output folder; `path` is relative to the folder, with `/`."""

    path: str
    media_type: str
    width: int
    height: int
    size_bytes: int
    sha256: str
