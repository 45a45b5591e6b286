"""Reads change nothing unless they make sense; downloads get no key and are whole or fail: real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import unquote

import pytest

from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.model import TaskMade
from nanobanana_batch.providers.base import KeyMemory, KeyQuestion, TaskReport, TasksRead, TaskState
from nanobanana_batch.providers.http import Timeouts
from nanobanana_batch.providers.link_http import LinkHttp
from nanobanana_batch.providers.link_rules import LinkRules
from nanobanana_batch.providers.profile import check_address, load_profile
from nanobanana_batch.providers.tasks.api import TaskApi, open_task_api
from nanobanana_batch.providers.watch import Secret, Watch
from tests.service.test_http_paid import (
    KEY,
    QUICK,
    Answer,
    Seen,
    Server,
    closed_port,
    drip,
    half_a_body,
    half_a_chunked_body,
    half_a_head,
    hang_up,
    list_since,
    no_http,
    provider,
    reset,
    send,
    serving,
)

IDS = [f"task-{n}" for n in range(50)]


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


def task(id_: str) -> dict[str, Any]:
    """A finished task."""
    return {"id": id_, "status": "completed", "results": [f"https://x/{id_}.png"]}


def report(id_: str) -> TaskReport:
    """What it is read as."""
    return TaskReport(id_, TaskState.COMPLETED, links=(f"https://x/{id_}.png",))


def api(*, batch: Answer | None = None, absent: tuple[str, ...] = ()) -> Answer:
    """A provider that knows every task but some."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        if request.line.startswith("POST /v1/tasks/batch "):
            if batch is not None:
                await batch(request, writer)
                return
            ids = json.loads(request.body)["task_ids"]
            found = {"data": [task(id_) for id_ in ids if id_ not in absent]}
            await send(200, json.dumps(found).encode())(request, writer)
            return
        id_ = request.line.split()[1].rpartition("/")[2]
        body = {"error": {"code": "task_not_found", "message": "no"}} if id_ in absent else task(id_)
        await send(404 if id_ in absent else 200, json.dumps(body).encode())(request, writer)

    return answer


def lines(server: Server) -> list[str]:
    """What was asked, without repetitions of the protocol's name."""
    return [request.line.removesuffix(" HTTP/1.1") for request in server.seen]


@pytest.mark.anyio
async def test_fifty_tasks_are_one_read() -> None:
    """With the key, and in the contract's words."""
    async with serving(api()) as server, provider(server.url) as opened:
        assert opened.capabilities.read_at_once == 50
        read = await opened.read_many(IDS)
        assert lines(server) == ["POST /v1/tasks/batch"]
        assert json.loads(server.seen[0].body) == {"task_ids": IDS}
        assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert read == TasksRead(reports={id_: report(id_) for id_ in IDS})


@pytest.mark.anyio
@pytest.mark.parametrize("status", [400, 404, 405])
async def test_without_a_batch_tasks_are_read_one_by_one_from_then_on(status: int) -> None:
    """The answer is believed once; it is not asked again at every poll."""
    async with (
        serving(api(batch=send(status, b"{}"), absent=("task-3",))) as server,
        provider(server.url) as opened,
    ):
        first = await opened.read_many(IDS)
        assert opened.capabilities.read_at_once == 1
        late = await opened.read_many(IDS[1:])
        absent = await opened.read_many(["task-3"])
        asked = lines(server)
    assert asked == ["POST /v1/tasks/batch", *(f"GET /v1/tasks/task-{n}" for n in (0, 1, 3))]
    assert first == TasksRead({"task-0": report("task-0")}, requests=2)
    assert late == TasksRead({"task-1": report("task-1")})
    assert absent == TasksRead(absent=frozenset({"task-3"}))


@pytest.mark.anyio
async def test_what_a_batch_leaves_out_is_not_read_in_a_burst() -> None:
    """A few are; nothing is said of the others, which have their turn at another time."""
    batch = send(200, json.dumps({"data": [task("task-9")]}).encode())
    async with serving(api(batch=batch)) as server, provider(server.url) as opened:
        read = await opened.read_many(IDS)
        assert len(server.seen) == 6
    known = (*IDS[:5], "task-9")
    assert read == TasksRead({id_: report(id_) for id_ in known}, requests=6)


