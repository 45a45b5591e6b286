"""Both dialects are one service: the same endpoints under two roots, one store behind them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from nanobanana_batch.service import openapi, openapi_files
from nanobanana_batch.service.admin import Admin
from nanobanana_batch.service.callers import Callers
from nanobanana_batch.service.context import Context, error_reply
from nanobanana_batch.service.contract import DIALECTS, PREFIX, Dialect
from nanobanana_batch.service.docs_page import page
from nanobanana_batch.service.envelope import ApiError, server_error
from nanobanana_batch.service.files_api import Files
from nanobanana_batch.service.links import Links
from nanobanana_batch.service.network import Network
from nanobanana_batch.service.options import ServiceOptions
from nanobanana_batch.service.reads import Reads
from nanobanana_batch.service.schema import Operation
from nanobanana_batch.service.submit import Submit
from nanobanana_batch.service.trouble import outage
from nanobanana_batch.service.wire import RequestLog

Endpoint = Callable[[Request], Awaitable[Response]]
_log = logging.getLogger("nanobanana_batch.service")


def make_app(options: ServiceOptions, network: Network | None = None) -> ASGIApp:
    """Opens the data folder, which must be locked by the caller; the lifespan closes it."""
    network = network or Network()
    context = Context.open(options, network)
    app = FastAPI(
        title="Nanobanana image API, embedded",
        description=openapi.DESCRIPTION,
        version="1",
        lifespan=partial(_lifespan, context),
        docs_url=None,
        redoc_url=None,
    )
    app.openapi = partial(openapi.described, app)  # type: ignore[method-assign]  # as FastAPI documents it
    app.add_route("/docs", lambda _: HTMLResponse(page(app.openapi())), include_in_schema=False)
    _handle_errors(app, options)
    submit, reads, files = Submit(context), Reads(context), Files(context, network)
    for dialect in DIALECTS:
        _add_dialect(context, app, dialect, submit, reads)
        _add_files(context, app, dialect, files)
    for path, show, described in (
        ("/files/{name}", Links(context).show, openapi.LINK),
        ("/uploads/{name}", files.show, openapi_files.SHOWN),
    ):
        reached = _reached(context, show, is_link=True)
        _add(app, "GET", path, reached, described)
        app.add_api_route(path, reached, methods=["HEAD"], include_in_schema=False)
    _add_admin(app, Admin(context))
    return Callers(RequestLog(app, context.counts), options.host, options.names)


@asynccontextmanager
async def _lifespan(context: Context, app: FastAPI) -> AsyncIterator[None]:
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


def _add_dialect(context: Context, app: FastAPI, dialect: Dialect, submit: Submit, reads: Reads) -> None:
    async def submit_image(request: Request) -> Response:
        return await submit(dialect, request)

    root = f"{PREFIX[dialect]}/v1"
    for method, path, endpoint, described in (
        ("POST", "/images/generations", submit_image, openapi.submit(dialect)),
        ("POST", "/tasks/batch", reads.batch, openapi.batch(dialect)),
        ("GET", "/tasks/{task_id}", reads.task, openapi.task(dialect)),
        ("GET", "/tasks", reads.recent, openapi.recent(dialect)),
        ("GET", "/credits", reads.credits, openapi.credits(dialect)),
    ):
        if "{" in path:
            _refuse(app, "GET", f"{root}/tasks/batch", "POST")  # it is no task's id
        _add(app, method, f"{root}{path}", _reached(context, endpoint), described)


def _add_files(context: Context, app: FastAPI, dialect: Dialect, files: Files) -> None:
    root = f"{PREFIX[dialect]}/api/v1/files"
    _add(app, "GET", f"{root}/quota", _reached(context, files.quota), openapi_files.quota(dialect))
    _refuse(app, "DELETE", f"{root}/quota", "GET")
    for method, path, endpoint, described in (
        ("POST", "/upload/stream", files.stream, openapi_files.stream(dialect)),
        ("POST", "/upload/base64", files.base64, openapi_files.base64(dialect)),
        ("POST", "/upload/url", files.url, openapi_files.url(dialect)),
        ("DELETE", "/{file_id}", files.delete, openapi_files.delete(dialect)),
    ):
        _add(app, method, f"{root}{path}", _reached(context, endpoint), described)


def _reached(context: Context, endpoint: Endpoint, *, is_link: bool = False) -> Endpoint:
    """The endpoint, unless there is an outage."""

    async def reached(request: Request) -> Response:
        return outage(context, is_link=is_link) or await endpoint(request)

    return reached


def _add(app: FastAPI, method: str, path: str, endpoint: Endpoint, described: Operation) -> None:
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


def _refuse(app: FastAPI, method: str, path: str, allowed: str) -> None:
    """What would else be taken for a request about an id of this name."""

    async def refused(request: Request) -> Response:
        raise HTTPException(405, headers={"Allow": allowed})

    app.add_api_route(path, refused, methods=[method], include_in_schema=False, response_model=None)


def _add_admin(app: FastAPI, admin: Admin) -> None:
    for method, path, endpoint in (
        ("GET", "/admin/ledger", admin.ledger),
        ("GET", "/admin/events", admin.events),
        ("GET", "/admin/requests", admin.requests),
        ("GET", "/admin/callbacks", admin.callbacks),
        ("GET", "/admin/faults", admin.faults),
        ("POST", "/admin/faults", admin.change_faults),
        ("POST", "/admin/outage", admin.outage),
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
