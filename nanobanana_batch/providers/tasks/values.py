"""What may be believed of one value in a reply: a number, a text, an id, a link, a time.

What makes no sense is None: a reckoning with it would be wrong without a word.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from nanobanana_batch.providers.watch import REMOVED, without_links

LONGEST_TEXT = 2000
_LONGEST_ID = 255
_PLAIN_ID = re.compile(rf"[\w-]{{1,{_LONGEST_ID}}}", re.ASCII)
"""Of an id that is beyond doubt at sight, as nearly all are."""
_LONGEST_LINK = 16384
_MOST_CREDITS = 1e9
_LONGEST_ESTIMATE_S = 86400.0
_MILLISECONDS_FROM = 1e11
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_DEEPEST_SHAPE = 3
_MOST_NAMES = 12


def as_object(value: object) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_number(value: object) -> float | None:
    """A finite number; one that was written as text (`"2.5"`) is as good."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_credits(value: object) -> float | None:
    """An amount that one task can have cost."""
    return _within(as_number(value), _MOST_CREDITS)


def as_estimate_s(value: object) -> float | None:
    """Seconds that one task may be expected to take."""
    return _within(as_number(value), _LONGEST_ESTIMATE_S)


def _within(number: float | None, most: float) -> float | None:
    return number if number is not None and 0 <= number <= most else None


def as_unix_s(value: object) -> float | None:
    """Unix seconds of a time as Unix seconds or milliseconds, or as ISO text."""
    number = as_number(value)
    if number is None and isinstance(value, str):
        number = _iso_unix_s(value)
    if number is None or number <= 0:
        return None
    return number / 1000 if number >= _MILLISECONDS_FROM else number


def _iso_unix_s(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def as_id(value: object) -> str | None:
    """An id as text, as it came; none that could lead to another address, or that has lost a part."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 < value < 1 << 128 else None
    if isinstance(value, str) and _PLAIN_ID.fullmatch(value):
        return value
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_ID:
        return None
    leads_elsewhere = {".", ".."} & set(re.split(r"[/\\]", value))
    is_whole = value.isprintable() and REMOVED not in value
    return value if is_whole and not leads_elsewhere else None


def in_path(id_: str) -> str:
    """An id as one segment of a path, whatever it is made of."""
    quoted = quote(id_, safe="")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted  # one that a state names, say


def as_link(value: object) -> str | None:
    """A link that can be opened: http(s), with a host, of a length that a server may sign."""
    link = value.strip() if isinstance(value, str) else ""
    if not re.match(r"(?i)https?://[^\s/?#]", link) or len(link) > _LONGEST_LINK or not link.isprintable():
        return None
    try:
        parts = urlsplit(link)
        is_one = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return link if is_one and not re.search(r"[\s<>\"]", parts.netloc) else None


def as_line(value: object, longest: int = LONGEST_TEXT) -> str:
    """What a reply says as one line that can be shown and stored, links cut down to their hosts.

    JSON may hold halves of surrogate pairs, which UTF-8 cannot, and anything that moves a cursor.
    """
    text = as_text(value, 4 * LONGEST_TEXT).encode("utf-8", "replace").decode()
    shown = "".join(char if char.isprintable() else " " for char in without_links(text))
    return cut(" ".join(shown.split()), longest)


def cut(line: str, longest: int) -> str:
    """The beginning of a line that is too long."""
    return line if len(line) <= longest else line[:longest] + " [...]"


def as_text(value: object, longest: int) -> str:
    """The beginning of a text, or of a value as JSON, of which no more is written out."""
    if isinstance(value, str):
        return value[:longest]
    text = ""
    try:
        for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
            text += piece[:longest]
            if len(text) >= longest:
                break
    except (ValueError, TypeError, RecursionError):
        return type(value).__name__
    return text[:longest]


def shape(value: object, depth: int = 0) -> str:
    """How a value is built, without what is in it: that may be a link, a prompt or an image."""
    if isinstance(value, dict):
        names = [as_line(name, 30) for name in list(value)[:_MOST_NAMES]]
        return "{" + ", ".join([*names, *(["..."] if len(value) > _MOST_NAMES else [])]) + "}"
    if isinstance(value, list):
        inner = f" x {shape(value[0], depth + 1)}" if value and depth < _DEEPEST_SHAPE else ""
        return f"list of {len(value)}{inner}"
    if isinstance(value, str):
        return "text" if value else "empty text"
    return "null" if value is None else "true or false" if isinstance(value, bool) else "number"