@pytest.mark.anyio
@pytest.mark.parametrize("status", [402, 403, 404, 405])
async def test_a_proxys_page_stops_no_reads(status: int) -> None:
    """It says nothing of an address that has worked, and paid images are waiting there."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        page = send(status, b"<html>not here</html>")
        await (send(405, b"") if request.line.startswith("POST") else page)(request, writer)

    async with serving(answer) as server, provider(server.url) as opened:
        read = await opened.read_many(["task-0"])
    assert str(status) in read.failure
    assert (read.stop, read.reports, read.absent) == (False, {}, frozenset())


@pytest.mark.anyio
async def test_a_connection_that_was_not_made_is_called_so() -> None:
    """The bridge below calls it a timeout, and a lost reply too."""
    async with provider(f"http://127.0.0.1:{closed_port()}") as opened:
        read = await opened.read_many(["task-0"])
        with pytest.raises(LinkFailed, match="connection was not made") as caught:
            async with opened.open_link(f"http://127.0.0.1:{closed_port()}/x"):
                pass
    assert "connection was not made" in read.failure
    assert "Timeout" not in read.failure + str(caught.value)
    async with serving(hang_up) as server, provider(server.url) as opened:
        read = await opened.read_many(["task-0"])
    assert "disconnected" in read.failure
    assert "Timeout" not in read.failure
    assert "not made" not in read.failure


@pytest.mark.anyio
async def test_a_connection_that_is_not_made_in_time_does_not_give_the_link_away() -> None:
    """What follows the host may be a permission to read it, and the library quotes it."""
    quick = Timeouts(connect_s=0.1, read_s=5, paid_s=5, free_s=5, link_s=5)
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for caller in (first, second):
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        with pytest.raises(LinkFailed, match="connection was not made in time") as caught:
            await download("http://127.0.0.1:9", f"http://127.0.0.1:{deaf.getsockname()[1]}/?sign=ed", quick)
    assert "sign" not in str(caught.value)


@pytest.mark.anyio
async def test_what_the_provider_does_not_know_is_absent() -> None:
    """Said by the task's own address; a gap in a batch is looked into, an unclear task is not absent."""
    found = {
        "data": [task("task-0"), {"id": "task-1", "status": "done"}, task("stranger"), None, {"id": [1]}]
    }
    batch = send(200, json.dumps(found).encode())
    async with (
        serving(api(batch=batch, absent=("task-2",))) as server,
        provider(server.url) as opened,
    ):
        read = await opened.read_many(["task-0", "task-1", "task-2", "task-3"])
        asked = lines(server)
    assert read.reports.pop("task-1").state is TaskState.UNCLEAR  # type: ignore[attr-defined]
    assert read.reports == {"task-0": report("task-0"), "task-3": report("task-3")}
    assert read.absent == {"task-2"}
    assert sorted(asked) == ["GET /v1/tasks/task-2", "GET /v1/tasks/task-3", "POST /v1/tasks/batch"]


