"""Which mutations there are: each field of each reply of the contract, and what else may be done to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .mutations import BYTES, FIELD, HEADER, WHOLE, Mutation

TIMINGS = ("all", "ends", "begins")
"""The mutation is there from the first to the last reply, ends in the middle, or begins there."""
_PICTURES = ("other picture", "cut picture", "broken picture", "picture and more", "svg")
_ALL = tuple(one for one in BYTES if one not in _PICTURES)
_FEW = (
    *(
        "empty",
        "half",
        "html",
        "not UTF-8",
        "gzip that is none",
        "no length",
        "status 204",
        "status 302 away",
    ),
    *("status 403 page", "status 500", "cut", "nothing"),
)
"""Changes of the bytes that stand for the others, where the same few lines read them all."""
_PLAIN = ("removed", "null", "type", "word", "doubled", "empty", "oversized")
_NUMBER = ("as text", "negative", "huge", "NaN", "infinite")
_IDLE = {
    "created",
    "object",
    "type",
    "progress",
    "usage.user_group",
    "usage.billing_rule",
    "task_info.can_cancel",
    "total",
    "page",
    "page_size",
}
"""Fields that decide nothing: once is enough."""


@dataclass(frozen=True)
class Scene:
    """What goes on when a kind of reply is to be seen at all."""

    kind: str
    fields: tuple[str, ...] = ()
    more: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further changes, by place."""
    settings: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    references: bool = False
    """Rows with local reference images, which have to be uploaded."""
    bytes: tuple[str, ...] = _ALL
    timings: tuple[str, ...] = TIMINGS
    may_hold: bool = False
    """Rows may stay unknown: the provider forgets keys."""
    commands: tuple[str, ...] = ()
    """Run before the run: doctor, say."""


_TASK = (
    "created",
    "id",
    "model",
    "object",
    "progress",
    "status",
    "task_info",
    "task_info.can_cancel",
    "task_info.estimated_time",
    "type",
    "usage",
    "usage.billing_rule",
    "usage.credits_reserved",
    "usage.user_group",
)
_ID = ("as text", "number", "strange id", "stranger", "control characters", "in a list", "spaces", "twice")
_WORDS = ("upper case", "spaces", "in a list", "control characters", "secret", "twice")
_LINK = (
    *("object", "file_url", "strange object", "relative", "no scheme", "ftp", "wrong port", "spaces"),
    *("in a list", "control characters"),
)
_ERROR = ("error", "error.code", "error.message", "error.type")
_ERROR_MORE = {
    "error.code": ("as text", "number", "huge", "in a list", "secret", "upper case", "control characters"),
    "error.message": ("secret", "control characters", "in a list", "twice"),
    "error": ("secret", "in a list"),
}
_WAIT = {
    ":Retry-After": (
        *("removed", "empty", "word", "doubled", "oversized", "huge", "negative", "zero", "fraction"),
        *("NaN", "date", "no date", "latin-1"),
    ),
    "error.fallback_suggestion": (*_PLAIN, "secret"),
}
_TYPES = {":Content-Type": ("removed", "empty", "word", "html", "octets", "charset", "utf-16", "oversized")}
_NUMBERS = {
    "usage.credits_reserved": _NUMBER,
    "task_info.estimated_time": _NUMBER,
    "progress": ("as text", "NaN", "huge"),
    "created": ("as text", "NaN", "huge"),
}
_FILE = ("file_id", "file_name", "original_name", "file_size", "mime_type", "upload_path", "file_url")
_FILE_FIELDS = (
    *("success", "code", "msg", "data"),
    *(f"data.{name}" for name in (*_FILE, "download_url", "upload_time", "expires_at")),
)
_LISTED = ("id", "model", "type", "status", "progress", "created_at", "has_results")
_CREDIT = ("remaining_credits", "unlimited_credits", "used_credits")

