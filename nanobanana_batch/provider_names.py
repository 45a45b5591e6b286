"""What is known of a provider by its name alone, without reading its profile."""

from __future__ import annotations

from functools import lru_cache

BUILT_IN = ("evolink", "foxapi", "unified", "local", "local-unified")
"""The profiles that came with the program."""
CREDITS_PER_USD = {"evolink": 68.0}
"""What these say of it, as far as they do: `status` is asked often, and profiles take long to read."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_REMEMBERED = 256


@lru_cache(_REMEMBERED)
def is_practice(name: str) -> bool:
    """Whether a provider of this name is a service on this machine, which draws placeholders for nothing.

    `name`: its profile and host, under which tasks of it are known.
    """
    _, at, host = name.rpartition("@")
    return not at or host in LOOPBACK
