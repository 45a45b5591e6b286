"""The judge's window: what was charged and asked, seen from this machine only. Not part of the API."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanobanana_batch.service.context import Context, not_found, read_body
from nanobanana_batch.service.contract import invalid
from nanobanana_batch.service.ledger import events_after, summarise
from nanobanana_batch.service.references import is_loopback
from nanobanana_batch.service.replies import reply
from nanobanana_batch.service.validate import json_object


class Admin:
    """`/admin/...`: each method answers with what becomes JSON."""

    def __init__(self, context: Context) -> None:
        self._context = context

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
        return summarise(self._context.store.connection).as_json()

    async def events(self, request: Request) -> Any:
        """The ledger's lines, at most 1,000, from `?after=` on. Raises ApiError."""
        after = request.query_params.get("after", "0")
        if not re.fullmatch("[0-9]{1,15}", after):
            raise invalid("after must be a number.", "after")
        return {"events": events_after(self._context.store.connection, int(after))}

    async def requests(self, request: Request) -> Any:
        """How many there were, by method, route and status."""
        return dict(sorted(self._context.counts.items()))

    async def callbacks(self, request: Request) -> Any:
        """How many are owed, and what became of the others."""
        return self._context.store.callback_counts()

    async def outage(self, request: Request) -> Any:
        """`{"length_s": 30}` begins one now, 0 ends it. Raises ApiError."""
        length_s = (await self._json(request)).get("length_s")
        if isinstance(length_s, bool) or not isinstance(length_s, int | float) or not 0 <= length_s <= 1e6:
            raise invalid("length_s must be a number of seconds from 0.", "length_s")
        self._context.trouble.outages.begin(length_s)
        return {"left_s": self._context.trouble.outages.left_s()}

    async def faults(self, request: Request) -> Any:
        """Those in force."""
        return self._context.plan.as_json()

    async def change_faults(self, request: Request) -> Any:
        """Those that are named, and no others. Raises ApiError."""
        changes = await self._json(request)
        try:
            self._context.plan.change(changes)
        except (ValueError, TypeError, AttributeError) as exc:
            raise invalid(str(exc)) from exc
        return self._context.plan.as_json()

    async def _json(self, request: Request) -> dict[str, Any]:
        return json_object(await read_body(request, self._context.options.max_body_bytes))
