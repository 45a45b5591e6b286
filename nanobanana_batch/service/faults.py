"""What goes wrong on purpose: the same faults hit the same requests in every run.

A decision is a hash, not a draw as requests arrive. A connection can be cut, mid-reply or before one, as by a
dying server. Nothing in ASGI closes a connection without a reply, so the server's protocol hands its
transport to the application through the request's state.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from email.utils import formatdate
from hashlib import blake2b
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from nanobanana_batch.service.contract import SERVER_ERRORS, ApiError, invalid, server_error
from nanobanana_batch.service.exchange import not_found, read_body, reply
from nanobanana_batch.service.ledger import events_after, summarise
from nanobanana_batch.service.network import is_loopback
from nanobanana_batch.service.openapi import json_object
from nanobanana_batch.service.options import FAULT_GROUPS, Faults
from nanobanana_batch.service.store import Store

BEFORE_SUBMIT = FAULT_GROUPS["submit, not charged"]
AFTER_SUBMIT = FAULT_GROUPS["submit, charged"]
FATES = FAULT_GROUPS["tasks"]
READS = FAULT_GROUPS["reads"]
DOWNLOADS = FAULT_GROUPS["links"]
UPLOADS = FAULT_GROUPS["uploads"]
CALLBACKS = FAULT_GROUPS["callbacks"]

_PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_LOGIN_PAGE = "<html><head><title>Please wait</title></head><body>Your image is being prepared.</body></html>"
_CHUNK = 1024 * 1024
_ADMIN_BYTES = 1024 * 1024  # of a body


class Outages:
    """For some time nothing works: those that were planned, and the one that was asked for.

    Times are monotonic and count from the start of the process; a restart begins the schedule anew.
    """

    def __init__(self, planned: Sequence[tuple[float, float]]) -> None:
        self._began = time.monotonic()
        self._planned = planned
        self._until = self._began

    def begin(self, length_s: float) -> None:
        """From now on, for that long; 0 ends one that was asked for."""
        self._until = time.monotonic() + length_s

    def left_s(self) -> float:
        """How long the present outage goes on; 0 when there is none."""
        now = time.monotonic()
        begun = [self._began + at + length for at, length in self._planned if now >= self._began + at]
        return max(0.0, *(end - now for end in (self._until, *begun)))


class FaultPlan:
    """The faults in force, how often each was met, and what a service in trouble answers."""

    def __init__(self, faults: Faults, outages: Outages | None = None) -> None:
        self.outages = outages or Outages(())
        self._seen: Counter[tuple[str, str]] = Counter()
        self._set(faults)

    def _set(self, faults: Faults) -> None:
        self.faults = faults
        self._left = dict(faults.next)

    def change(self, changes: Mapping[str, Any]) -> None:
        """Only what is named changes; counts that are under way go on. Raises ValueError or TypeError."""
        counts = {**self._left, **changes.get("next", {})}
        self._set(self.faults.changed({**changes, "next": counts}))

    def as_json(self) -> dict[str, Any]:
        """All options, with the counts that are left."""
        return {**dataclasses.asdict(self.faults), "next": {k: n for k, n in self._left.items() if n}}

    def first(self, names: Iterable[str], subject: str) -> str | None:
        """The first of these faults that hits a request."""
        return next((name for name in names if self.hits(name, subject)), None)

    def hits(self, name: str, subject: str) -> bool:
        """Whether a fault hits a request this time; `subject` is what is the same of it in every run."""
        if self._left.get(name):
            self._left[name] -= 1
            return True
        rate: float = getattr(self.faults, name)
        if rate <= 0:
            return False
        self._seen[name, subject] += 1
        return self._number(name, subject) < rate * 2**64

    def choose(self, options: Iterable[Any], name: str, subject: str) -> Any:
        """Which of several ways a hit shows itself: it varies, and is the same in every run."""
        return random.Random(self._number(name, subject, " how")).choice(list(options))

    def _number(self, name: str, subject: str, purpose: str = "") -> int:
        text = f"{self.faults.seed}:{name}{purpose}:{subject}:{self._seen[name, subject]}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")

    def outage(self, *, is_link: bool) -> Response | None:
        """None when there is none, or when it spares links. Raises ApiError."""
        faults = self.faults
        if not self.outages.left_s() or (is_link and not faults.outage_links):
            return None
        if faults.outage_kind == "503":
            raise server_error(503)
        kinds = {"429": "rate_429", "html": "html_reply", "close": "lost_reply"}
        return self.answer(kinds[faults.outage_kind], "")

    def answer(self, fault: str, subject: str) -> Response:
        """What is said instead, by a fault's name; `subject` as in `hits`. Raises ApiError."""
        if fault.startswith("rate_429"):
            raise self._rate_limited()
        if fault.startswith("rate_5xx"):
            raise server_error(self.choose(SERVER_ERRORS, fault, subject))
        if fault.startswith("empty_reply"):
            return Response(b"", 200 if fault == "empty_reply_after" else 502)
        if fault == "html_reply":
            return Response(_PROXY_PAGE, 502, media_type="text/html")
        return LostReply()

    def _rate_limited(self) -> ApiError:
        wait_s, where = self.faults.retry_after_s, self.faults.retry_after_in
        header = formatdate(time.time() + wait_s, usegmt=True) if where == "date" else str(math.ceil(wait_s))
        return ApiError(
            429,
            "rate_limit_exceeded",
            "Too many requests.",
            suggestion=f"retry after {wait_s:g} seconds" if where in ("body", "both") else None,
            headers={"Retry-After": header} if where != "body" else {},
        )

    def spoiled(self, fault: str, usual: Response) -> Response:
        """The usual reply as a fault of links, or a dripping submit, lets it through."""
        faults, body = self.faults, bytes(usual.body)
        if fault == "wrong_type_download":
            return Response(_LOGIN_PAGE, media_type="text/html")
        if fault == "truncated_download":
            return Response(body[: len(body) // 2], media_type=usual.media_type)
        if fault == "cut_download":
            return SpoiledReply(usual, [body[: len(body) // 2]], len(body))
        if fault == "oversized_download":
            total = max(faults.oversized_bytes, len(body))
            return SpoiledReply(usual, _padded(body, total), total)
        pieces = [body[at : at + 1] for at in range(len(body))]
        return SpoiledReply(usual, pieces, len(body), faults.drip_interval_s)


def _padded(body: bytes, total: int) -> Iterable[bytes]:
    """The body, then zeros."""
    yield body
    left = total - len(body)
    while left > 0:
        yield bytes(min(_CHUNK, left))
        left -= _CHUNK


class ExposedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # chosen at run time by uvicorn
    """HTTP as uvicorn speaks it, the transport of a connection in its requests' state."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self.app_state = {**self.app_state, "transport": transport}  # copied into every request's state
        super().connection_made(transport)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class LostReply(Response):
    """The connection is dropped; not one byte of a reply is sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Drop the connection (ASGI)."""
        scope["state"]["transport"].abort()
        await _gone(receive)


class SpoiledReply(Response):
    """A length is announced, and pieces are sent, `pause_s` apart; if they are too few it closes."""

    def __init__(
        self, usual: Response, pieces: Iterable[bytes], announced: int, pause_s: float | None = None
    ) -> None:
        headers = {name: value for name, value in usual.headers.items() if name != "content-length"}
        super().__init__(None, usual.status_code, headers)
        self.headers["content-length"] = str(announced)
        self._pieces, self._announced, self._pause_s = pieces, announced, pause_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what there is of it, at its pace (ASGI)."""
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        left = asyncio.ensure_future(_gone(receive))
        missing = self._announced
        for piece in self._pieces:
            if self._pause_s is not None:
                await asyncio.wait([left], timeout=self._pause_s)
            if left.done():
                return
            missing -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": missing > 0})
        if missing:
            scope["state"]["transport"].close()  # not abort: what was sent is to arrive
            await left
        left.cancel()


class Admin:
    """`/admin/...`, the judge's window: what was charged and asked, told to this machine only.

    Not part of the API. Each method answers with what becomes JSON.
    """

    def __init__(self, plan: FaultPlan, store: Store, counts: Counter[str]) -> None:
        self._plan = plan
        self._store = store
        self._counts = counts

    def routes(self) -> list[Route]:
        """For the application's router."""
        reads = (self.ledger, self.events, self.requests, self.callbacks, self.faults)
        return [
            *(Route(f"/admin/{read.__name__}", self._local(read), methods=["GET"]) for read in reads),
            Route("/admin/faults", self._local(self.change_faults), methods=["POST"]),
            Route("/admin/outage", self._local(self.outage), methods=["POST"]),
        ]

    def _local(self, answer: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if request.client is None or not is_loopback(request.client.host):
                raise not_found(request.url.path)
            return reply(await answer(request))

        return endpoint

    async def ledger(self, request: Request) -> Any:
        """The sums."""
        return summarise(self._store.connection).as_json()

    async def events(self, request: Request) -> Any:
        """The ledger's lines, at most 1,000, from `?after=` on. Raises ApiError."""
        after = request.query_params.get("after", "0")
        if not re.fullmatch("[0-9]{1,15}", after):
            raise invalid("after must be a number.", "after")
        return {"events": events_after(self._store.connection, int(after))}

    async def requests(self, request: Request) -> Any:
        """How many there were, by method, route and status."""
        return dict(sorted(self._counts.items()))

    async def callbacks(self, request: Request) -> Any:
        """How many are owed, and what became of the others."""
        return self._store.callback_counts()

    async def outage(self, request: Request) -> Any:
        """`{"length_s": 30}` begins one now, 0 ends it. Raises ApiError."""
        length_s = (await self._json(request)).get("length_s")
        if isinstance(length_s, bool) or not isinstance(length_s, int | float) or not 0 <= length_s <= 1e6:
            raise invalid("length_s must be a number of seconds from 0.", "length_s")
        self._plan.outages.begin(length_s)
        return {"left_s": self._plan.outages.left_s()}

    async def faults(self, request: Request) -> Any:
        """Those in force."""
        return self._plan.as_json()

    async def change_faults(self, request: Request) -> Any:
        """Those that are named, and no others. Raises ApiError."""
        changes = await self._json(request)
        try:
            self._plan.change(changes)
        except (ValueError, TypeError, AttributeError) as exc:
            raise invalid(str(exc)) from exc
        return self._plan.as_json()

    async def _json(self, request: Request) -> dict[str, Any]:
        return json_object(await read_body(request, _ADMIN_BYTES))