NONSENSE: dict[str, Answer] = {
    "html": send(200, b"<html>sign in</html>"),
    "html 502": send(502, b"<html>bad gateway</html>"),
    "empty": send(200, b""),
    "list": send(200, b"[]"),
    "no data": send(200, b'{"data": {}}'),
    "error": send(500, b'{"error": {"code": "internal_error", "message": "x"}}'),
    "redirect": send(302, b"", "Location: http://127.0.0.1:1/\r\n"),
    "hang up": hang_up,
    "reset": reset,
    "half": half_a_body,
    "half chunked": half_a_chunked_body,
    "half head": half_a_head,
    "no http": no_http,
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", NONSENSE)
async def test_a_read_that_makes_no_sense_changes_nothing(name: str) -> None:
    """Neither absent nor failed: nothing was learned, and the batch is tried again next time."""
    async with serving(NONSENSE[name]) as server, provider(server.url) as opened:
        for _ in range(2):
            read = await opened.read_many(IDS[:3])
            assert read.failure
            assert (read.reports, read.absent, read.stop) == ({}, frozenset(), False)
        assert {line.partition(" ")[0] for line in lines(server)} == {"POST"}


@pytest.mark.anyio
@pytest.mark.parametrize("name", NONSENSE)
async def test_a_single_read_that_makes_no_sense_changes_nothing(name: str) -> None:
    """As above, without a batch; another provider's 404 page is no word about a task."""
    page = NONSENSE[name] if name != "html" else send(404, b"<html>not found</html>")

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        await (send(405, b"") if request.line.startswith("POST") else page)(request, writer)

    async with serving(answer) as server, provider(server.url) as opened:
        read = await opened.read_many(IDS[:3])
    assert read.failure
    assert (read.reports, read.absent) == ({}, frozenset())


@pytest.mark.anyio
async def test_another_tasks_answer_is_not_taken() -> None:
    """A mixed-up proxy must not give a row somebody else's image."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        body = b"" if request.line.startswith("POST") else json.dumps(task("stranger")).encode()
        await send(405 if request.line.startswith("POST") else 200, body)(request, writer)

    async with serving(answer) as server, provider(server.url) as opened:
        read = await opened.read_many(["task-0"])
    assert (read.reports, read.absent) == ({}, frozenset())
    assert read.failure


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "headers", "stop", "wait"),
    [
        (401, "", True, None),
        (403, "", False, None),
        (402, "", True, None),
        (429, "Retry-After: 9\r\n", False, 9.0),
        (503, "", False, None),
    ],
)
async def test_a_read_says_whether_to_wait_or_to_stop(
    status: int, headers: str, stop: bool, wait: float | None
) -> None:
    """A rejected key does not go away by itself, a busy provider does."""
    body = b'{"error": {"code": %d, "message": "x"}}' % status
    async with serving(send(status, body, headers)) as server, provider(server.url) as opened:
        read = await opened.read_many(["task-0"])
    assert (read.stop, read.retry_after_s) == (stop, wait)
    assert str(status) in read.failure


ODD_IDS = ["run:7/a~b+c%2F#d e?f&g", "ä-ö", "7", "{id}", "a%20b"]


def routed(batch: Answer, single: Callable[[Any], Any], sent: list[str] | None = None) -> Answer:
    """A provider of the test's own: `single` makes the task for the id in a path."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        if request.line.startswith("POST"):
            await batch(request, writer)
            return
        path, _, query = request.line.split()[1].partition("?")
        if sent is not None:
            sent.append(query)
        body = single(unquote(path.removeprefix("/v1/tasks/")))
        await send(200, json.dumps(body).encode())(request, writer)

    return answer


@pytest.mark.anyio
@pytest.mark.parametrize("id_", ODD_IDS)
async def test_an_id_is_used_as_it_came(id_: str) -> None:
    """In a path as one segment, in a batch as it is; the log has neither."""
    async with serving(routed(send(405, b""), task)) as server, provider(server.url) as opened:
        assert (await opened.read_many([id_])).reports == {id_: report(id_)}
        assert json.loads(server.seen[0].body) == {"task_ids": [id_]}
        assert lines(server)[1].count("/") == 3


def numbered(batches: list[list[object]], wanted: type) -> Answer:
    """A batch that knows ids as numbers, or only as texts, and leaves out or refuses the others."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        ids = json.loads(request.body)["task_ids"]
        batches.append(ids)
        if any(type(id_) is not wanted for id_ in ids):
            await send(422, b'{"detail": [{"loc": ["body", "task_ids", 0], "msg": "int"}]}')(request, writer)
            return
        found = [{**task(str(id_)), "id": id_} for id_ in ids]
        await send(200, json.dumps({"data": found}).encode())(request, writer)

    return answer


@pytest.mark.anyio
async def test_numbers_go_back_as_numbers() -> None:
    """A submit shows how a provider's ids are; the state keeps texts."""
    batches: list[list[object]] = []
    batch = numbered(batches, int)

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        await (send(200, b'{"id": 12}') if "generations" in request.line else batch)(request, writer)

    async with serving(answer) as server, provider(server.url) as opened:
        accepted = await opened.submit(b"{}", "key-0123456789abcdef")
        assert isinstance(accepted, TaskMade)
        read = await opened.read_many([accepted.task_id, "13"])
    assert read.reports == {"12": report("12"), "13": report("13")}
    assert batches == [[12, 13]]


@pytest.mark.anyio
async def test_after_a_restart_a_single_read_shows_that_ids_are_numbers() -> None:
    """The state does not say; a batch that was refused as texts is tried as numbers, once."""
    batches: list[list[object]] = []
    shown = lambda id_: {**task(id_), "id": int(id_)}  # noqa: E731
    async with serving(routed(numbered(batches, int), shown)) as server, provider(server.url) as opened:
        first = await opened.read_many(["12", "13"])
        assert opened.capabilities.read_at_once == 50
        second = await opened.read_many(["12", "13"])
    assert first.reports == {"12": report("12")}
    assert second.reports == {"12": report("12"), "13": report("13")}
    assert batches == [["12", "13"], [12, 13]]


@pytest.mark.anyio
async def test_a_batch_that_has_worked_is_not_given_up_for_a_proxys_page() -> None:
    """Its 404 says nothing; a night of single reads would cost fifty times the requests."""
    answers = iter([*[200, 404, 502, 405], *[200]])
    works = api()

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        status = next(answers)
        await (works if status == 200 else send(status, b"<html>gone fishing"))(request, writer)

    async with serving(answer) as server, provider(server.url) as opened:
        assert not (await opened.read_many(IDS)).failure
        for status in (404, 502, 405):
            read = await opened.read_many(IDS)
            assert read.failure == f'HTTP {status}: no JSON: "gone fishing"'
            assert opened.capabilities.read_at_once == 50
        assert len((await opened.read_many(IDS)).reports) == 50


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><title>Sign in</title>", 'HTTP 200: no JSON: "Sign in"'),
        (b"", "HTTP 200: an empty body"),
        (b"[]", "HTTP 200: JSON of another form: list of 0"),
        (b'{"data": {"a": 1}}', "HTTP 200: JSON of another form: {data}"),
        (b'{"code": 200, "message": "ok"}', "HTTP 200: ok; {code, message}"),
        (
            b'{"code": 503, "msg": "later, retry after 9 seconds"}',
            "HTTP 200: 503: later, retry after 9 seconds",
        ),
        (b'{"error": "see https://x.example/?sig=1"}', "HTTP 200: see https://x.example/..."),
    ],
)
async def test_a_read_that_is_not_understood_keeps_its_words(body: bytes, words: str) -> None:
    """Also of a single task."""
    async with serving(send(200, body)) as server, provider(server.url) as opened:
        read = await opened.read_many(["task-0"])
    assert (read.failure, read.stop) == (words, False)
    assert read.retry_after_s == (9.0 if b"retry" in body else None)

    async def single(request: Seen, writer: asyncio.StreamWriter) -> None:
        await send(*((405, b"") if request.line.startswith("POST") else (200, body)))(request, writer)

    async with serving(single) as server, provider(server.url) as opened:
        assert (await opened.read_many(["task-0"])).failure == words


