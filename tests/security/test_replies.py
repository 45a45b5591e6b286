"""A provider that was taken over answers: with the key, with bombs, with what takes a day to look through."""

from __future__ import annotations

import base64
import html
import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import unquote

import pytest

from nanobanana_batch.providers.base import Accepted, Exchange
from nanobanana_batch.providers.error_words import error_of
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.links import links_of
from nanobanana_batch.providers.replies import read_submit_reply, read_task
from nanobanana_batch.providers.values import LONGEST_TEXT, as_text
from nanobanana_batch.providers.watch import Secret, Watch, shown_id
from tests.service.test_http_keys import everything
from tests.service.test_http_paid import BODY, KEY, send, serving
from tests.service.test_http_watch import watched


@pytest.fixture
def anyio_backend() -> str:
    """As in production."""
    return "asyncio"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Something to upload."""
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    return path


# --- texts that take a day to look through ---------------------------------------------------------

_LONG = 1_000_000
_UNITS = (
    *("_", "a", "A", "?", "?a=", "&a=", "&", "&#0", "%", "%25", "\\", "\\u00", "\\\\/", "a:", "a://", "//a@"),
    *("<title", "<title>", "<script ", "b'", "line '", " ", ",", " ,", '" ', "[ ", '["', "1", "1.", "id="),
    *("retry after 1", "a.b.", "\n"),
)


@contextmanager
def not_for_ever() -> Iterator[None]:
    """What would take minutes fails; nothing here takes a second."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("it takes more than by its length")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(30)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("unit", _UNITS)
def test_a_text_of_any_make_takes_time_by_its_length_only(unit: str) -> None:
    """It stands wherever a provider may write one: error, code, page, task, header, error of a library."""
    text = unit * (_LONG // len(unit)) + " x"
    fields = {"code": text, "message": text, "error": text, "type": text, "reset_timezone": text}
    headers = dict.fromkeys(("x-request-id", "retry-after", "date", "idempotency-replayed"), text)
    with not_for_ever():
        for body in ({"error": text}, {"error": fields}, {"id": "t-1"}, {"detail": [{"msg": text}]}):
            read_submit_reply(Reply(400, headers, json.dumps(body).encode()))
        read_submit_reply(Reply(200, headers, b'{"id": "t-1"}'))
        read_submit_reply(Reply(502, headers, text.encode()))
        read_task({**fields, "id": "t-1", "status": "failed"})
        read_task({"id": "t-1", "status": text, "results": [text], "output": text})
        shown_id(text)
        Watch(Secret("sk-abcdefgh12345678")).words(text)


# --- lists without end -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "detail",
    [
        [{"loc": ["a"] * 100_000, "msg": "m"}] * 3,
        [{"loc": ["a" * 100_000] * 100, "msg": "m" * 100_000}] * 3,
        [{"loc": [["a"] * 100_000], "msg": ["m" * 5000] * 10}] * 100,
        ["a" * 100_000] * 1000,
    ],
    ids=["places", "long", "nested", "texts"],
)
@pytest.mark.parametrize("name", ["detail", "message", "code"])
def test_a_list_of_faults_is_a_message_of_the_usual_length(name: str, detail: object) -> None:
    """However many there are, and wherever they say that they stand."""
    words = error_of(Reply(422, {}, json.dumps({name: detail}).encode()))
    assert words is not None
    assert max(len(words.message), len(words.code)) <= LONGEST_TEXT + len(" [...]")


def test_faults_within_faults_are_no_depth_of_ours() -> None:
    """Each holds the next one, in the place of its words."""
    detail: object = "x"
    for _ in range(300):
        detail = [{"msg": detail}]
    assert error_of(Reply(422, {}, json.dumps({"detail": detail}).encode())) is not None


def test_of_a_value_no_more_is_written_out_than_is_shown() -> None:
    """Not all of it, of which the beginning is taken."""
    assert as_text([1, {"a": "\u00e9"}], 100) == '[1, {"a": "\u00e9"}]'

    class Endless(list[int]):
        """More than anybody could write out."""

        def __iter__(self) -> Iterator[int]:
            while True:
                yield 1

    with not_for_ever():
        assert as_text(Endless([1]), 9) == "[1, 1, 1,"


