"""The provider's own clock, as the `Date` of its replies tells it: this machine's may be days off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache

from nanobanana_batch.steady import steady_s

_AGREE_S = 30.0
"""`Date` counts whole seconds, a reply is on its way for a while, and a provider has many machines."""
_LONGEST_HEADER = 200
_FRESH_S = 5.0
"""A reply that is older by its own word (`Age`) comes from a cache, and tells that one's past."""


class TheirClock:
    """What time it is there. The first reply is believed until two in a row agree on another time."""

    def __init__(self, steady: Callable[[], float] = steady_s) -> None:
        self._steady = steady
        self._ahead: float | None = None
        """Their time, less ours that nobody sets."""
        self._doubted_for: float | None = None
        """The same by the latest reply, if that tells another time."""

    def hear(self, headers: Mapping[str, str]) -> None:
        """The head of a reply, names in lower case."""
        told = http_date(headers.get("date", ""))
        if told is None or not _is_fresh(headers.get("age", "0")):
            return
        ahead = told - self._steady()
        believed, doubted_for = self._ahead, self._doubted_for
        if believed is None or _agree(ahead, believed) or _agree(ahead, doubted_for):
            self._ahead, self._doubted_for = ahead, None
        else:
            self._doubted_for = ahead

    def time(self) -> float | None:
        """Unix seconds; None while no reply has told."""
        return None if self._ahead is None else self._steady() + self._ahead


@lru_cache(maxsize=64)
def http_date(text: str) -> float | None:
    """Unix seconds of a time as HTTP writes it; most replies of a second write the same."""
    try:
        return parsedate_to_datetime(text[:_LONGEST_HEADER]).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _agree(one: float, other: float | None) -> bool:
    return other is not None and abs(one - other) <= _AGREE_S


def _is_fresh(age: str) -> bool:
    return age.isdecimal() and float(age[:_LONGEST_HEADER]) <= _FRESH_S