SCENES: dict[str, Scene] = {
    "submit": Scene(
        "submit", _TASK, {"id": _ID, "status": _WORDS, **_NUMBERS, **_TYPES, "model": ("secret",)}
    ),
    "task": Scene(
        "task",
        (*_TASK, "results", "results[]"),
        {
            "id": ("as text", "number", "in a list", "spaces", "stranger", "twice"),
            "status": _WORDS,
            "results": (*_LINK, "as text", "twice"),
            "results[]": _LINK,
            **_NUMBERS,
        },
        bytes=(),
    ),
    "failed task": Scene(
        "task",
        _ERROR,
        _ERROR_MORE,
        settings={"faults": {"fail_task": 0.3}},
        bytes=(),
        timings=("all", "ends"),
    ),
    "refused task": Scene(
        "task",
        _ERROR,
        _ERROR_MORE,
        settings={"faults": {"refuse_task": 0.3}},
        bytes=(),
        timings=("all", "ends"),
    ),
    "read": Scene("read", more=_TYPES, settings={"batch": False}),
    "batch": Scene("batch", ("data", "data[]"), {"data": ("in a list",), **_TYPES}),
    "list": Scene(
        "list",
        ("data", "data[]", *(f"data[].{name}" for name in _LISTED), "total", "page", "page_size"),
        {
            "data[].created_at": (*_NUMBER, "control characters"),
            "data[].id": ("number", "in a list", "stranger", "strange id"),
            "total": _NUMBER,
            **_TYPES,
        },
        settings={"keys": "ignored", "faults": {"lost_tasks": [20]}},  # one alone: of several none is read
        profile={"idempotency": "unproven"},
        may_hold=True,
        timings=("all", "ends"),
        bytes=_FEW,
    ),
    "files": Scene(
        "files",
        _FILE_FIELDS,
        {
            "data.file_url": _LINK,
            "data.expires_at": ("number", "control characters", "secret"),
            "data.file_size": _NUMBER,
            "msg": ("secret",),
            **_TYPES,
        },
        references=True,
        timings=("all", "ends"),
    ),
    "quota": Scene(
        "quota",
        ("data", "data.used_files", "data.max_files", "data.remain_files"),
        {"data.remain_files": _NUMBER},
        bytes=_FEW,
        references=True,
        timings=("all",),
    ),
    "credits": Scene(
        "credits",
        (
            *("data", "data.token", "data.user", "message", "success"),
            *(f"data.{who}.{name}" for who in ("token", "user") for name in _CREDIT),
        ),
        {"data.token.remaining_credits": _NUMBER, "message": ("secret",), **_TYPES},
        timings=("all",),
        bytes=_FEW,
        commands=("doctor",),
    ),
    "429": Scene(
        "error", _ERROR, {**_ERROR_MORE, **_WAIT}, settings={"faults": {"rate_429": 0.3}}, bytes=_FEW
    ),
    "503": Scene(
        "error",
        _ERROR,
        _ERROR_MORE,
        settings={"faults": {"no_channel": 0.2}},
        timings=("all", "ends"),
        bytes=_FEW,
    ),
    "402": Scene("error", _ERROR, _ERROR_MORE, settings={"credits": 40.0}, timings=("all",), bytes=_FEW),
    "402 of the day": Scene(
        "error",
        (*_ERROR, "error.reset_timezone"),
        _ERROR_MORE,
        settings={"daily_quota": 20},
        timings=("all",),
        bytes=_FEW,
    ),
    "400": Scene(
        "error", _ERROR, _ERROR_MORE, settings={"faults": {"reject": 0.15}}, timings=("all",), bytes=()
    ),
    "429 of reads": Scene(
        "error",
        _ERROR,
        {**_ERROR_MORE, **_WAIT},
        settings={"faults": {"rate_429_read": 0.3}},
        timings=("all",),
        bytes=_FEW,
    ),
    "link": Scene(
        "link",
        more={":Content-Type": ("removed", "empty", "word", "html", "octets", "oversized"), "": _PICTURES},
    ),
}


@dataclass(frozen=True)
class Case:
    """A mutation in its scene at its time."""

    scene: str
    mutation: Mutation
    timing: str

    @property
    def name(self) -> str:
        """As --only and the table have it."""
        return f"{self.scene} {self.mutation.place or 'bytes'} {self.mutation.change} ({self.timing})"


def cases() -> list[Case]:
    """All of them, those of a scene together."""
    return [case for name, scene in SCENES.items() for case in _of(name, scene)]


def _of(name: str, scene: Scene) -> Iterator[Case]:
    changes = {place: list(_PLAIN) for place in scene.fields}
    for place, more in scene.more.items():
        changes[place] = [*changes.get(place, []), *more]
    if scene.bytes:
        whole = () if scene.kind == "link" or scene.bytes == _FEW else tuple(WHOLE)
        changes[""] = [*changes.get("", []), *whole, *scene.bytes]
    for place, names in changes.items():
        for change in dict.fromkeys(names):
            yield from _timed(name, scene, Mutation(scene.kind, place, change))


def _timed(name: str, scene: Scene, mutation: Mutation) -> Iterator[Case]:
    is_idle = mutation.place.removeprefix("data[].") in _IDLE
    is_rare = not mutation.place and mutation.change not in _FEW
    for timing in ("all",) if is_idle or is_rare else scene.timings:
        yield Case(name, mutation, timing)


assert not set(_PLAIN) - FIELD.keys()
assert HEADER
