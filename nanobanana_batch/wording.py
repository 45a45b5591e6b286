"""How a text, a number, a length of time or an amount of money is told to people: in one way everywhere.

Nothing is decided by what is written here. That a text from elsewhere does no harm on a screen is another
matter: `visible`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

_LONGEST_SHOWN = 80
_LONGEST_COMPARED = 200
_ALIKE = 0.7
_DAY_S = 86400.0
_SENSIBLE_S = 31 * _DAY_S
_SMALLEST_USD = 0.0001


def shown(value: str) -> str:
    """A value in quotes for a message: one line, and not longer than helps."""
    return repr(value if len(value) <= _LONGEST_SHOWN else value[: _LONGEST_SHOWN - 3] + "...")


def said(value: object) -> str:
    """What a person gave, for a message."""
    if isinstance(value, str):
        return shown(value)
    return "nothing" if value is None else "a list" if isinstance(value, list) else "a mapping"


def closest(word: str, allowed: Iterable[str]) -> str:
    """The allowed word that this one was probably meant to be, or nothing."""
    folded = {name.casefold(): name for name in allowed}
    key = word.strip().casefold()
    if key in folded:
        return folded[key]
    import difflib

    found = difflib.get_close_matches(key[:_LONGEST_COMPARED], folded, 1, _ALIKE) if len(key) > 2 else []
    return folded[found[0]] if found else ""


def did_you_mean(word: str | None) -> str:
    """A hint with the word that was probably meant; empty without one."""
    return f"Did you mean {word!r}?" if word else ""


def cut(text: str, width: int) -> str:
    """A text in one line, and no wider than that."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def counted(count: int, noun: str) -> str:
    """A number with its noun: 1 row, 2 rows."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def untold_text(requests: int) -> str:
    """Behind a sum of credits: of how many paid requests nobody has said what they cost; else nothing."""
    return f"; the provider does not say what {counted(requests, 'request')} cost" if requests else ""


def and_more(count: int) -> str:
    """How many were left out, behind the names of those that were not; empty if none were."""
    return f" and {count:,} more" if count > 0 else ""


def in_short(names: Sequence[str], most: int, of: int | None = None) -> str:
    """The first names, and how many more there are: of these, or of so many that only some are known of."""
    told = names[:most]
    more = (len(names) if of is None else of) - len(told)
    return ", ".join([*told, *([f"and {more:,} more"] if told and more > 0 else [])])


def amount(number: float) -> str:
    """A number as a person writes it: 19,920 or 0.25."""
    return f"{number:,.2f}".rstrip("0").rstrip(".") if abs(number) >= 1 else f"{number:.3g}"


def bytes_text(size: int) -> str:
    """An amount of bytes: 812 bytes, 43 kB, 1.2 MB."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:.0f} kB" if size < 1_000_000 else f"{size / 1e6:,.1f} MB"


def money_text(credits: float, credits_per_usd: float | None) -> str:
    """What credits cost, such as `$12.40` or `$0.094`; empty where that is not known."""
    if credits_per_usd is None:
        return ""
    usd = credits / credits_per_usd
    if abs(usd) >= 1 or usd == 0:
        return f"${usd:,.2f}" if usd else "$0"
    if abs(usd) < _SMALLEST_USD:
        return f"under ${_SMALLEST_USD}"
    return f"${usd:.3g}"


def priced(credits: float, credits_per_usd: float | None) -> str:
    """An amount of credits, and of money where that is known: 680 credits, $10.00."""
    return ", ".join(filter(None, [f"{amount(credits)} credits", money_text(credits, credits_per_usd)]))


def with_money(told: str, credits: float, credits_per_usd: float | None) -> str:
    """What is told of credits, with the money in brackets where that is known: 96 credits ($1.41)."""
    money = money_text(credits, credits_per_usd)
    return f"{told} ({money})" if money else told


def duration_text(seconds: float) -> str:
    """A length of time as a person says it: 45 s, 12 min, 7 h 58 min."""
    minutes = round(max(seconds, 0.0) / 60)
    if minutes < 2:
        return f"{max(seconds, 0.0):.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def rough_duration_text(seconds: float) -> str:
    """The same where nobody cares about hours: from a day and a half on in whole days."""
    days = math.floor(seconds / _DAY_S + 0.5)
    return f"{days:,} days" if days > 1 else duration_text(seconds)


def time_text(now_s: float, in_s: float) -> str:
    """The time of day in so many seconds (`now_s` in Unix seconds); empty where nobody can mean that."""
    from datetime import datetime

    try:
        at = datetime.fromtimestamp(now_s + in_s)
    except (ValueError, OverflowError, OSError):
        return ""
    return at.strftime("%Y-%m-%d %H:%M") if in_s <= _SENSIBLE_S else ""


def clock_text(at_s: float, now_s: float, *, seconds: bool = False) -> str:
    """A moment (Unix seconds) as a clock on this machine shows it: 03:12, on another day Sat 03:12.

    Further off than six days with its date; `?` where no clock shows it.
    """
    from datetime import datetime

    try:
        at, now = datetime.fromtimestamp(at_s), datetime.fromtimestamp(now_s)
    except (ValueError, OverflowError, OSError):
        return "?"
    time = "%H:%M:%S" if seconds else "%H:%M"
    if at.date() == now.date():
        return at.strftime(time)
    return at.strftime(f"%a {time}" if abs(at_s - now_s) < 6 * 86400 else f"%Y-%m-%d {time}")
