"""A submit is charged once per idempotency key; its key, charge and task stand or fall together.

A key in use is looked up before the values of a body are judged, so that a repeat of a paid request is never
answered with anything but its task or a conflict. An account sees its own tasks and nothing of another's. A
link shows its picture until it dies, to whoever holds it, and nothing else ever.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from starlette.responses import Response

from nanobanana_batch.service import contract, exchange, faults, openapi
from nanobanana_batch.service.context import Call, Context
from nanobanana_batch.service.contract import ApiError
from nanobanana_batch.service.exchange import read_body, reply
from nanobanana_batch.service.store import NewTask, Task
from nanobanana_batch.service.tasks import new_token, request_to_store

_PENDING_SHARE = 0.1  # of a task's latency
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_SEEDED_FROM, _SEEDED_SPAN = 1_700_000_000, 60_000_000  # a believable time inside the id
_MISSING_PAGE = "<html><head><title>Not Found</title></head><body><h1>Not Found</h1></body></html>"
_NONSENSE: Any = ([], {}, None, 7, {"status": "completed"}, {"id": 5, "status": ["?"]}, {"data": "none"})


@dataclass(frozen=True, slots=True)
class _Identity:
    """With a seed, a task's id, picture and latency follow from its request, in any order of arrival."""

    id: str
    render_seed: int
    latency_share: float  # 0..1 of the range of latencies