@pytest.mark.anyio
async def test_an_error_inside_of_a_success_stops_reads_as_its_code_says() -> None:
    """A rejected key does not go away by itself."""
    body = b'{"code": 401, "msg": "token expired"}'
    async with serving(send(200, body)) as server, provider(server.url) as opened:
        read = await opened.read_many(["task-0"])
    assert (read.stop, read.failure) == (True, "HTTP 200: 401: token expired")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body", "is_absent"),
    [
        (404, b'{"error": {"code": "task_not_found", "message": "no"}}', True),
        (404, b'{"error": {"code": 404, "message": "no"}}', True),
        (404, b'{"code": 404, "message": "Task not found"}', True),
        (404, b'{"detail": "Task not found."}', True),
        (400, b'{"error": {"code": "invalid_task_id", "message": "no"}}', True),
        (200, b'{"code": 404, "msg": "task not found: task-0", "data": null}', True),
        (404, b'{"message": "no Route matched with those values"}', False),
        (404, b'{"detail": "Not Found"}', False),
        (404, b'{"error": "Not Found", "path": "/v1/tasks/task-0", "status": 404}', False),
        (400, b'{"error": {"code": "invalid_request", "message": "no"}}', False),
        (500, b'{"error": {"code": "task_not_found", "message": "no"}}', False),
    ],
)
async def test_a_task_is_absent_only_by_the_providers_word(status: int, body: bytes, is_absent: bool) -> None:
    """Proxies say 404 in JSON, too."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        await (send(405, b"") if request.line.startswith("POST") else send(status, body))(request, writer)

    async with serving(answer) as server, provider(server.url) as opened:
        read = await opened.read_many(["task-0"])
    assert (read.absent == {"task-0"}, bool(read.failure)) == (is_absent, not is_absent)


@pytest.mark.anyio
async def test_doubled_tasks_are_read_as_the_one_with_an_image() -> None:
    """In whatever order they come."""
    found = [task("task-0"), {"id": "task-0", "status": "processing"}]
    for data in (found, found[::-1]):
        async with (
            serving(send(200, json.dumps({"data": data}).encode())) as server,
            provider(server.url) as it,
        ):
            assert (await it.read_many(["task-0"])).reports == {"task-0": report("task-0")}


@asynccontextmanager
async def foxapi(url: str) -> AsyncIterator[TaskApi]:
    """The provider whose results may be empty at the first read."""
    profile = load_profile("foxapi")
    address = check_address(profile, url)
    async with open_task_api(profile, address, KEY, submits_at_once=1, timeouts=QUICK) as opened:
        yield opened


@pytest.mark.anyio
@pytest.mark.parametrize("has_batch", [True, False])
@pytest.mark.parametrize("is_late", [True, False])
async def test_a_finished_task_without_a_link_is_read_once_more(has_batch: bool, is_late: bool) -> None:
    """Contract, "FoxAPI": full at the next read, for which upstream is asked at once; then it is unclear."""
    sent: list[str] = []
    bare = {"id": "t", "status": "completed", "results": []}

    def single(id_: str) -> object:
        results = [{"url": "https://x/t.png", "content_type": "image/png"}]
        return {**bare, "results": results if sent[-1] and is_late else []}

    batch = (
        send(200, json.dumps({"data": [bare]}).encode()) if has_batch else send(404, b"404 page not found")
    )
    async with serving(routed(batch, single, sent)) as server, foxapi(server.url) as opened:
        read = await opened.read_many(["t"])
    assert sent == [*([] if has_batch else [""]), "sync_upstream=true"]
    assert read.requests == (2 if has_batch else 3)
    if is_late:
        assert read.reports == {"t": report("t")}
    else:
        assert (read.reports["t"].state, read.reports["t"].is_finished) == (TaskState.UNCLEAR, True)


@pytest.mark.anyio
async def test_second_reads_are_few_and_those_without_a_turn_are_not_called_unclear() -> None:
    """They have it at another time."""
    sent: list[str] = []
    data = [{"id": id_, "status": "completed", "results": []} for id_ in IDS[:9]]
    batch = send(200, json.dumps({"data": data}).encode())
    async with serving(routed(batch, task, sent)) as server, foxapi(server.url) as opened:
        read = await opened.read_many(IDS[:9])
    assert read.reports == {id_: report(id_) for id_ in IDS[:5]}
    assert sent == ["sync_upstream=true"] * 5


@pytest.mark.anyio
async def test_without_such_a_query_nothing_is_read_twice() -> None:
    """It is FoxAPI's."""
    batch = send(200, b'{"data": [{"id": "t", "status": "completed"}]}')
    async with serving(batch) as server, provider(server.url) as opened:
        assert (await opened.read_many(["t"])).reports["t"].is_finished
        assert len(server.seen) == 1


