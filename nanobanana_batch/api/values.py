"""What the value of an option may be; what it may not is told with the option's name."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real
from os import PathLike
from pathlib import Path

from nanobanana_batch.api.options import AnyPath
from nanobanana_batch.errors import UsageError
from nanobanana_batch.wording import closest

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_seconds(text: str) -> float:
    """A length of time such as `90s`, `30m`, `8h` or `2d`, in seconds.

    Raises:
        ValueError: the text is none.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)([smhd]?)", text.strip())
    if found is None or not float(found[1]):
        raise ValueError(f"{text!r} is no time such as 90s, 30m or 8h")
    return float(found[1]) * _UNITS_S[found[2]]


def known_names(given: Mapping[str, object], known: Collection[str], function: str) -> None:
    """Python itself does not look at the names of a TypedDict.

    Raises:
        TypeError: one of them is no option.
    """
    for name in given:
        if name not in known:
            near = closest(name, known)
            hint = f"; did you mean {near!r}?" if near else ""
            raise TypeError(f"{function}() has no option {name!r}{hint}")


def flag(name: str, value: object) -> bool | None:
    """True or false, also numpy's; what Python only takes for one (0, "no") could be meant either way.

    Raises:
        UsageError: it is neither.
    """
    if value is None or isinstance(value, bool):
        return value
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise UsageError(f"{name}: {value!r} is neither True nor False.")


def count(name: str, value: object, least: int = 1) -> int:
    """A whole number.

    Raises:
        UsageError: it is none, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise UsageError(f"{name}: {value!r} is no whole number from {least} on.")
    return int(value)


def positive(name: str, value: object) -> float:
    """A number above 0; a limit that is none (inf, nan) would be no limit at all.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise UsageError(f"{name}: {value!r} is no number above 0.")
    return float(value)


def seconds(name: str, value: object) -> float:
    """A length of time, as a number of seconds or in words.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, str):
        return positive(name, value)
    try:
        return read_seconds(value)
    except ValueError as error:
        raise UsageError(f"{name}: {error}.") from error


def one_of(name: str, value: object, choices: Collection[str]) -> str:
    """One of a few words.

    Raises:
        UsageError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise UsageError(f"{name}: {value!r} is none of {', '.join(choices)}.")
    return str(value)


def several_folders(given: AnyPath | Iterable[AnyPath]) -> tuple[Path, ...]:
    """One output folder, or several.

    Raises:
        UsageError: there is none.
    """
    found = (Path(given),) if isinstance(given, str | PathLike) else tuple(map(Path, given))
    if not found:
        raise UsageError("No output folder is named.")
    return found


def several_texts(given: str | Iterable[str]) -> tuple[str, ...]:
    """One text, which is not taken for its letters, or several."""
    return (given,) if isinstance(given, str) else tuple(given)
