"""A local image becomes a public URL, and a reply that makes no sense is only tried again: real sockets."""

from __future__ import annotations

import asyncio
import hashlib
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
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.profile import check_address, load_profile
from nanobanana_batch.providers.tasks.api import open_task_api
from nanobanana_batch.providers.tasks.files import LIFETIME_S, read_upload_reply
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


def parts_of(request: Seen) -> dict[str, MIMEPart]:
    """The parts of a multipart body by name."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    whole = BytesParser(policy=default).parsebytes(head + request.body)
    return {part["content-disposition"].params["name"]: part for part in whole.iter_parts()}


@pytest.mark.anyio
async def test_a_file_is_uploaded_as_it_is(image: Path) -> None:
    """Multipart, with the key and a length; its name is made of its content, the person's stays here."""
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
    parts = parts_of(request)
    name = f"{hashlib.sha256(CONTENT).hexdigest()}.png"
    assert set(parts) == {"file", "fileName"}
    assert parts["fileName"].get_content().strip() == name
    part = parts["file"]
    assert part.get_payload(decode=True) == CONTENT
    assert part.get_content_type() == "image/png"
    assert part.get_filename() == name
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
@pytest.mark.parametrize("status", [200, 400, 403])
async def test_the_files_apis_own_code_says_that_an_account_is_full(status: int, image: Path) -> None:
    """Contract, "Files": 40003; nothing else needs to be asked."""
    async with serving(files(send(status, refused(40003)), ROOM)) as server, provider(server.url) as opened:
        outcome = await opened.upload(image, "image/png")
        assert len(server.seen) == 1
    assert isinstance(outcome, UploadFailed)
    assert (outcome.is_full, outcome.decision) == (True, RETRY)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("places", "is_full"),
    [
        (send(200, quota(used_files=100, max_files=100)), True),
        (send(200, quota(used_files=1, max_files=100)), False),
        (send(200, quota(remain_files="0")), True),
        (send(200, quota(remain_files="none")), False),
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


@pytest.mark.parametrize(
    ("body", "file_id"),
    [
        ({"data": [{"file_id": "f-1", "file_url": "https://files.example/a.png"}]}, "f-1"),
        ({"data": {"id": 7, "url": "https://files.example/a.png"}}, "7"),
        ({"url": "https://files.example/a.png", "id": "a/b c", "size": 5}, "a/b c"),
        ({"url": "https://files.example/a.png"}, ""),
        ({"data": {"file_id": "../quota", "url": "https://files.example/a.png"}}, ""),
        ({"code": 200, "msg": "ok", "data": {"fileId": "f", "url": "https://files.example/a.png"}}, "f"),
    ],
)
def test_other_forms_of_a_file_are_understood(body: object, file_id: str) -> None:
    """The address is what a request needs; without an id the file stays until it ends by itself."""
    outcome = read(200, json.dumps(body).encode())
    assert outcome == Uploaded(file_id, "https://files.example/a.png", 1000 + LIFETIME_S)


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
        (200, refused(40001), FAIL, "40001"),
        (400, refused(40002), FAIL, "40002"),
        (500, refused(50001), RETRY, "50001"),
        (200, b'{"code": 50001, "msg": "storage"}', RETRY, "50001"),
        (200, b'{"code": 40004, "message": "not reached"}', FAIL, "40004"),
        (200, b'{"success": false}', FAIL, "http_200"),
        (402, refused("key_daily_quota_exhausted"), RETRY, "key_daily_quota_exhausted"),
        (403, b'{"message": "Forbidden"}', FAIL, "http_403"),
        (413, b'{"error": {"message": "too large", "type": "file_too_large_error"}}', FAIL, "http_413"),
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
@pytest.mark.parametrize("file_id", ["", "../quota", "a/..", "..", ".", "a\nb", "\ud800"])
async def test_an_id_that_leads_elsewhere_is_not_sent(file_id: str) -> None:
    """It came out of a reply."""
    async with serving(send(200, quota())) as server, provider(server.url) as opened:
        assert not await opened.delete_upload(file_id)
        assert server.connections == 0


@pytest.mark.anyio
async def test_an_id_is_one_segment_of_the_path() -> None:
    """Whatever it is made of."""
    async with serving(send(204, b"")) as server, provider(server.url) as opened:
        assert await opened.delete_upload("a/b?c=d e%2F#")
        assert lines(server) == ["DELETE /api/v1/files/a%2Fb%3Fc%3Dd%20e%252F%23"]


# --- another form of the files API -----------------------------------------------------------------


@pytest.mark.anyio
async def test_a_profile_says_how_files_are_sent(image: Path) -> None:
    """FoxAPI's own form: other names, files that go by themselves, and no count of places."""
    profile = load_profile("foxapi")
    body = b'{"url": "https://files.example/a.png", "id": "f-1", "size": 9000}'
    async with serving(send(200, body)) as server:
        address = check_address(profile, server.url)
        async with open_task_api(profile, address, KEY, submits_at_once=1, timeouts=QUICK) as opened:
            assert opened.capabilities.offers_uploads
            outcome = await opened.upload(image, "image/png")
            assert not await opened.delete_upload("f-1")
        assert lines(server) == ["POST /v1/files/upload/stream"]
        parts = parts_of(server.seen[0])
    assert isinstance(outcome, Uploaded)
    assert (outcome.file_id, outcome.url) == ("f-1", "https://files.example/a.png")
    assert set(parts) == {"file", "file_name", "auto_cleanup"}
    assert parts["auto_cleanup"].get_content().strip() == "true"
    assert parts["file"].get_payload(decode=True) == CONTENT


@pytest.mark.anyio
async def test_where_places_are_not_counted_nothing_is_asked(image: Path) -> None:
    """A refusal is a refusal then."""
    profile = load_profile("foxapi")
    async with serving(send(403, refused(403))) as server:
        address = check_address(profile, server.url)
        async with open_task_api(profile, address, KEY, submits_at_once=1, timeouts=QUICK) as opened:
            outcome = await opened.upload(image, "image/png")
        assert len(server.seen) == 1
    assert isinstance(outcome, UploadFailed)
    assert not outcome.is_full


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
        mine.write_text(
            f"extends: evolink\nname: mine\nkey_env: MINE_KEY\n"
            f"base_url: {api.url}\nfiles_url: {host.url}/f/\n"
        )
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
