"""The address that a provider calls when a task has ended: one for each attempt, and not to be guessed."""

from __future__ import annotations

import hashlib
import ipaddress
from urllib.parse import urlsplit

from nanobanana_batch.errors import UsageError

_TOKEN_CHARS = 32
_MOST_CHARS = 2048
"""Of the whole address, by the contract."""


def callback_token(idempotency_key: str) -> str:
    """The last part of an attempt's callback address; the same after a restart, so it needs no storing."""
    return hashlib.sha256(f"nanobanana-batch callback {idempotency_key}".encode()).hexdigest()[:_TOKEN_CHARS]


def callback_url(front: str, token: str) -> str:
    """Where the provider is to call for one attempt; `front` was checked by `check_callback_url`."""
    return f"{front}/{token}"


def check_callback_url(text: str) -> str:
    """The front's address, without a slash at its end.

    Raises:
        UsageError: a provider would not call it, or the token could not be put behind it.
    """
    front = text.rstrip("/")
    if fault := _fault(text, front):
        raise UsageError(
            f"The callback URL {text[:200]!r} cannot be used: {fault}; nothing was sent.",
            hint="It looks like https://front.example/path.",
        )
    return front


def _is_internal(host: str) -> bool:
    """Whether only this network could mean the host; a name may still lead there, which the provider sees."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.rstrip(".").endswith((".localhost", ".local", ".internal"))


def _fault(text: str, front: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        return "it has characters that no URL has"
    try:
        parts = urlsplit(front)
        has_port_zero = parts.port == 0
    except ValueError:
        return "its host or port is malformed"
    if parts.scheme != "https":
        return "providers call only https"
    if not parts.hostname or has_port_zero:
        return "it names no host and port to call"
    if _is_internal(parts.hostname):
        return "providers never call internal addresses"
    if parts.username is not None or parts.password is not None:
        return "it holds a user name or password"
    if "?" in text or "#" in text:
        return "it has a query or a fragment, and a part of its own is added for each task"
    if len(callback_url(front, "x" * _TOKEN_CHARS)) > _MOST_CHARS:
        return f"with the part of a task it is longer than {_MOST_CHARS:,} characters"
    return ""
