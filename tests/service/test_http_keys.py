"""The key goes to the provider's own hosts and nowhere else, and is in no text: real sockets, each a trap."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nanobanana_batch.errors import ProfileError
from nanobanana_batch.providers.base import Exchange, KeyQuestion
from nanobanana_batch.providers.http import NoReply
from nanobanana_batch.providers.profile import check_address, load_profile
from nanobanana_batch.providers.tasks.api import TaskApi
from tests.service.test_http_paid import (
    BODY,
    KEY,
    Answer,
    Seen,
    Server,
    bad_gzip,
    client,
    half_a_head,
    hang_up,
    list_since,
    no_http,
    provider,
    send,
    serving,
)
from tests.service.test_http_watch import watched

ID = "key-0123456789abcdef"


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Something to upload."""
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    return path


async def everything(opened: TaskApi, image: Path) -> list[object]:
    """Every request of a row's life that carries the key."""
    return [
        await opened.submit(BODY, ID),
        await opened.read_many(["t-1"]),
        await list_since(opened, 0),
        await opened.proves_idempotency(ID, KeyQuestion.NO_JSON),
        await opened.read_account(),
        await opened.upload(image, "image/png"),
        await opened.delete_upload("f-1"),
    ]


@asynccontextmanager
async def trap(host: str = "127.0.0.1") -> AsyncIterator[Server]:
    """A host that must not hear of us."""
    server = Server(send())
    listener = await asyncio.start_server(server.handle, host, 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


@pytest.mark.anyio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_takes_the_key_along(status: int, image: Path) -> None:
    """Whatever was asked, nobody follows: not to another host, not to another path."""
    async with trap() as other:
        answer = send(status, b"", f"Location: {other.url}/v1\r\n")
        async with serving(answer) as server, provider(server.url) as opened:
            await everything(opened, image)
            assert all("/v1" in request.line for request in server.seen)
            assert len(server.seen) == 7
        assert other.connections == 0


@pytest.mark.anyio
async def test_plain_http_is_for_loopback_only() -> None:
    """Also 127.0.0.2, which is not one of its three names: refused before anything is opened."""
    async with trap("127.0.0.2") as other:
        for name in ("evolink", "unified", "local"):
            with pytest.raises(ProfileError, match="in clear"):
                check_address(load_profile(name), f"http://127.0.0.2:{other.port}")
        assert other.connections == 0


@pytest.mark.anyio
async def test_plain_http_is_for_loopback_only_with_files_too(tmp_path: Path) -> None:
    """The address of the files is the profile's, so it is checked when the profile is read."""
    async with trap("127.0.0.2") as other:
        mine = tmp_path / "mine.yaml"
        mine.write_text(f"extends: evolink\nname: mine\nfiles_url: http://127.0.0.2:{other.port}\n")
        with pytest.raises(ProfileError, match="in clear"):
            load_profile(str(mine))
        assert other.connections == 0


@pytest.mark.anyio
async def test_a_reply_does_not_say_where_files_go(image: Path) -> None:
    """A file's address is a link: it is handed on, and never asked with the key."""
    async with trap() as other:
        body = b'{"data": {"file_id": "f-1", "file_url": "%s/a.png"}}' % other.url.encode()
        async with serving(send(200, body)) as server, provider(server.url) as opened:
            await opened.upload(image, "image/png")
            await opened.delete_upload("f-1")
            assert len(server.seen) == 2
        assert other.connections == 0


@pytest.mark.anyio
async def test_another_base_url_takes_the_files_along(image: Path) -> None:
    """A key that was given for a test service is not sent to the real provider's files host."""
    async with serving(send(200, b"{}")) as server, provider(server.url) as opened:
        await everything(opened, image)
        paths = [request.line.split()[1] for request in server.seen]
    assert paths[-2:] == ["/api/v1/files/upload/stream", "/api/v1/files/f-1"]


@pytest.mark.anyio
async def test_no_proxy_hears_of_what_stays_on_this_machine(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loopback is plain HTTP: a proxy of the environment would read the key."""
    async with trap() as proxy, serving(send(200, b"{}")) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        async with provider(server.url) as opened:
            await everything(opened, image)
            async with opened.open_link(f"{server.url}/image.png") as body:
                assert [piece async for piece in body.pieces()]
        assert proxy.connections == 0
        assert len(server.seen) > 7


@pytest.mark.anyio
async def test_no_cookie_is_kept(image: Path) -> None:
    """Each request stands for itself: who set one could follow the account from task to task."""
    async with serving(send(200, b"{}", "Set-Cookie: a=b; Path=/\r\n")) as server:
        async with provider(server.url) as opened:
            await everything(opened, image)
            await everything(opened, image)
        assert len(server.seen) == 14
        assert not any("cookie" in request.headers for request in server.seen)


@pytest.mark.anyio
async def test_links_get_no_key_and_no_cookie() -> None:
    """Not at another host, not at the provider's own, and not after a redirect to it."""
    async with (
        serving(send(200, b"image", "Set-Cookie: a=b\r\n")) as server,
        serving(send(302, b"", f"Location: {server.url}/2.png\r\n")) as links,
        provider(server.url) as opened,
    ):
        for url in (f"{server.url}/1.png", f"{links.url}/1.png", f"{server.url}/3.png"):
            async with opened.open_link(url) as body:
                assert [piece async for piece in body.pieces()] == [b"image"]
        seen = [*server.seen, *links.seen]
    assert len(seen) == 4
    assert not any({"authorization", "cookie"} & set(request.headers) for request in seen)
    assert KEY not in repr(seen)


async def no_http_with_the_key(request: Seen, writer: asyncio.StreamWriter) -> None:
    """What is no HTTP is quoted in the library's error."""
    writer.write(f"{request.headers.get('authorization')}\r\n\r\n".encode())
    await writer.drain()
    writer.close()


async def bad_header_with_the_key(request: Seen, writer: asyncio.StreamWriter) -> None:
    """The same, in a header."""
    writer.write(f"HTTP/1.1 200 OK\r\n{KEY}\x00: x\r\n\r\n".encode())
    await writer.drain()
    writer.close()


ECHOES: list[Answer] = [
    send(401, f'{{"error": {{"code": "{KEY}", "message": "no {KEY}"}}}}'.encode()),
    send(400, f'{{"success": false, "code": "{KEY}", "msg": "{KEY}"}}'.encode(), f"X-Request-Id: {KEY}\r\n"),
    send(200, f'{{"id": "{KEY}", "data": {{"file_id": "{KEY}"}}}}'.encode()),
    send(200, f'{{"id": "t-1", "status": "{KEY}", "data": [{{"id": "t-1", "status": "{KEY}"}}]}}'.encode()),
    send(200, f'{{"code": 401, "msg": "{KEY}"}}'.encode()),
    send(503, f"<title>no {KEY}</title>".encode()),
    send(302, KEY.encode(), f"Location: http://{KEY}/{KEY}\r\n"),
    no_http_with_the_key,
    bad_header_with_the_key,
    hang_up,
    half_a_head,
    no_http,
    bad_gzip,
]


@pytest.mark.anyio
@pytest.mark.parametrize("number", range(len(ECHOES)))
async def test_the_key_is_in_no_text(number: int, image: Path) -> None:
    """Outcomes are stored, exchanges are logged, errors and their causes are shown."""
    told: list[Exchange] = []
    async with serving(ECHOES[number]) as server:
        async with watched(server.url, told.append, debug=True) as opened:
            outcomes = await everything(opened, image)
            objects = [opened, *(getattr(opened, name) for name in vars(opened))]
        texts = [repr(outcomes), repr(told), repr(objects)]
        async with client(server.url) as paid:
            try:
                await paid.post("/v1", BODY, {})
            except NoReply as error:
                texts += [repr(error), *traceback.format_exception(error)]
    assert told
    assert KEY not in "".join(texts)
