"""What is known of a provider by its name alone, without reading its profile."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

BUILT_IN = ("evolink", "foxapi", "unified", "local", "local-unified")
"""The profiles that came with the program."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PROFILES = Path(__file__).parent / "providers" / "profiles"
_CREDITS_PER_USD = re.compile(r"^credits_per_usd: +([0-9.]+)", re.MULTILINE)
_REMEMBERED = 256


def credits_per_usd(name: str) -> float | None:
    """What a profile that came with the program says of it itself; None: nothing.

    Read as a text: `status` is asked often, and what reads profiles takes longer to load than the rest of it.
    """
    found = _CREDITS_PER_USD.search((_PROFILES / f"{name}.yaml").read_text(encoding="utf-8"))
    return float(found[1]) if found else None


@lru_cache(_REMEMBERED)
def is_practice(name: str) -> bool:
    """Whether a provider of this name is a service on this machine, which draws placeholders for nothing.

    `name`: its profile and host, under which tasks of it are known.
    """
    _, at, host = name.rpartition("@")
    return not at or host in LOOPBACK
