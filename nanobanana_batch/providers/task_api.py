"""The submit -> task id -> query -> links API of the contract, in the words of a profile."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from nanobanana_batch.errors import KeyProblem
from nanobanana_batch.model import Request
from nanobanana_batch.providers.base import (
    AccountRead,
    Body,
    Capabilities,
    Decision,
    ListedTask,
    NotSent,
    Observer,
    Rejected,
    SubmitOutcome,
    TasksRead,
    Unknown,
    Uploaded,
    UploadFailed,
)
from nanobanana_batch.providers.encoding import SUBMIT_ROUTE, account_headers, encode, submit_headers
from nanobanana_batch.providers.files_api import FilesApi
from nanobanana_batch.providers.http import (
    FilesHttp,
    FreeHttp,
    LinkHttp,
    NoReply,
    NothingSent,
    PaidHttp,
    Timeouts,
)
from nanobanana_batch.providers.profile import Address, Profile, files_address, identity
from nanobanana_batch.providers.replies import (
    error_of,
    failed_read,
    json_object,
    merged,
    read_credits_reply,
    read_listed_task,
    read_submit_reply,
    read_task,
)
from nanobanana_batch.providers.watch import Secret, Watch

BATCH_LIMIT = 50
"""Ids in one `POST /v1/tasks/batch` (contract: "Many at once")."""
_MOST_SINGLE_READS = 5
"""In one call, of tasks that a batch left out; the others have their turn later."""
_LIST_PAGES = 10
_PROBES = (b"idempotency probe, not a request", b'{"model":"idempotency-probe-no-such-model"}')
_NO_TASK = "task-unified-0-00000000"
_KEY_FORM = re.compile(r"[\x21-\x7e]{1,4096}")


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
    observer: Observer | None = None,
    debug: bool = False,
) -> AsyncIterator[TaskApi]:
    """A provider of this family, its connections open for the length of the block.

    The observer is told of every request; with `debug` also what the replies said.
    """
    watch = Watch(Secret(key), observer, debug=debug)
    headers = account_headers(key)
    files_at = files_address(profile, address)
    paid = PaidHttp(address, headers, submits_at_once, timeouts, watch)
    free = FreeHttp(address, headers, timeouts, watch)
    links = LinkHttp(timeouts, watch)
    files = FilesHttp(files_at, headers, timeouts, watch) if files_at else None
    async with AsyncExitStack() as stack:
        for close in (paid.aclose, free.aclose, links.aclose, *([files.aclose] if files else [])):
            stack.push_async_callback(close)
        line = _Connections(paid, free, links, FilesApi(files) if files else None)
        yield TaskApi(profile, identity(profile, address), _mark(key), line)


@dataclass(frozen=True, slots=True)
class _Connections:
    paid: PaidHttp
    free: FreeHttp
    links: LinkHttp
    files: FilesApi | None


class TaskApi:
    """See `base.Provider`."""

    def __init__(self, profile: Profile, name: str, account: str, connections: _Connections) -> None:
        self._profile = profile
        self._name = name
        self._account = account
        self._paid = connections.paid
        self._free = connections.free
        self._links = connections.links
        self._files = connections.files
        self._has_batch = True

    @property
    def capabilities(self) -> Capabilities:
        """What the profile says."""
        return Capabilities(
            name=self._name,
            account=self._account,
            key_lifetime_s=self._profile.idempotency_lifetime_s,
            idempotency=self._profile.idempotency,
            read_at_once=BATCH_LIMIT if self._has_batch else 1,
            poll_interval_s=self._profile.poll_interval_s,
            link_lifetime_s=self._profile.link_lifetime_s,
            reads_per_s=self._profile.reads_per_s,
            offers_callbacks=self._profile.callback_field is not None,
            offers_uploads=self._files is not None,
        )

    def encode(self, request: Request, callback_url: str | None = None) -> bytes:
        """The JSON body of a submit; fields that the row does not give are not in it."""
        return encode(request, self._profile, callback_url)

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        """Contract: "Submit"."""
        try:
            reply = await self._paid.post(SUBMIT_ROUTE, body, submit_headers(idempotency_key))
        except NothingSent as error:
            return NotSent(str(error))
        except NoReply as error:
            return Unknown(str(error))
        return read_submit_reply(reply)

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        """Contract: "Query"; one batch where the provider has that, else the first task alone.

        The provider counts requests: what was asked for together is never read singly in a burst.
        """
        first = list(task_ids)[:1]
        if not self._has_batch:
            return await self._read_singly(first)
        read = await self._read_batch(task_ids)
        if read is not None:
            return read
        self._has_batch = False
        return merged([TasksRead(), await self._read_singly(first)])

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
                case Unknown(code="idempotency_conflict"):
                    return True
                case Rejected(decision=Decision.FAIL_ROW):
                    continue
                case _:
                    return None
        return False

    async def read_account(self) -> AccountRead:
        """Contract: "Account"; where that is not offered, a task that nobody has shows that it answers."""
        try:
            reply = await self._free.request("GET", "/v1/credits")
            if reply.status in (404, 405) and error_of(reply) is None:
                reply = await self._free.request("GET", "/v1/tasks/{id}", id=_NO_TASK)
        except NoReply as error:
            return AccountRead(is_up=False, failure=str(error))
        return read_credits_reply(reply)

    async def upload(self, path: Path, media_type: str) -> Uploaded | UploadFailed:
        """Contract: "Files"."""
        if self._files is None:
            return UploadFailed(Decision.FAIL_ROW, "not_offered", f"{self._name} takes no local files")
        return await self._files.upload(path, media_type)

    async def delete_upload(self, file_id: str) -> bool:
        """Contract: "Files"."""
        return self._files is not None and await self._files.delete(file_id)

    def open_link(self, url: str) -> AbstractAsyncContextManager[Body]:
        """Contract: links need no key, so none is sent."""
        return self._links.open(url)

    async def _read_batch(self, task_ids: Collection[str]) -> TasksRead | None:
        """None when the provider has no such endpoint (404, 405 or 400: contract, "Many at once")."""
        body = json.dumps({"task_ids": list(task_ids)}).encode()
        try:
            reply = await self._free.request("POST", "/v1/tasks/batch", body)
        except NoReply as error:
            return TasksRead(failure=str(error))
        if reply.status in (400, 404, 405):
            return None
        tasks = json_object(reply).get("data") if reply.status == 200 else None
        if not isinstance(tasks, list):
            return failed_read(reply)
        reports = {report.task_id: report for report in map(read_task, tasks) if report is not None}
        named = {str(task.get("id")) for task in tasks if isinstance(task, dict)}
        wanted = set(task_ids)
        found = TasksRead({id_: report for id_, report in reports.items() if id_ in wanted})
        missing = [id_ for id_ in task_ids if id_ not in named][:_MOST_SINGLE_READS]
        # Absence from a batch may be a slip; only the task's own address can say that there is none.
        return merged([found, await self._read_singly(missing)]) if missing else found

    async def _read_singly(self, task_ids: Collection[str]) -> TasksRead:
        reads: list[TasksRead] = []

        async def read_one(task_id: str) -> None:
            reads.append(await self._read_one(task_id))

        async with anyio.create_task_group() as tasks:
            for task_id in task_ids:
                tasks.start_soon(read_one, task_id)
        return merged(reads)

    async def _read_one(self, task_id: str) -> TasksRead:
        try:
            reply = await self._free.request("GET", "/v1/tasks/{id}", id=task_id)
        except NoReply as error:
            return TasksRead(failure=str(error))
        if reply.status == 404 and error_of(reply) is not None:
            return TasksRead(absent=frozenset({task_id}))
        report = read_task(json_object(reply)) if reply.status == 200 else None
        if report is None or report.task_id != task_id:
            return failed_read(reply)
        return TasksRead(reports={task_id: report})

    async def _list_page(self, page: int) -> list[ListedTask] | None:
        query = f"type=image&page={page}&page_size={BATCH_LIMIT}"
        try:
            reply = await self._free.request("GET", "/v1/tasks", query=query)
        except NoReply:
            return None
        tasks = json_object(reply).get("data") if reply.status == 200 else None
        if not isinstance(tasks, list):
            return None
        listed = [read_listed_task(task) for task in tasks]
        return None if None in listed else [task for task in listed if task is not None]


def _mark(key: str) -> str:
    return hashlib.sha256(b"nanobanana-batch account " + key.encode()).hexdigest()[:12]
