"""The same facts in the shapes that providers of this family were seen to use."""

from __future__ import annotations

from typing import Any

from .ledger import Task
from .wire import Reply

HTML = ("Content-Type", "text/html")
_BAD_GATEWAY = (
    b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
)


def as_task(task: Task, shape: str, model: str, links: list[str], now: float, kind: str) -> dict[str, Any]:
    """A task as a reply of `kind` submit or read shows it."""
    status = task.status(now)
    shown: dict[str, Any] = {
        "created": task.created,
        "id": shown_id(task),
        "model": model,
        "object": "image.generation.task",
        "progress": task.progress(now),
        "status": status,
        "task_info": {"can_cancel": status == "pending", "estimated_time": _estimate_s(task)},
        "type": "image",
        "usage": {"billing_rule": "per_call", "credits_reserved": task.credits, "user_group": "default"},
    }
    if status == "failed" and kind == "read":
        words = "the content was refused" if "policy" in str(task.error_code) else "generation failed"
        shown["error"] = {"code": task.error_code, "message": words, "type": "task_error"}
    if status == "completed" and kind == "read":
        shown["results"] = _results(shape, links, task)
    return shown


def shown_id(task: Task) -> Any:
    """The id of replies."""
    return task.id if task.public_id is None else task.public_id


def _estimate_s(task: Task) -> float:
    """Whole seconds, as the contract's example has it, unless the time runs faster here."""
    takes_s = task.ends_at - task.made_at
    return round(takes_s) if takes_s >= 1 else round(takes_s, 1)


def _results(shape: str, links: list[str], task: Task) -> list[Any]:
    """FoxAPI's first completed read has none yet."""
    if shape != "foxapi":
        return list(links)
    if task.completed_reads <= 1:
        return []
    return [{"url": link, "content_type": "image/png"} for link in links]


def listed(task: Task, now: float) -> dict[str, Any]:
    """A task in the list: no links."""
    status = task.status(now)
    return {
        "id": shown_id(task),
        "model": task.body["model"],
        "type": "image",
        "status": status,
        "progress": task.progress(now),
        "created_at": task.created,
        "has_results": status == "completed",
    }


def failure(shape: str, status: int, code: str, message: str, more: dict[str, Any]) -> dict[str, Any]:
    """An error."""
    if shape == "bare":
        return {"error": f"{code}: {message}"}
    if shape == "flat":
        return {"code": code, "message": message, **more}
    if shape == "msg":
        return {"code": code, "msg": message, **more}
    if shape == "integer":
        return {"error": {"code": status, "message": f"{code}: {message}", "type": code, **more}}
    return {"error": {"code": code, "message": message, "type": "api_error", **more}}


def page(status: int) -> Reply:
    """What a proxy says in the provider's place."""
    return Reply(status=status, body=_BAD_GATEWAY, headers=[HTML], kind="error")


def is_page(reply: Reply) -> bool:
    """Whether the provider's own reply did not get through."""
    return reply.body == _BAD_GATEWAY
