"""What a reply of the provider means: plain functions over bytes.

What they do not understand changes nothing: a reply to a paid request that makes no sense is an
unknown outcome, a task that makes no sense is as if it had not been read.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

from nanobanana_batch.providers import decisions
from nanobanana_batch.providers.base import (
    Accepted,
    AccountRead,
    Decision,
    ListedTask,
    Rejected,
    SubmitOutcome,
    TaskReport,
    TasksRead,
    TaskState,
    Unknown,
)
from nanobanana_batch.providers.http import Reply

_LONGEST_TEXT = 2000
_LONGEST_WAIT_S = 1e9
"""What a longer wait is read as, so that one can reckon with it."""
_IN_WORDS = re.compile(r"\b(?:retry|again) (?:after|in) (\d{1,6}) ?(s|m)(?:ec|in|\b)", re.IGNORECASE)

_STATES = {
    "pending": TaskState.WORKING,
    "processing": TaskState.WORKING,
    "completed": TaskState.COMPLETED,
    "failed": TaskState.FAILED,
    "cancelled": TaskState.FAILED,
    "canceled": TaskState.FAILED,
}


def read_submit_reply(reply: Reply) -> SubmitOutcome:
    """What a complete reply to a submit means."""
    body = json_object(reply)
    request_id = reply.headers.get("x-request-id")
    if 200 <= reply.status < 300:
        task_id = body.get("id")
        if not isinstance(task_id, str) or not task_id or not is_safe_id(task_id):
            return Unknown(f"HTTP {reply.status} without a task id", is_reply=True)
        return Accepted(
            task_id=task_id,
            request_id=request_id,
            credits_reserved=_as_credits(as_object(body.get("usage")).get("credits_reserved")),
            estimated_s=as_number(as_object(body.get("task_info")).get("estimated_time")),
            replayed=reply.headers.get("idempotency-replayed", "").strip().lower() == "true",
        )
    error = error_of(reply)
    code, message = code_and_message(reply, error)
    wait = retry_after_s(reply, error)
    own_words = error is not None
    decision = decisions.on_request(reply.status, code, own_words=own_words)
    if decision is Decision.RETRY_REQUEST:
        return Unknown(
            f"HTTP {reply.status}: {message}", decisions.plain(code), wait, request_id, is_reply=True
        )
    is_verdict = decisions.is_verdict(reply.status, code, own_words=own_words)
    is_address = decisions.is_address(reply.status, own_words=own_words)
    return Rejected(decision, code, message, request_id, wait, is_verdict, is_address, reply.status)


def read_task(task: object) -> TaskReport | None:
    """One task of a query; None when it makes no sense."""
    if not isinstance(task, dict):
        return None
    task_id, state = task.get("id"), _STATES.get(_status(task))
    if not isinstance(task_id, str) or state is None:
        return None
    if state is TaskState.COMPLETED:
        links = _links(task)
        used = _as_credits(as_object(task.get("usage")).get("credits_used"))
        return TaskReport(task_id, state, links=links, credits_used=used)
    if state is TaskState.FAILED:
        return _failed_task(task_id, task)
    return TaskReport(task_id, state)


def read_credits_reply(reply: Reply) -> AccountRead:
    """What a complete reply to a question about the credits means (contract: "Account")."""
    body, error = json_object(reply), error_of(reply)
    code, message = code_and_message(reply, error)
    failure = "" if reply.status == 200 and body and error is None else f"HTTP {reply.status}: {message}"
    told = AccountRead(
        is_up=bool(body) and reply.status // 100 in (2, 4) and reply.status != 429,
        rejected=message or code if reply.status == 401 else "",
        failure=failure,
        retry_after_s=retry_after_s(reply, error),
        provider_time=date_of(reply),
        is_reply=True,
    )
    return told if failure else _with_credits(told, as_object(body.get("data")))


def _with_credits(told: AccountRead, data: Mapping[str, Any]) -> AccountRead:
    token, user = as_object(data.get("token")), as_object(data.get("user"))
    is_unlimited = token.get("unlimited_credits") is True
    of_key = None if is_unlimited else as_number(token.get("remaining_credits"))
    of_user = as_number(user.get("remaining_credits"))
    return replace(told, remaining_credits=of_user if of_key is None else of_key, is_unlimited=is_unlimited)


def retry_after_s(reply: Reply, error: Mapping[str, Any] | None) -> float | None:
    """Seconds to wait: `Retry-After` in seconds or as a date, else as the provider puts it into words."""
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", value):
        return min(float(value), _LONGEST_WAIT_S)
    until = _http_date(value)
    if until is not None:
        # By the provider's own clock where it tells: ours may be wrong.
        now = date_of(reply)
        return max(0.0, until - (time.time() if now is None else now))
    for name in ("fallback_suggestion", "message"):
        found = _IN_WORDS.search(str((error or {}).get(name, "")))
        if found:
            return float(found[1]) * (60.0 if found[2].lower() == "m" else 1.0)
    return None


def date_of(reply: Reply) -> float | None:
    """Unix seconds by the provider's clock, where the reply tells."""
    return _http_date(reply.headers.get("date", ""))


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _failed_task(task_id: str, task: Mapping[str, Any]) -> TaskReport:
    error = as_object(task.get("error"))
    default = "unknown_error" if _status(task) == "failed" else "request_cancelled"
    code = storable(error.get("code") or default)
    message = storable(error.get("message") or "the provider gave no reason")
    decision = decisions.on_failed_task(code)
    return TaskReport(task_id, TaskState.FAILED, error_code=code, error_message=message, decision=decision)


