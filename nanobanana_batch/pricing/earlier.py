"""What this user has paid in earlier folders: a small file, by which the plan of a new folder knows prices.

It is for estimates only. A file that cannot be used is as if it were not there, and one that cannot be
written is not. Only prices of providers that take money are kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nanobanana_batch.errors import NoPriceList
from nanobanana_batch.pricing.user_file import own_text, replace_whole, user_file

_WHAT = "nanobanana-batch prices that were paid"
_VERSION = 1
_MAX_BYTES = 4 << 20
_MOST_ENTRIES = 1000
_MOST_CHARS = 1000
_USELESS = (OSError, NoPriceList, ValueError, TypeError, KeyError, AttributeError, RecursionError)

Kind = tuple[str | int | None, ...]
"""Requests that cost the same, as whoever asks tells them apart."""


@dataclass(frozen=True, slots=True)
class Paid:
    """What one such request has cost at most, in credits, and the day of the last run that said so."""

    credits: float
    day: str


def earlier_prices(provider: str) -> Mapping[Kind, Paid]:
    """Those of one provider, by its name in states; empty where nothing usable is kept."""
    return {kind: paid for (name, kind), paid in _kept().items() if name == provider}


def remember_prices(provider: str, prices: Mapping[Any, float]) -> None:
    """Keep what a folder's replies said, beside what others said; the oldest are forgotten first."""
    file = _file()
    if file is None or not prices:
        return
    today = datetime.now(UTC).date().isoformat()
    kept = _kept() | {(provider, tuple(kind)): Paid(credits, today) for kind, credits in prices.items()}
    latest = sorted(kept.items(), key=lambda entry: entry[1].day)[-_MOST_ENTRIES:]
    entries = [[name, list(kind), paid.credits, paid.day] for (name, kind), paid in latest]
    try:
        told = {"what": _WHAT, "version": _VERSION, "paid": [one for one in entries if _is_short(one)]}
        replace_whole(file, json.dumps(told, indent=0).encode())
    except (OSError, ValueError):
        return


def _file() -> Any:
    return user_file("XDG_STATE_HOME", ".local/state", "prices-paid.json")


def _kept() -> dict[tuple[str, Kind], Paid]:
    file = _file()
    if file is None:
        return {}
    try:
        found = json.loads(own_text(file, _MAX_BYTES))
        if (found["what"], found["version"]) != (_WHAT, _VERSION):
            return {}
        return dict(_entry(*entry) for entry in found["paid"])
    except _USELESS:
        return {}


def _entry(provider: str, kind: list[Any], credits: Any, day: str) -> tuple[tuple[str, Kind], Paid]:
    number = float(credits)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{number} is no amount")
    return (str(provider), tuple(kind)), Paid(number, datetime.fromisoformat(day).date().isoformat())


def _is_short(entry: list[Any]) -> bool:
    return len(json.dumps(entry)) <= _MOST_CHARS
