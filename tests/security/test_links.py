"""A provider that was taken over, a redirect or a state hands out links; they lead to public hosts alone."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest

from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.providers import link_http
from nanobanana_batch.providers.http import Timeouts
from nanobanana_batch.providers.link_http import LinkBody, LinkHttp
from nanobanana_batch.providers.link_rules import LinkRules, is_public, refuse_link, rules_for
from nanobanana_batch.providers.link_ways import LinkAnswer, LinkWay
from nanobanana_batch.providers.profile import load_profile
from nanobanana_batch.providers.tasks.values import in_path
from nanobanana_batch.providers.watch import Secret, Watch


@pytest.fixture
def anyio_backend() -> str:
    """As in production."""
    return "asyncio"


INSIDE = (
    *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "192.0.0.8", "192.0.2.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::1", "::", "::ffff:127.0.0.1", "::7f00:1", "fe80::1", "fc00::1", "fd12::1", "fec0::1", "ff02::1"),
    *("64:ff9b::a00:1", "2002:7f00:1::", "2001:db8::1", "2001:0:53aa:64c::1"),
)
OUTSIDE = ("1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1")
ODD = (
    *("127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST.", "intranet"),
    *("metadata.google.internal", "printer.local", "router.lan", "a.home.arpa", "[::1]", "[fe80::1%25eth0]"),
)


def written(host: str) -> str:
    """As in a URL."""
    return f"[{host}]" if ":" in host and "[" not in host else host


@pytest.mark.parametrize("host", [*INSIDE, *ODD])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_link_that_is_written_as_one_into_a_private_network_is_refused(host: str, scheme: str) -> None:
    """In whatever spelling; and not as a dead one, which would give up an image that is paid for."""
    with pytest.raises(LinkFailed, match="links: anywhere") as caught:
        refuse_link(f"{scheme}://{written(host)}:8080/x.png", LinkRules.HTTP)
    assert not caught.value.dead
    refuse_link(f"{scheme}://{written(host)}:8080/x.png", LinkRules.ANYWHERE)


def test_a_plain_link_of_a_provider_that_speaks_https_is_refused() -> None:
    """Anyone on the way could change the image; a profile may allow it."""
    with pytest.raises(LinkFailed, match=r"plain HTTP.*links: http"):
        refuse_link("http://pictures.example.com/a.png", LinkRules.HTTPS)
    refuse_link("http://pictures.example.com/a.png", LinkRules.HTTP)
    refuse_link("https://pictures.example.com/a.png", LinkRules.HTTPS)


@pytest.mark.parametrize("host", OUTSIDE)
def test_a_public_address_is_none_of_them(host: str) -> None:
    """IPv4 behind the well-known prefix of a network that has only IPv6 among them."""
    refuse_link(f"https://{written(host)}/a.png", LinkRules.HTTPS)
    assert is_public(ip_address(host))


@pytest.mark.parametrize("host", INSIDE)
def test_a_private_address_is_known(host: str) -> None:
    """Also inside of another one."""
    assert not is_public(ip_address(host))


@pytest.mark.parametrize(
    ("base_url", "rules"),
    [
        ("https://api.evolink.ai", LinkRules.HTTPS),
        ("http://127.0.0.1:8080/unified", LinkRules.ANYWHERE),
        ("http://localhost:8080", LinkRules.ANYWHERE),
        ("https://10.0.0.7", LinkRules.ANYWHERE),
        ("https://gateway.corp", LinkRules.ANYWHERE),
    ],
)
def test_the_links_of_a_local_provider_are_local(base_url: str, rules: LinkRules) -> None:
    """It stands in that network itself."""
    assert rules_for(base_url, LinkRules.HTTPS) is rules
    assert rules_for("https://api.evolink.ai", LinkRules.ANYWHERE) is LinkRules.ANYWHERE


def test_a_profile_may_say_so(tmp_path: Path) -> None:
    """And else the built-in ones say https."""
    path = tmp_path / "mine.yaml"
    path.write_text("extends: foxapi\nlinks: http\n")
    assert load_profile(str(path)).links is LinkRules.HTTP
    assert load_profile("foxapi").links is LinkRules.HTTPS


@pytest.mark.parametrize("id_", ["..", ".", "../credits", "a/../../b", "%2e%2e", "x?y", "x#y", "\r\nX: y"])
def test_an_id_of_a_state_stays_one_segment_of_a_path(id_: str) -> None:
    """It may be somebody else's; a request with the key goes to no other route."""
    url = httpx.URL(f"https://api.example.com/v1/tasks/{in_path(id_)}")
    assert url.raw_path.startswith(b"/v1/tasks/")
    assert url.raw_path.count(b"/") == 3
    assert not url.query


@contextmanager
def listening() -> Iterator[tuple[int, list[object]]]:
    """A port on this machine, and who has come there."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server.getsockname()[1], came
        with suppress(BlockingIOError):
            came.append(server.accept())


async def fetched(url: str, rules: LinkRules) -> str:
    """Why nothing came of a link."""
    links = LinkHttp(Timeouts(connect_s=5, read_s=5, free_s=5), Watch(Secret("")), rules)
    try:
        with pytest.raises(LinkFailed) as caught:
            async with links.open(url):
                pass
        assert not caught.value.dead
        return caught.value.message
    finally:
        await links.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.1"])
async def test_the_address_that_is_connected_to_is_what_counts(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A public name that leads inside; nobody is called."""
    with listening() as (port, came):
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
        said = await fetched(f"http://pictures.example.com:{port}/a.png", LinkRules.HTTP)
    assert "private network" in said
    assert "/a.png" not in said
    assert came == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "target", ["http://127.0.0.1/", "https://169.254.169.254/latest", "http://pictures.example.com/b.png"]
)
async def test_a_redirect_is_judged_like_a_link(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """Each one anew: inside, or out of the encrypted."""
    asked: list[str] = []

    class Redirecting(LinkAnswer, LinkWay):
        status, received_bytes, codings = 302, 0, ()

        def header(self, name: str) -> str:
            return target if name == "Location" else ""

        async def chunks(self) -> AsyncGenerator[bytes, None]:
            yield b""

        async def get(self, url: str) -> LinkAnswer:
            asked.append(url)
            return self

        async def aclose(self) -> None:
            pass

    monkeypatch.setattr(link_http, "way_of_links", lambda *_: Redirecting())
    said = await fetched("https://pictures.example.com/a.png", LinkRules.HTTPS)
    assert "links: " in said
    assert asked == ["https://pictures.example.com/a.png"]


@pytest.mark.anyio
@pytest.mark.parametrize("received", [4, 6])
async def test_a_body_that_has_not_its_announced_length_is_none(received: int) -> None:
    """Whatever a library makes of it: half an image is no image, and what is behind one is another's."""

    class Short(LinkAnswer):
        status, received_bytes, codings = 200, received, ()

        def header(self, name: str) -> str:
            return "5" if name == "Content-Length" else ""

        async def chunks(self) -> AsyncGenerator[bytes, None]:
            yield b"x" * received

        async def aclose(self) -> None:
            pass

    body = LinkBody(Short(), 5.0, Watch(Secret("")))
    with pytest.raises(LinkFailed, match="5 were announced"):
        assert not [piece async for piece in body.pieces()]
