"""No URL in any spelling makes the service connect to this machine or its network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from nanobanana_batch.service.network import AddressRefused, target_of
from tests.service.callback_world import PUBLIC_V4, PUBLIC_V6, Service, Trap, World, serving

if TYPE_CHECKING:
    from tests.service.conftest import Until

# PORT is where the trap listens.
INTERNAL_URLS = {
    # No HTTPS
    "http://127.0.0.1:PORT/": "plain HTTP",
    "http://hooks.example.com:PORT/": "plain HTTP, public name",
    "HTTP://[::1]:PORT/": "plain HTTP, upper case",
    "ftp://127.0.0.1:PORT/": "another scheme",
    "file:///etc/passwd": "a file",
    "gopher://127.0.0.1:PORT/": "another scheme",
    "javascript:alert(1)": "no host",
    "//127.0.0.1:PORT/": "no scheme",
    "127.0.0.1:PORT": "no scheme, no slashes",
    "https:127.0.0.1:PORT/": "no slashes: some parsers add them",
    "https:/127.0.0.1:PORT/": "one slash",
    "https:///127.0.0.1:PORT/": "three slashes",
    "https://": "no host at all",
    "": "nothing",
    # IPv4 as it is usually written
    "https://127.0.0.1:PORT/": "loopback",
    "https://127.0.0.1/": "loopback, no port",
    "https://127.8.9.10:PORT/": "all of 127/8 is loopback",
    "https://127.255.255.254:PORT/": "its other end",
    "HTTPS://127.0.0.1:PORT/": "loopback, upper case",
    "https://0.0.0.0:PORT/": "this host",
    "https://0.1.2.3:PORT/": "0/8",
    "https://10.0.0.1:PORT/": "private",
    "https://10.255.255.255:PORT/": "private, the end",
    "https://172.16.0.1:PORT/": "private",
    "https://172.31.255.254:PORT/": "private, the end",
    "https://192.168.1.1:PORT/": "private",
    "https://100.64.0.1:PORT/": "behind a carrier's NAT",
    "https://100.100.100.200/latest/meta-data/": "a cloud's metadata",
    "https://169.254.169.254/latest/meta-data/": "metadata",
    "https://169.254.0.1:PORT/": "link-local",
    "https://168.63.129.16/": "a cloud's own address",
    "https://192.0.0.192/opc/v1/": "protocol assignments, a cloud's metadata",
    "https://192.0.2.2:PORT/": "documentation",
    "https://198.51.100.7/": "documentation",
    "https://203.0.113.7/": "documentation",
    "https://198.18.0.1/": "benchmarks",
    "https://192.88.99.1/": "6to4 relay",
    "https://192.31.196.1/": "AS112, answered nearby",
    "https://192.175.48.1/": "AS112 too",
    "https://192.52.193.1/": "multicast tunnels",
    "https://224.0.0.1/": "multicast",
    "https://239.255.255.255/": "multicast, the end",
    "https://240.0.0.1/": "reserved",
    "https://255.255.255.255/": "broadcast",
    # IPv4 in disguise
    "https://2130706433:PORT/": "127.0.0.1 as one decimal",
    "https://0x7f000001:PORT/": "as one hexadecimal",
    "https://0X7F000001:PORT/": "in upper case",
    "https://017700000001:PORT/": "as one octal",
    "https://0177.0.0.1:PORT/": "octal part",
    "https://00000177.0.0.1:PORT/": "octal part, padded",
    "https://0x7f.1:PORT/": "hexadecimal and short",
    "https://0x7f.0x0.0x0.0x1:PORT/": "all hexadecimal",
    "https://0x7f.0.0.01:PORT/": "hexadecimal, decimal and octal",
    "https://127.1:PORT/": "short",
    "https://127.0.1:PORT/": "three parts",
    "https://127.0.0.0x1:PORT/": "only the last in hexadecimal",
    "https://127.000.000.001:PORT/": "leading zeros",
    "https://0:PORT/": "0.0.0.0",
    "https://0x0:PORT/": "0.0.0.0",
    "https://127.0.0.1.:PORT/": "trailing dot",
    "https://127.0.0.1..:PORT/": "two of them",
    "https://2852039166/": "169.254.169.254 as a decimal",
    "https://4294967295/": "broadcast as a decimal",
    "https://127.0.0.257:PORT/": "overflowing part",
    "https://6425673729:PORT/": "overflowing decimal",
    "https://1.2.3.4.5/": "too many parts",
    # IPv6
    "https://[::1]:PORT/": "loopback",
    "https://[0:0:0:0:0:0:0:1]:PORT/": "loopback, long",
    "https://[0000:0000:0000:0000:0000:0000:0000:0001]:PORT/": "loopback, padded",
    "https://[::]:PORT/": "unspecified",
    "https://[::ffff:127.0.0.1]:PORT/": "IPv4-mapped",
    "https://[::FFFF:7F00:1]:PORT/": "IPv4-mapped, hexadecimal, upper case",
    "https://[0:0:0:0:0:ffff:10.0.0.1]:PORT/": "IPv4-mapped, long",
    "https://[::ffff:93.184.216.34]/": "IPv4-mapped, even of a public address",
    "https://[::127.0.0.1]:PORT/": "IPv4-compatible",
    "https://[::ffff:0:127.0.0.1]:PORT/": "IPv4-translated",
    "https://[64:ff9b::127.0.0.1]:PORT/": "NAT64",
    "https://[64:ff9b::a9fe:a9fe]/": "NAT64 of the metadata",
    "https://[64:ff9b:1::7f00:1]:PORT/": "NAT64, local use",
    "https://[2002:7f00:1::]:PORT/": "6to4 of 127.0.0.1",
    "https://[2002:a00:1::1]/": "6to4 of 10.0.0.1",
    "https://[2001:0:4136:e378:8000:63bf:80ff:fffe]/": "Teredo",
    "https://[2620:4f:8000::1]/": "AS112, answered nearby",
    "https://[2001:2::1]/": "benchmarks",
    "https://[2001:20::1]/": "ORCHID",
    "https://[2001:db8::1]/": "documentation",
    "https://[3fff::1]/": "documentation",
    "https://[fc00::1]:PORT/": "unique local",
    "https://[fd00::2]:PORT/": "unique local",
    "https://[fd00:ec2::254]/latest/": "a cloud's metadata",
    "https://[fe80::1]:PORT/": "link-local",
    "https://[fe80::1%25eth0]:PORT/": "zone id",
    "https://[fe80::1%eth0]:PORT/": "zone id, not encoded",
    "https://[::1%25lo]:PORT/": "loopback with a zone id",
    "https://[fec0::1]/": "site-local",
    "https://[ff02::1]/": "multicast",
    "https://[100::1]/": "discard",
    "https://[127.0.0.1]:PORT/": "IPv4 in brackets",
    "https://[::1:PORT/": "half a bracket",
    "https://::1:PORT/": "no brackets",
    "https://[v1.fe80]/": "an address of the future",
    # Names
    "https://localhost:PORT/": "this host by name",
    "https://LocalHost:PORT/": "in another case",
    "https://localhost.:PORT/": "trailing dot",
    "https://a.localhost:PORT/": "below localhost",
    "https://A.LOCALHOST.:PORT/": "below it, upper case, trailing dot",
    "https://localhost.localdomain:PORT/": "the same by an old name",
    "https://printer.local/": "multicast DNS",
    "https://metadata.google.internal/": "metadata by name",
    "https://router.lan/": "a local network's",
    "https://nas.home.arpa/": "a local network's",
    "https://ip6-localhost:PORT/": "a name without a dot",
    "https://intranet/": "a name without a dot",
    # Tricks of spelling
    "https://user@127.0.0.1:PORT/": "a user",
    "https://user:password@hooks.example.com/": "a user and a password",
    "https://hooks.example.com@127.0.0.1:PORT/": "a name as the user",
    "https://hooks.example.com:443@127.0.0.1:PORT/": "with a port",
    "https://127.0.0.1:PORT\\@hooks.example.com/": "a backslash",
    "https://hooks.example.com\\@127.0.0.1:PORT/": "a backslash the other way round",
    "https://127.0.0.1:PORT\t.hooks.example.com/": "a tab that some parsers drop",
    "https://hooks.example.com\r\n@127.0.0.1/": "a line end",
    " https://127.0.0.1:PORT/": "a leading space",
    "https://127.0.0.1%2ehooks.example.com/": "percent-encoding",
    "https://%31%32%37.0.0.1:PORT/": "encoded digits",
    "https://127%2e0%2e0%2e1:PORT/": "encoded dots",
    "https://localhost%00.example.com/": "an encoded NUL",
    "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11:PORT/": "fullwidth digits",
    "https://127。0。0。1:PORT/": "ideographic dots",
    "https://①②⑦.0.0.1:PORT/": "circled digits",
    "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/": "circled letters",
    "https://loca\u017fhost:PORT/": "a long s",
    "https://hooks.example.com\u200b/": "an invisible character",
    "https://hooks.example.com/\r\nX-More: 1": "a header in the path",
    "https://hooks.example.com/?a=1 HTTP/1.1": "a space",
    "https://hooks.example.com/h\u00f6k": "a path that is not ASCII",
    "https://hooks_1.example.com/": "no host name",
    "https://-a.example.com/": "no host name",
    "https://a..example.com/": "an empty label",
    f"https://{'a' * 64}.example.com/": "a label that is too long",
    "https://hooks.example.com:0/": "no port",
    "https://hooks.example.com:65536/": "no port",
    "https://hooks.example.com:PORT:PORT/": "two ports",
    "https://hooks.example.com:4٤3/": "a digit of another script",
    "https://hooks.example.com/" + "a" * 2023: "one character too long",
}

# Names that look public: one list is one answer of DNS, several are given one after the other.
INTERNAL_NAMES: dict[str, list[list[str]]] = {
    "loopback": [["127.0.0.1"]],
    "loopback-high": [["127.200.1.1"]],
    "loopback-6": [["::1"]],
    "this-host": [["0.0.0.0"]],
    "unspecified-6": [["::"]],
    "ten": [["10.0.0.1"]],
    "one-seven-two": [["172.20.0.1"]],
    "one-nine-two": [["192.168.0.1"]],
    "carrier": [["100.64.0.1"]],
    "metadata": [["169.254.169.254"]],
    "own": [["192.0.2.2"]],
    "multicast": [["224.0.0.1"]],
    "broadcast": [["255.255.255.255"]],
    "reserved": [["240.0.0.1"]],
    "mapped": [["::ffff:127.0.0.1"]],
    "compatible": [["::127.0.0.1"]],
    "nat64": [["64:ff9b::7f00:1"]],
    "nat64-local": [["64:ff9b:1::7f00:1"]],
    "six-to-four": [["2002:7f00:1::"]],
    "teredo": [["2001:0:4136:e378:8000:63bf:80ff:fffe"]],
    "unique-local": [["fd00::2"]],
    "link-local": [["fe80::1%eth0"]],
    "site-local": [["fec0::1"]],
    "last-of-many": [[PUBLIC_V4, PUBLIC_V6, "10.0.0.1"]],
    "first-of-many": [["127.0.0.1", PUBLIC_V4]],
    "only-6-is-internal": [[PUBLIC_V4, "::1"]],
}

PUBLIC_URLS = {
    "https://hooks.example.com/": [PUBLIC_V4],
    "https://HOOKS.Example.COM./hook?a=1#part": [PUBLIC_V4],
    "https://xn--bcher-kva.example/": [PUBLIC_V4],
    "https://two.example.com:8443/": [PUBLIC_V6],
    f"https://{PUBLIC_V4}/hook": [PUBLIC_V4],
    f"https://[{PUBLIC_V6}]:8443/hook": [PUBLIC_V6],
    "https://0x7f.example.com/": [PUBLIC_V4],
    "https://127.0.0.1.example.com/": [PUBLIC_V4],
}
NAMES: dict[str, list[list[str]]] = {
    **{f"{name}.example.com": answers for name, answers in INTERNAL_NAMES.items()},
    "hooks.example.com": [[PUBLIC_V4]],
    "hooks.example.com.": [[PUBLIC_V4]],
    "xn--bcher-kva.example": [[PUBLIC_V4]],
    "two.example.com": [[PUBLIC_V6, PUBLIC_V4]],
    "0x7f.example.com": [[PUBLIC_V4]],
    "127.0.0.1.example.com": [[PUBLIC_V4]],
    "no-address.example.com": [[]],
}


@pytest.fixture(scope="module")
def world(trap: Trap) -> World:
    return World(dict(NAMES), trap.port)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service"), world.network()) as service:
        yield service


def _outcome(service: Service, until: Until, url: str) -> str:
    """Of a callback that was taken: the count that rises once it is settled."""
    before = service.counts()
    service.submit(url)
    after: dict[str, int] = until(lambda: _settled(service, before))
    (name,) = (name for name in after if after[name] != before.get(name, 0))
    return name


def _settled(service: Service, before: dict[str, int]) -> dict[str, int] | None:
    after = service.counts()
    return after if sum(after.values()) > sum(before.values()) and not after.get("owed") else None


def test_the_table_is_long_enough() -> None:
    """Sixty were asked for."""
    assert len(INTERNAL_URLS) + len(INTERNAL_NAMES) >= 150


@pytest.mark.parametrize("url", INTERNAL_URLS, ids=lambda url: f"{url!a:.60} {INTERNAL_URLS[url]}")
def test_a_url_that_shows_it_is_refused_before_anything_is_paid(
    service: Service, trap: Trap, world: World, url: str
) -> None:
    reply = service.post(url.replace("PORT", str(trap.port)))
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "invalid_request", "callback_url")
    assert trap.connections() == 0


@pytest.mark.parametrize("url", [None, 5, ["https://hooks.example.com/"], {}, True])
def test_what_is_no_text_is_no_url(service: Service, url: object) -> None:
    assert service.post(url).status_code == 400


@pytest.mark.parametrize("name", INTERNAL_NAMES)
def test_a_name_is_judged_by_all_that_it_resolves_to(
    service: Service, trap: Trap, world: World, until: Until, name: str
) -> None:
    reached = len(world.reached)
    assert _outcome(service, until, f"https://{name}.example.com:{trap.port}/") == "refused"
    assert world.reached[reached:] == []
    assert trap.connections() == 0


@pytest.mark.parametrize("url", PUBLIC_URLS)
def test_a_public_receiver_would_be_connected_to(
    service: Service, trap: Trap, world: World, until: Until, url: str
) -> None:
    """At the address that was judged, once for each attempt."""
    reached = len(world.reached)
    assert _outcome(service, until, url) == "failed"  # the connector of this test lets nobody out
    assert world.reached[reached:] == PUBLIC_URLS[url] * 4
    assert trap.connections() == 0


@pytest.mark.parametrize("later", [["127.0.0.1"], ["::1"], [PUBLIC_V4, "10.0.0.1"]])
def test_a_name_that_changes_its_answer_gains_nothing(
    service: Service, trap: Trap, world: World, until: Until, later: list[str]
) -> None:
    """Asked once for each attempt: what was judged is connected to, and the next answer is judged too."""
    world.names["rebinding.example.com"] = [[PUBLIC_V4], later]
    asked, reached = len(world.asked), len(world.reached)
    assert _outcome(service, until, f"https://rebinding.example.com:{trap.port}/") == "refused"
    assert world.reached[reached:] == [PUBLIC_V4]
    assert world.asked[asked:] == ["rebinding.example.com"] * 2
    assert trap.connections() == 0


@pytest.mark.parametrize("name", ["unknown.example.com", "no-address.example.com"])
def test_a_name_that_cannot_be_resolved_is_tried_again(
    service: Service, world: World, until: Until, name: str
) -> None:
    asked, reached = len(world.asked), len(world.reached)
    assert _outcome(service, until, f"https://{name}/") == "failed"
    assert (len(world.asked) - asked, world.reached[reached:]) == (4, [])


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/",
        "http://a.localhost/",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://[::ffff:127.0.0.1]/",
        "http://127.1/",
        f"http://{PUBLIC_V4}/",
        "http://hooks.example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "http://user@127.0.0.1/",
        "ftp://127.0.0.1/",
    ],
)
def test_the_switch_for_tests_opens_loopback_by_plain_http_only(url: str) -> None:
    with pytest.raises(AddressRefused):
        target_of(url, allow_loopback=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]"])
def test_the_switch_for_tests_opens_loopback(host: str) -> None:
    target = target_of(f"http://{host}:8080/hook?a=1", allow_loopback=True)
    assert (target.authority, target.path) == (f"{host}:8080", "/hook?a=1")


def test_the_longest_url_is_taken() -> None:
    url = "https://hooks.example.com/" + "a" * 2022
    assert len(url) == 2048
    assert target_of(url).path == "/" + "a" * 2022
