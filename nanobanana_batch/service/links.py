"""A link shows its picture until it dies, to whoever holds it, and nothing else ever."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from nanobanana_batch.service.context import Context, error_reply
from nanobanana_batch.service.envelope import ApiError
from nanobanana_batch.service.faults import DOWNLOADS
from nanobanana_batch.service.images import CONTENT_TYPES
from nanobanana_batch.service.store import Task
from nanobanana_batch.service.trouble import failing
from nanobanana_batch.service.wire import CutReply, DrippedReply, OversizedReply

_MISSING_PAGE = "<html><head><title>Not Found</title></head><body><h1>Not Found</h1></body></html>"
_LOGIN_PAGE = "<html><head><title>Please wait</title></head><body>Your image is being prepared.</body></html>"


class Links:
    """`GET /files/{token}.{ext}`. Holding the link is the permission: there is no key."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, request: Request) -> Response:
        token, _, extension = request.path_params["name"].partition(".")
        linked = self._context.store.linked(token)
        if linked is None or linked[0].extension != extension:
            return _missing(404)
        task, dead = linked
        if dead:
            return _missing(404)
        body = self._body(task)
        if body is None:
            gone = ApiError(410, "link_expired", "The link has expired.")
            return error_reply(gone, self._context.options)
        usual = Response(body, media_type=CONTENT_TYPES[extension])
        if request.method == "HEAD":
            return usual
        return self._faulty(task, token, usual)

    def _body(self, task: Task) -> bytes | None:
        if time.time() >= (task.finished_at or 0) + self._context.options.link_lifetime_s:
            return None
        return self._context.images.read(task)

    def _faulty(self, task: Task, token: str, usual: Response) -> Response:
        faults = self._context.faults
        subject = f"{task.body_sha256}:{task.occurrence}"
        fault = faults.first(DOWNLOADS, subject)
        if fault is None:
            return usual
        if fault == "dead_link":
            self._context.store.kill_link(token)
            return _missing(faults.choose((404, 410), fault, subject))
        if fault == "rate_5xx_download":
            return failing(self._context, fault, subject)
        return self._spoiled(fault, bytes(usual.body), usual.media_type)

    def _spoiled(self, fault: str, body: bytes, media_type: str | None) -> Response:
        faults = self._context.faults.faults
        if fault == "wrong_type_download":
            return Response(_LOGIN_PAGE, media_type="text/html")
        if fault == "truncated_download":
            return Response(body[: len(body) // 2], media_type=media_type)
        if fault == "cut_download":
            return CutReply(body, media_type=media_type)
        if fault == "oversized_download":
            oversized = OversizedReply(body, media_type=media_type)
            oversized.total_bytes = faults.oversized_bytes
            return oversized
        dripped = DrippedReply(body, media_type=media_type)
        dripped.interval_s = faults.drip_interval_s
        return dripped


def _missing(status: int) -> Response:
    return Response(_MISSING_PAGE, status, media_type="text/html")
