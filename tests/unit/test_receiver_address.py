"""Where to listen is said as HOST:PORT; what is none is told before anything is sent."""

from __future__ import annotations

import pytest

from nanobanana_batch.errors import UsageError
from nanobanana_batch.receiver import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:65535", Address("::1", 65535)),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """HOST:PORT, as it is printed."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "::1:8080", "[::1]", "[]:1", "a:b", "a:65536"),
        *("a:-1", "a:8080/", "http://a:80", "a b:80", "me@a:80", "a:\N{ARABIC-INDIC DIGIT THREE}", "a:80\n"),
    ],
)
def test_what_is_no_address_is_wrong_usage(text: str) -> None:
    """With an example of one."""
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:8080"):
        parse_address(text)