# --- links that are everything but links -----------------------------------------------------------


def test_texts_that_hold_json_are_read_up_to_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is short enough, and there are a hundred."""
    read: list[int] = []
    real = json.loads

    def loads(text: str) -> object:
        read.append(len(text))
        return real(text)

    monkeypatch.setattr(json, "loads", loads)
    text = json.dumps([[]] * 5000)
    assert links_of({"results": [text] * 100}) == ()
    assert 0 < sum(read) <= 1 << 18
    assert links_of({"results": ['["https://h.example/a.png"]']}) == ("https://h.example/a.png",)


def test_values_are_looked_at_up_to_a_number() -> None:
    """Of a million objects that hold no link, in lists within lists."""
    looked: list[str] = []

    class Telling(dict[str, object]):
        """Says that it is looked at."""

        def get(self, name: str, default: object = None) -> object:
            looked.append(name)
            return default

    for paths in ((), ("results",), ("results.href", "results.images.url")):
        looked.clear()
        assert links_of({"results": [[Telling()] * 100] * 1000}, paths) == ()
        assert len(looked) <= 10_000


# --- the key in another writing --------------------------------------------------------------------


def _escaped(key: str, form: str = "\\u{:04x}") -> str:
    return "".join(form.format(ord(char)) for char in key)


WRITTEN: dict[str, str] = {
    "itself": KEY,
    "json": _escaped(KEY),
    "json in capitals": _escaped(KEY, "\\u{:04X}"),
    "json, one character": KEY[:3] + _escaped(KEY[3]) + KEY[4:],
    "json, the first one": _escaped(KEY[0]) + KEY[1:],
    "json, every other one": "".join(_escaped(char) if index % 2 else char for index, char in enumerate(KEY)),
    "json in json": _escaped(KEY, "\\\\u{:04x}"),
    "json of json's backslash": _escaped(KEY, "\\u005cu{:04x}"),
    "html": _escaped(KEY, "&#{};"),
    "html without an end": _escaped(KEY, "&#{}") + " ",
    "html in hex": _escaped(KEY, "&#X00{:x};"),
    "html of html": _escaped(KEY, "&amp;#{};"),
    "html in json": _escaped(KEY, "\\u0026#{};"),
    "html with names": KEY.replace("_", "&lowbar;").replace("-", "&#45;"),
    "percent": _escaped(KEY, "%{:02x}"),
    "percent of percent": _escaped(KEY, "%25{:02X}"),
    "percent in json": _escaped(KEY, "\\u0025{:02x}"),
    "base 64 in json": _escaped(base64.b64encode(KEY.encode()).decode()),
}

OF_JSON = {"json of json's backslash", "html in json", "percent in json", "base 64 in json"}
"""One writing of another: it is the key only when JSON has been read."""


def _forms(text: str) -> Iterator[str]:
    """What a person could read a text as, who is not stopped by one writing."""
    for _ in range(4):
        yield text
        decoded = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
        text = unquote(html.unescape(decoded))
    yield text


def _shows_key(*told: object) -> bool:
    own = KEY, base64.b64encode(KEY.encode()).decode()
    return any(one in form for form in _forms(repr(told)) for one in own)


BODIES: dict[str, tuple[int, str]] = {
    "an error": (400, '{{"error": {{"code": "x {0}", "message": "your key {0}", "type": "{0}"}}}}'),
    "a refused key": (401, '{{"error": {{"code": "unauthorized", "message": "no {0}"}}}}'),
    "an error in a success": (200, '{{"success": false, "code": "{0}", "msg": "your key {0}"}}'),
    "an id": (200, '{{"id": "{0}", "data": {{"file_id": "{0}", "file_url": "https://h.example/{0}"}}}}'),
    "a failed task": (
        200,
        '{{"id": "t-1", "data": [{{"id": "t-1", "status": "failed", "error":'
        ' {{"code": "x_{0}", "message": "k {0}"}}}}]}}',
    ),
    "links": (
        200,
        '{{"data": [{{"id": "t-1", "status": "completed", "results": ["https://h.example/{0}"]}}]}}',
    ),
    "links in a text": (
        200,
        '{{"data": [{{"id": "t-1", "status": "completed", "output": "[\\"https://h.example/{0}\\"]"}}]}}',
    ),
    "names": (200, '{{"data": [{{"id": "t-1", "status": "{0}", "{0}": 1}}]}}'),
    "a page": (502, "<html><title>no {0}</title><p>{0}</html>"),
    "a page without a title": (502, "<p>no {0} here"),
    "JSON that breaks off": (502, '{{"a": "{0}'),
}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("place", "writing"),
    [
        (place, writing)
        for place in BODIES
        for writing in WRITTEN
        if BODIES[place][0] != 502 or writing not in OF_JSON
    ],
)
async def test_a_key_in_any_writing_ends_where_it_came_in(place: str, writing: str, image: Path) -> None:
    """Neither outcomes, which are stored and shown, nor the log of requests have it, also with --debug."""
    status, form = BODIES[place]
    told: list[Exchange] = []
    header = KEY if writing in OF_JSON else WRITTEN[writing]
    answer = send(status, form.format(WRITTEN[writing]).encode(), f"X-Request-Id: {header}\r\n")
    async with serving(answer) as server, watched(server.url, told.append, debug=True) as opened:
        outcomes = await everything(opened, image)
    assert told
    assert not _shows_key(outcomes, told)


@pytest.mark.anyio
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32-le", "utf-8-sig"])
async def test_a_key_in_another_utf_ends_there_too(encoding: str, image: Path) -> None:
    """JSON is read in all of them."""
    body = f'{{"error": {{"code": "unauthorized", "message": "no {KEY}"}}}}'.encode(encoding)
    async with serving(send(401, body)) as server, watched(server.url, lambda it: None) as opened:
        outcomes = await everything(opened, image)
    assert "unauthorized" in repr(outcomes)
    assert not _shows_key(outcomes)


@pytest.mark.anyio
@pytest.mark.parametrize("between", ["&#1;", "&#x81;", "&#127;", "&#xFDD0;"])
async def test_nothing_that_a_page_leaves_out_keeps_a_key_apart(between: str, image: Path) -> None:
    """Some references stand for nothing at all."""
    body = f"<title>no {KEY[:5]}{between}{KEY[5:]}</title>".encode()
    async with serving(send(502, body)) as server, watched(server.url, lambda it: None) as opened:
        assert not _shows_key(await everything(opened, image))


@pytest.mark.anyio
@pytest.mark.parametrize("between", ["\u200b", "\u0081", "\u2066"])
async def test_nothing_that_cannot_be_shown_keeps_a_key_apart(between: str) -> None:
    """In an id of a request, which is kept with its row."""
    headers = f"X-Request-Id: {KEY[:5]}{between}{KEY[5:]}\r\n"
    answer = send(200, b'{"id": "t-1"}', headers)
    async with serving(answer) as server, watched(server.url, lambda it: None) as opened:
        outcome = await opened.submit(BODY, "key-0123456789abcdef")
    assert isinstance(outcome, Accepted)
    assert not _shows_key(outcome)


def test_what_is_no_key_stays_as_it_is() -> None:
    """Byte for byte, escapes included; a reply about a key stays one that can be read."""
    secret = Secret(KEY)
    body = b'{"a": "\\u4f60\\u597d &#115; %25 \\\\u0063", "b": [1.50, "\\/"]}'
    assert secret.removed_from_body(body) == body
    echo = json.loads(secret.removed_from_body(f'{{"id": "t-1", "m": "\\u4f60 {_escaped(KEY)}"}}'.encode()))
    assert echo == {"id": "t-1", "m": "\u4f60 [key]"}


@pytest.mark.parametrize(
    "unit", ["\\", "\\u00", "\\\\u00", "&#0", "&amp;", "%25", KEY[:-1], _escaped(KEY[:-1])]
)
def test_a_key_is_looked_for_in_time_by_the_length_only(unit: str) -> None:
    """Near misses and escapes of nothing."""
    with not_for_ever():
        Secret(KEY).removed_from_body((unit * (_LONG // len(unit))).encode())
