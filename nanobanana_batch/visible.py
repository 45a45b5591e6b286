"""Text from elsewhere as it can be shown: nothing in it moves a cursor, or turns round what is read.

Messages of a provider, of a folder, of a file's name may hold escape sequences of a terminal, and marks that
let a line be read from right to left. They are written as JSON would, so that JSON stays JSON.
"""

from __future__ import annotations

import re
import unicodedata

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # directions
    "\u00ad\u200b\u2060-\u2065"  # without width: two names could look like one
    "\u2028\u2029\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"  # other line ends, and what is never seen
)


_PERHAPS_MARKS = re.compile(r"[^\w\x00-\x7f]{9,}")
_MARKS_IN_A_ROW = 8
"""More than any script has on one letter; a heap of them runs over the lines above."""


def visible(text: str) -> str:
    """The text with `\\u001b` in the place of what is not seen but does something.

    The joiners of emoji, of Persian and of Indian scripts (U+200C, U+200D) stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return _PERHAPS_MARKS.sub(_without_heaps, _UNSEEN.sub(_escape, text))


def visible_line(text: str) -> str:
    """The same in one line, so that it cannot be taken for a line of ours."""
    return visible(" ".join(text.split()))


def _without_heaps(found: re.Match[str]) -> str:
    kept, marks = [], 0
    for char in found[0]:
        marks = marks + 1 if unicodedata.category(char).startswith("M") else 0
        kept.append(char if marks <= _MARKS_IN_A_ROW else _escaped(char))
    return "".join(kept)


def _escape(found: re.Match[str]) -> str:
    return _escaped(found[0])


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
