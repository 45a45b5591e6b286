"""What a reply of the provider means: plain functions over bytes.

What they do not understand changes nothing: a reply to a paid request that makes no sense is an
unknown outcome, a task that makes no sense is unclear, or as if it had not been read. It is told in
the reply's own words, so that a person can see what nobody here understands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nanobanana_batch.model import TaskMade
from nanobanana_batch.providers.base import (
    AccountRead,
    Decision,
    KeyAnswer,
    KeyMemory,
    ListedTask,
    Listing,
    Rejected,
    SubmitOutcome,
    TaskReport,
    TasksRead,
    TaskState,
    Unknown,
)
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.tasks import decisions
from nanobanana_batch.providers.tasks.error_words import (
    ErrorWords,
    code_and_message,
    date_of,
    error_of,
    json_object,
    refusal_in,
    resets_in_s,
    retry_after_s,
    told,
    wait_in_words,
    words_in,
)
from nanobanana_batch.providers.tasks.links import RESULTS, links_of
from nanobanana_batch.providers.tasks.values import (
    as_credits,
    as_estimate_s,
    as_id,
    as_line,
    as_number,
    as_object,
    as_unix_s,
    cut,
    shape,
)
from nanobanana_batch.providers.watch import shown_id

EXPIRED = "expired"
"""The error code of a task of which the provider says that it has expired."""
_BUSY_S = 30.0
"""How long a task that failed with `rate_limited` holds back new ones (contract: "Errors")."""
_LONGEST_WORDS = 300
_LONGEST_STATUS = 60
_STATUS_NAMES = ("status", "state", "task_status")

_STATES = {
    **dict.fromkeys(
        ("pending", "queued", "submitted", "processing", "inprogress", "running"), TaskState.WORKING
    ),
    **dict.fromkeys(("completed", "succeeded", "success", "finished"), TaskState.COMPLETED),
    **dict.fromkeys(("failed", "error", "failure", "cancelled", "canceled", EXPIRED), TaskState.FAILED),
}
"""Status words of this family of APIs, as `_squeezed`."""


@dataclass(frozen=True, slots=True)
class TaskForm:
    """What a profile says of its provider's tasks beyond the contract."""

    result_paths: tuple[str, ...] = ()
    """Where links stand besides, such as `pictures.href`; lists on the way are walked."""
    statuses: Mapping[str, TaskState] = field(default_factory=dict)
    """Further status words."""


CONTRACT = TaskForm()
"""The contract's own form."""


# --- submit ----------------------------------------------------------------------------------------


def read_submit_reply(reply: Reply) -> SubmitOutcome:
    """What a complete reply to a submit means."""
    if not 200 <= reply.status < 300:
        return _judged(reply, reply.status, error_of(reply))
    body = json_object(reply)
    task_id = as_id(submitted_id(body))
    if task_id is None:
        return _without_a_task(reply)
    return TaskMade(
        task_id=task_id,
        request_id=_request_id(reply),
        credits_reserved=as_credits(_of_task(body, "usage", "credits_reserved")),
        estimated_s=as_estimate_s(_of_task(body, "task_info", "estimated_time")),
        is_replay="true" in map(str.strip, reply.headers.get("idempotency-replayed", "").lower().split(",")),
    )


def submitted_id(body: Mapping[str, Any]) -> object:
    """The id of the task that a submit has made, as it came; None where there is none.

    A name that can only mean the task comes before one that may be that of the request.
    """
    places = list(_places(body))
    ids = (place.get(name) for name in ("task_id", "id") for place in places)
    return next((id_ for id_ in ids if as_id(id_) is not None), None)


