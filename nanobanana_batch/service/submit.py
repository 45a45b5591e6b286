"""A submit is charged once per idempotency key; its key, charge and task stand or fall together.

A key in use is looked up before the values of a body are judged, so that a repeat of a paid request is
never answered with anything but its task or a conflict.
"""

from __future__ import annotations

import asyncio
import time
from hashlib import sha256
from typing import NoReturn

from starlette.requests import Request
from starlette.responses import Response

from nanobanana_batch.service import contract, identity, replies, validate
from nanobanana_batch.service.context import Context, read_body, reply
from nanobanana_batch.service.contract import Dialect
from nanobanana_batch.service.envelope import ApiError
from nanobanana_batch.service.faults import AFTER_SUBMIT, BEFORE_SUBMIT, FATES
from nanobanana_batch.service.store import NewTask, Task
from nanobanana_batch.service.tasks import request_to_store
from nanobanana_batch.service.trouble import failing, proxy_page, rate_limited
from nanobanana_batch.service.wire import DrippedReply, LostReply

_PENDING_SHARE = 0.1  # of a task's latency


class Submit:
    """`POST /v1/images/generations`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._deciding: dict[tuple[str, str], tuple[str, str]] = {}

    async def __call__(self, dialect: Dialect, request: Request) -> Response:
        context = self._context
        account = context.account(request)
        body = await read_body(request, context.options.max_body_bytes)
        digest = sha256(body).hexdigest()
        fault = context.faults.first(BEFORE_SUBMIT, digest)
        if fault is not None:
            return self._before(fault, digest)
        key = self._key(request)
        if key is None:
            task, replayed = await self._create(dialect, account, body, digest, None), False
        else:
            task, replayed = await self._create_once(dialect, account, body, digest, key)
        headers = {"Idempotency-Replayed": "true"} if replayed else {}
        return await self._after(reply(replies.accepted(task), headers=headers), digest)

    def _key(self, request: Request) -> str | None:
        value = request.headers.get("idempotency-key")
        if value is None or not self._context.options.idempotency:
            return None
        return validate.idempotency_key(value)

    async def _create_once(
        self, dialect: Dialect, account: str, body: bytes, digest: str, key: str
    ) -> tuple[Task, bool]:
        bound = self._context.store.bound(account, key)
        if bound is not None:
            if (bound.dialect, bound.body_sha256) != (dialect, digest):
                _conflict()
            return self._context.store.by_seq(bound.task_seq), True
        deciding = self._deciding.get((account, key))
        if deciding is not None:
            if deciding != (dialect, digest):
                _conflict()
            message = "The first attempt under this key is still being decided. Repeat with the same key."
            raise ApiError(409, "paid_outcome_unknown", message, "Idempotency-Key")
        self._deciding[account, key] = (dialect, digest)
        try:
            return await self._create(dialect, account, body, digest, key), False
        finally:
            del self._deciding[account, key]

    async def _create(
        self, dialect: Dialect, account: str, body: bytes, digest: str, key: str | None
    ) -> Task:
        if self._context.faults.hits("slow_decision", digest):
            await asyncio.sleep(self._context.faults.faults.slow_decision_s)
        if self._context.faults.hits("reject_submit", digest):
            raise self._rejection(digest)
        allow = self._context.options.allow_loopback_callbacks
        checked = validate.submit(dialect, validate.json_object(body), allow_loopback_callbacks=allow)
        if checked.model in self._context.options.denied_models:
            raise ApiError(403, "model_access_denied", f"This key may not use {checked.model}.", "model")
        # From here on without an await: no other submit comes between the count, the id and the charge.
        new = self._new_task(dialect, account, body, digest, checked)
        task = self._context.store.create(new, key)
        self._context.runner.add(task)
        return task

    def _new_task(
        self, dialect: Dialect, account: str, body: bytes, digest: str, checked: validate.Checked
    ) -> NewTask:
        now = time.time()
        occurrence = self._context.store.occurrences(account, digest)
        own = self._identity(account, body, occurrence, now)
        low, high = self._context.options.latency_range
        latency = low + (high - low) * own.latency_share
        return NewTask(
            id=own.id,
            account=account,
            dialect=dialect,
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

    def _identity(self, account: str, body: bytes, occurrence: int, now: float) -> identity.Identity:
        seed = self._context.options.seed
        if seed is None:
            return identity.unseeded(int(now))
        own = identity.seeded(seed, body, occurrence)
        if self._context.store.has_id(own.id):  # the same request of another account
            own = identity.seeded(seed, body, occurrence, account)
        return own

    def _fate(self, subject: str) -> str | None:
        faults = self._context.faults
        fate = faults.first(FATES, subject)
        if fate == "refuse_task":
            return "fail:content_policy_violation"
        if fate == "fail_task":
            code = faults.faults.fail_code or faults.choose(contract.TASK_ERRORS, fate, subject)
            return f"fail:{code}"
        return fate

    def _rejection(self, subject: str) -> ApiError:
        faults = self._context.faults
        code = faults.faults.reject_code or faults.choose(contract.REJECTIONS, "reject_submit", subject)
        return ApiError(contract.REJECTIONS.get(code, 400), code, "The request is refused.")

    def _before(self, fault: str, subject: str) -> Response:
        if fault == "rate_429":
            return rate_limited(self._context)
        if fault == "lost_reply_before":
            return LostReply()
        if fault == "html_reply":
            return proxy_page()
        if fault == "empty_reply":
            return Response(b"", 502)
        return failing(self._context, fault, subject)

    async def _after(self, usual: Response, subject: str) -> Response:
        faults = self._context.faults
        fault = faults.first(AFTER_SUBMIT, subject)
        if fault == "rate_5xx_after":
            return failing(self._context, fault, subject)
        if fault == "lost_reply_after":
            return LostReply()
        if fault == "empty_reply_after":
            return Response(b"", 200)
        if fault == "drip_reply":
            dripped = DrippedReply(usual.body, usual.status_code, dict(usual.headers))
            dripped.interval_s = faults.faults.drip_interval_s
            return dripped
        if fault == "slow_reply":
            await asyncio.sleep(faults.faults.slow_reply_s)
        return usual


def _conflict() -> NoReturn:
    message = "This Idempotency-Key was used with another body."
    raise ApiError(409, "idempotency_conflict", message, "Idempotency-Key")
