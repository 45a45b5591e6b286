"""The facts that rooms hand to each other: frozen, without behaviour, in our own vocabulary.

What identifies a row lives here too, since a row key that changed by accident would pay again for
everything: the key is a hash over a canonical text with a version prefix, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring, encode_basestring_ascii
from operator import attrgetter
from typing import Any, NamedTuple

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

AS = "as"
"""Key of a field's metadata: what makes of it what people are told."""

ExtraValue = str | int | float | bool
"""What a setting of a model's own may be on the wire."""


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
    extra: tuple[tuple[str, ExtraValue], ...] = field(default=(), metadata={AS: dict})
    """Settings of the model's own, by our names for them, sorted."""
    priced_by: str = ""
    """Those of `extra` that the price may depend on, as a JSON object; it identifies nothing."""

    def given(self) -> dict[str, object]:
        """What was given, in the order of the vocabulary, with all of `extra` as one; JSON-ready."""
        given = {name: getattr(self, name) for name in REQUEST_FIELDS}
        given["images"] = list(self.images) or None
        given["extra"] = dict(self.extra) or None
        return {name: value for name, value in given.items() if value is not None}


def request_as_json(request: Request) -> str:
    """The whole request as JSON text: what was given, and what its local files were."""
    before, after = _stored_around_prompt(_BESIDE_PROMPT(request), _extra_as_json(request))
    return f"{before}{encode_basestring(request.prompt)}{after}"


def around(request: Request, variant: int = 1) -> Around:
    """What a request has around its prompt."""
    return _around_prompt(_BESIDE_PROMPT(request), _extra_as_json(request), variant)


def variables_as_json(variables: tuple[tuple[str, str], ...]) -> str:
    """A row's variables as a JSON object."""
    pairs = [f"{encode_basestring(name)}: {encode_basestring(text)}" for name, text in variables]
    return f"{{{', '.join(pairs)}}}"


def request_from_json(text: str) -> Request:
    """The request that `request_as_json` stored."""
    if isinstance(text, str) and text.startswith(_PROMPT_FIRST):
        prompt, behind = prompt_first(text)
        like = _without_its_prompt(behind)
        if not like.prompt:
            return Request(like.model, prompt, *_behind_prompt(like))
    return _whole_request(text)


def prompt_first(text: str) -> tuple[str, str]:
    """The prompt of a request that `request_as_json` stored, and what is stored behind it.

    Rows differ in their prompts, which stand first, and share nearly everything else.

    Raises:
        ValueError: it does not begin with a prompt.
    """
    if not text.startswith(_PROMPT_FIRST):
        raise ValueError("a request that does not begin with its prompt")
    prompt, end = _DECODER.raw_decode(text, len(_PROMPT_FIRST) - 1)
    return prompt, text[end:]


_PROMPT_FIRST = '{"prompt": "'
_DECODER = json.JSONDecoder()


def _whole_request(text: str) -> Request:
    found = json.loads(text)
    found["images"] = tuple(found.get("images", ()))
    found["files"] = tuple(LocalImage(**file) for file in found.get("files", ()))
    found["extra"] = tuple(found.get("extra", {}).items())
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
    suggested_id: str = ""
    """What the manifest would call it, if it has no name: a number is added where that is taken."""

    @property
    def prompt(self) -> str:
        """What it shows."""
        return self.request.prompt


class Around(NamedTuple):
    """What is written around the prompts of requests that differ in nothing else."""

    key_before: str
    key_after: str
    before: str
    after: str
    bare: str
    """The request as JSON, without its prompt."""

    def written(self, prompt: str) -> tuple[str, str]:
        """The key of a row with this prompt, as the only one of its kind, and its request as JSON."""
        canonical = f"{self.key_before}{encode_basestring_ascii(prompt)}{self.key_after}"
        key = f"{ROW_KEY_VERSION}-{hashlib.sha256(canonical.encode()).hexdigest()}"
        return key, f"{self.before}{encode_basestring(prompt)}{self.after}"


class PlainDraft(NamedTuple):
    """A draft without variants, of which much is known from others."""

    source: str
    around: Around
    prompt: str
    id: str | None
    variant: int = 1
    suggested_id: str = ""


