"""Tells an observer of every request once, however it ended, and without the key."""

from __future__ import annotations

import base64
import html
import html.entities
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from nanobanana_batch.providers.base import Exchange, Observer
from nanobanana_batch.providers.their_clock import TheirClock

BODY_LIMIT_BYTES = 4096
LONGEST_PAGE = 8000
"""Of a page only the beginning is looked at: it may be of any size and make."""
REMOVED = "[key]"
"""What stands in a text in the key's place."""
_SHORTEST_SECRET = 8
_LONGEST_WORDS = 500
_LONGEST_LOOK = 8000
"""Of what a library quotes: links in it may be longer than what is shown."""


class Secret:
    """An API key, which is taken out of every text that a provider or a library says."""

    def __init__(self, key: str) -> None:
        # A shorter one could not be told from other text.
        spellings = _spellings(key) if len(key) >= _SHORTEST_SECRET else []
        self._least = len(key)
        """Characters of any spelling: each writes a character of the key as one or more."""
        self._in_text = [re.compile(spelling) for spelling in spellings]
        self._in_bytes = [re.compile(spelling.encode()) for spelling in spellings]

    def removed(self, text: str) -> str:
        """The text with `REMOVED` in the key's place."""
        if len(text) < self._least:
            return text
        for spelling in self._in_text:
            text = spelling.sub(REMOVED, text)
        return text

    def removed_from(self, data: bytes) -> bytes:
        """The same for bytes."""
        if len(data) < self._least:
            return data
        for spelling in self._in_bytes:
            data = spelling.sub(REMOVED.encode(), data)
        return data

    def removed_from_all(self, texts: Mapping[str, str]) -> dict[str, str]:
        """The same for many short texts, such as the headers of a reply, by their names."""
        together = "\n".join(texts.values())
        if any(spelling.search(together) for spelling in self._in_text):
            return {name: self.removed(text) for name, text in texts.items()}
        return dict(texts)

    def removed_from_body(self, body: bytes) -> bytes:
        """The same for what will be decoded: also from what that gives, whatever it was made of."""
        body = self.removed_from(_in_utf8(body))
        said = _decoded(body) if self._in_text else None
        if said is None or (kept := self.removed(said)) == said:
            return body
        return kept.encode("utf-8", "surrogatepass")

    def __repr__(self) -> str:
        return "Secret()"


def _in_utf8(body: bytes) -> bytes:
    """As JSON is read: it may come in other UTFs, where no text is found by its bytes."""
    encoding = json.detect_encoding(body)
    if encoding.startswith("utf-8"):
        return body
    try:
        return body.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
    except ValueError:
        return body


def _decoded(body: bytes) -> str | None:
    """What JSON, or the beginning of a page, says when it is read; None where it is what stands there."""
    if b"\\u" in body:
        with suppress(ValueError, RecursionError):
            return json.dumps(json.loads(body), ensure_ascii=False)
    page = body[:LONGEST_PAGE]
    is_page = b"&" in page and page.lstrip()[:1] not in (b"{", b"[")
    return html.unescape(page.decode("utf-8", "replace")) if is_page else None


def _spellings(key: str) -> list[str]:
    """Patterns for the key as it is, in URLs, JSON and HTML, and inside of anything in base 64 or in hex."""
    hex_ = "".join(f"[{digit}{digit.upper()}]" for digit in key.encode().hex())
    return ["".join(map(_spelled, key)), hex_, *(_in_base64(key.encode(), before) for before in range(3))]


def _spelled(char: str) -> str:
    """Any character may stand for itself, or be written as a number, each in another way.

    Each way begins with a character of its own, by which the place is found fast, and may fail in few steps.
    """
    own, number = re.escape(char), f"(?i:{ord(char):02x})"
    escaped = "" if char.isalnum() else rf"|\\\\{{0,2}}{own}"
    names = "".join(f"|{re.escape(name)}" for name, said in html.entities.html5.items() if said == char)
    in_html = rf"&(?:amp;){{0,4}}(?:#0*{ord(char)};?|#[xX]0*{number};?{names})"
    return rf"(?:{own}|%(?:25)*{number}|\\\\{{0,15}}u(?i:{ord(char):04x})|{in_html}{escaped})"


