"""What a provider puts on the wire, as a test scripts it: the real parser decides what it means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nanobanana_batch.providers.http import Reply

PAGE = b"<html><body>something stands between us</body></html>"


def reply(status: int, body: object = b"", **headers: object) -> Reply:
    """A complete reply; `retry_after=30` is the header `Retry-After: 30`, a body that is no bytes is JSON."""
    names = {name.replace("_", "-"): str(value) for name, value in headers.items() if value is not None}
    return Reply(status, names, body if isinstance(body, bytes) else json.dumps(body).encode())


def error(code: str | int, message: str = "because", **fields: object) -> dict[str, Any]:
    """The provider's envelope (contract: "Errors")."""
    return {"error": {"code": code, "message": message, **fields}}


def accepted(
    task_id: str, *, credits: float | None = 2.0, estimated_s: float | None = None, **headers: object
) -> Reply:
    """The reply to a submit that has made a task; `idempotency_replayed="true"` for one made before."""
    body = {
        "id": task_id,
        "object": "image.generation.task",
        "status": "pending",
        "progress": 0,
        "task_info": {"can_cancel": True, "estimated_time": estimated_s},
        "usage": {"billing_rule": "per_call", "credits_reserved": credits, "user_group": "default"},
    }
    return reply(200, body, **headers)


def slow(retry_after_s: float | None = None, words: str = "slow down") -> Reply:
    """A 429."""
    return reply(429, error("rate_limit_exceeded", words), retry_after=retry_after_s)


def unavailable(retry_after_s: float | None = None) -> Reply:
    """A 503 of the provider's own."""
    return reply(503, error("service_unavailable_error", "down"), retry_after=retry_after_s)


NO_CREDITS = reply(402, error("insufficient_quota", "no credits"))
BAD_REQUEST = reply(400, error("invalid_request", "no"))
REFUSED = reply(400, error("content_filter", "no"))
FORBIDDEN = reply(403, PAGE)
"""Somebody else's."""
UNAVAILABLE = unavailable()
BAD_GATEWAY = reply(502, PAGE)
NO_SUCH_ROUTE = reply(404, error("not_found", "no such route"))
CONFLICT = reply(409, error("idempotency_conflict", "another body under this key"))

Task = Mapping[str, Any]
"""One task of a read."""


def working(task_id: str) -> Task:
    """A task that goes on."""
    return {"id": task_id, "status": "processing", "progress": 50}


def finished(task_id: str, *links: str, credits: float | None = 2.0) -> Task:
    """A task that has its images; without links it has none."""
    usage = {} if credits is None else {"usage": {"credits_used": credits}}
    return {"id": task_id, "status": "completed", "progress": 100, "results": list(links), **usage}


def failed(task_id: str = "", code: str = "invalid_parameters", message: str = "no") -> Task:
    """A task that came to nothing."""
    said = {"code": code, "message": message, "type": "task_error"}
    return {"id": task_id, "status": "failed", "progress": 100, "error": said}


def credits_left(amount: float = 1000.0) -> Reply:
    """The account answers (contract: "Account")."""
    token = {"remaining_credits": amount, "unlimited_credits": False, "used_credits": 0}
    user = {"remaining_credits": amount, "used_credits": 0}
    return reply(200, {"data": {"token": token, "user": user}, "message": "success", "success": True})
