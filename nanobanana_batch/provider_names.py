"""What the name of a provider says, under which tasks of it are known: its profile and host."""

from __future__ import annotations

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_practice(name: str) -> bool:
    """Whether a provider of this name is a service on this machine, which draws placeholders for nothing."""
    _, at, host = name.rpartition("@")
    return not at or host in LOOPBACK
