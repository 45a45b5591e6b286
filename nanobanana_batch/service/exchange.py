"""What comes in and goes out: bodies within a limit, JSON, the error envelope, a task from outside.

How a task looks is derived from its record and the clock, never stored twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nanobanana_batch.service import contract
from nanobanana_batch.service.contract import ApiError
from nanobanana_batch.service.store import Task

_encode = json.JSONEncoder(separators=(",", ":")).encode


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises ApiError: 413 for more than `limit` bytes, announced or found out."""
    announced = request.headers.get("content-length", "0")
    too_large = ApiError(413, "request_too_large_error", f"The body is larger than {limit} bytes.")
    if announced.isdigit() and int(announced) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def not_found(path: str) -> ApiError:
    """A 404 of a path that leads nowhere, or is switched off."""
    return ApiError(404, "not_found", f"No such path: {path}")


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(_encode(value), status, dict(headers or {}), "application/json")


def error_reply(error: ApiError, *, integer_codes: bool) -> Response:
    """An error's envelope."""
    return reply(error.body(integer_codes=integer_codes), error.status, error.headers)


def status(task: Task, now: float) -> str:
    """The API's word for where a task is, at a Unix time."""
    if task.state != "open":
        return task.state
    return "pending" if now < task.starts_at else "processing"


def _progress(task: Task, now: float) -> int:
    if task.state != "open":
        return 100 if task.state == "completed" else 0
    if now < task.starts_at:
        return 0
    share = (now - task.starts_at) / max(task.due_at - task.starts_at, 0.001)
    return min(95, 10 + int(85 * share))


def accepted(task: Task) -> dict[str, Any]:
    """The submit's reply: the task as it was then, so that a replay under the same key says the same."""
    left_s = max(1, math.ceil(task.due_at - task.created_at))
    return _shown(task, "pending", 0, left_s) | _usage(task, {"credits_reserved": task.credits})


def queried(task: Task, now: float, links: list[str]) -> dict[str, Any]:
    """What a read of a task, or its callback, says at `now` (Unix seconds); `links` lead to its pictures."""
    left_s = max(1, math.ceil(task.due_at - now)) if task.state == "open" else 0
    shown = _shown(task, status(task, now), _progress(task, now), left_s)
    if task.state == "open":
        return shown | _usage(task, {"credits_reserved": task.credits})
    if task.state == "completed":
        shown |= {"results": links, "result_data": [{"image_url": link} for link in links]}
        usd, cny = task.credits * contract.USD_PER_CREDIT, task.credits * contract.CNY_PER_CREDIT
        cost = {"credits": task.credits, "usd": round(usd, 4), "cny": round(cny, 4)}
        amounts = {"credits_reserved": task.credits, "credits_used": task.credits, "cost": cost}
        return shown | _usage(task, amounts)
    if task.state == "failed":
        error = {"code": task.error_code, "message": task.error_message, "type": "task_error"}
        shown["error"] = error
    return shown | _usage(task, {"credits_reserved": 0, "credits_used": 0})


def _shown(task: Task, status: str, progress: int, left_s: int) -> dict[str, Any]:
    return {
        "created": int(task.created_at),
        "id": task.id,
        "model": task.model,
        "object": "image.generation.task",
        "progress": progress,
        "status": status,
        "task_info": {"can_cancel": False, "estimated_time": left_s},
        "type": "image",
    }


def _usage(task: Task, amounts: dict[str, Any]) -> dict[str, Any]:
    if task.dialect != "evolink":
        return {}
    return {"usage": {"billing_rule": "per_call", "user_group": "default", **amounts}}


def listed(task: Task, now: float) -> dict[str, Any]:
    """A task's line in the list of recent ones, at `now` (Unix seconds)."""
    return {
        "id": task.id,
        "model": task.model,
        "type": "image",
        "status": status(task, now),
        "progress": _progress(task, now),
        "created_at": int(task.created_at),
        "has_results": task.state == "completed" and not task.image_gone,
    }


def credits(remaining: int, used: int, *, unlimited: bool) -> dict[str, Any]:
    """An account's balance, in credits."""
    amounts = {"remaining_credits": remaining, "used_credits": used}
    token = {**amounts, "unlimited_credits": unlimited}
    return {"data": {"token": token, "user": amounts}, "message": "success", "success": True}
