"""The submit -> task id -> query -> links API of the contract, in the words of a profile."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio

from nanobanana_batch.errors import KeyProblem
from nanobanana_batch.model import Request
from nanobanana_batch.providers.base import (
    AccountRead,
    Body,
    Capabilities,
    Decision,
    KeyAnswer,
    KeyQuestion,
    ListedTask,
    Listing,
    NotSent,
    Observer,
    SubmitOutcome,
    TaskReport,
    TasksRead,
    TaskState,
    Unknown,
    Uploaded,
    UploadFailed,
)
from nanobanana_batch.providers.http import (
    FilesHttp,
    FreeHttp,
    NoReply,
    NothingSent,
    PaidHttp,
    Reply,
    Timeouts,
)
from nanobanana_batch.providers.link_http import LinkHttp
from nanobanana_batch.providers.link_rules import rules_for
from nanobanana_batch.providers.profile import Address, Profile, files_address, identity
from nanobanana_batch.providers.tasks.encoding import SUBMIT_ROUTE, account_headers, encode, submit_headers
from nanobanana_batch.providers.tasks.error_words import date_of, error_of, json_object, wait_without_body
from nanobanana_batch.providers.tasks.files import FilesApi
from nanobanana_batch.providers.tasks.replies import (
    TaskForm,
    failed_listing,
    failed_read,
    key_answer,
    knows_no_such_task,
    merged,
    named_id,
    reaches_back_to,
    read_credits_reply,
    read_list_page,
    read_submit_reply,
    read_task,
    squeezed,
    stated_status,
    submitted_id,
    task_in,
    tasks_in,
)
from nanobanana_batch.providers.tasks.values import as_id, in_path
from nanobanana_batch.providers.their_clock import TheirClock
from nanobanana_batch.providers.watch import Secret, Watch

BATCH_LIMIT = 50
"""Ids in one `POST /v1/tasks/batch` (contract: "Many at once")."""
_MOST_SINGLE_READS = 5
"""In one call, of tasks that a batch left out; the others have their turn later."""
_LIST_PAGES = 10
_NO_BATCH = frozenset({400, 404, 405, 422, 501})
"""How a provider answers that has no such read, or none of ids of this form (contract: "Many at once")."""
_PROBES = {
    KeyQuestion.NO_JSON: b"idempotency probe, not a request",
    KeyQuestion.NO_PROMPT: b'{"model":"idempotency-probe-no-such-model"}',
}
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

    `submits_at_once`: how many paid requests may be under way. The observer is told of every request; with
    `debug` also what the replies said.
    """
    watch = Watch(Secret(key), observer, debug=debug)
    headers = account_headers(key)
    files_at = files_address(profile, address)
    paid = PaidHttp(address, headers, submits_at_once, timeouts, watch)
    free = FreeHttp(address, headers, timeouts, watch)
    links = LinkHttp(timeouts, watch, rules_for(address.url, profile.links))
    files = FilesHttp(files_at, headers, timeouts, watch) if files_at else None
    async with AsyncExitStack() as stack:
        for close in (paid.aclose, free.aclose, links.aclose, *([files.aclose] if files else [])):
            stack.push_async_callback(close)
        line = _Connections(
            paid, free, links, FilesApi(files, profile.files_api, watch.clock) if files else None
        )
        yield TaskApi(profile, identity(profile, address), account_mark(key), line, watch.clock)


@dataclass(frozen=True, slots=True)
class _Connections:
    paid: PaidHttp
    free: FreeHttp
    links: LinkHttp
    files: FilesApi | None


@dataclass(slots=True)
class _Batch:
    """What a provider has shown of reading many tasks at once."""

    by_numbers: bool = False
    """Its ids are JSON numbers, and go back to it as such; the state keeps every id as text."""
    has_worked: bool = False
    refused: set[bool] = field(default_factory=set)
    """In which of the two forms it was refused."""

    @property
    def is_offered(self) -> bool:
        return self.by_numbers not in self.refused

    def learn(self, id_: object) -> None:
        """An id as it came in a reply."""
        if as_id(id_) is not None:
            self.by_numbers = isinstance(id_, int)

    def body(self, task_ids: Collection[str]) -> bytes:
        """The request's body, ids as the provider itself gives them."""
        ids = [int(id_) if self.by_numbers and _is_number(id_) else id_ for id_ in task_ids]
        return json.dumps({"task_ids": ids}).encode()


