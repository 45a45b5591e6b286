"""Tells an observer of every request once, however it ended, and without the key."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html import escape
from urllib.parse import quote, urlsplit

from nanobanana_batch.providers.base import Exchange, Observer

BODY_LIMIT_BYTES = 4096
_SHORTEST_SECRET = 8
_SPECIAL = re.compile("[<>&'\"+/=]")
"""What some languages write as `\\u0026` in JSON."""
REMOVED = "[key]"
"""What stands in a text in the key's place."""
_LONGEST_WORDS = 500


class Secret:
    """An API key, which is taken out of every text that a provider or a library says."""

    def __init__(self, key: str) -> None:
        # A shorter one could not be told from other text.
        spellings = {key, json.dumps(key)[1:-1], key.replace("/", "\\/"), quote(key, safe=""), escape(key)}
        spellings |= {_SPECIAL.sub(lambda char: rf"\u{ord(char[0]):04x}", key)}
        spellings |= {_SPECIAL.sub(lambda char: rf"\u{ord(char[0]):04X}", key)}
        self._spellings = sorted(spellings, key=len, reverse=True) if len(key) >= _SHORTEST_SECRET else []

    def removed(self, text: str) -> str:
        """The text with `REMOVED` in the key's place."""
        for spelling in self._spellings:
            text = text.replace(spelling, REMOVED)
        return text

    def removed_from(self, data: bytes) -> bytes:
        """The same for bytes."""
        for spelling in self._spellings:
            data = data.replace(spelling.encode(), REMOVED.encode())
        return data

    def __repr__(self) -> str:
        return "Secret()"


@dataclass(slots=True)
class Seen:
    """What is known of a request so far."""

    status: int | None = None
    request_id: str | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    body: bytes = b""


class Watch:
    """Between the requests of one provider and whoever wants to know of them."""

    def __init__(self, secret: Secret, observer: Observer | None = None, *, debug: bool = False) -> None:
        self.secret = secret
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
            request_id=self._words(seen.request_id) if seen.request_id else None,
            failure=self._words(failure),
            sent_bytes=seen.sent_bytes,
            received_bytes=seen.received_bytes,
            body=seen.body[:BODY_LIMIT_BYTES].decode("utf-8", "replace") if self._debug else None,
        )

    def _words(self, text: str) -> str:
        return self.secret.removed(text)[:_LONGEST_WORDS]


_LINK = re.compile(
    r"(?i)(https?:)[\\/]+(?:[^\s/?#@]*@)?([^\s/?#\"'<>\\]+)(?:\\/|[^\s\"'<>\\])*|https?%3A%2F%2F\S*"
)


def without_links(text: str) -> str:
    """A text with only the hosts of its links left: what follows may be a permission to read, or a key."""
    return _LINK.sub(lambda found: f"{found[1]}//{found[2]}/..." if found[1] else "http...", text)


def link_route(url: str) -> str:
    """How a link is called in a log: by its host; what follows may be a permission to read it."""
    try:
        return f"link:{urlsplit(url).hostname or '?'}"
    except ValueError:
        return "link:?"
