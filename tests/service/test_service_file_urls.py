"""A file by its URL: the service's own, or one from a public address, and from nowhere else."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from tests.service.callback_world import PUBLIC_V4, World, serving
from tests.service.test_service_files import FILES, code, keep, picture

if TYPE_CHECKING:
    from pathlib import Path

    from nanobanana_batch.service.network import Address, Connection, Target
    from tests.service.conftest import Api


def test_own_links_and_files_are_taken_over(api: Api) -> None:
    url = keep(api)["file_url"]
    link = api.finished(api.submit())["results"][0]
    for one in (url, link):
        reply = api.http.post(f"{FILES}/upload/url", json={"file_url": one})
        assert api.http.get(reply.json()["data"]["file_url"]).content == api.http.get(one).content


def test_what_is_gone_is_400(api: Api) -> None:
    data = keep(api)
    api.http.delete(f"{FILES}/{data['file_id']}")
    reply = api.http.post(f"{FILES}/upload/url", json={"file_url": data["file_url"]})
    assert code(reply) == (400, "invalid_request")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/cat.png",
        "https://127.0.0.1:{port}/cat.png",
        "https://2130706433:{port}/cat.png",
        "https://[::ffff:127.0.0.1]:{port}/cat.png",
        "https://localhost:{port}/cat.png",
        "https://inside.example.com:{port}/cat.png",
        "https://both.example.com:{port}/cat.png",
        "http://public.example.com/cat.png",
        "file:///etc/passwd",
        "cat.png",
        7,
        None,
    ],
)
def test_no_other_address_of_this_machine_is_asked(tmp_path: Path, url: object) -> None:
    names = {"inside.example.com": [["127.0.0.1"]], "both.example.com": [[PUBLIC_V4, "127.0.0.1"]]}
    world = World(names)
    with serving(tmp_path / "data", world.network()) as service:
        value = url.format(port=9) if isinstance(url, str) else url
        reply = service.http.post(f"{FILES}/upload/url", json={"file_url": value})
    assert code(reply) == (400, "invalid_request")
    assert reply.json()["error"]["param"] == "file_url"
    assert world.reached == []


def test_a_public_address_would_be_asked(tmp_path: Path) -> None:
    world = World({"images.example.com": [[PUBLIC_V4]]})
    with serving(tmp_path / "data", world.network()) as service:
        body = {"file_url": "https://images.example.com/cat.png"}
        reply = service.http.post(f"{FILES}/upload/url", json=body)
    assert code(reply) == (400, "invalid_request")
    assert world.reached == [PUBLIC_V4]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n" + picture(), 200),
        (b"HTTP/1.1 200 OK\r\n\r\n" + picture() + bytes(100_000), 413),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", 400),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n" + picture(), 400),
        (b"", 400),
        (b"SSH-2.0-x\r\n\r\n", 400),
    ],
)
def test_what_a_public_address_answers(tmp_path: Path, answer: bytes, status: int) -> None:
    """Over plain TCP to a stand-in: the address that was judged is the one that is connected to."""
    world = World({"images.example.com": [[PUBLIC_V4]]})

    async def stand_in(target: Target, address: Address) -> Connection:
        world.reached.append(f"{target.scheme} {address} {target.path}")
        there, here = socket.socketpair()
        there.sendall(answer)
        if status != 413:  # there, more would come
            there.shutdown(socket.SHUT_WR)
        waiting.append(there)
        return await asyncio.open_connection(sock=here)

    waiting: list[socket.socket] = []
    network = world.network(connect=stand_in)
    with serving(tmp_path / "data", network, max_file_bytes=50_000) as service:
        body = {"file_url": "https://images.example.com/cat.png?x=1"}
        reply = service.http.post(f"{FILES}/upload/url", json=body)
        assert reply.status_code == status
        if status == 200:
            assert service.http.get(reply.json()["data"]["file_url"]).content == picture()
    assert world.reached == [f"https {PUBLIC_V4} /cat.png?x=1"]
    request = waiting[0].recv(4096)
    waiting[0].close()
    assert request == b"GET /cat.png?x=1 HTTP/1.0\r\nHost: images.example.com\r\n\r\n"