def _in_base64(key: bytes, before: int) -> str:
    """What it is there behind so many bytes (of three), without the ends that hold bits of its neighbours."""
    whole = base64.b64encode(bytes(before) + key).decode()
    own = whole[-(-before * 8 // 6) : (before + len(key)) * 8 // 6]
    return "".join({"+": "[-+]", "/": r"(?:_|\\?/)"}.get(char, char) for char in own)


@dataclass(slots=True)
class Seen:
    """What is known of a request so far."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    body: bytes = b""


class Watch:
    """Between the requests of one provider and whoever wants to know of them."""

    def __init__(self, secret: Secret, observer: Observer | None = None, *, debug: bool = False) -> None:
        self.secret = secret
        self.clock = TheirClock()
        self._observer = observer
        self._debug = debug

    @contextmanager
    def exchange(self, method: str, route: str, sent_bytes: int = 0) -> Iterator[Seen]:
        """A request for the length of the block, which fills in what it learns."""
        seen, began, failure = Seen(sent_bytes=sent_bytes), time.perf_counter(), ""
        try:
            yield seen
        except BaseException as error:
            failure = str(error) or type(error).__name__
            raise
        finally:
            if self._observer is not None:
                # A log that fails must not lose the answer to a paid request.
                with suppress(Exception):
                    self._observer(self._told(seen, method, route, began, failure))

    def _told(self, seen: Seen, method: str, route: str, began: float, failure: str) -> Exchange:
        return Exchange(
            method=method,
            route=route,
            status=seen.status,
            ms=round((time.perf_counter() - began) * 1000, 1),
            request_id=self.secret.removed(shown_id(seen.request_id)) if seen.request_id else None,
            failure=self.words(failure) if failure else "",
            sent_bytes=seen.sent_bytes,
            received_bytes=seen.received_bytes,
            body=_shown(seen.body) if self._debug else None,
        )

    def words(self, text: str) -> str:
        """What a library says, as it can be shown and kept: without the key, of links only the host.

        What it quotes of bytes that are no HTTP may begin in the middle of a link.
        """
        return self.clean(_BYTES.sub("[bytes]", text[:_LONGEST_LOOK]))[:_LONGEST_WORDS]

    def clean(self, text: str) -> str:
        """The same, whole."""
        return self.secret.removed(without_links(text))


def _shown(body: bytes) -> str:
    """The beginning of what a reply says; of its links the hosts."""
    return without_links(body[:BODY_LIMIT_BYTES].decode("utf-8", "replace"))


_BYTES = re.compile(
    r"""(?isx) \b b(?P<quote>\\?["']) .*? (?: (?P=quote) | \Z )  # as Python shows them
    | (?<=line|ader|hunk) [\s:]{1,5} ["'] .*  # what a line, a header or a chunk is"""
)
_LINK = re.compile(
    r"""(?ix) ([a-z][a-z0-9+.-]{0,20}:) (?:\\*/){2} (?=[^\s"'<>])  # slashes may be escaped, as in JSON
    (?:[^\s/?\#@"'<>\\]*@)? ([^\s/?\#"'<>\\]*) (?:\\+[^\s"'\\]|[^\s"'<>\\])*
    | [a-z]{1,20}%3A%2F%2F [^\s"'<>]*"""
)
_IS, _AND = r"(?:=|\\{1,4}u003d|%3d|&\#61;)", r"(?:&(?:amp;)?|\\{1,4}u0026)"
_QUERY = re.compile(rf"(?i)(?<=\S)\?[^\s\"'<>=]{{0,200}}?{_IS}[^\s\"'<>]*")
_END_OF_QUERY = re.compile(
    rf"(?i)(?<![^\s\"'<>])[^\s\"'<>]*?{_AND}[\w.~%-]{{1,60}}{_IS}[^\s\"'<>]*", re.ASCII
)
"""Of a link whose beginning is cut off."""
_LONG = re.compile(r"(?<![A-Za-z0-9+%])[A-Za-z0-9+%]{16,}")
"""It may be a signature, or a piece of one, if it is no word, and nothing says that it is an id."""
_LONG_FROM = 24
_VALUE_OF = re.compile(rf"(?i){_IS}[\"']?$")
_ID_OF = re.compile(r"(?:(?:\b|_)(?i:id|request|trace)|(?<=[a-z])I[dD])[\"']?\s?[:=#]?\s?[\"']?$")
_BEFORE = 30
_PLAIN_ID = re.compile(r"[A-Za-z0-9][\w.:-]{0,199}", re.ASCII)
# Each repetition that may fail is bounded: a body that nobody means well with takes time by its length only.


def without_links(text: str) -> str:
    """A text with only the hosts of its links left: what follows may be a permission to read, or a key.

    Also of a link that was cut off, at its beginning or its end: half of a signature is nobody's business.
    """
    text = _LINK.sub(lambda found: f"{found[1]}//{_host(found[2])}/..." if found[1] else "http...", text)
    return _LONG.sub(_unless_known, _END_OF_QUERY.sub("...", _QUERY.sub("?...", text)))


def shown_id(text: str) -> str:
    """An id that a reply names for people, whole however long it is; anything else as `without_links`."""
    return text if _PLAIN_ID.fullmatch(text) else without_links(text[:_LONGEST_LOOK])[:_LONGEST_WORDS]


def _host(authority: str) -> str:
    """A host and its port; without its end, this may have been a user and a password."""
    host, colon, port = authority.partition(":")
    is_cut = colon and not re.fullmatch(r"[0-9]{0,5}", port)
    return "..." if is_cut or (_LONG.fullmatch(host) and "." not in host) else authority


def _unless_known(found: re.Match[str]) -> str:
    run, before = found[0], found.string[max(0, found.start() - _BEFORE) : found.start()]
    is_word = not re.search("[0-9%]", run) or run.isdecimal()
    is_short = len(run) < _LONG_FROM and not _VALUE_OF.search(before)
    return run if is_word or is_short or _ID_OF.search(before) else "..."


def link_route(url: str) -> str:
    """How a link is called in a log: by its host; what follows may be a permission to read it."""
    try:
        return f"link:{urlsplit(url).hostname or '?'}"
    except ValueError:
        return "link:?"
