"""Certificates come from where people say, whichever variable they have learnt, or from the program."""

from __future__ import annotations

from pathlib import Path

import certifi
import pytest

from nanobanana_batch.errors import BadSurroundings
from nanobanana_batch.providers.trust import authorities, check_key_log, tls_context

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSLKEYLOGFILE")
LIST = certifi.where()


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of this machine takes part."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_a_variable_the_list_that_came_along_is_used() -> None:
    """It has more than a hundred certificates."""
    assert (authorities().variable, authorities().file) == ("", LIST)
    assert tls_context().cert_store_stats()["x509_ca"] > 50


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere in a shell."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    assert authorities().variable == ""


def test_the_programs_own_variables_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One after the other, if that before it is not set."""
    (tmp_path / "0123abcd.0").write_text("")
    order = {
        "SSL_CERT_FILE": LIST,
        "SSL_CERT_DIR": str(tmp_path),
        "REQUESTS_CA_BUNDLE": LIST,
        "CURL_CA_BUNDLE": LIST,
    }
    for name, value in order.items():
        monkeypatch.setenv(name, value)
    for name in order:
        assert authorities().variable == name
        monkeypatch.delenv(name)


def test_a_folder_that_is_of_no_use_does_not_matter_beside_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems set both, and have only the file."""
    monkeypatch.setenv("SSL_CERT_FILE", LIST)
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    assert authorities().folder is None
    assert tls_context().cert_store_stats()["x509_ca"] > 50


def test_several_folders_are_one_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As OpenSSL reads it; one with certificates is enough."""
    (tmp_path / "0123abcd.0").write_text("")
    monkeypatch.setenv("SSL_CERT_DIR", f"/nonexistent:{tmp_path}")
    tls_context()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", "/nonexistent"),
        ("SSL_CERT_FILE", "/dev/null"),
        ("REQUESTS_CA_BUNDLE", "/nonexistent"),
        ("REQUESTS_CA_BUNDLE", "/dev"),
        ("CURL_CA_BUNDLE", __file__),
        ("SSL_CERT_DIR", "/dev:/nonexistent"),
    ],
)
def test_what_holds_no_certificate_is_told(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """With the variable's name: nobody remembers having set it."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSurroundings, match=variable):
        tls_context()


def test_a_log_of_keys_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else the mere import of a library would end the program; one that can be is left empty."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    check_key_log()
    assert (tmp_path / "keys").stat().st_size == 0
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "none" / "keys"))
    with pytest.raises(BadSurroundings, match="SSLKEYLOGFILE"):
        check_key_log()
