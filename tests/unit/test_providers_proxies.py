"""Which proxy a request takes is the same for every way, and is what curl would take."""

from __future__ import annotations

import importlib.util
import sys
import urllib.request

import pytest

from nanobanana_batch.errors import BadSurroundings
from nanobanana_batch.providers import proxies
from nanobanana_batch.providers.proxies import Proxy, is_this_machine, proxy_for

PROXY = "http://proxy.example.com:3128"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of this machine takes part."""
    for name in ("http", "https", "all", "no"):
        for spelled in (f"{name}_proxy", f"{name}_PROXY".upper()):
            monkeypatch.delenv(spelled, raising=False)


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, "https://api.example.com", None),
        ({"HTTPS_PROXY": PROXY}, "https://api.example.com", PROXY),
        ({"HTTPS_PROXY": PROXY}, "http://api.example.com", None),
        ({"HTTPS_PROXY": "proxy.example.com:3128"}, "https://api.example.com", PROXY),
        ({"HTTPS_PROXY": f" {PROXY}/ "}, "https://api.example.com", PROXY),
        ({"ALL_PROXY": PROXY}, "http://api.example.com", PROXY),
        ({"all_proxy": "HTTP://proxy.example.com"}, "https://x.test", "http://proxy.example.com:80"),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, "https://api.example.com", None),
        ({"https_proxy": "http://[::2]:8080"}, "https://api.example.com", "http://[::2]:8080"),
        ({"ALL_PROXY": "socks5h://10.0.0.1"}, "https://api.example.com", "socks5h://10.0.0.1:1080"),
        ({"ALL_PROXY": PROXY}, "http://127.0.0.1:8080", None),
        ({"ALL_PROXY": PROXY}, "http://localhost:8080", None),
        ({"ALL_PROXY": PROXY}, "http://[::1]:8080", None),
        ({"ALL_PROXY": PROXY}, "http://127.3.2.1", None),
    ],
)
def test_the_variables_are_read_as_usual(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, expected: str | None
) -> None:
    """Small letters before capitals, the scheme's own before ALL_PROXY; loopback goes over none."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(url)
    assert (found and str(found)) == expected


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*", "https://api.example.com"),
        ("a.test, *", "https://api.example.com"),
        ("api.example.com", "https://api.example.com"),
        ("example.com", "https://api.example.com"),
        (".example.com", "https://api.example.com"),
        (".example.com", "https://example.com"),
        ("*.example.com", "https://api.example.com"),
        ("EXAMPLE.com.", "https://API.example.COM"),
        ("a.test b.test\texample.com", "https://api.example.com"),
        ("api.example.com:443", "https://api.example.com"),
        ("https://api.example.com", "https://api.example.com"),
        ("10.0.0.0/8", "https://10.1.2.3"),
        ("10.1.2.3", "https://10.1.2.3"),
        ("10.1.2.3:8443", "https://10.1.2.3:8443"),
        ("fd00::/8", "https://[fd12::1]:8443"),
        ("[fd00::]/8", "https://[fd12::1]"),
        ("fd12::1", "https://[fd12::1]"),
        ("[fd12::1]", "https://[fd12:0::0:1]"),
        ("[fd12::1]:8443", "https://[fd12::1]:8443"),
        ("10.0.0.0/8", "https://[::ffff:10.1.2.3]"),
        ("::1,[::1],nonsense/99,10.0.0.0/99,[,]:x,:,//,api.example.com", "https://api.example.com"),
    ],
)
def test_what_no_proxy_names_goes_directly(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str) -> None:
    """Names with all below them, addresses, networks, ports; what makes no sense does no harm."""
    monkeypatch.setenv("https_proxy", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(url) is None


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("example.com", "https://notexample.com"),
        ("api.example.com:8443", "https://api.example.com"),
        ("example.co", "https://example.com"),
        ("10.0.0.0/8", "https://api.example.com"),
        ("10.0.0.0/8", "https://11.1.2.3"),
        ("fd00::/8", "https://10.1.2.3"),
        ("0.0.1", "https://10.0.0.1"),
        ("[::1]", "https://api.example.com"),
        (".", "https://api.example.com"),
        ("", "https://api.example.com"),
    ],
)
def test_what_it_does_not_name_goes_over_the_proxy(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str
) -> None:
    """A name is no part of another one, and an end of an address is none."""
    monkeypatch.setenv("https_proxy", PROXY)
    monkeypatch.setenv("no_proxy", no_proxy)
    assert str(proxy_for(url)) == PROXY


def test_a_password_is_used_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as a text nor for a debugger; `%40` is an at sign in it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://somebody:pass%40word@proxy.example.com:3128")
    found = proxy_for("https://api.example.com")
    assert found is not None
    assert found.auth == ("somebody", "pass@word")
    assert "word" not in f"{found} {found!r}"


@pytest.mark.parametrize(
    "value", ["http://u:secret@[bad", "http://u:secret@h:x", "ftp://u:secret@h", "u:secret@ "]
)
def test_what_is_no_proxy_is_told_without_its_value(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Only the variable is named, as it is spelled."""
    monkeypatch.setenv("Https_Proxy", value)
    with pytest.raises(BadSurroundings, match="Https_Proxy") as caught:
        proxy_for("https://api.example.com")
    assert "secret" not in str(caught.value)


def test_without_the_package_for_socks_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, not a missing module in the middle of the night."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setattr(proxies, "find_spec", lambda name: None)
    with pytest.raises(BadSurroundings, match=r"nanobanana-batch\[socks\]"):
        proxy_for("https://api.example.com")


def test_the_package_that_is_looked_for_is_the_one_that_is_used() -> None:
    """httpx imports it itself, by this name."""
    assert importlib.util.find_spec("socksio") is not None
    assert sys.modules["nanobanana_batch.providers.proxies"].find_spec is importlib.util.find_spec


def test_a_system_with_a_list_of_its_own_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Mac both stand in the system's settings; variables come before these."""
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": PROXY})
    monkeypatch.setattr(urllib.request, "proxy_bypass", lambda host: host == "inner.test")
    assert proxy_for("https://inner.test") is None
    assert proxy_for("https://api.example.com") == Proxy("http", "proxy.example.com", 3128)


@pytest.mark.parametrize(
    ("host", "is_it"), [("localhost.", True), ("127.0.0.1", True), ("127.example.com", False)]
)
def test_this_machine_is_known_by_its_addresses(host: str, is_it: bool) -> None:
    """A name that begins like one is another machine."""
    assert is_this_machine(host) is is_it