@pytest.mark.anyio
async def test_a_redirected_read_is_not_followed() -> None:
    """The key would go along."""
    async with serving(api()) as other:
        async with (
            serving(send(307, b"", f"Location: {other.url}/v1/tasks/batch\r\n")) as server,
            provider(server.url) as opened,
        ):
            assert (await opened.read_many(["task-0"])).failure
        assert other.connections == 0


@pytest.mark.anyio
async def test_recent_tasks_are_listed_until_the_time_that_was_asked() -> None:
    """Pages of 50, newest first; older ones are left out."""
    listed = [{"id": f"t{n}", "model": "m", "created_at": 1000 - n} for n in range(120)]

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        page = int(request.line.split("page=")[1].split("&")[0])
        await send(200, json.dumps({"data": listed[(page - 1) * 50 : page * 50]}).encode())(request, writer)

    async with serving(answer) as server, provider(server.url) as opened:
        found = await list_since(opened, 930)
        assert [(task.task_id, task.model, task.created_at) for task in found.tasks[:71]] == [
            (f"t{n}", "m", 1000.0 - n) for n in range(71)
        ]
        assert (found.back_to <= 930.1, found.failure) == (True, "")
        assert len(server.seen) == 2
        assert len((await list_since(opened, 0)).tasks) == 120


