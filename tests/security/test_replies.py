"""A provider that was taken over answers: with the key, with bombs, with what takes a day to look through."""

from __future__ import annotations

import asyncio
import base64
import gzip
import html
import json
import re
import signal
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import unquote

import pytest

from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.model import TaskMade
from nanobanana_batch.providers import bodies, http
from nanobanana_batch.providers.base import Exchange, Unknown
from nanobanana_batch.providers.http import Reply, Timeouts
from nanobanana_batch.providers.tasks.error_words import error_of
from nanobanana_batch.providers.tasks.links import links_of
from nanobanana_batch.providers.tasks.replies import read_submit_reply, read_task
from nanobanana_batch.providers.tasks.values import LONGEST_TEXT, as_text
from nanobanana_batch.providers.watch import Secret, Watch, shown_id
from tests.service.test_http_keys import everything
from tests.service.test_http_paid import BODY, KEY, QUICK, Answer, Seen, provider, send, serving
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
    assert isinstance(outcome, TaskMade)
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


# --- bombs -----------------------------------------------------------------------------------------


def packed_by(body: bytes, coding: str) -> bytes:
    """Once for each name."""
    for name in filter(None, (part.strip() for part in coding.split(","))):
        deflated = zlib.compress(body)
        body = {"gzip": gzip.compress(body), "deflate": deflated, "raw": deflated[2:-4]}.get(name, body)
    return body


def packed(body: bytes, coding: str, announced: str = "") -> Answer:
    """A reply whose body is packed as it says."""
    named = announced or coding.replace("raw", "deflate")
    return send(200, packed_by(body, coding), f"Content-Encoding: {named}\r\n")


async def whole(data: bytes) -> AsyncGenerator[bytes, None]:
    """All of it as one piece of the network."""
    yield data


async def fetched(url: str, timeouts: Timeouts = QUICK) -> bytes:
    """What a link gives."""
    async with provider("http://127.0.0.1:9", timeouts) as opened, opened.open_link(url) as body:
        return b"".join([piece async for piece in body.pieces()])


@pytest.mark.anyio
@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip,deflate", "identity, gzip, gzip", "br", "zstd"])
async def test_what_is_packed_twice_or_otherwise_is_not_unpacked(coding: str) -> None:
    """A kilobyte may hold a gigabyte, of which each piece of the network is unpacked at once."""
    async with serving(packed(b'{"id": "t-1", "data": []}', coding)) as server:
        async with provider(server.url) as opened:
            submitted = await opened.submit(BODY, "key-0123456789abcdef")
            read = await opened.read_many(["t-1"])
        with pytest.raises(LinkFailed, match="packed") as caught:
            await fetched(f"{server.url}/a.png")
    assert isinstance(submitted, Unknown)
    assert "packed" in submitted.reason
    assert "packed" in read.failure
    assert not caught.value.dead


@pytest.mark.anyio
@pytest.mark.parametrize(
    "coding", ["gzip", "GZIP", "x-gzip", "deflate", "raw", "identity", "identity, gzip", ""]
)
async def test_what_is_packed_once_is_understood(coding: str) -> None:
    """By servers that do as they like; replies are asked for in gzip, images as they are."""
    body = b'{"id": "t-1", "status": "pending"}' + b" " * (1 << 18)
    announced = coding.replace("raw", "deflate")
    async with serving(packed(body, coding.lower().removeprefix("x-"), announced)) as server:
        async with provider(server.url) as opened:
            assert await opened.submit(BODY, "key-0123456789abcdef") == TaskMade("t-1")
            assert (await opened.read_many(["t-1"])).failure
        assert await fetched(f"{server.url}/a.png") == body
        asked = [request.headers["accept-encoding"] for request in server.seen]
    assert asked[0] == asked[1] == "gzip"
    assert asked[-1] == "identity"


@pytest.mark.anyio
@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw"])
async def test_a_bomb_is_unpacked_in_steps(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever counts has counted before there is more; ends that meet the end of a step are no matter."""
    named = coding.replace("raw", "deflate")
    monkeypatch.setattr(bodies, "_STEP_BYTES", 1000)
    monkeypatch.setattr(http, "MAX_REPLY_BYTES", 5000)
    for size in (0, 1, 999, 1000, 1001, 2000, 50_000):
        async with serving(packed(b"\0" * size, coding)) as server:
            assert await fetched(f"{server.url}/a.png") == b"\0" * size
        pieces = [piece async for piece in bodies.unpacked([named], whole(packed_by(b"\0" * size, coding)))]
        assert sum(map(len, pieces)) == size
        assert max(map(len, pieces)) <= 1000
    async with serving(packed(b" " * 5001, coding)) as server, provider(server.url) as opened:
        outcome = await opened.submit(BODY, "key-0123456789abcdef")
    assert isinstance(outcome, Unknown)
    assert "larger" in outcome.reason


@pytest.mark.anyio
async def test_what_follows_a_packed_body_counts_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes of it, so only the wire shows how much it is."""
    monkeypatch.setattr(http, "MAX_REPLY_BYTES", 5000)
    body = gzip.compress(b'{"id": "t-1"}')
    for surplus, is_taken in ((100, True), (6000, False)):
        answer = send(200, body + b"\0" * surplus, "Content-Encoding: gzip\r\n")
        async with serving(answer) as server, provider(server.url) as opened:
            outcome = await opened.submit(BODY, "key-0123456789abcdef")
        assert isinstance(outcome, TaskMade) is is_taken


@pytest.mark.anyio
async def test_a_packed_body_that_ends_too_soon_is_none() -> None:
    """Its announced length is that of the half."""
    half = gzip.compress(bytes(range(256)) * 40)[:-20]
    async with serving(send(200, half, "Content-Encoding: gzip\r\n")) as server:
        with pytest.raises(LinkFailed, match="in the middle"):
            await fetched(f"{server.url}/a.png")


# --- redirects -------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_body_of_a_redirect_is_not_read() -> None:
    """It may have no end."""
    async with serving(send(200, b"image")) as storage:

        async def endless(request: Seen, writer: asyncio.StreamWriter) -> None:
            head = f"HTTP/1.1 302 Found\r\nLocation: {storage.url}/b.png\r\nContent-Length: 1000000\r\n\r\n"
            writer.write(head.encode() + b"x")

        async with serving(endless) as links:
            assert await fetched(f"{links.url}/a.png", Timeouts(free_s=2, read_s=2)) == b"image"


@pytest.mark.anyio
@pytest.mark.parametrize(("steps", "is_followed"), [(5, True), (6, False)])
async def test_redirects_are_followed_so_far_and_no_further(steps: int, is_followed: bool) -> None:
    """By addresses as hosts write them: relative ones, too."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        number = int(request.line.split(" ")[1].rpartition("/")[2])
        if number == 0:
            await send(200, b"image")(request, writer)
            return
        location = [f"{number - 1}", f"/x/{number - 1}", f"//127.0.0.1:{server.port}/x/{number - 1}"][
            number % 3
        ]
        await send(301 + number % 3, b"gone on", f"Location: {location}\r\n")(request, writer)

    async with serving(answer) as server:
        if is_followed:
            assert await fetched(f"{server.url}/x/{steps}") == b"image"
        else:
            with pytest.raises(LinkFailed, match="more than 5 times") as caught:
                await fetched(f"{server.url}/x/{steps}")
            assert not caught.value.dead
        assert len(server.seen) == 6
