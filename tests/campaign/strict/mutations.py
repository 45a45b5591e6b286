"""A reply that is not as the contract has it: a field, a header or its bytes, changed always in one way."""

from __future__ import annotations

import copy
import gzip
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .wire import Reply

_TWICE = "\u0001"
"""Marks the second of two equal names until the JSON is written."""
_GONE = object()
_LONG = 1_000_000
KEY = "strict-key-5be1"
SECRET = "c0ffee" * 10
"""What a provider may put into its words and a client must not repeat."""


@dataclass(frozen=True)
class Mutation:
    """`place` is a path of a reply's JSON (`data[].id`), a header (`:Content-Type`), or "" for its bytes."""

    kind: str
    place: str
    change: str

    @property
    def name(self) -> str:
        """As people and --only name it."""
        return f"{self.kind} {self.place or 'bytes'} {self.change}"

    def is_for(self, reply: Reply) -> bool:
        """Whether it changes such replies; `task` means a task wherever it is read."""
        return reply.kind in (("read", "batch") if self.kind == "task" else (self.kind,))

    def applied(self, reply: Reply) -> Reply:
        """The reply, changed; as it is, if it does not have the place."""
        if self.kind == "task" and reply.kind == "batch" and self.place:
            return _with_document(reply, f"data[].{self.place}", self.change)
        if self.place.startswith(":"):
            return _with_header(reply, self.place[1:], self.change)
        if self.place or self.change in WHOLE:
            return _with_document(reply, self.place, self.change)
        return BYTES[self.change](reply)


def _with_document(reply: Reply, place: str, change: str) -> Reply:
    if reply.document is None:
        return reply
    document = copy.deepcopy(reply.document)
    if not place:
        return replace(reply, document=WHOLE[change](document))
    changed = _walk(document, place.split("."), change)
    text = json.dumps(changed).replace(json.dumps(_TWICE)[1:-1], "")
    return replace(reply, document=changed, body=text.encode())


def _walk(value: Any, path: list[str], change: str) -> Any:
    """`value` with what is at the path changed; `name[]` is every element of a list."""
    name, is_each = path[0].removesuffix("[]"), path[0].endswith("[]")
    if not isinstance(value, dict) or name not in value:
        return value
    if is_each and isinstance(value[name], list):
        items = [_deeper(item, path[1:], change) for item in value[name]]
        value[name] = [item for item in items if item is not _GONE]
    else:
        value = _set(value, name, _deeper(value[name], path[1:], change))
    if change == "twice" and len(path) == 1 and not is_each:
        value = {**value, name + _TWICE: None}
    return value


def _deeper(value: Any, rest: list[str], change: str) -> Any:
    if rest:
        return _walk(value, rest, change)
    return value if change == "twice" else FIELD[change](value)


