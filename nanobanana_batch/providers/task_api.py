"""The submit -> task id -> query -> links API of the contract, in the words of a profile.

Encoding and parsing are plain functions over bytes; what they do not understand changes nothing:
a reply to a paid request that makes no sense is an unknown outcome, a task that makes no sense is
as if it had not been read.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import anyio

from nanobanana_batch.errors import KeyProblem
from nanobanana_batch.model import Request
from nanobanana_batch.providers import decisions
from nanobanana_batch.providers.base import (
    Accepted,
    Body,
    Capabilities,
    Decision,
    ListedTask,
    NotSent,
    Rejected,
    SubmitOutcome,
    TaskReport,
    TasksRead,
    TaskState,
    Unknown,
)
from nanobanana_batch.providers.http import FreeHttp, NoReply, NothingSent, PaidHttp, Reply, Timeouts
from nanobanana_batch.providers.profile import Address, Profile, identity

BATCH_LIMIT = 50
"""Ids in one `POST /v1/tasks/batch` (contract: "Many at once")."""
_SINGLE_READS_AT_ONCE = 16
_LIST_PAGES = 10
_LONGEST_TEXT = 2000
_PROBES = (b"idempotency probe, not a request", b'{"model":"idempotency-probe-no-such-model"}')
_KEY_FORM = re.compile(r"[\x21-\x7e]{1,4096}")

_STATES = {
    "pending": TaskState.WORKING,
    "processing": TaskState.WORKING,
    "completed": TaskState.COMPLETED,
    "failed": TaskState.FAILED,
    "cancelled": TaskState.FAILED,
}


def check_key(key: str, where: str) -> str:
    """The key, if it can be one.

    Raises:
        KeyProblem: it has blanks, line breaks or other characters that no key has; it is not shown.
    """
    if not _KEY_FORM.fullmatch(key):
        raise KeyProblem(
            f"What {where} holds cannot be an API key: a key is visible ASCII characters only,"
            " without blanks or line breaks."
        )
    return key


@asynccontextmanager
async def open_task_api(
    profile: Profile,
    address: Address,
    key: str,
    *,
    submits_at_once: int,
    timeouts: Timeouts = Timeouts(),  # noqa: B008
) -> AsyncIterator[TaskApi]:
    """A provider of this family, its connections open for the length of the block."""
    headers = {"Authorization": f"Bearer {key}", "User-Agent": "nanobanana-batch"}
    async with AsyncExitStack() as stack:
        paid = PaidHttp(headers, submits_at_once, timeouts, loopback=address.is_loopback)
        stack.push_async_callback(paid.aclose)
        free = await stack.enter_async_context(FreeHttp(headers, timeouts, loopback=address.is_loopback))
        yield TaskApi(profile, address, _mark(key), paid, free)


class TaskApi:
    """See `base.Provider`."""

    def __init__(
        self, profile: Profile, address: Address, account: str, paid: PaidHttp, free: FreeHttp
    ) -> None:
        self._profile = profile
        self._base_url = address.url
        self._name = identity(profile, address)
        self._account = account
        self._paid = paid
        self._free = free
        self._has_batch = True

    @property
    def capabilities(self) -> Capabilities:
        """What the profile says."""
        return Capabilities(
            name=self._name,
            account=self._account,
            key_lifetime_s=self._profile.idempotency_lifetime_s,
            idempotency=self._profile.idempotency,
            read_at_once=BATCH_LIMIT,
            poll_interval_s=self._profile.poll_interval_s,
            link_lifetime_s=self._profile.link_lifetime_s,
        )

    def encode(self, request: Request) -> bytes:
        """The JSON body of a submit; fields that the row does not give are not in it."""
        return encode(request, self._profile)

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        """Contract: "Submit"."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        try:
            reply = await self._paid.post(f"{self._base_url}/v1/images/generations", body, headers)
        except NothingSent as error:
            return NotSent(str(error))
        except NoReply as error:
            return Unknown(str(error))
        return read_submit_reply(reply)

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        """Contract: "Query"; one batch where the provider has that, single reads where it has not."""
        if self._has_batch:
            read = await self._read_batch(task_ids)
            if read is not None:
                return read
            self._has_batch = False
        return await self._read_singly(task_ids)

    async def list_recent(self, since: float) -> list[ListedTask] | None:
        """Contract: "Recent tasks"; pages are read until one reaches back past `since`."""
        found: list[ListedTask] = []
        for page in range(1, _LIST_PAGES + 1):
            tasks = await self._list_page(page)
            if tasks is None:
                return None
            found += [task for task in tasks if task.created_at >= since]
            if len(tasks) < BATCH_LIMIT or tasks[-1].created_at < since:
                return found
        return None

    async def proves_idempotency(self, used_key: str) -> bool | None:
        """Send bodies that nobody can accept under a key that was used: a conflict proves memory.

        The first is no JSON; the second lacks the required prompt and names no model, for providers
        that parse before they look at the key (contract: "Submit").
        """
        for body in _PROBES:
            outcome = await self.submit(body, used_key)
            match outcome:
                case Unknown(code="idempotency_conflict") | Rejected(code="idempotency_conflict"):
                    return True
                case Rejected(decision=Decision.FAIL_ROW):
                    continue
                case _:
                    return None
        return False

    def open_link(self, url: str) -> AbstractAsyncContextManager[Body]:
        """Contract: links need no key, so none is sent."""
        return self._free.open_link(url)

    async def _read_batch(self, task_ids: Collection[str]) -> TasksRead | None:
        """None when the provider has no such endpoint (404, 405 or 400: contract, "Many at once")."""
        body = json.dumps({"task_ids": list(task_ids)}).encode()
        try:
            reply = await self._free.request("POST", f"{self._base_url}/v1/tasks/batch", body)
        except NoReply as error:
            return TasksRead(failure=str(error))
        if reply.status in (400, 404, 405):
            return None
        tasks = _json_object(reply).get("data") if reply.status == 200 else None
        if not isinstance(tasks, list):
            return _failed_read(reply)
        reports = {report.task_id: report for report in map(read_task, tasks) if report is not None}
        named = {str(task.get("id")) for task in tasks if isinstance(task, dict)}
        wanted = set(task_ids)
        found = TasksRead({id_: report for id_, report in reports.items() if id_ in wanted})
        missing = wanted - named
        # Absence from a batch may be a slip; only the task's own address can say that there is none.
        return _merged([found, await self._read_singly(missing)]) if missing else found

    async def _read_singly(self, task_ids: Collection[str]) -> TasksRead:
        reads: list[TasksRead] = []
        limit = anyio.CapacityLimiter(_SINGLE_READS_AT_ONCE)

        async def read_one(task_id: str) -> None:
            async with limit:
                reads.append(await self._read_one(task_id))

        async with anyio.create_task_group() as tasks:
            for task_id in task_ids:
                tasks.start_soon(read_one, task_id)
        return _merged(reads)

    async def _read_one(self, task_id: str) -> TasksRead:
        try:
            reply = await self._free.request("GET", f"{self._base_url}/v1/tasks/{task_id}")
        except NoReply as error:
            return TasksRead(failure=str(error))
        if reply.status == 404 and _error_of(reply) is not None:
            return TasksRead(absent=frozenset({task_id}))
        report = read_task(_json_object(reply)) if reply.status == 200 else None
        if report is None or report.task_id != task_id:
            return _failed_read(reply)
        return TasksRead(reports={task_id: report})

    async def _list_page(self, page: int) -> list[ListedTask] | None:
        query = f"type=image&page={page}&page_size={BATCH_LIMIT}"
        try:
            reply = await self._free.request("GET", f"{self._base_url}/v1/tasks?{query}")
        except NoReply:
            return None
        tasks = _json_object(reply).get("data") if reply.status == 200 else None
        if not isinstance(tasks, list):
            return None
        listed = [_listed_task(task) for task in tasks]
        return None if None in listed else [task for task in listed if task is not None]


