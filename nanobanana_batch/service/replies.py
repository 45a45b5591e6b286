"""What a task looks like from outside is derived from its record and the clock, never stored twice."""

from __future__ import annotations

import math
from typing import Any

from nanobanana_batch.service import contract
from nanobanana_batch.service.store import Balance, Task


def status(task: Task, now: float) -> str:
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
    reply = _common(task, "pending", 0, max(1, math.ceil(task.due_at - task.created_at)), can_cancel=False)
    return reply | _usage(task, {"credits_reserved": task.credits})


def queried(task: Task, now: float, link: str | None) -> dict[str, Any]:
    left = max(1, math.ceil(task.due_at - now)) if task.state == "open" else 0
    reply = _common(task, status(task, now), _progress(task, now), left, can_cancel=False)
    if task.state == "completed":
        reply["results"] = [link]
        reply["result_data"] = [{"image_url": link}]
        return reply | _usage(task, _cost(task))
    if task.state == "failed":
        error = {"code": task.error_code, "message": task.error_message, "type": "task_error"}
        return reply | {"error": error} | _usage(task, {"credits_reserved": 0, "credits_used": 0})
    if task.state == "cancelled":
        return reply | _usage(task, {"credits_reserved": 0, "credits_used": 0})
    return reply | _usage(task, {"credits_reserved": task.credits})


def _common(task: Task, status: str, progress: int, left_s: int, *, can_cancel: bool) -> dict[str, Any]:
    return {
        "created": int(task.created_at),
        "id": task.id,
        "model": task.model,
        "object": "image.generation.task",
        "progress": progress,
        "status": status,
        "task_info": {"can_cancel": can_cancel, "estimated_time": left_s},
        "type": "image",
    }


def _cost(task: Task) -> dict[str, Any]:
    cost = {
        "credits": task.credits,
        "usd": round(task.credits * contract.USD_PER_CREDIT, 4),
        "cny": round(task.credits * contract.CNY_PER_CREDIT, 4),
    }
    return {"credits_reserved": task.credits, "credits_used": task.credits, "cost": cost}


def _usage(task: Task, amounts: dict[str, Any]) -> dict[str, Any]:
    if task.dialect != "evolink":
        return {}
    return {"usage": {"billing_rule": "per_call", "user_group": "default", **amounts}}


def listed(task: Task, now: float) -> dict[str, Any]:
    return {
        "id": task.id,
        "model": task.model,
        "type": "image",
        "status": status(task, now),
        "progress": _progress(task, now),
        "created_at": int(task.created_at),
        "has_results": task.state == "completed" and not task.image_gone,
    }


def credits(balance: Balance, *, unlimited: bool) -> dict[str, Any]:
    amounts = {"remaining_credits": balance.remaining, "used_credits": balance.used}
    token = {**amounts, "unlimited_credits": unlimited}
    return {"data": {"token": token, "user": amounts}, "message": "success", "success": True}
