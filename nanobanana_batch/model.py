"""The facts that rooms hand to each other: frozen, without behaviour, in our own vocabulary.

What identifies a row lives here too, since a row key that changed by accident would pay again for
everything: the key is a hash over a canonical text with a version prefix, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum

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
        fields = {name: getattr(self, name) for name in REQUEST_FIELDS}
        fields["images"] = list(self.images) or None
        return {name: value for name, value in fields.items() if value is not None}


def request_as_json(request: Request) -> str:
    """The whole request as JSON text: what was given, and what its local files were."""
    fields = request.given()
    if request.files:
        fields["files"] = [asdict(file) for file in request.files]
    return json.dumps(fields, ensure_ascii=False)


def request_from_json(text: str) -> Request:
    """The request that `request_as_json` stored."""
    fields = json.loads(text)
    fields["images"] = tuple(fields.get("images", ()))
    fields["files"] = tuple(LocalImage(**file) for file in fields.get("files", ()))
    return Request(**fields)


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
    canonical = json.dumps(
        {"request": _canonical(request), "variant": variant, "occurrence": occurrence},
        sort_keys=True,
        ensure_ascii=True,
        separators=(",", ":"),
    )
    return f"{ROW_KEY_VERSION}-{hashlib.sha256(canonical.encode()).hexdigest()}"


def _canonical(request: Request) -> dict[str, object]:
    fields = request.given()
    if request.files:
        contents = {file.name: {"sha256": file.sha256} for file in request.files}
        fields["images"] = [contents.get(image, image) for image in request.images]
    return fields


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
