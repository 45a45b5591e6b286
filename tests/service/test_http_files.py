"""A local image becomes a public URL, and a reply that makes no sense is only tried again: real sockets."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from email.message import MIMEPart
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.providers.base import Decision, Uploaded, UploadFailed
from nanobanana_batch.providers.files_api import LIFETIME_S, read_upload_reply
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.profile import check_address, load_profile
from nanobanana_batch.providers.task_api import open_task_api
from tests.service.test_http_paid import (
    KEY,
    QUICK,
    Answer,
    Seen,
    Server,
    closed_port,
    half_a_body,
    hang_up,
    no_http,
    provider,
    reset,
    send,
    serving,
)

FAIL, STOP = Decision.FAIL_ROW, Decision.STOP_RUN
SLOW, RETRY = Decision.SLOW_DOWN, Decision.RETRY_REQUEST
CONTENT = b"\x89PNG\r\n\x00\xff" * 1000
FILE: dict[str, Any] = {
    "file_id": "file-1",
    "file_name": "a.png",
    "original_name": "reference.png",
    "file_size": 5,
    "mime_type": "image/png",
    "upload_path": "x",
    "file_url": "https://files.example/a.png",
    "download_url": "https://files.example/a.png?download=1",
    "upload_time": "2026-11-21T10:00:00Z",
    "expires_at": "2026-11-24T10:00:00Z",
}


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file to upload; what is in it is not looked at here."""
    path = tmp_path / "a picture of Ann.png"
    path.write_bytes(CONTENT)
    return path


def taken(**changes: object) -> bytes:
    """The contract's reply to an upload."""
    return json.dumps({"success": True, "code": 200, "msg": "ok", "data": {**FILE, **changes}}).encode()


def refused(code: object, msg: str = "no") -> bytes:
    """The files API's own no."""
    return json.dumps({"success": False, "code": code, "msg": msg, "data": None}).encode()


def quota(**data: object) -> bytes:
    """The reply about the account's places."""
    return json.dumps({"success": True, "code": 200, "msg": "ok", "data": data}).encode()


def files(upload: Answer, places: Answer | None = None) -> Answer:
    """A files API with an answer to uploads and one to the question about places."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        chosen = places if "/quota" in request.line else upload
        await (chosen or send(500, b""))(request, writer)

    return answer


def lines(server: Server) -> list[str]:
    """What was asked."""
    return [request.line.removesuffix(" HTTP/1.1") for request in server.seen]


def part_of(request: Seen) -> MIMEPart:
    """The only part of a multipart body."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    whole = BytesParser(policy=default).parsebytes(head + request.body)
    (part,) = whole.iter_parts()
    return part


@pytest.mark.anyio
async def test_a_file_is_uploaded_as_it_is(image: Path) -> None:
    """Multipart, with the key and a length; the person's file name stays here."""
    async with serving(files(send(200, taken()))) as server, provider(server.url) as opened:
        before = time.time()
        outcome = await opened.upload(image, "image/png")
        (request,) = server.seen
    assert isinstance(outcome, Uploaded)
    assert (outcome.file_id, outcome.url) == ("file-1", "https://files.example/a.png")
    assert before + LIFETIME_S <= outcome.expires_at <= time.time() + LIFETIME_S
    assert lines(server) == ["POST /api/v1/files/upload/stream"]
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert "transfer-encoding" not in request.headers
    part = part_of(request)
    assert part.get_payload(decode=True) == CONTENT
    assert part.get_content_type() == "image/png"
    assert part.get_filename() == "reference.png"
    assert part["content-disposition"].params["name"] == "file"
    assert b"Ann" not in request.body


@pytest.mark.anyio
async def test_a_large_file_is_not_read_into_memory(tmp_path: Path) -> None:
    """It goes out in pieces."""
    path, size_bytes = tmp_path / "large.webp", 24 << 20
    path.write_bytes(bytes(size_bytes))
    received = 0

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while received < length:
            received += len(await reader.read(65536))
        body = taken()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with provider(f"http://127.0.0.1:{port}") as opened:
        tracemalloc.start()
        outcome = await opened.upload(path, "image/webp")
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    listener.close()
    assert isinstance(outcome, Uploaded)
    assert received > size_bytes
    assert peak_bytes < 8 << 20


@pytest.mark.anyio
async def test_a_file_that_cannot_be_read_is_not_sent(tmp_path: Path) -> None:
    """It may have gone since the manifest was read."""
    async with serving(files(send(200, taken()))) as server, provider(server.url) as opened:
        outcome = await opened.upload(tmp_path / "gone.png", "image/png")
        assert server.connections == 0
    assert isinstance(outcome, UploadFailed)
    assert (outcome.decision, outcome.code) == (FAIL, "unreadable")
    assert "gone.png" in outcome.message


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [hang_up, reset, half_a_body, no_http], ids=lambda it: str(it.__name__))
async def test_an_upload_without_a_whole_reply_is_tried_again(answer: Answer, image: Path) -> None:
    """It cost nothing."""
    async with serving(answer) as server, provider(server.url) as opened:
        outcome = await opened.upload(image, "image/png")
        assert len(server.seen) == 1
    assert isinstance(outcome, UploadFailed)
    assert (outcome.decision, outcome.is_full) == (RETRY, False)


