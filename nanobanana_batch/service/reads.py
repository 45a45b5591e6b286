"""An account sees its own tasks and nothing of another's: every read is by account."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nanobanana_batch.service import replies, validate
from nanobanana_batch.service.context import Context, base_url, read_body, reply, switched_off
from nanobanana_batch.service.contract import PREFIX
from nanobanana_batch.service.envelope import ApiError
from nanobanana_batch.service.faults import READS
from nanobanana_batch.service.store import Task
from nanobanana_batch.service.tasks import new_token
from nanobanana_batch.service.trouble import failing, rate_limited
from nanobanana_batch.service.wire import LostReply

_NONSENSE: tuple[Any, ...] = (
    [],
    {},
    None,
    7,
    {"status": "completed"},
    {"id": 5, "status": ["?"]},
    {"data": "none"},
)


class Reads:
    """`GET /v1/tasks/{id}`, `POST /v1/tasks/batch`, `GET /v1/tasks`, `GET /v1/credits`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def task(self, request: Request) -> Response:
        account = self._context.account(request)
        found = self._context.store.by_ids(account, [validate.task_id(request.path_params["task_id"])])
        if not found:
            raise ApiError(404, "task_not_found", "No such task.", "task_id")
        return self._faulty(found) or reply(self._shown(found[0], request))

    async def batch(self, request: Request) -> Response:
        context = self._context
        account = context.account(request)
        if not context.options.batch_reads:
            raise switched_off(request.url.path)
        ids = validate.batch(validate.json_object(await read_body(request, context.options.max_body_bytes)))
        found = context.store.by_ids(account, ids)
        return self._faulty(found) or reply({"data": [self._shown(task, request) for task in found]})

    async def recent(self, request: Request) -> Response:
        account = self._context.account(request)
        if not self._context.options.recent_list:
            raise switched_off(request.url.path)
        query = validate.list_query(request.query_params)
        now = time.time()
        found, total = self._context.store.recent(account, query, now)
        data = [replies.listed(task, now) for task in found]
        return reply({"data": data, "total": total, "page": query.page, "page_size": query.page_size})

    async def credits(self, request: Request) -> Response:
        balance = self._context.store.balance(self._context.account(request))
        return reply(replies.credits(balance, unlimited=self._context.options.unlimited_credits))

    def _shown(self, task: Task, request: Request) -> dict[str, Any]:
        link = f"{base_url(request)}/files/{self._token(task)}.{task.extension}"
        shown = replies.queried(task, time.time(), link)
        if request.url.path.startswith(f"{PREFIX['unified']}/"):
            shown.pop("usage", None)
        return shown

    def _token(self, task: Task) -> str | None:
        """The task's link; a new one in place of one that died before its time."""
        token, store = task.link_token, self._context.store
        if (
            token is None
            or task.image_gone
            or not self._context.options.links_renew
            or not store.is_dead(token)
        ):
            return token
        token = new_token()
        store.renew_link(task, token)
        return token

    def _faulty(self, tasks: list[Task]) -> Response | None:
        faults = self._context.faults
        seen = ",".join(f"{task.body_sha256}:{task.occurrence}" for task in tasks)
        subject = sha256(seen.encode()).hexdigest()
        fault = faults.first(READS, subject)
        if fault == "nonsense_read":
            return reply(faults.choose(_NONSENSE, fault, subject))
        if fault == "rate_429_read":
            return rate_limited(self._context)
        if fault == "rate_5xx_read":
            return failing(self._context, fault, subject)
        return LostReply() if fault == "lost_reply_read" else None