def _places(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The object itself, and what other gateways of this family wrap: `data`, or the first of a list."""
    yield body
    data = body.get("data")
    yield as_object(data[0] if isinstance(data, list) and data else data)


def _of_task(body: Mapping[str, Any], group: str, name: str) -> object:
    values = (as_object(place.get(group)).get(name) for place in _places(body))
    return next((value for value in values if value is not None), None)


def _without_a_task(reply: Reply) -> SubmitOutcome:
    """A success without a task: an error in disguise if its code is known, else nobody knows what it is."""
    words = error_of(reply)
    status = decisions.stands_for(words.code) if words is not None else None
    if status is not None:
        return _judged(reply, status, words)
    code = decisions.plain(words.code) if words is not None else ""
    reason = f"a success that names no task ({told(reply)})"
    wait = retry_after_s(reply, words.fields if words is not None else None)
    return Unknown(reason, code, wait, _request_id(reply), is_reply=True, is_unclear=True)


def _judged(reply: Reply, status: int, words: ErrorWords | None) -> SubmitOutcome:
    """What an error means, with the HTTP status or the one that it stands for."""
    code, message = code_and_message(reply, words)
    fields, own_words = (words.fields, words.is_own) if words is not None else ({}, False)
    wait, request_id = retry_after_s(reply, fields), _request_id(reply)
    decision = decisions.on_request(status, code, own_words=own_words)
    is_open = not decisions.nothing_made(status, code, own_words=own_words)
    is_wall = words is None and status == decisions.FORBIDDEN
    if is_wall or (decision is Decision.RETRY_REQUEST and is_open):
        return Unknown(told(reply), decisions.plain(code), wait, request_id, is_reply=True)
    return Rejected(
        decision,
        code,
        message,
        request_id,
        wait,
        is_verdict=decisions.is_verdict(status, code, own_words=own_words),
        is_address=decisions.is_address(status, code, own_words=own_words),
        status=status,
        resets_in_s=resets_in_s(reply, fields) if decision is Decision.WAIT_FOR_RESET else None,
    )


def _request_id(reply: Reply) -> str | None:
    named = reply.headers.get("x-request-id", "").strip()
    # Something in the place of what cannot be shown: what is left out may have kept a key apart.
    return cut("".join(char if char.isprintable() else "?" for char in shown_id(named)), 200) or None


def key_answer(outcome: SubmitOutcome) -> KeyAnswer:
    """What the answer to a body that nobody can accept says of its key.

    A conflict proves memory, and so does the first task in answer to it (contract: "Submit"). A verdict on
    the body shows nothing: who looks at that first may well remember the key.
    """
    match outcome:
        case Unknown(code="idempotency_conflict" | "paid_outcome_unknown") | TaskMade(is_replay=True):
            return KeyAnswer(KeyMemory.REMEMBERED, outcome)
        case TaskMade() | Rejected(is_verdict=True, decision=Decision.FAIL_ROW | Decision.REFUSE):
            return KeyAnswer(KeyMemory.UNSHOWN, outcome)
    return KeyAnswer(KeyMemory.NO_ANSWER, outcome)


# --- tasks -----------------------------------------------------------------------------------------


def read_task(task: object, form: TaskForm = CONTRACT) -> TaskReport | None:
    """One task of a query, bare or wrapped in `data`; None when nothing says which task it is."""
    fields = task_in(task)
    task_id = as_id(named_id(fields))
    if task_id is None:
        return None
    word = _status_of(fields)
    state = form.statuses.get(word) or _STATES.get(word)
    if state is TaskState.WORKING:
        return TaskReport(task_id, state)
    has_links = state is TaskState.COMPLETED or word == EXPIRED
    if has_links and (links := links_of(fields, form.result_paths)):
        return TaskReport(task_id, TaskState.COMPLETED, links=links, credits_used=_credits_used(fields))
    if state is TaskState.FAILED:
        return _failed_task(task_id, fields, word)
    is_finished = state is TaskState.COMPLETED
    return TaskReport(task_id, TaskState.UNCLEAR, words=_words_of(fields), is_finished=is_finished)


def task_in(value: object) -> Mapping[str, Any]:
    """The task in what a read was answered with, wherever an id and a status stand together."""
    places = [place for place in _places(as_object(value)) if as_id(named_id(place)) is not None]
    return next((place for place in places if _status_of(place)), places[0] if places else {})


def named_id(task: Mapping[str, Any]) -> object:
    """The id of a task, as it came."""
    task_id = task.get("task_id")
    return task_id if as_id(task_id) is not None else task.get("id")


def squeezed(word: str) -> str:
    """A status word without case, blanks and dashes: `In-Progress` is `inprogress`."""
    return re.sub(r"[\s_-]+", "", word.lower())


def _status_of(task: Mapping[str, Any]) -> str:
    words = (task.get(name) for name in _STATUS_NAMES)
    return squeezed(next((word for word in words if isinstance(word, str) and word.strip()), ""))


def _credits_used(task: Mapping[str, Any]) -> float | None:
    usage = as_object(task.get("usage"))
    used = as_credits(usage.get("credits_used"))
    return as_credits(as_object(usage.get("cost")).get("credits")) if used is None else used


def _failed_task(task_id: str, task: Mapping[str, Any], status: str) -> TaskReport:
    """Why it failed, in its own words; what has expired may have been charged, and is not paid for again."""
    words = words_in(_without_a_number(task))
    code, message = (words.code, words.message) if words is not None else ("", "")
    code = (refusal_in(words) if words is not None else "") or code
    if status == EXPIRED:
        code = EXPIRED
    code = code or ("request_cancelled" if status.startswith("cancel") else "unknown_error")
    decision = decisions.on_failed_task(code)
    wait = None
    if decision is Decision.NEW_ATTEMPT and decisions.is_busy(code):
        wait = wait_in_words(words.fields if words is not None else {}) or _BUSY_S
    return TaskReport(
        task_id,
        TaskState.FAILED,
        error_code=code,
        error_message=message or "the provider gave no reason",
        decision=decision,
        retry_after_s=wait,
    )


def _without_a_number(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """A number beside a task is the status of the read and not the reason of a failure."""
    is_word = decisions.is_word(str(task.get("code", "")))
    return task if is_word else {name: value for name, value in task.items() if name != "code"}


def _words_of(task: Mapping[str, Any]) -> str:
    """What a task says of itself, without what may be a link, a prompt or an image in it."""
    statuses = [as_line(task[name], _LONGEST_STATUS) for name in _STATUS_NAMES if name in task]
    words = words_in(task)
    said = [f"status {statuses[0]!r}" if statuses else "no status"]
    said += [f"{name}: {shape(task[name])}" for name in RESULTS if name in task]
    said += [f"error {words.code}: {words.message}".rstrip(": ")] if words is not None else []
    return cut(f"{', '.join(said)}; it has {shape(task)}", _LONGEST_WORDS)


# --- what is asked for besides ---------------------------------------------------------------------


def tasks_in(reply: Reply) -> list[object] | None:
    """The tasks of a reply about several; None where there is no list, or one beside an error."""
    if reply.status // 100 != 2 or error_of(reply) is not None:
        return None
    body = json_object(reply)
    data = body.get("data")
    places = (data, body.get("tasks"), as_object(data).get("tasks"), as_object(data).get("items"))
    return next((place for place in places if isinstance(place, list)), None)


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of the list of recent tasks, and whether it says of itself that it is the last one."""

    tasks: tuple[ListedTask, ...]
    is_last: bool
    total: float
    """How many tasks the reply says that there are; 0 where it does not say."""

    def back_to(self, since: float) -> float | None:
        """Since when (Unix seconds) no task is missing, if this page is enough; None: it is not."""
        if self.is_last:
            return -math.inf
        return since if reaches_back_to(self.tasks) <= since else None


def reaches_back_to(tasks: Collection[ListedTask]) -> float:
    """Unix seconds: what comes after these is older, if they are in the contract's order; else infinite."""
    times = [task.created_at for task in tasks]
    in_order = bool(times) and times == sorted(times, reverse=True)
    return math.nextafter(times[-1], math.inf) if in_order else math.inf


def read_list_page(reply: Reply) -> ListPage | None:
    """A page of recent tasks; None where one of them cannot be read.

    A short page is the last one only where the reply says how long a page is: a provider may give fewer
    than were asked for, and a task that is overlooked is taken for one that does not exist.
    """
    body, tasks = json_object(reply), tasks_in(reply)
    listed = [read_listed_task(task) for task in tasks] if tasks is not None else [None]
    if None in listed:
        return None
    size = as_number(body.get("page_size"))
    is_last = not listed or (size is not None and len(listed) < size)
    total = as_number(body.get("total")) or 0.0
    return ListPage(tuple(task for task in listed if task is not None), is_last, total)


def read_listed_task(task: object) -> ListedTask | None:
    """One line of the list of recent tasks; None when it says neither which nor when."""
    fields = as_object(task)
    task_id = as_id(named_id(fields))
    created = as_unix_s(fields.get("created_at", fields.get("created")))
    if task_id is None or created is None:
        return None
    return ListedTask(task_id, as_line(fields.get("model", "")), created)


def read_credits_reply(reply: Reply) -> AccountRead:
    """What a complete reply to a question about the credits means (contract: "Account")."""
    body, words = json_object(reply), error_of(reply)
    status = stated_status(reply)
    code, message = code_and_message(reply, words)
    failure = "" if status // 100 == 2 and body and words is None else told(reply)
    answered = AccountRead(
        is_up=bool(body) and status // 100 in (2, 4) and status != 429,
        rejected=message or code if status == 401 else "",
        failure=failure,
        retry_after_s=retry_after_s(reply, words.fields if words is not None else None),
        provider_time=date_of(reply),
        is_reply=True,
    )
    return answered if failure else _with_credits(answered, as_object(body.get("data")))


def _with_credits(answered: AccountRead, data: Mapping[str, Any]) -> AccountRead:
    token, user = as_object(data.get("token")), as_object(data.get("user"))
    is_unlimited = token.get("unlimited_credits") in (True, "true")
    of_key = None if is_unlimited else as_number(token.get("remaining_credits"))
    of_user = as_number(user.get("remaining_credits"))
    left = of_user if of_key is None else of_key
    return replace(answered, remaining_credits=left, is_unlimited=is_unlimited)


def stated_status(reply: Reply) -> int:
    """The HTTP status, or the one that an error inside of a success stands for."""
    words = error_of(reply) if 200 <= reply.status < 300 else None
    return (decisions.stands_for(words.code) if words is not None else None) or reply.status


def knows_no_such_task(reply: Reply) -> bool:
    """Whether the provider itself says that a task does not exist: a proxy's 404 page does not say that."""
    words = error_of(reply)
    if words is None:
        return False
    is_said = decisions.plain(words.code) in ("task_not_found", "invalid_task_id")
    status = stated_status(reply)
    return (status == 404 and words.is_own) or (status in (400, 404) and is_said)


def failed_read(reply: Reply) -> TasksRead:
    """A reply to a read that tells nothing of any task, with its words."""
    words = error_of(reply)
    code, _ = code_and_message(reply, words)
    own_words = words is not None and words.is_own
    return TasksRead(
        failure=told(reply),
        retry_after_s=retry_after_s(reply, words.fields if words is not None else None),
        stop=decisions.is_lasting(stated_status(reply), code, own_words=own_words),
        is_reply=True,
    )


_NO_LIST = frozenset({400, 404, 405, 501})
"""How a provider answers that has no list of tasks (contract: what is undocumented may not be there)."""


def failed_listing(reply: Reply) -> Listing:
    """A reply to a question for recent tasks that lists none, with its words."""
    read, is_offered = failed_read(reply), stated_status(reply) not in _NO_LIST
    return Listing(
        is_offered=is_offered,
        failure=read.failure,
        retry_after_s=read.retry_after_s,
        stop=read.stop and is_offered,
    )


def merged(reads: list[TasksRead]) -> TasksRead:
    """What several reads have told together."""
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
