"""What is written into a file: the row that it was made for, as JSON with a version."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nanobanana_batch.collection.entries import Entry
from nanobanana_batch.model import REQUEST_FIELDS, ExtraValue, LocalImage, Request, row_key

NAME = "nanobanana-batch"
"""The record's name in a file; in it, its version."""
VERSION = 1
MOST_BYTES = 1 << 20
"""Ten times what the longest prompt and many variables take."""
_ROW_KEY = re.compile(r"r\d{1,3}-[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_ID = 400
_NOT_IN_XML = re.compile("[\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")


class NoRecord(Exception):
    """A text that says of itself that it is one, and is none."""


@dataclass(frozen=True, slots=True)
class Record:
    """Of one image; nothing in it depends on when or where it was written."""

    request: Request
    row_key: str
    variant: int = 1
    id: str = ""
    task_id: str = ""
    image_number: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)

    def as_text(self) -> str:
        """As JSON on one line, of characters that every container takes."""
        request = {name: value for name, value in self.request.given().items() if name != "extra"}
        told: dict[str, object] = {
            NAME: VERSION,
            "id": self.id,
            "request": request,
            "settings": dict(self.request.extra),
            "variables": dict(self.variables),
            "files": {file.name: file.sha256 for file in self.request.files},
            "variant": self.variant,
            "image_number": self.image_number,
            "task_id": self.task_id,
            "row_key": self.row_key,
        }
        given = {name: value for name, value in told.items() if value not in ({}, "")}
        text = json.dumps(given, ensure_ascii=False, separators=(",", ":"))
        return _NOT_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

    @property
    def is_whole(self) -> bool:
        """Whether a manifest of this row alone has its row key: it is no later variant or repetition."""
        return row_key(self.request, 1) == self.row_key


def record_of(entry: Entry, image_number: int = 1) -> Record:
    """Of an image of a row."""
    return Record(
        entry.request,
        entry.row_key,
        entry.variant,
        entry.id,
        entry.task_id or "",
        image_number,
        dict(entry.variables),
    )


def read_text(text: str) -> Record:
    """The record of a text, which may come from anybody.

    Raises:
        NoRecord: it is none, or of a newer version.
    """
    if len(text) > MOST_BYTES:
        raise NoRecord("it is too long")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoRecord("it is no JSON") from error
    if not isinstance(told, dict) or type(told.get(NAME)) is not int:
        raise NoRecord("it has no version")
    if told[NAME] > VERSION:
        raise NoRecord("a newer version of this program has written it")
    try:
        return _record(told)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise NoRecord(f"it is damaged: {error}") from error


def _record(told: Mapping[str, Any]) -> Record:
    given = dict(told["request"])
    known: dict[str, Any] = {name: given.pop(name) for name in REQUEST_FIELDS if name in given}
    if given:
        raise ValueError("it has fields that no request has")
    images = tuple(map(_text, known.pop("images", ())))
    truths: dict[str, Any] = {
        name: _truth(known.pop(name)) for name in ("web_search", "image_search") if name in known
    }
    texts: dict[str, Any] = {name: _text(value) for name, value in known.items()}
    files = told.get("files", {})
    request = Request(
        **texts,
        **truths,
        images=images,
        files=tuple(_file(name, sha256) for name, sha256 in files.items()),
        extra=tuple(sorted((_text(name), _setting(value)) for name, value in _map(told, "settings").items())),
    )
    key = _text(told.get("row_key", ""))
    if not _ROW_KEY.fullmatch(key) or len(_text(told.get("id", ""))) > _MOST_ID:
        raise ValueError("row_key or id")
    variables = {_text(name): _text(value) for name, value in _map(told, "variables").items()}
    return Record(
        request,
        key,
        _number(told.get("variant", 1)),
        told.get("id", ""),
        _text(told.get("task_id", "")),
        _number(told.get("image_number", 1)),
        variables,
    )


def _map(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(name)
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is none")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 1_000_000:
        raise ValueError("a number is none")
    return value


def _setting(value: object) -> ExtraValue:
    if not isinstance(value, str | int | float | bool):
        raise ValueError("a setting is none")
    return value


def _file(name: object, sha256: object) -> LocalImage:
    if not _SHA256.fullmatch(_text(sha256)):
        raise ValueError("a file's content")
    return LocalImage(_text(name), "", _text(sha256), 0, "")