@dataclass(frozen=True, slots=True)
class PlainDrafts:
    """Such drafts, one behind the other, by columns; for tables of millions of rows."""

    sources: Sequence[str]
    around: Sequence[Around]
    prompts: Sequence[str]
    ids: Sequence[str | None]
    variables: Sequence[str]
    """Each row's as JSON, as `variables_as_json` writes them."""

    def written(self) -> tuple[list[str], list[str]]:
        """As `Around.written`: the keys and the requests."""
        keys, requests, last, version = [], [], None, f"{ROW_KEY_VERSION}-"
        for around, prompt in zip(self.around, self.prompts, strict=True):
            if around is not last:
                key_before, key_after, before, after, _ = last = around
                begin = hashlib.sha256(key_before.encode()).copy
            quoted = encode_basestring_ascii(prompt)
            digest = begin()  # what all have in front of their prompts is hashed once
            digest.update(f"{quoted}{key_after}".encode())
            keys.append(f"{version}{digest.hexdigest()}")
            if len(quoted) - len(prompt) != _QUOTES:  # else there is nothing that only ASCII has to escape
                quoted = encode_basestring(prompt)
            requests.append(f"{before}{quoted}{after}")
        return keys, requests

    def drafts(self) -> Iterator[PlainDraft]:
        """Each for itself, without variables."""
        for source, around, prompt, id_ in zip(
            self.sources, self.around, self.prompts, self.ids, strict=True
        ):
            yield PlainDraft(source, around, prompt, id_)


_QUOTES = 2


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
    beside, extra = _BESIDE_PROMPT(request), _extra_as_json(request)
    before, after = _hashed_around_prompt(beside, extra, variant, occurrence)
    canonical = f"{before}{encode_basestring_ascii(request.prompt)}{after}"
    return f"{ROW_KEY_VERSION}-{hashlib.sha256(canonical.encode()).hexdigest()}"


# Rows differ in their prompts and share nearly everything else: what is written around the prompt is made
# once for many rows. In JSON a quote inside of a text is escaped, so a field's name is found beyond doubt.
_BESIDE = tuple(field.name for field in fields(Request) if field.name not in ("prompt", "extra"))
_BESIDE_PROMPT = attrgetter(*_BESIDE)
_behind_prompt = attrgetter(*(field.name for field in fields(Request)[2:]))
_REMEMBERED = 256


@lru_cache(_REMEMBERED)
def _without_its_prompt(rest: str) -> Request:
    """What a stored request says behind its prompt."""
    return _whole_request(f'{_PROMPT_FIRST}"{rest}')


def _extra_as_json(request: Request) -> str:
    """As text, since 1, 1.0 and true are equal to a cache, and are three requests."""
    return json.dumps(dict(request.extra), sort_keys=True) if request.extra else ""


@lru_cache(_REMEMBERED)
def _stored_around_prompt(beside: tuple[Any, ...], extra: str) -> tuple[str, str]:
    request = _without_prompt(beside)
    given = _given(request, extra)
    if request.files:
        given["files"] = [asdict(file) for file in request.files]
    if request.priced_by:
        given["priced_by"] = request.priced_by
    return _split(json.dumps(given, ensure_ascii=False), '"prompt": ')


@lru_cache(_REMEMBERED)
def _hashed_around_prompt(
    beside: tuple[Any, ...], extra: str, variant: int, occurrence: int
) -> tuple[str, str]:
    canonical = json.dumps(
        {"request": _canonical(_without_prompt(beside), extra), "variant": variant, "occurrence": occurrence},
        sort_keys=True,
        ensure_ascii=True,
        separators=(",", ":"),
    )
    return _split(canonical, '"prompt":')


@lru_cache(_REMEMBERED)
def _around_prompt(beside: tuple[Any, ...], extra: str, variant: int) -> Around:
    before, after = _stored_around_prompt(beside, extra)
    return Around(*_hashed_around_prompt(beside, extra, variant, 0), before, after, f'{before}""{after}')


def _without_prompt(beside: tuple[Any, ...]) -> Request:
    return Request(prompt="", **dict(zip(_BESIDE, beside, strict=True)))


def _split(text: str, name: str) -> tuple[str, str]:
    """What stands in front of an empty prompt, with its name, and what follows it."""
    before, _, after = text.partition(f'{name}""')
    return before + name, after


def _canonical(request: Request, extra: str) -> dict[str, object]:
    given = _given(request, extra)
    if request.files:
        contents = {file.name: {"sha256": file.sha256} for file in request.files}
        given["images"] = [contents.get(image, image) for image in request.images]
    return given


def _given(request: Request, extra: str) -> dict[str, object]:
    given = request.given()
    if extra:
        given["extra"] = json.loads(extra)
    return given


class Kind(StrEnum):
    """What a paid request is answered with."""

    TASK = "task"
    """A task id for one row, to wait for; its images are behind links."""
    DIRECT = "direct"
    """The images of one row, in the reply."""
    JOB = "job"
    """A job id for many rows, to wait for; their images come in one file."""


@dataclass(frozen=True, slots=True)
class TaskMade:
    """What the provider says when it takes a paid request: it made a task of it, or a job."""

    task_id: str
    request_id: str | None = None
    """The provider's own, for its support."""
    credits_reserved: float | None = None
    estimated_s: float | None = None
    """How long it expects to take."""
    is_replay: bool = False
    """It says that an earlier sending under the same key had made it."""


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
    file_time: float | None = None
    """When the file was changed last, as the file system tells it (Unix seconds); None: not known."""