def _status(task: Mapping[str, Any]) -> str:
    return str(task.get("status")).lower()


def _links(task: Mapping[str, Any]) -> tuple[str, ...]:
    results = task.get("results")
    links = [link for link in results if isinstance(link, str)] if isinstance(results, list) else []
    if not links and isinstance(data := task.get("result_data"), list):
        links = [url for item in data if isinstance(url := as_object(item).get("image_url"), str)]
    return tuple(link for link in links if link.startswith(("https://", "http://")))


def read_listed_task(task: object) -> ListedTask | None:
    fields = as_object(task)
    task_id = fields.get("id")
    created = as_number(fields.get("created_at", fields.get("created")))
    if not isinstance(task_id, str) or created is None:
        return None
    return ListedTask(task_id, str(fields.get("model", "")), created)


def json_object(reply: Reply) -> dict[str, Any]:
    try:
        return as_object(json.loads(reply.body))
    except (ValueError, RecursionError):
        return {}


def as_object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _as_credits(value: object) -> float | None:
    """What makes no sense is not told: a reckoning with it would be wrong without a word."""
    credits = as_number(value)
    return None if credits is None or credits < 0 else credits


def is_safe_id(task_id: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9._-]{1,200}", task_id) is not None


def error_of(reply: Reply) -> dict[str, Any] | None:
    """The provider's error envelope, if the body is one."""
    error = json_object(reply).get("error")
    return error if isinstance(error, dict) else None


def code_and_message(reply: Reply, error: Mapping[str, Any] | None) -> tuple[str, str]:
    """Code and message of an error; integer codes of older pages are as good as strings."""
    if error is None:
        return f"http_{reply.status}", "the body is not the provider's error message"
    code = error.get("code")
    return storable(code if code not in (None, "") else f"http_{reply.status}"), storable(
        error.get("message") or ""
    )


def storable(value: object) -> str:
    """As a string that can be stored: JSON may hold halves of surrogate pairs, UTF-8 cannot."""
    text = str(value).encode("utf-8", "replace").decode()
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " [...]"


def failed_read(reply: Reply) -> TasksRead:
    error = error_of(reply)
    code, message = code_and_message(reply, error)
    return TasksRead(
        failure=f"HTTP {reply.status}: {code}: {message}",
        retry_after_s=retry_after_s(reply, error),
        stop=decisions.is_lasting(reply.status, code, own_words=error is not None),
        is_reply=True,
    )


def merged(reads: list[TasksRead]) -> TasksRead:
    failures = [read.failure for read in reads if read.failure]
    waits = [read.retry_after_s for read in reads if read.retry_after_s is not None]
    return TasksRead(
        reports={id_: report for read in reads for id_, report in read.reports.items()},
        absent=frozenset().union(*(read.absent for read in reads)),
        failure=failures[0] if failures else "",
        retry_after_s=max(waits, default=None),
        requests=sum(read.requests for read in reads),
        stop=any(read.stop for read in reads),
        is_reply=any(read.is_reply for read in reads),
    )
