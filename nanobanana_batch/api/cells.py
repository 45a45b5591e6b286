"""What a cell of rows that come from Python may hold: what a line of JSON can say of it.

numpy and pandas are known by what they have made: who brings such a value has imported them.
"""

from __future__ import annotations

import math
import os
import sys
from typing import Any

Plain = str | int | float | bool | list[str] | None
"""None: an empty cell."""
_MOST_BITS = 1024
"""Of a whole number; more than the largest float has. Python writes none out that is very large."""
_MISSING = frozenset({"NAType", "NaTType"})


class NoCell(ValueError):
    """This can be no cell; says why, and what to do."""


def plain(value: Any) -> Plain:
    """The value of a cell as JSON knows it.

    Raises:
        NoCell: it is no text, number, truth, file name or list of texts.
    """
    if value is None or type(value).__name__ in _MISSING:
        return None
    if isinstance(value, str):
        return _sound(str.__str__(value))  # of an enumeration of texts the text, not its name
    if isinstance(value, bool | int):
        return _of_bounded_size(value)
    if isinstance(value, float) and type(value) is float:
        return _number(value, value)
    if isinstance(value, os.PathLike):
        return _sound(str(os.fspath(value)))
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return _of_numpy(value, numpy)
    if numpy is not None and isinstance(value, numpy.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return _texts(value)
    raise _no_cell(value)


def _of_numpy(value: Any, numpy: Any) -> Plain:
    """By its own text: a float32 of 0.1 is 0.1, as a table would have it, and not 0.10000000149011612."""
    if isinstance(value, numpy.bool_):
        return bool(value)
    if isinstance(value, numpy.integer):
        return int(value)
    if isinstance(value, numpy.floating):
        return _number(float(value), str(value))
    raise _no_cell(value)


def _of_bounded_size(value: int) -> int:
    if value.bit_length() > _MOST_BITS:
        raise NoCell("a number of so many digits is none that a provider knows")
    return value


def _number(value: float, said: Plain) -> Plain:
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise NoCell("an infinite number is none that a provider knows")
    return said


def _texts(values: Any) -> list[str]:
    found = [plain(value) if isinstance(value, str | os.PathLike) else None for value in values]
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < len(values):
        raise NoCell("a list has texts in it, or names of files, and nothing else")
    return texts


def _sound(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NoCell(f"half of a character stands in it ({text[error.start]!r}); remove it") from error
    return text


def _no_cell(value: object) -> NoCell:
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return NoCell(f"a {name} is no text, number, true or false; make a text of it, as str(...) does")