@pytest.mark.anyio
async def test_a_files_host_that_is_down_is_tried_again(image: Path) -> None:
    """Nobody listens."""
    async with provider(f"http://127.0.0.1:{closed_port()}") as opened:
        outcome = await opened.upload(image, "image/png")
        assert not await opened.delete_upload("file-1")
    assert isinstance(outcome, UploadFailed)
    assert outcome.decision is RETRY


# --- a full account --------------------------------------------------------------------------------

FULL = send(200, quota(used_files=100, max_files=100, remain_files=0))
ROOM = send(200, quota(used_files=7, max_files=100, remain_files=93))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, refused(400, "file limit reached")),
        (402, refused("quota_exceeded")),
        (403, refused(403)),
        (409, b""),
        (429, b'{"error": {"code": "rate_limit_exceeded", "message": "too many files"}}'),
        (200, refused("file_quota")),
    ],
)
async def test_a_full_account_is_noticed_whatever_it_says(status: int, body: bytes, image: Path) -> None:
    """No code is documented for it, so the places are counted."""
    async with serving(files(send(status, body), FULL)) as server, provider(server.url) as opened:
        outcome = await opened.upload(image, "image/png")
        assert lines(server) == ["POST /api/v1/files/upload/stream", "GET /api/v1/files/quota"]
        assert server.seen[1].headers["authorization"] == f"Bearer {KEY}"
    assert isinstance(outcome, UploadFailed)
    assert (outcome.is_full, outcome.decision) == (True, RETRY)
    async with serving(files(send(status, body), ROOM)) as server, provider(server.url) as opened:
        outcome = await opened.upload(image, "image/png")
    assert isinstance(outcome, UploadFailed)
    assert not outcome.is_full


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("places", "is_full"),
    [
        (send(200, quota(used_files=100, max_files=100)), True),
        (send(200, quota(used_files=1, max_files=100)), False),
        (send(200, quota(remain_files="0")), False),
        (send(200, b"<html>"), False),
        (send(500, quota(remain_files=0)), False),
        (hang_up, False),
    ],
)
async def test_only_numbers_say_that_an_account_is_full(places: Answer, is_full: bool, image: Path) -> None:
    """Else somebody's files would be deleted for nothing."""
    async with (
        serving(files(send(400, refused(400)), places)) as server,
        provider(server.url) as opened,
    ):
        outcome = await opened.upload(image, "image/png")
    assert isinstance(outcome, UploadFailed)
    assert outcome.is_full is is_full


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body"), [(413, b""), (415, refused(415)), (503, b""), (401, refused(401))]
)
async def test_what_has_nothing_to_do_with_places_asks_nothing(status: int, body: bytes, image: Path) -> None:
    """One request."""
    async with serving(files(send(status, body), FULL)) as server, provider(server.url) as opened:
        await opened.upload(image, "image/png")
        assert len(server.seen) == 1


# --- what a reply means ----------------------------------------------------------------------------


def read(status: int, body: bytes, **headers: str) -> Uploaded | UploadFailed:
    """A reply at second 1000 of our clock."""
    return read_upload_reply(Reply(status, headers, body), now=1000.0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        quota(),
        taken(file_id=None),
        taken(file_id=7),
        taken(file_id="../quota"),
        taken(file_url=None, download_url=None),
        taken(file_url="ftp://x/a.png", download_url="javascript:1"),
        taken(file_url="https://x/a b.png", download_url="https://x/\na.png"),
        taken(file_url="https://x/" + "a" * 2048, download_url=5),
    ],
)
def test_a_success_that_names_no_usable_file_is_tried_again(body: bytes) -> None:
    """A row would be paid for with a reference that nobody can fetch."""
    outcome = read(200, body)
    assert isinstance(outcome, UploadFailed)
    assert outcome.decision is RETRY


def test_the_download_address_stands_in() -> None:
    """Where there is no other."""
    outcome = read(201, taken(file_url=None))
    assert isinstance(outcome, Uploaded)
    assert outcome.url == "https://files.example/a.png?download=1"


@pytest.mark.parametrize(
    ("begin", "end", "expires_at"),
    [
        (None, None, 1000 + LIFETIME_S),
        ("soon", "later", 1000 + LIFETIME_S),
        (None, 5000, 5000),
        (None, "5000", 5000),
        (None, 1_900_000_000_000, 1_900_000_000),
        (None, "1970-01-01T02:00:00Z", 7200),
        (None, "1970-01-01 02:00:00", 7200),
        (None, "1970-01-01T02:00:00+01:00", 3600),
        (None, 10, 1000 + LIFETIME_S),
        (None, True, 1000 + LIFETIME_S),
        (None, -5, 1000 + LIFETIME_S),
        (None, "9" * 400, 1000 + LIFETIME_S),
        ("2030-01-01T00:00:00", "2030-01-01T01:00:00", 4600),
        (5000, 5060, 1060),
        (5000, 4000, 4000),
    ],
)
def test_when_a_file_dies(begin: object, end: object, expires_at: float) -> None:
    """By our clock, however the provider's is set; three days where it does not say or says nonsense."""
    outcome = read(200, taken(upload_time=begin, expires_at=end))
    assert isinstance(outcome, Uploaded)
    assert outcome.expires_at == expires_at