def _is_number(id_: str) -> bool:
    return re.fullmatch(r"[1-9][0-9]{0,38}", id_) is not None


class TaskApi:
    """See `base.Provider`."""

    def __init__(
        self, profile: Profile, name: str, account: str, connections: _Connections, clock: TheirClock
    ) -> None:
        self._profile = profile
        self._name = name
        self._account = account
        self._paid = connections.paid
        self._free = connections.free
        self._links = connections.links
        self._files = connections.files
        self._form = form_of(profile)
        self._batch = _Batch()
        self._clock = clock
        self._capabilities = {offered: self._said(is_batch_offered=offered) for offered in (True, False)}
        """Made once: a row asks for them five times."""

    @property
    def capabilities(self) -> Capabilities:
        """What the profile says."""
        return self._capabilities[self._batch.is_offered]

    def _said(self, *, is_batch_offered: bool) -> Capabilities:
        return Capabilities(
            name=self._name,
            account=self._account,
            key_lifetime_s=self._profile.idempotency_lifetime_s,
            idempotency=self._profile.idempotency,
            read_at_once=BATCH_LIMIT if is_batch_offered else 1,
            poll_interval_s=self._profile.poll_interval_s,
            link_lifetime_s=self._profile.link_lifetime_s,
            reads_per_s=self._profile.reads_per_s,
            offers_callbacks=self._profile.callback_field is not None,
            offers_uploads=self._files is not None,
        )

    def provider_time(self) -> float | None:
        """By the `Date` of the replies of the API, and of its files; links may lead anywhere."""
        return self._clock.time()

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
            return Unknown(str(error), retry_after_s=wait_without_body(error))
        self._batch.learn(submitted_id(json_object(reply)) if reply.status < 300 else None)
        return read_submit_reply(reply)

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        """Contract: "Query"; one batch where the provider has that, else the first task alone.

        The provider counts requests: what was asked for together is never read singly in a burst.
        """
        read = await self._read_some(task_ids)
        return await self._synced(read) if self._profile.sync_query else read

    async def _read_some(self, task_ids: Collection[str]) -> TasksRead:
        first, batch = list(task_ids)[:1], self._batch
        if not batch.is_offered:
            return await self._read_singly(first)
        read = await self._read_batch(task_ids)
        if read is not None:
            return read
        batch.refused.add(batch.by_numbers)
        return merged([TasksRead(), await self._read_singly(first)])

    async def _synced(self, read: TasksRead) -> TasksRead:
        """Tasks that are finished and show no link, read once more from where the provider has them.

        Those that have no turn this time are left out: they count as not read.
        """
        bare = [id_ for id_, report in read.reports.items() if report.is_finished]
        if not bare:
            return read
        rest = {id_: report for id_, report in read.reports.items() if id_ not in bare}
        again = await self._read_singly(bare[:_MOST_SINGLE_READS], self._profile.sync_query or "")
        return merged([replace(read, reports=rest), again])

    async def list_recent(self, age_s: float, turn: Callable[[], Awaitable[bool]]) -> Listing:
        """Contract: "Recent tasks"; pages are read until one reaches back so far, by the provider's clock."""
        found: dict[str, ListedTask] = {}
        listing, began = Listing(), self.provider_time() or time.time()
        for number in range(1, _LIST_PAGES + 1):
            if not await turn():
                return Listing(failure="it was not read to its end")
            try:
                reply = await self._free.request("GET", "/v1/tasks", query=_list_query(number))
            except NoReply as error:
                return Listing(failure=str(error), retry_after_s=wait_without_body(error))
            page, known = read_list_page(reply), len(found)
            if page is None:
                return failed_listing(reply)
            found |= {task.task_id: task for task in page.tasks}
            if not found and page.total > 0:
                return Listing(failure="the list has tasks and shows none")
            listing = replace(listing, provider_time=listing.provider_time or date_of(reply))
            back_to = page.back_to((listing.provider_time or began) - age_s)
            if back_to is not None:
                return replace(listing, tasks=tuple(found.values()), back_to=back_to)
            if len(found) == known:
                break  # the same page over and over: what comes after it is not shown
        return replace(listing, tasks=tuple(found.values()), back_to=reaches_back_to(found.values()))

    async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
        """With a body of which no task can come (contract: "Submit")."""
        return key_answer(await self.submit(_PROBES[question], used_key))

    async def read_account(self) -> AccountRead:
        """Contract: "Account"; where that is not offered, a task that nobody has shows that it answers."""
        try:
            reply = await self._free.request("GET", "/v1/credits")
            words = error_of(reply)
            if reply.status in (404, 405) and (words is None or not words.is_own):
                reply = await self._free.request("GET", "/v1/tasks/{id}", id=_NO_TASK)
        except NoReply as error:
            return AccountRead(is_up=False, failure=str(error), retry_after_s=wait_without_body(error))
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
        try:
            reply = await self._free.request("POST", "/v1/tasks/batch", self._batch.body(task_ids))
        except NoReply as error:
            return TasksRead(failure=str(error), retry_after_s=wait_without_body(error))
        if self._shows_no_batch(reply):
            return None
        tasks = tasks_in(reply)
        if tasks is None:
            return failed_read(reply)
        return await self._batch_of(tasks, task_ids)

    def _shows_no_batch(self, reply: Reply) -> bool:
        """A page of somebody else says nothing of a read that has worked."""
        is_believed = not self._batch.has_worked or error_of(reply) is not None
        return stated_status(reply) in _NO_BATCH and is_believed

    async def _batch_of(self, tasks: list[object], task_ids: Collection[str]) -> TasksRead:
        """What a batch tells, and a few of those that it leaves out.

        Absence from a batch may be a slip; only the task's own address can say that there is none.
        """
        wanted, reports, named = set(task_ids), dict[str, TaskReport](), set[str]()
        for task in tasks:
            named.add(as_id(self._id_of(task)) or "")
            report = read_task(task, self._form)
            if report is not None and report.task_id in wanted:
                reports[report.task_id] = _better(reports.get(report.task_id), report)
        self._batch.has_worked = self._batch.has_worked or bool(reports)
        missing = [id_ for id_ in task_ids if id_ not in named][:_MOST_SINGLE_READS]
        found = TasksRead(reports)
        return merged([found, await self._read_singly(missing)]) if missing else found

    def _id_of(self, task: object) -> object:
        """The id that a reply names, as it came."""
        id_ = named_id(task_in(task))
        self._batch.learn(id_)
        return id_

    async def _read_singly(self, task_ids: Collection[str], query: str = "") -> TasksRead:
        reads: list[TasksRead] = []

        async def read_one(task_id: str) -> None:
            reads.append(await self._read_one(task_id, query))

        async with anyio.create_task_group() as tasks:
            for task_id in task_ids:
                tasks.start_soon(read_one, task_id)
        return merged(reads)

    async def _read_one(self, task_id: str, query: str) -> TasksRead:
        try:
            reply = await self._free.request("GET", "/v1/tasks/{id}", query=query, id=in_path(task_id))
        except NoReply as error:
            return TasksRead(failure=str(error), retry_after_s=wait_without_body(error))
        body = json_object(reply)
        report = read_task(body, self._form) if reply.status // 100 == 2 else None
        if report is not None and report.task_id == task_id:
            self._id_of(body)
            return TasksRead(reports={task_id: report})
        if report is not None:
            return TasksRead(failure="HTTP 200: the reply is about another task")
        return TasksRead(absent=frozenset({task_id})) if knows_no_such_task(reply) else failed_read(reply)


def form_of(profile: Profile) -> TaskForm:
    """What a profile says of its provider's tasks beyond the contract."""
    statuses = {squeezed(word): TaskState(meaning) for word, meaning in profile.statuses.items()}
    return TaskForm(tuple(profile.result_paths), statuses)


def _better(one: TaskReport | None, other: TaskReport) -> TaskReport:
    """Of two reports about the same task in one reply, the one that has an image."""
    return one if one is not None and one.state is TaskState.COMPLETED else other


def _list_query(number: int) -> str:
    return f"type=image&page={number}&page_size={BATCH_LIMIT}"


def account_mark(key: str) -> str:
    """Tells accounts apart and does not give the key away."""
    return hashlib.sha256(b"nanobanana-batch account " + key.encode()).hexdigest()[:12]
