"""What a service in trouble answers, or does not: the same words wherever a call meets it."""

from __future__ import annotations

import math
import time
from email.utils import formatdate

from starlette.responses import Response

from nanobanana_batch.service.context import Context, error_reply
from nanobanana_batch.service.envelope import SERVER_ERRORS, ApiError, server_error
from nanobanana_batch.service.wire import LostReply

_PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def rate_limited(context: Context) -> Response:
    wait_s, where = context.faults.faults.retry_after_s, context.faults.faults.retry_after_in
    header = formatdate(time.time() + wait_s, usegmt=True) if where == "date" else str(math.ceil(wait_s))
    error = ApiError(
        429,
        "rate_limit_exceeded",
        "Too many requests.",
        suggestion=f"retry after {wait_s:g} seconds" if where in ("body", "both") else None,
        headers={"Retry-After": header} if where != "body" else {},
    )
    return error_reply(error, context.options)


def failing(context: Context, fault: str, subject: str) -> Response:
    return error_reply(server_error(context.faults.choose(SERVER_ERRORS, fault, subject)), context.options)


def proxy_page() -> Response:
    return Response(_PROXY_PAGE, 502, media_type="text/html")


def outage(context: Context, *, is_link: bool) -> Response | None:
    """None when there is none, or when it spares links."""
    faults = context.faults.faults
    if not context.outages.left_s() or (is_link and not faults.outage_links):
        return None
    if faults.outage_kind == "429":
        return rate_limited(context)
    if faults.outage_kind == "html":
        return proxy_page()
    if faults.outage_kind == "close":
        return LostReply()
    return error_reply(server_error(503), context.options)