def paged(pages: list[list[dict[str, Any]]], **beside: object) -> Answer:
    """A list of recent tasks, page by page; behind them are empty ones."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        number = int(request.line.split("&page=")[1].split("&")[0])
        data = pages[number - 1] if number <= len(pages) else []
        await send(200, json.dumps({"data": data, **beside}).encode())(request, writer)

    return answer


def listed(*times: object) -> list[dict[str, Any]]:
    """Lines of the list by the times of their tasks."""
    return [{"id": f"t-{time}", "model": "m", "created_at": time} for time in times]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("pages", "beside", "found", "asked"),
    [
        ([listed(9, 8, 7)], {"page_size": 50}, ["t-9", "t-8", "t-7"], 1),
        ([listed(9, 8), listed(7)], {}, ["t-9", "t-8", "t-7"], 3),
        ([listed(9, 8), listed(7)], {"page_size": 2}, ["t-9", "t-8", "t-7"], 2),
        ([listed(9, 8), listed(8, 7)], {"page_size": "2"}, ["t-9", "t-8", "t-7"], 3),
        ([listed(9, 4)], {}, ["t-9"], 1),
        ([listed(4, 9), listed(8)], {}, ["t-9", "t-8"], 3),
        ([listed(1, 2), listed(9)], {}, ["t-9"], 3),
        ([listed("1970-01-01T00:00:09Z", "8")], {"page_size": 50}, ["t-1970-01-01T00:00:09Z", "t-8"], 1),
        ([[{"task_id": 7, "model": "m", "created": 9}]], {"page_size": 50}, ["7"], 1),
        ([listed(1_900_000_000_000)], {"page_size": 50}, ["t-1900000000000"], 1),
    ],
)
async def test_a_list_ends_where_it_says_so(
    pages: list[list[dict[str, Any]]], beside: dict[str, Any], found: list[str], asked: int
) -> None:
    """A provider may give shorter pages than were asked for, or the oldest task first."""
    async with serving(paged(pages, **beside)) as server, provider(server.url) as opened:
        listing = await list_since(opened, 5)
        assert len(server.seen) == asked
    assert (listing.back_to <= 5.1, listing.failure) == (True, "")
    assert [task.task_id for task in listing.tasks if task.created_at > 5] == found


@pytest.mark.anyio
async def test_a_list_that_shows_the_same_page_over_and_over_reaches_no_further() -> None:
    """What comes after it is not known."""
    page = json.dumps({"data": listed(9, 8)}).encode()
    async with serving(send(200, page)) as server, provider(server.url) as opened:
        assert (await list_since(opened, 5)).back_to >= 8
        assert len(server.seen) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        send(404, b"{}"),
        send(200, b"<html>"),
        send(200, b'{"data": [{"id": "t", "model": "m"}]}'),
        send(200, b'{"data": ["t"]}'),
        send(200, b'{"code": 401, "msg": "no", "data": []}'),
        send(200, b'{"success": false, "message": "no", "data": []}'),
        send(200, b'{"data": [], "total": 7, "page": 1, "page_size": 50}'),
        hang_up,
    ],
)
async def test_a_list_that_is_not_whole_shows_nothing(answer: Answer) -> None:
    """A task that was overlooked would be taken for one that does not exist, and paid again."""
    async with serving(answer) as server, provider(server.url) as opened:
        listing = await list_since(opened, 0)
    assert (listing.tasks, listing.back_to) == ((), math.inf)
    assert listing.failure


@pytest.mark.anyio
async def test_a_list_without_end_reaches_back_to_what_it_has_shown() -> None:
    """Older tasks were not seen, so none of them is known to be missing."""
    page = {"data": [{"id": f"t{n}", "model": "m", "created_at": 9e9} for n in range(50)]}
    async with serving(send(200, json.dumps(page).encode())) as server, provider(server.url) as opened:
        assert (await list_since(opened, 0)).back_to >= 9e9


CONFLICT = b'{"error": {"code": "idempotency_conflict", "message": "x"}}'
INVALID = b'{"error": {"code": "invalid_request", "message": "x"}}'


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "memory"),
    [
        (send(409, CONFLICT), KeyMemory.REMEMBERED),
        (send(400, CONFLICT), KeyMemory.REMEMBERED),
        (
            send(409, CONFLICT.upper().replace(b"ERROR", b"error").replace(b"CODE", b"code")),
            KeyMemory.REMEMBERED,
        ),
        (send(400, INVALID), KeyMemory.UNSHOWN),
        (send(500, b""), KeyMemory.NO_ANSWER),
        (send(429, b""), KeyMemory.NO_ANSWER),
        (hang_up, KeyMemory.NO_ANSWER),
    ],
)
@pytest.mark.parametrize("question", KeyQuestion)
async def test_memory_of_keys_is_proved_only_by_a_conflict(
    answer: Answer, memory: KeyMemory, question: KeyQuestion
) -> None:
    """With bodies of which no task can come; who judges the body shows nothing of keys."""
    async with serving(answer) as server, provider(server.url) as opened:
        assert (await opened.proves_idempotency("key-0123456789abcdef", question)).memory is memory
        (request,) = server.seen
    assert request.headers["idempotency-key"] == "key-0123456789abcdef"
    assert b'"prompt"' not in request.body


# --- links -----------------------------------------------------------------------------------------


async def download(url: str, link: str, timeouts: Timeouts | None = None) -> bytes:
    """The bytes behind a link, by a provider at an address."""
    async with provider(url, timeouts or Timeouts(5, 5, 5, 5, 5)) as opened, opened.open_link(link) as body:
        return b"".join([piece async for piece in body.pieces()])


@pytest.mark.anyio
async def test_a_link_is_fetched_whole_in_pieces_and_without_the_key() -> None:
    """The host of a link is not the provider."""
    data = bytes(range(256)) * 10_000
    async with serving(send(200, data)) as links, serving(api()) as server, provider(server.url) as opened:
        assert (await opened.read_many(["task-0"])).reports
        async with opened.open_link(f"{links.url}/image.png") as body:
            assert body.size_bytes == len(data)
            pieces = [piece async for piece in body.pieces()]
        (request,) = links.seen
    assert b"".join(pieces) == data
    assert 2 <= len(pieces) <= 6  # not one for each bit that comes
    assert "authorization" not in request.headers
    assert KEY not in str(request)


@pytest.mark.anyio
async def test_a_redirected_link_is_followed_without_the_key() -> None:
    """Storage hosts redirect; each gets the bare request."""
    async with serving(send(200, b"image")) as storage:
        location = f"Location: {storage.url}/real.png\r\nSet-Cookie: a=b\r\n"
        async with serving(send(302, b"", location)) as links:
            assert await download("http://127.0.0.1:9", f"{links.url}/image.png") == b"image"
            assert KEY not in str([*links.seen, *storage.seen])
        (request,) = storage.seen
    assert "authorization" not in request.headers
    assert "transfer-encoding" not in request.headers
    assert "content-length" not in request.headers


@pytest.mark.anyio
async def test_the_key_of_a_link_at_the_providers_own_host_is_not_sent_either() -> None:
    """A link is a link."""
    async with serving(send(200, b"image")) as server:
        assert await download(server.url, f"{server.url}/image.png") == b"image"
        assert KEY not in str(server.seen)


@pytest.mark.anyio
@pytest.mark.parametrize("where", ["link", "redirect"])
async def test_a_link_is_asked_for_as_it_is_spelt(where: str) -> None:
    """A signature may be one over the very text, of which some libraries write another."""
    path = "/a%20b/x%2By//c.png?sig=a%2Bb%2Fc%3D&to=A%2F2026,b%2C%7E&n=%3a"
    async with (
        serving(send(200, b"image")) as storage,
        serving(send(302, b"", f"Location: {storage.url}{path}\r\n")) as links,
    ):
        url = f"{storage.url}{path}" if where == "link" else f"{links.url}/image.png"
        assert await download("http://127.0.0.1:9", url) == b"image"
    assert storage.seen[0].line.split(" ")[1] == path


@pytest.mark.anyio
async def test_a_redirect_to_a_path_of_the_same_host_is_followed_as_it_is_spelt() -> None:
    """Also where two slashes stand in it, of which joining addresses makes one."""
    path = "/a%20b//x%2By/c.png?sig=a%2Bb%2Fc%3D"

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        is_first = request.line.split(" ")[1] == "/image.png"
        reply = send(302, b"", f"Location: {path}\r\n") if is_first else send(200, b"image")
        await reply(request, writer)

    async with serving(answer) as links:
        assert await download("http://127.0.0.1:9", f"{links.url}/image.png") == b"image"
        assert [request.line.split(" ")[1] for request in links.seen] == ["/image.png", path]


@pytest.mark.anyio
async def test_what_no_address_may_hold_is_encoded_and_a_fragment_is_not_sent() -> None:
    """As a browser does."""
    async with serving(send(200, b"image")) as links:
        assert await download("http://127.0.0.1:9", f"{links.url}/ein Bär.png?a=ü#part") == b"image"
        assert links.seen[0].line.split(" ")[1] == "/ein%20B%C3%A4r.png?a=%C3%BC"


@pytest.mark.anyio
async def test_links_of_one_host_share_a_connection() -> None:
    """A body that was read to its end frees it."""
    async with serving(send(200, b"image")) as links, provider("http://127.0.0.1:9") as opened:
        for number in range(3):
            async with opened.open_link(f"{links.url}/{number}.png") as body:
                assert [piece async for piece in body.pieces()] == [b"image"]
        assert links.connections == 1


@pytest.mark.anyio
async def test_a_link_that_redirects_in_circles_fails() -> None:
    """It is not dead: the host said nothing of that."""
    async with serving(send(302, b"", "Location: /again\r\n")) as links:
        with pytest.raises(LinkFailed) as caught:
            await download("http://127.0.0.1:9", f"{links.url}/image.png")
        assert not caught.value.dead
        assert 1 < len(links.seen) < 10


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "dead"),
    [(403, True), (404, True), (410, True)]
    + [(status, False) for status in (201, 204, 206, 304, 400, 401, 408, 429, 500, 502, 503)],
)
async def test_a_link_is_dead_only_by_its_hosts_word(status: int, dead: bool) -> None:
    """Everything else may work again, and the image is paid for."""
    body = b"" if status in (204, 304) else b"no"
    async with serving(send(status, body)) as links:
        with pytest.raises(LinkFailed, match=str(status)) as caught:
            await download("http://127.0.0.1:9", f"{links.url}/image.png")
        assert caught.value.dead is dead


BROKEN: dict[str, Answer] = {
    "hang up": hang_up,
    "reset": reset,
    "half": half_a_body,
    "half chunked": half_a_chunked_body,
    "half head": half_a_head,
    "no http": no_http,
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", BROKEN)
async def test_a_download_that_breaks_off_fails_and_is_not_dead(name: str) -> None:
    """Half an image is no image."""
    async with serving(BROKEN[name]) as links:
        with pytest.raises(LinkFailed) as caught:
            await download("http://127.0.0.1:9", f"{links.url}/image.png")
        assert not caught.value.dead


@pytest.mark.anyio
async def test_a_host_that_compresses_unasked_is_understood() -> None:
    """The announced length is that of the bytes on the wire, the image is what is in them."""

    async def gzipped(request: Seen, writer: asyncio.StreamWriter) -> None:
        data = gzip.compress(b"image" * 100)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)

    async with serving(gzipped) as links:
        assert await download("http://127.0.0.1:9", f"{links.url}/image.png") == b"image" * 100
        assert links.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.anyio
async def test_a_body_without_a_length_is_taken_to_its_end() -> None:
    """Whether it is a whole image is for its structure to say."""

    async def until_closed(request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nimage")
        await writer.drain()
        writer.close()

    async with serving(until_closed) as links:
        assert await download("http://127.0.0.1:9", f"{links.url}/image.png") == b"image"


@pytest.mark.anyio
async def test_a_download_that_drips_ends_at_its_deadline() -> None:
    """It must not hold a slot for a day."""
    async with serving(drip) as links:
        quick = Timeouts(read_s=5, link_s=0.2)
        with pytest.raises(LinkFailed, match="longer than") as caught:
            await asyncio.wait_for(download("http://127.0.0.1:9", f"{links.url}/image.png", quick), 20)
        assert not caught.value.dead


@pytest.mark.anyio
@pytest.mark.parametrize(
    "make", [lambda: f"http://127.0.0.1:{closed_port()}/x", lambda: "http://[bad", lambda: "https://\ud800/x"]
)
async def test_a_link_that_cannot_be_opened_fails_and_is_not_dead(make: Callable[[], str]) -> None:
    """Whatever stands in it."""
    with pytest.raises(LinkFailed) as caught:
        await download("http://127.0.0.1:9", make())
    assert not caught.value.dead


@pytest.mark.anyio
async def test_the_key_goes_with_submits_and_reads_only() -> None:
    """All that one provider sends in a row's life, over two hosts."""
    async with serving(send(200, b"image")) as links, serving(api(batch=send(405))) as server:
        async with provider(server.url) as opened:
            await opened.submit(b"{}", "key-0123456789abcdef")
            await opened.read_many(["task-0"])
            async with opened.open_link(f"{links.url}/1.png") as body:
                assert [piece async for piece in body.pieces()] == [b"image"]
        assert {request.headers.get("authorization") for request in server.seen} == {f"Bearer {KEY}"}
        assert {request.headers.get("authorization") for request in links.seen} == {None}
    assert TaskMade("x").is_replay is False