class ImagesApi:
    """`/v1/images/generations`, `/v1/tasks...`, `/v1/credits`, and `/files/{name}`: the links."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._deciding: dict[tuple[str, str], tuple[str, str]] = {}

    async def submit(self, call: Call) -> Response:
        """`POST /v1/images/generations`. Raises ApiError."""
        options, plan = self._context.options, self._context.plan
        body = await read_body(call.request, options.max_body_bytes)
        digest = sha256(body).hexdigest()
        if fault := plan.first(faults.BEFORE_SUBMIT, digest):
            return plan.answer(fault, digest)
        key = call.request.headers.get("idempotency-key") if options.idempotency else None
        if key is None:
            task, replayed = await self._create(call, body, digest, None), False
        else:
            openapi.parameter("submit", call.dialect, "Idempotency-Key", key)
            task, replayed = await self._create_once(call, body, digest, key)
        headers = {"Idempotency-Replayed": "true"} if replayed else {}
        usual = reply(exchange.accepted(task), headers=headers)
        fault = plan.first(faults.AFTER_SUBMIT, digest)
        if fault == "drip_reply":
            return plan.spoiled(fault, usual)
        if fault == "slow_reply":
            await asyncio.sleep(plan.faults.slow_reply_s)
        return plan.answer(fault, digest) if fault and fault != "slow_reply" else usual

    async def _create_once(self, call: Call, body: bytes, digest: str, key: str) -> tuple[Task, bool]:
        bound, name = self._context.store.bound(call.account, key), (call.account, key)
        asked = (call.dialect, digest)
        before = (bound.dialect, bound.body_sha256) if bound else self._deciding.get(name, asked)
        if before != asked:
            message = "This Idempotency-Key was used with another body."
            raise ApiError(409, "idempotency_conflict", message, "Idempotency-Key")
        if bound is not None:
            return bound, True
        if name in self._deciding:
            message = "The first attempt under this key is still being decided. Repeat with the same key."
            raise ApiError(409, "paid_outcome_unknown", message, "Idempotency-Key")
        self._deciding[name] = asked
        try:
            return await self._create(call, body, digest, key), False
        finally:
            del self._deciding[name]

    async def _create(self, call: Call, body: bytes, digest: str, key: str | None) -> Task:
        options, plan = self._context.options, self._context.plan
        if plan.hits("slow_decision", digest):
            await asyncio.sleep(plan.faults.slow_decision_s)
        if plan.hits("reject_submit", digest):
            code = plan.faults.reject_code or plan.choose(contract.REJECTIONS, "reject_submit", digest)
            raise ApiError(contract.REJECTIONS.get(code, 400), code, "The request is refused.")
        allow, values = options.allow_loopback_callbacks, openapi.json_object(body)
        checked = openapi.submit(call.dialect, values, allow_loopback_callbacks=allow)
        if checked.model in options.denied_models:
            raise ApiError(403, "model_access_denied", f"This key may not use {checked.model}.", "model")
        # From here on without an await: no other submit comes between the count, the id and the charge.
        task = self._context.store.create(self._new_task(call, body, digest, checked), key)
        self._context.runner.add(task)
        return task

    def _new_task(self, call: Call, body: bytes, digest: str, checked: openapi.Checked) -> NewTask:
        now = time.time()
        occurrence = self._context.store.occurrences(call.account, digest)
        own = self._identity(call.account, body, occurrence, now)
        low, high = self._context.options.latency_range
        latency = low + (high - low) * own.latency_share
        return NewTask(
            id=own.id,
            account=call.account,
            dialect=call.dialect,
            model=checked.model,
            state="open",
            created_at=now,
            starts_at=now + latency * _PENDING_SHARE,
            due_at=now + latency,
            body=body,
            body_sha256=digest,
            occurrence=occurrence,
            credits=contract.price(checked.model, checked.resolution),
            request=request_to_store(checked),
            render_seed=own.render_seed,
            fate=self._fate(f"{digest}:{occurrence}"),
            extension=checked.output_format,
        )

    def _identity(self, account: str, body: bytes, occurrence: int, now: float) -> _Identity:
        seed = self._context.options.seed
        if seed is None:
            return _identity(int(now), secrets.token_bytes(24))
        own = _seeded(f"{seed}:{occurrence}:", body)
        if self._context.store.has_id(own.id):  # the same request of another account
            own = _seeded(f"{seed}:{occurrence}:{account}", body)
        return own

    def _fate(self, subject: str) -> str | None:
        plan = self._context.plan
        fate = plan.first(faults.FATES, subject)
        if fate == "refuse_task":
            return "fail:content_policy_violation"
        if fate == "fail_task":
            return f"fail:{plan.faults.fail_code or plan.choose(openapi.task_errors(), fate, subject)}"
        return fate

    async def task(self, call: Call) -> Response:
        """`GET /v1/tasks/{task_id}`. Raises ApiError."""
        task_id = call.request.path_params["task_id"]
        try:
            openapi.parameter("task", call.dialect, "task_id", task_id)
        except ApiError as error:
            raise ApiError(400, "invalid_task_id", error.message, "task_id") from error
        found = self._context.store.by_ids(call.account, [task_id])
        if not found:
            raise ApiError(404, "task_not_found", "No such task.", "task_id")
        return self._faulty_read(found) or reply(self._shown(found[0], call))

    async def batch(self, call: Call) -> Response:
        """`POST /v1/tasks/batch`. Raises ApiError."""
        body = await read_body(call.request, self._context.options.max_body_bytes)
        ids = openapi.body("batch", call.dialect, body)["task_ids"]
        found = self._context.store.by_ids(call.account, list(dict.fromkeys(ids)))
        return self._faulty_read(found) or reply({"data": [self._shown(task, call) for task in found]})

    async def recent(self, call: Call) -> Response:
        """`GET /v1/tasks`. Raises ApiError."""
        query, now = openapi.query("recent", call.dialect, call.request.query_params), time.time()
        found, total = self._context.store.recent(call.account, query, now)
        data = [exchange.listed(task, now) for task in found]
        return reply({"data": data, "total": total, "page": query["page"], "page_size": query["page_size"]})

    async def credits(self, call: Call) -> Response:
        """`GET /v1/credits`."""
        remaining, used = self._context.store.balance(call.account)
        unlimited = self._context.options.unlimited_credits
        return reply(exchange.credits(remaining, used, unlimited=unlimited))

    def _shown(self, task: Task, call: Call) -> dict[str, Any]:
        links = task.links(call.base_url, self._token(task), self._context.options.images)
        shown = exchange.queried(task, time.time(), links)
        if call.dialect == "unified":
            shown.pop("usage", None)
        return shown

    def _token(self, task: Task) -> str | None:
        """The task's link; a new one in place of one that died before its time."""
        token, store = task.link_token, self._context.store
        linked = store.linked(token) if token and self._context.options.links_renew else None
        if linked is None or task.image_gone or not linked[1]:
            return token
        token = new_token()
        store.renew_link(task, token)
        return token

    def _faulty_read(self, tasks: list[Task]) -> Response | None:
        subject = sha256(",".join(task.subject for task in tasks).encode()).hexdigest()
        fault = self._context.plan.first(faults.READS, subject)
        if fault == "nonsense_read":
            return reply(self._context.plan.choose(_NONSENSE, fault, subject))
        return self._context.plan.answer(fault, subject) if fault else None

    async def link(self, call: Call) -> Response:
        """`GET /files/{name}`. Holding the link is the permission: there is no key. Raises ApiError: 410."""
        stem, _, extension = call.request.path_params["name"].partition(".")
        token, _, which = stem.partition("~")
        linked = self._context.store.linked(token)
        if linked is None or linked[1] or linked[0].extension != extension:
            return Response(_MISSING_PAGE, 404, media_type="text/html")
        task = linked[0]
        is_over = time.time() >= (task.finished_at or 0) + self._context.options.link_lifetime_s
        number = int(which) if re.fullmatch("[1-9]", which) else 1
        body = None if is_over else self._context.images.read(task.file_name_of(number))
        if body is None:
            raise ApiError(410, "link_expired", "The link has expired.")
        usual = Response(body, media_type=contract.MIME_TYPES[extension])
        return usual if call.request.method == "HEAD" else self._faulty_link(task, token, usual)

    def _faulty_link(self, task: Task, token: str, usual: Response) -> Response:
        plan, subject = self._context.plan, task.subject
        fault = plan.first(faults.DOWNLOADS, subject)
        if fault is None:
            return usual
        if fault == "dead_link":
            self._context.store.kill_link(token)
            return Response(_MISSING_PAGE, plan.choose((404, 410), fault, subject), media_type="text/html")
        if fault == "rate_5xx_download":
            return self._context.plan.answer(fault, subject)
        return self._context.plan.spoiled(fault, usual)


def _seeded(salt: str, body: bytes) -> _Identity:
    digest = sha256(f"{salt}:".encode() + body).digest()
    return _identity(_SEEDED_FROM + int.from_bytes(digest[:8], "big") % _SEEDED_SPAN, digest[8:])


def _identity(created: int, digest: bytes) -> _Identity:
    number = int.from_bytes(digest[:8], "big")
    letters = "".join(_ALPHABET[number // len(_ALPHABET) ** place % len(_ALPHABET)] for place in range(8))
    share = int.from_bytes(digest[12:16], "big") / 2**32
    return _Identity(f"task-unified-{created}-{letters}", int.from_bytes(digest[8:12], "big"), share)