def _mark(key: str) -> str:
    return hashlib.sha256(b"nanobanana-batch account " + key.encode()).hexdigest()[:12]


# --- encoding --------------------------------------------------------------------------------------


def encode(request: Request, profile: Profile) -> bytes:
    """The JSON body in the provider's words.

    Raises:
        ValueError: the request gives a field that the profile does not offer; the catalogue check
            comes before and names row and field.
    """
    wire: dict[str, Any] = {}
    given = request.given()
    for name in ("model", "prompt", *given):
        wire_name = profile.wire_name(name)
        if wire_name is None:
            raise ValueError(f"{profile.name} does not offer {name}")
        _put(wire, wire_name, given[name])
    return json.dumps(wire, ensure_ascii=False, separators=(",", ":")).encode()


def _put(wire: dict[str, Any], dotted: str, value: object) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        wire = wire.setdefault(parent, {})
    wire[last] = value


# --- parsing ---------------------------------------------------------------------------------------


def read_submit_reply(reply: Reply) -> SubmitOutcome:
    """What a complete reply to a submit means."""
    body = _json_object(reply)
    request_id = reply.headers.get("x-request-id")
    if 200 <= reply.status < 300:
        task_id = body.get("id")
        if not isinstance(task_id, str) or not task_id or not _is_safe_id(task_id):
            return Unknown(f"HTTP {reply.status} without a task id")
        return Accepted(
            task_id=task_id,
            request_id=request_id,
            credits_reserved=_number(_object(body.get("usage")).get("credits_reserved")),
            estimated_s=_number(_object(body.get("task_info")).get("estimated_time")),
            replayed=reply.headers.get("idempotency-replayed", "").strip().lower() == "true",
        )
    error = _error_of(reply)
    code, message = _code_and_message(reply, error)
    wait = retry_after_s(reply, error)
    decision = decisions.on_rejection(reply.status, code, own_words=error is not None)
    if decision is None:
        return Unknown(f"HTTP {reply.status}: {message}", code=code, retry_after_s=wait)
    is_verdict = error is not None and reply.status in decisions.VERDICTS
    return Rejected(decision, code, message, request_id, wait, is_verdict)