def _set(holder: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    if value is _GONE:
        return {key: old for key, old in holder.items() if key != name}
    return {**holder, name: value}


def _other_type(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes"
    if isinstance(value, int | float):
        return {"value": value}
    if isinstance(value, str):
        return 12345
    return {str(n): item for n, item in enumerate(value)} if isinstance(value, list) else "an object"


def _other_word(value: Any) -> Any:
    if isinstance(value, str):
        return "https://" + "elsewhere.invalid/x" if value.startswith("http") else "pondering"
    return 7777777 if isinstance(value, int | float) else value


def _doubled(value: Any) -> Any:
    return value * 2 if isinstance(value, str | list | int | float) else {**value, "again": dict(value)}


def _oversized(value: Any) -> Any:
    if isinstance(value, str):
        return value + "x" * _LONG
    if isinstance(value, int | float):
        return 10**300
    return value * 5000 if isinstance(value, list) else {**value, **{f"field {n}": n for n in range(20_000)}}


FIELD: dict[str, Callable[[Any], Any]] = {
    "removed": lambda value: _GONE,
    "null": lambda value: None,
    "type": _other_type,
    "word": _other_word,
    "doubled": _doubled,
    "empty": lambda value: type(value)(),
    "oversized": _oversized,
    "as text": lambda value: str(value),
    "in a list": lambda value: [value],
    "negative": lambda value: -abs(value) if isinstance(value, int | float) else value,
    "NaN": lambda value: float("nan"),
    "infinite": lambda value: float("inf"),
    "huge": lambda value: 10**400,
    "number": lambda value: zlib.crc32(str(value).encode()),
    "strange id": lambda value: f"v2:a/b~c+d%2F {value}" if isinstance(value, str) else value,
    "upper case": lambda value: value.upper() if isinstance(value, str) else value,
    "spaces": lambda value: f" {value}\n" if isinstance(value, str) else value,
    "relative": lambda value: re.sub(r"^https?://[^/]+", "", value) if isinstance(value, str) else value,
    "no scheme": lambda value: value.removeprefix("http:") if isinstance(value, str) else value,
    "ftp": lambda value: value.replace("http", "ftp", 1) if isinstance(value, str) else value,
    "wrong port": lambda value: re.sub(r":\d+/", ":1/", value) if isinstance(value, str) else value,
    "object": lambda value: {"url": value, "content_type": "image/png"},
    "file_url": lambda value: {"file_url": value},
    "strange object": lambda value: {"href": value},
    "control characters": lambda value: f"{value}\x00\x1b[2J\r\n" if isinstance(value, str) else value,
    "secret": lambda value: f"{value} Bearer {KEY} http://h.invalid/r?X-Signature={SECRET}",
    "stranger": lambda value: "task-unified-1-zzzzzzzz",
}
"""What can be done to one value."""
ONE_FOR_ALL = ("stranger", "word", "type")
"""What makes the same of every id: no task is known by that."""
FORMS = ("number", "strange id", "as text", "doubled")
"""What makes an id of another form, by which its task is known from then on."""
WHOLE: dict[str, Callable[[Any], Any]] = {
    "nested in data": lambda it: {"data": it},
    "nested twice": lambda it: {"data": {"data": it}},
    "in a list": lambda it: [it],
    "empty object": lambda it: {},
    "null": lambda it: None if it is None else _Null(),
    "a text": lambda it: json.dumps(it),
    "a number": lambda it: 5,
    "deep": lambda it: {**it, "deep": _deep(500)} if isinstance(it, dict) else it,
    "many fields": lambda it: {**it, **{f"f{n}": n for n in range(50_000)}} if isinstance(it, dict) else it,
}
"""What can be done to a whole document."""


class _Null(dict[str, Any]):
    """Written as null."""


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _with_header(reply: Reply, name: str, change: str) -> Reply:
    kept = [(key, value) for key, value in reply.headers if key.lower() != name.lower()]
    old = next((value for key, value in reply.headers if key.lower() == name.lower()), "")
    return replace(reply, headers=[*kept, *HEADER[change](name, old, reply)])


Headers = list[tuple[str, str]]
HEADER: dict[str, Callable[[str, str, Reply], Headers]] = {
    "removed": lambda name, old, reply: [],
    "empty": lambda name, old, reply: [(name, "")],
    "word": lambda name, old, reply: [(name, "pondering")],
    "html": lambda name, old, reply: [(name, "text/html; charset=utf-8")],
    "octets": lambda name, old, reply: [(name, "application/octet-stream")],
    "doubled": lambda name, old, reply: [(name, old), (name, old)],
    "oversized": lambda name, old, reply: [(name, "9" * 6000)],
    "huge": lambda name, old, reply: [(name, "999999999")],
    "negative": lambda name, old, reply: [(name, "-5")],
    "zero": lambda name, old, reply: [(name, "0")],
    "fraction": lambda name, old, reply: [(name, "0.5")],
    "NaN": lambda name, old, reply: [(name, "nan")],
    "date": lambda name, old, reply: [(name, "Wed, 21 Oct 2015 07:28:00 GMT")],
    "no date": lambda name, old, reply: [(name, "Foo, 99 Oct 2015 99:99:99 GMT")],
    "latin-1": lambda name, old, reply: [(name, "caf\xe9")],
    "charset": lambda name, old, reply: [(name, "application/json; charset=klingon")],
    "utf-16": lambda name, old, reply: [(name, "application/json; charset=utf-16")],
}
"""What can be done to a header: the lines that take its place."""


def _bodied(change: Callable[[bytes], bytes], *headers: tuple[str, str]) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, body=change(reply.payload()), headers=[*reply.headers, *headers])


def _chunked(body: bytes) -> bytes:
    parts = [body[at : at + 100] for at in range(0, len(body), 100)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _with_length(more: int) -> Callable[[Reply], Reply]:
    def changed(reply: Reply) -> Reply:
        length = ("Content-Length", str(max(0, len(reply.payload()) + more)))
        return replace(reply, headers=[*reply.headers, length, ("Connection", "close")])

    return changed


def _status(status: int, *headers: tuple[str, str]) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, status=status, headers=[*reply.headers, *headers])


_CHUNKED = (("Transfer-Encoding", "chunked"), ("Connection", "close"))
_HTML = ("Content-Type", "text/html")
_PAGE = b"<html><body><h1>It works</h1></body></html>"
BYTES: dict[str, Callable[[Reply], Reply]] = {
    "empty": _bodied(lambda body: b""),
    "BOM": _bodied(lambda body: b"\xef\xbb\xbf" + body),
    "half": _bodied(lambda body: body[: len(body) // 2]),
    "doubled": _bodied(lambda body: body + body),
    "not UTF-8": _bodied(lambda body: body.replace(b'"', b'"\xff\xfe', 1)),
    "UTF-16": _bodied(lambda body: body.decode("latin-1").encode("utf-16")),
    "html": lambda reply: replace(reply, body=_PAGE, headers=[_HTML]),
    "text": lambda reply: replace(reply, body=b"OK", headers=[("Content-Type", "text/plain")]),
    "white space": _bodied(lambda body: b" " * 100_000 + body),
    "very deep": _bodied(lambda body: b"[" * 200_000),
    "endless digits": _bodied(lambda body: b'{"id": ' + b"9" * 100_000 + b"}"),
    "oversized": _bodied(lambda body: body + b" " * 30_000_000),
    "gzip": _bodied(gzip.compress, ("Content-Encoding", "gzip")),
    "gzip that is none": _bodied(lambda body: body, ("Content-Encoding", "gzip")),
    "unknown encoding": _bodied(lambda body: body, ("Content-Encoding", "klingon")),
    "gzip bomb": _bodied(lambda body: gzip.compress(b" " * 60_000_000 + body), ("Content-Encoding", "gzip")),
    "chunked": _bodied(_chunked, ("Transfer-Encoding", "chunked")),
    "bad chunks": _bodied(lambda body: b"zz\r\n" + body, *_CHUNKED),
    "chunks cut": _bodied(
        lambda body: b"%x\r\n" % (len(body) + 50) + body,
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
    ),
    "length too short": _with_length(-20),
    "length too long": _with_length(20),
    "length of no number": lambda reply: replace(reply, headers=[*reply.headers, ("Content-Length", "many")]),
    "no length": lambda reply: replace(
        reply,
        headers=[*reply.headers, ("Content-Length", "0"), ("Connection", "close")],
        raw=lambda whole: whole.replace(b"Content-Length: 0\r\n", b"", 1),
    ),
    "status 201": _status(201),
    "status 202": _status(202),
    "status 204": lambda reply: replace(reply, status=204, body=b"", headers=[]),
    "status 206": _status(206, ("Content-Range", "bytes 0-99/100")),
    "status 302 away": _status(302, ("Location", "http://127.0.0.1:1/elsewhere")),
    "status 302 nowhere": _status(302),
    "status 302 round": _status(302, ("Location", "/v1/round/and/round")),
    "status 304": lambda reply: replace(reply, status=304, body=b"", headers=[]),
    "status 403 page": lambda reply: replace(reply, status=403, body=_PAGE, headers=[_HTML]),
    "status 418": lambda reply: replace(reply, status=418, body=_PAGE, headers=[_HTML]),
    "status 500": lambda reply: replace(reply, status=500, body=b"", headers=[]),
    "status 520": lambda reply: replace(reply, status=520, body=_PAGE, headers=[_HTML]),
    "status 999": _status(999),
    "no status": lambda reply: replace(
        reply, raw=lambda whole: whole.replace(b"HTTP/1.1 ", b"HTTP/1.1 x", 1)
    ),
    "not HTTP": lambda reply: replace(reply, closes=True, raw=lambda whole: b"SSH-2.0-OpenSSH_9.6\r\n"),
    "100 first": lambda reply: replace(reply, raw=lambda whole: b"HTTP/1.1 100 Continue\r\n\r\n" + whole),
    "garbage header": lambda reply: replace(
        reply, raw=lambda whole: whole.replace(b"\r\n", b"\r\n\x00bad header\r\n", 1)
    ),
    "1,000 headers": lambda reply: replace(
        reply, headers=[*reply.headers, *((f"X-Header-{n}", "x" * 20) for n in range(1000))]
    ),
    "cut": lambda reply: replace(reply, sent_share=0.7),
    "nothing": lambda reply: replace(reply, sent_share=0.0),
    "slow": lambda reply: replace(reply, delay_s=1.5),
    "other picture": lambda reply: replace(reply, body=b"GIF89a" + reply.payload()[:40]),
    "cut picture": _bodied(lambda body: body[:-30]),
    "broken picture": _bodied(lambda body: body[: len(body) // 2] + bytes(len(body) - len(body) // 2)),
    "picture and more": _bodied(lambda body: body + b"trailing"),
    "svg": lambda reply: replace(reply, body=b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
}
"""What can be done to the bytes of a reply."""
