"""Both dialects are one service: the calls of the description under two roots, one store behind them."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nanobanana_batch.service import openapi
from nanobanana_batch.service.context import Call, Context
from nanobanana_batch.service.contract import ApiError, Dialect, server_error
from nanobanana_batch.service.exchange import error_reply, not_found, reply
from nanobanana_batch.service.faults import Admin
from nanobanana_batch.service.files_api import FilesApi
from nanobanana_batch.service.images_api import ImagesApi
from nanobanana_batch.service.network import Network, is_loopback
from nanobanana_batch.service.options import ServiceOptions

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_PORT = re.compile(r":[0-9]{1,5}$")
_log = logging.getLogger("nanobanana_batch.service")


def make_app(options: ServiceOptions, network: Network | None = None) -> ASGIApp:
    """Opens the data folder, which must be locked by the caller; the lifespan closes it.

    Raises:
        ServiceError: the folder, or the key file, cannot be used.
    """
    context = Context.open(options, network or Network())
    images, files = ImagesApi(context), FilesApi(context)
    paths = openapi.document()["paths"].items()
    app = Starlette(
        routes=[
            *(Route(path, Endpoint(context, methods, images, files)) for path, methods in paths),
            Route("/openapi.json", lambda _: reply(openapi.document())),
            Route("/docs", lambda _: HTMLResponse(openapi.page())),
            *Admin(context.plan, context.store, context.counts).routes(),
        ],
        exception_handlers={
            ApiError: partial(_refused, context),
            HTTPException: partial(_refused, context),
            Exception: partial(_refused, context),
        },
        lifespan=partial(_lifespan, context),
    )
    return Callers(RequestLog(app, context.counts), options.host, options.names)


class Endpoint:
    """One path of the description: its calls, unless there is an outage, for those who have a key."""

    def __init__(
        self, context: Context, methods: Mapping[str, Mapping[str, Any]], images: ImagesApi, files: FilesApi
    ) -> None:
        self._context = context
        self._methods = {method.upper(): described for method, described in methods.items()}
        self._apis = (images, files)
        self._is_link = not any("security" in described for described in methods.values())
        options = context.options
        offered = {"batch": options.batch_reads, "recent": options.recent_list}
        self._switched_off = {name for name, is_on in offered.items() if not is_on}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call of this path (ASGI)."""
        request = Request(scope, receive)
        await (await self._answer(request))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" and self._is_link else request.method
        described = self._methods.get(method)
        if described is None:
            raise HTTPException(405, headers={"Allow": ", ".join(self._methods)})
        if outage := self._context.plan.outage(is_link=self._is_link):
            return outage
        account = "" if self._is_link else self._context.account(request)
        name = str(described["operationId"]).removesuffix("_evolink").removesuffix("_unified")
        if name in self._switched_off:
            raise not_found(request.url.path)
        dialect: Dialect = "unified" if described["tags"] == ["unified"] else "evolink"
        return await self._call(name)(Call(request, account, dialect))

    def _call(self, name: str) -> Callable[[Call], Awaitable[Response]]:
        """The method of one of the APIs that has the call's name."""
        images, files = self._apis
        return getattr(images, name, None) or getattr(files, name)  # type: ignore[no-any-return]


async def _refused(context: Context, request: Request, error: Exception) -> Response:
    """What was raised while a request was answered, as an envelope."""
    if isinstance(error, HTTPException):
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        error = ApiError(error.status_code, code, error.detail, headers=dict(error.headers or {}))
    known = error if isinstance(error, ApiError) else server_error(500)
    return error_reply(known, integer_codes=context.options.integer_codes)


@asynccontextmanager
async def _lifespan(context: Context, app: Starlette) -> AsyncIterator[None]:
    try:
        async with (
            _running(context.runner.run(), "no task will finish any more"),
            _running(context.callbacks.run(), "no callback will be sent any more"),
        ):
            yield
    finally:
        context.store.close()


@asynccontextmanager
async def _running(work: Coroutine[None, None, None], if_it_ends: str) -> AsyncIterator[None]:
    def say_why(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.critical(if_it_ends, exc_info=task.exception())

    task = asyncio.create_task(work)
    task.add_done_callback(say_why)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class RequestLog:
    """Around the whole application: every reply carries X-Request-Id, every request is counted."""

    def __init__(self, app: ASGIApp, counts: Counter[str]) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, with an id of this request; count it (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None
        request_id = f"req_{secrets.token_hex(12)}".encode()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            path = getattr(scope.get("route"), "path", "unknown")
            self._counts[f"{scope['method']} {path} {status or 'lost'}"] += 1


class Callers:
    """Around an app: what changes something is taken from programs, and from its own pages.

    A page in a browser may send requests to loopback. It cannot help naming where it comes from (Origin), or,
    where its own name has come to lead here, that name (Host).
    """

    def __init__(self, app: ASGIApp, bound_to: str, names: Iterable[str] = ()) -> None:
        self._app = app
        self._is_private = is_loopback(bound_to)
        self._names = frozenset(map(_plain, names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a write that another site has caused with 403, pass on all else (ASGI)."""
        if scope["type"] == "http" and scope["method"] not in _READING:
            headers = Headers(scope=scope)
            if why := self._objection(headers.get("host", ""), headers.get("origin")):
                error = ApiError(403, "forbidden_caller", why)
                await error_reply(error, integer_codes=False)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _objection(self, host: str, origin: str | None) -> str:
        name = _PORT.sub("", host)
        if self._is_private and host and not (is_loopback(name) or _plain(name) in self._names):
            return f"this service is not called {host[:100]}"
        if origin is not None and re.sub("^https?://", "", origin) != host:
            return "a web page may not change anything here"
        return ""


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()