def read_task(task: object) -> TaskReport | None:
    """One task of a query; None when it makes no sense."""
    if not isinstance(task, dict):
        return None
    task_id, state = task.get("id"), _STATES.get(str(task.get("status")))
    if not isinstance(task_id, str) or state is None:
        return None
    if state is TaskState.COMPLETED:
        links = _links(task)
        used = _number(_object(task.get("usage")).get("credits_used"))
        return TaskReport(task_id, state, links=links, credits_used=used)
    if state is TaskState.FAILED:
        return _failed_task(task_id, task)
    return TaskReport(task_id, state)


def retry_after_s(reply: Reply, error: Mapping[str, Any] | None) -> float | None:
    """Seconds to wait: `Retry-After` as seconds or date, else "retry after N seconds" in the body."""
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    if value:
        try:
            return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            pass
    suggestion = str((error or {}).get("fallback_suggestion", ""))
    found = re.search(r"retry after (\d{1,6})\s*second", suggestion, re.IGNORECASE)
    return float(found[1]) if found else None


def _failed_task(task_id: str, task: Mapping[str, Any]) -> TaskReport:
    error = _object(task.get("error"))
    default = "request_cancelled" if task.get("status") == "cancelled" else "unknown_error"
    code = _text(error.get("code") or default)
    message = _text(error.get("message") or "the provider gave no reason")
    decision = decisions.on_failed_task(code)
    return TaskReport(task_id, TaskState.FAILED, error_code=code, error_message=message, decision=decision)


def _links(task: Mapping[str, Any]) -> tuple[str, ...]:
    results = task.get("results")
    links = [link for link in results if isinstance(link, str)] if isinstance(results, list) else []
    if not links and isinstance(data := task.get("result_data"), list):
        links = [url for item in data if isinstance(url := _object(item).get("image_url"), str)]
    return tuple(link for link in links if link.startswith(("https://", "http://")))


def _listed_task(task: object) -> ListedTask | None:
    fields = _object(task)
    task_id = fields.get("id")
    created = _number(fields.get("created_at", fields.get("created")))
    if not isinstance(task_id, str) or created is None:
        return None
    return ListedTask(task_id, str(fields.get("model", "")), created)


def _json_object(reply: Reply) -> dict[str, Any]:
    try:
        return _object(json.loads(reply.body))
    except (ValueError, RecursionError):
        return {}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _is_safe_id(task_id: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9._-]{1,200}", task_id) is not None


def _error_of(reply: Reply) -> dict[str, Any] | None:
    """The provider's error envelope, if the body is one."""
    error = _json_object(reply).get("error")
    return error if isinstance(error, dict) else None


def _code_and_message(reply: Reply, error: Mapping[str, Any] | None) -> tuple[str, str]:
    """Code and message of an error; integer codes of older pages are as good as strings."""
    if error is None:
        return f"http_{reply.status}", "the body is not the provider's error message"
    code = error.get("code")
    return _text(code if code not in (None, "") else f"http_{reply.status}"), _text(
        error.get("message") or ""
    )


def _text(value: object) -> str:
    """As a string that can be stored: JSON may hold halves of surrogate pairs, UTF-8 cannot."""
    text = str(value).encode("utf-8", "replace").decode()
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " [...]"


def _failed_read(reply: Reply) -> TasksRead:
    error = _error_of(reply)
    code, message = _code_and_message(reply, error)
    return TasksRead(
        failure=f"HTTP {reply.status}: {code}: {message}",
        retry_after_s=retry_after_s(reply, error),
        stop=decisions.on_rejection(reply.status, code, own_words=error is not None) is Decision.STOP_RUN,
    )


def _merged(reads: list[TasksRead]) -> TasksRead:
    failures = [read.failure for read in reads if read.failure]
    waits = [read.retry_after_s for read in reads if read.retry_after_s is not None]
    return TasksRead(
        reports={id_: report for read in reads for id_, report in read.reports.items()},
        absent=frozenset().union(*(read.absent for read in reads)),
        failure=failures[0] if failures else "",
        retry_after_s=max(waits, default=None),
        stop=any(read.stop for read in reads),
    )
