"""An address of its own for each attempt, and a front that providers will call."""

from __future__ import annotations

import pytest

from nanobanana_batch.engine.callback_urls import callback_token, callback_url, check_callback_url
from nanobanana_batch.errors import UsageError


def test_a_token_is_the_same_after_a_restart() -> None:
    """A literal one: a change would make addresses of requests on their way unknown."""
    assert callback_token("nb-1") == "8a0c368ab1ad065c9f67525f4c2469c4"
    assert callback_token("nb-2") != callback_token("nb-1")


@pytest.mark.parametrize("text", ["https://front.example/path", "https://front.example/path/"])
def test_the_token_stands_behind_the_front(text: str) -> None:
    """With one slash between them."""
    assert callback_url(check_callback_url(text), "0" * 32) == f"https://front.example/path/{'0' * 32}"


@pytest.mark.parametrize(
    "text",
    ["https://front.example", "https://front.example:8443/a/b", "https://[2600::1]/x", "HTTPS://A.EXAMPLE/"],
)
def test_fronts_that_can_be_called(text: str) -> None:
    """With or without a path, on any port."""
    assert check_callback_url(text) == text.rstrip("/")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://front.example/path", "https"),
        ("front.example/path", "https"),
        ("", "https"),
        ("https://", "https"),
        ("https:///path", "no host"),
        ("https://front.example:0/", "port"),
        ("https://front.example:99999/", "port"),
        ("https://[::1/", "malformed"),
        ("https://me:secret@front.example/", "user name"),
        ("https://me@front.example/", "user name"),
        ("https://front.example/?a=1", "query"),
        ("https://front.example/path?", "query"),
        ("https://front.example/path#", "fragment"),
        ("https://front.example/a b", "characters"),
        ("https://front.example/\n", "characters"),
        ("https://frönt.example/", "characters"),
        ("https://127.0.0.1/", "internal"),
        ("https://[::1]/", "internal"),
        ("https://10.0.0.7:8443/x", "internal"),
        ("https://172.16.0.1/", "internal"),
        ("https://192.168.1.1/", "internal"),
        ("https://169.254.169.254/", "internal"),
        ("https://localhost/", "internal"),
        ("https://box/", "internal"),
        ("https://box.local/", "internal"),
    ],
)
def test_a_front_that_nobody_can_call_is_told_at_once(text: str, why: str) -> None:
    """Wrong usage, with the reason."""
    with pytest.raises(UsageError) as told:
        check_callback_url(text)
    assert why in str(told.value)
    assert "nothing was sent" in str(told.value)
    assert told.value.exit_code == 2


def test_the_whole_address_keeps_to_the_contracts_length() -> None:
    """2,048 characters with the token, not one more."""
    front = "https://front.example/".ljust(2048 - 33, "x")
    assert len(callback_url(check_callback_url(front), callback_token("k"))) == 2048
    with pytest.raises(UsageError, match="2,048"):
        check_callback_url(front + "x")
