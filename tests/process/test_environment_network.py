"""Proxies and certificates of the environment: used for paid and free requests alike, or told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.service.embedded import EmbeddedService
from tests.process.surroundings import Place, ended, environment
from tests.process.tls_world import AUTHORITY, BASE_URL, HOST, proxied

TRUSTED = {"SSL_CERT_FILE": str(AUTHORITY)}


# --- what cannot work is told before anything is made ----------------------------------------------


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTPS_PROXY": "http://[bad"},
        {"https_proxy": "http://somebody:proxy-password@host:port"},
        {"ALL_PROXY": "http://somebody:proxy-password/x@host:8080"},
        {"all_proxy": "socks://127.0.0.1:1080/"},
        {"HTTPS_PROXY": "socks4://somebody:proxy-password@127.0.0.1:1080"},
        {"HTTPS_PROXY": "http://[bad", "NO_PROXY": HOST},
        {"SSL_CERT_FILE": "/nonexistent/ca.pem"},
        {"SSL_CERT_FILE": "/dev/null"},
        {"SSL_CERT_DIR": "/dev"},
        {"REQUESTS_CA_BUNDLE": "/nonexistent/ca.pem"},
        {"SSLKEYLOGFILE": "/nonexistent/keys.log"},
    ],
    ids=str,
)
def test_a_variable_that_is_in_the_way_is_named(place: Place, variables: dict[str, str]) -> None:
    """Exit 2 with one sentence; its value, which may hold a password, is in no text; no folder is made."""
    end = place.run(base_url=BASE_URL, env=environment(**variables))
    place.refuses(end)
    assert next(iter(variables)) in end.err
    assert not place.out.exists()


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_PROXY": "http://[bad", "HTTPS_PROXY": "nonsense:", "ALL_PROXY": "socks://x"},
        {"SSL_CERT_FILE": "/nonexistent", "REQUESTS_CA_BUNDLE": "/dev/null"},
        {
            "ALL_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "::1,[::1],fd00::/8,10.0.0.0/8,*.x,.example.com:8080",
        },
    ],
    ids=str,
)
@pytest.mark.parametrize("provider", ["loopback", "local"])
def test_a_service_on_this_machine_needs_neither(
    place: Place, variables: dict[str, str], provider: str
) -> None:
    """No proxy, no certificate: nothing of that is looked at."""
    words = place.words() if provider == "loopback" else [*place.words()[:4], "--provider", "local"]
    end = ended(place.start(words, env=environment(**variables)))
    assert end.code == 0, end
    place.is_clean(end)
    if provider == "loopback":
        place.is_whole()


# --- what can work does ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "scheme", "auth"),
    [
        (("HTTPS_PROXY", "http_proxy"), "http", False),
        (("all_proxy",), "http", True),
        (("ALL_PROXY",), "socks5", False),
        (("HTTPS_PROXY", "HTTP_PROXY", "http_proxy"), "socks5h", True),
    ],
    ids=str,
)
def test_a_proxy_carries_paid_and_free_requests(
    service: EmbeddedService, place: Place, variables: tuple[str, ...], scheme: str, auth: bool
) -> None:
    """Submits, reads and downloads; names are looked up there, since here nobody knows them."""
    with proxied(service.base_url, needs_auth=auth) as proxy:
        through = dict.fromkeys(variables, proxy.url(scheme, auth=auth))
        odd = {"NO_PROXY": "::1, [fd00::1]:8080, fd00::/8, 10.0.0.0/8,.example.com other.test"}
        end = place.run(base_url=BASE_URL, env=environment(**through, **odd, **TRUSTED))
    assert end.code == 0, end
    place.is_clean(end)
    place.is_whole()
    ports = [port for _, port in proxy.asked]
    assert {host for host, _ in proxy.asked} == {HOST}
    assert ports.count(443) > place.rows  # each paid request on a connection of its own, and reads
    assert 80 in ports  # links


@pytest.mark.parametrize(
    "variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
)
def test_certificates_are_found_where_people_put_them(
    service: EmbeddedService, place: Place, variable: str
) -> None:
    """Each variable, for all kinds of requests; SSL_CERT_DIR is a folder of hashes."""
    named = str(hashed(place.folder / "authorities")) if variable == "SSL_CERT_DIR" else str(AUTHORITY)
    with proxied(service.base_url) as proxy:
        given = {"ALL_PROXY": proxy.url("http"), variable: named}
        end = place.run(base_url=BASE_URL, env=environment(**given))
    assert end.code == 0, end
    place.is_whole()


def hashed(folder: Path) -> Path:
    """A folder as OpenSSL reads it."""
    folder.mkdir()
    (folder / f"{HASH}.0").write_bytes(AUTHORITY.read_bytes())
    return folder


HASH = "6bb77251"
"""Of the authority's name, as `openssl x509 -hash` says it."""


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize("trouble", ["untrusted", "forbidden", "cut"])
def test_what_never_reached_the_provider_was_not_paid(
    service: EmbeddedService, place: Place, scheme: str, trouble: str
) -> None:
    """No row is left in doubt by a proxy that is gone or refuses, or by a certificate nobody trusts."""
    with proxied(service.base_url, needs_auth=trouble == "forbidden") as proxy:
        proxy.is_mute = trouble == "cut"
        trusted = {} if trouble == "untrusted" else TRUSTED
        flags = ("--max-outage", "1s")
        end = place.run(*flags, base_url=BASE_URL, env=environment(ALL_PROXY=proxy.url(scheme), **trusted))
    place.is_clean(end)
    assert end.code == 3, end
    assert "unknown" not in end.err
    assert not place.paid()
