"""Both dialects are one service: the same endpoints under two roots, one store behind them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from nanobanana_batch.service import openapi
from nanobanana_batch.service.admin import Admin
from nanobanana_batch.service.context import Context, error_reply
from nanobanana_batch.service.contract import DIALECTS, PREFIX, Dialect
from nanobanana_batch.service.docs_page import page
from nanobanana_batch.service.envelope import ApiError, server_error
from nanobanana_batch.service.links import Links
from nanobanana_batch.service.options import ServiceOptions
from nanobanana_batch.service.reads import Reads
from nanobanana_batch.service.submit import Submit
from nanobanana_batch.service.wire import RequestLog

Endpoint = Callable[[Request], Awaitable[Response]]
_log = logging.getLogger("nanobanana_batch.service")


def make_app(options: ServiceOptions) -> ASGIApp:
    """Opens the data folder, which must be locked by the caller; the lifespan closes it."""
    context = Context.open(options)
    app = FastAPI(
        title="Nanobanana image API, embedded",
        description=openapi.DESCRIPTION,
        version="1",
        lifespan=partial(_lifespan, context),
        docs_url=None,
        redoc_url=None,
    )
    app.add_route("/docs", lambda _: HTMLResponse(page(app.openapi())), include_in_schema=False)
    _handle_errors(app, options)
    submit, reads = Submit(context), Reads(context)
    for dialect in DIALECTS:
        _add_dialect(app, dialect, submit, reads)
    links = Links(context)
    _add(app, "GET", "/files/{name}", links.show, openapi.LINK)
    app.add_api_route("/files/{name}", links.show, methods=["HEAD"], include_in_schema=False)
    _add_admin(app, Admin(context))
    return RequestLog(app, context.counts)


@asynccontextmanager
async def _lifespan(context: Context, app: FastAPI) -> AsyncIterator[None]:
    runner = asyncio.create_task(context.runner.run())
    runner.add_done_callback(_say_why)
    try:
        yield
    finally:
        runner.cancel()
        with suppress(asyncio.CancelledError):
            await runner
        context.store.close()


def _say_why(runner: asyncio.Task[None]) -> None:
    if not runner.cancelled() and runner.exception() is not None:
        _log.critical("no task will finish any more", exc_info=runner.exception())


def _add_dialect(app: FastAPI, dialect: Dialect, submit: Submit, reads: Reads) -> None:
    async def submit_image(request: Request) -> Response:
        return await submit(dialect, request)

    root = f"{PREFIX[dialect]}/v1"
    _add(app, "POST", f"{root}/images/generations", submit_image, openapi.submit(dialect))
    _add(app, "POST", f"{root}/tasks/batch", reads.batch, openapi.batch(dialect))
    _add(app, "GET", f"{root}/tasks/{{task_id}}", reads.task, openapi.task(dialect))
    _add(app, "GET", f"{root}/tasks", reads.recent, openapi.recent(dialect))
    _add(app, "GET", f"{root}/credits", reads.credits, openapi.credits(dialect))


def _add(app: FastAPI, method: str, path: str, endpoint: Endpoint, described: openapi.Operation) -> None:
    app.add_api_route(
        path,
        endpoint,
        methods=[method],
        response_model=None,
        response_class=Response,
        name=described.summary,
        summary=described.summary,
        operation_id=described.operation_id,
        tags=[described.tag],
        responses=described.responses,
        openapi_extra=described.extra,
    )


def _add_admin(app: FastAPI, admin: Admin) -> None:
    for method, path, endpoint in (
        ("GET", "/admin/ledger", admin.ledger),
        ("GET", "/admin/events", admin.events),
        ("GET", "/admin/requests", admin.requests),
        ("GET", "/admin/faults", admin.faults),
        ("POST", "/admin/faults", admin.change_faults),
    ):
        app.add_api_route(path, endpoint, methods=[method], include_in_schema=False, response_model=None)


def _handle_errors(app: FastAPI, options: ServiceOptions) -> None:
    async def api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error_reply(error, options)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        headers = dict(error.headers or {})
        return error_reply(ApiError(error.status_code, code, error.detail, headers=headers), options)

    async def unexpected(request: Request, error: Exception) -> Response:
        return error_reply(server_error(500), options)

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected)