@pytest.mark.parametrize(
    ("status", "body", "decision", "code"),
    [
        (400, refused(400, "not an image"), FAIL, "400"),
        (400, b"<html>", FAIL, "http_400"),
        (413, b"", FAIL, "http_413"),
        (415, refused(415), FAIL, "415"),
        (401, refused(401), STOP, "401"),
        (401, b'{"error": {"code": "unauthorized", "message": "no"}}', STOP, "unauthorized"),
        (402, refused("insufficient_quota"), STOP, "insufficient_quota"),
        (404, b"<html>", STOP, "http_404"),
        (404, refused(404), FAIL, "404"),
        (429, refused(429), SLOW, "429"),
        (400, refused("content_policy_violation"), FAIL, "content_policy_violation"),
        (500, refused(500), RETRY, "500"),
        (502, b"<html>", RETRY, "http_502"),
        (302, b"", RETRY, "http_302"),
        (408, b"", RETRY, "http_408"),
        (200, refused(429), SLOW, "429"),
        (200, refused(401), STOP, "401"),
        (200, refused(503), RETRY, "503"),
        (200, refused("odd_file"), FAIL, "odd_file"),
        (200, refused(None), FAIL, "http_200"),
    ],
)
def test_what_becomes_of_a_file_that_was_not_taken(
    status: int, body: bytes, decision: Decision, code: str
) -> None:
    """By the one table of errors; in the body or in the status."""
    outcome = read(status, body, **{"retry-after": "9"})
    assert isinstance(outcome, UploadFailed)
    assert (outcome.decision, outcome.code, outcome.retry_after_s) == (decision, code, 9.0)
    assert not outcome.is_full


# --- deleting --------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "gone"),
    [
        (send(200, quota()), True),
        (send(204, b""), True),
        (send(404, refused(404)), True),
        (send(404, b"<html>"), False),
        (send(200, refused(403)), False),
        (send(200, b"<html>"), False),
        (send(403, refused(403)), False),
        (send(500, b""), False),
        (hang_up, False),
    ],
)
async def test_a_file_is_gone_only_by_the_providers_word(answer: Answer, gone: bool) -> None:
    """A place that is not free is not counted on."""
    async with serving(answer) as server, provider(server.url) as opened:
        assert await opened.delete_upload("file-1") is gone
        assert lines(server) == ["DELETE /api/v1/files/file-1"]


@pytest.mark.anyio
@pytest.mark.parametrize("file_id", ["", "../quota", "a/b", "a?b", "a b"])
async def test_an_id_that_leads_elsewhere_is_not_sent(file_id: str) -> None:
    """It came out of a reply."""
    async with serving(send(200, quota())) as server, provider(server.url) as opened:
        assert not await opened.delete_upload(file_id)
        assert server.connections == 0


# --- where files go --------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_provider_without_a_files_api_takes_none(image: Path) -> None:
    """Said beforehand, and not guessed by asking around."""
    profile = load_profile("unified")
    async with serving(send(200, taken())) as server:
        address = check_address(profile, server.url)
        async with open_task_api(profile, address, KEY, submits_at_once=1, timeouts=QUICK) as opened:
            assert not opened.capabilities.offers_uploads
            assert isinstance(await opened.upload(image, "image/png"), UploadFailed)
            assert not await opened.delete_upload("file-1")
        assert server.connections == 0


@pytest.mark.anyio
async def test_files_go_where_the_profile_says(image: Path, tmp_path: Path) -> None:
    """And nowhere else; API requests stay where they were."""
    async with serving(send(200, taken())) as host, serving(send(200, b"{}")) as api:
        mine = tmp_path / "mine.yaml"
        mine.write_text(f"extends: evolink\nname: mine\nbase_url: {api.url}\nfiles_url: {host.url}/f/\n")
        profile = load_profile(str(mine))
        address = check_address(profile, None)
        async with open_task_api(profile, address, KEY, submits_at_once=1, timeouts=QUICK) as opened:
            assert isinstance(await opened.upload(image, "image/png"), Uploaded)
            await opened.read_account()
        assert lines(host) == ["POST /f/api/v1/files/upload/stream"]
        assert lines(api) == ["GET /v1/credits"]


@pytest.mark.anyio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirected_upload_is_not_followed(status: int, image: Path) -> None:
    """The key would go along."""
    async with serving(send(200, taken())) as other:
        async with (
            serving(send(status, b"", f"Location: {other.url}/x\r\n")) as server,
            provider(server.url) as opened,
        ):
            assert isinstance(await opened.upload(image, "image/png"), UploadFailed)
            assert not await opened.delete_upload("file-1")
        assert other.connections == 0