@pytest.mark.anyio
async def test_links_go_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a mandatory proxy a paid image must be fetched the way it was asked for; NO_PROXY holds."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nimage")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    http = LinkHttp(Timeouts(), Watch(Secret("")), LinkRules.ANYWHERE)
    async with aclosing(http):
        async with http.open("http://links.example/a.png") as body:
            assert b"".join([piece async for piece in body.pieces()]) == b"image"
        with pytest.raises(LinkFailed):
            async with http.open("http://127.0.0.1:1/a.png"):
                pass
    server.close()
    await server.wait_closed()
    assert asked == [b"GET http://links.example/a.png HTTP/1.1"]


TAIL = b'5f2c9ab81d7e40c6a3b99f04e1d2c8b7&Expires=1"]}'
NO_REPLIES = {
    "the end of another": TAIL,
    "lines of another": TAIL + b"\r\nfoo\r\n\r\n",
    "a status": b"HTTP/1.1 " + TAIL + b"\r\n\r\n",
    "a header": b"HTTP/1.1 200 OK\r\n" + TAIL + b"\r\n\r\n",
    "a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + TAIL + b"\r\n",
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: " + TAIL + b"\r\n\r\nxx",
    "more than its length": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}" + TAIL,
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", NO_REPLIES)
async def test_no_words_of_a_library_quote_the_end_of_a_link(name: str) -> None:
    """A reply whose length was told too short leaves its rest on the connection, and libraries quote it."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(NO_REPLIES[name])
        await writer.drain()

    async with serving(answer) as server, provider(server.url) as opened:
        said = [(await opened.read_many(IDS)).failure, str(await opened.submit(b"{}", "key"))]
        try:
            await download(server.url, f"{server.url}/x.png")
        except LinkFailed as error:
            said.append(str(error))
    assert [text for text in said if TAIL[:8].decode() in text] == []
