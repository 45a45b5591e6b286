"""The judge's window: what was charged and asked, seen from this machine only. Not part of the API."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from nanobanana_batch.service.context import Context, read_body, reply, switched_off
from nanobanana_batch.service.envelope import invalid
from nanobanana_batch.service.ledger import events_after, summarise
from nanobanana_batch.service.references import is_loopback
from nanobanana_batch.service.validate import json_object


class Admin:
    def __init__(self, context: Context) -> None:
        self._context = context

    def _local(self, request: Request) -> None:
        if request.client is None or not is_loopback(request.client.host):
            raise switched_off(request.url.path)

    async def ledger(self, request: Request) -> Response:
        self._local(request)
        return reply(summarise(self._context.store.connection).as_json())

    async def events(self, request: Request) -> Response:
        self._local(request)
        after = request.query_params.get("after", "0")
        if not re.fullmatch("[0-9]{1,15}", after):
            raise invalid("after must be a number.", "after")
        return reply({"events": events_after(self._context.store.connection, int(after))})

    async def requests(self, request: Request) -> Response:
        self._local(request)
        return reply(dict(sorted(self._context.counts.items())))

    async def callbacks(self, request: Request) -> Response:
        """How many are owed, and what became of the others."""
        self._local(request)
        return reply(self._context.store.outbox.counts())

    async def outage(self, request: Request) -> Response:
        """`{"length_s": 30}` begins one now, 0 ends it."""
        self._local(request)
        values = json_object(await read_body(request, self._context.options.max_body_bytes))
        length_s = values.get("length_s")
        if isinstance(length_s, bool) or not isinstance(length_s, int | float) or not 0 <= length_s <= 1e6:
            raise invalid("length_s must be a number of seconds from 0.", "length_s")
        self._context.outages.begin(length_s)
        return reply({"left_s": self._context.outages.left_s()})

    async def faults(self, request: Request) -> Response:
        self._local(request)
        return reply(self._context.faults.as_json())

    async def change_faults(self, request: Request) -> Response:
        self._local(request)
        changes = json_object(await read_body(request, self._context.options.max_body_bytes))
        try:
            self._context.faults.change(changes)
        except (ValueError, TypeError, AttributeError) as exc:
            raise invalid(str(exc)) from exc
        return reply(self._context.faults.as_json())
