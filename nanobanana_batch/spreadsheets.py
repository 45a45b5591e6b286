"""What a spreadsheet takes for a formula, and how a text is kept from being one.

A table of ours is opened in programs that reckon with whatever begins with `=`, and prompts, names and notes
come from anywhere.
"""

from __future__ import annotations

import re

_ENDS_A_PART = ";,\t\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
"""Where a spreadsheet may begin another cell, whatever it takes for the separator."""
_PASSED_OVER = (
    ' "\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f'
    "\u2000-\u200f\u202a-\u202f\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff"
)
"""Blanks, quotes, and what is never seen."""
_NUMBER = rf"\d{{1,20}}(?:\.\d{{1,20}})? {{0,9}}(?:[{_ENDS_A_PART}]|\Z)"
_PART = re.compile(f"[{_ENDS_A_PART}]")
_SIGN = (
    rf"(?=[{_PASSED_OVER}]*"
    rf"(?:[=+@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b]|-(?!{_NUMBER})))"
)
_BEGINS = rf"(?:\A|(?<=[{_ENDS_A_PART}]))"
_FORMULA = re.compile(rf"\A(?=[\t\r\n])|{_BEGINS}{_SIGN}", re.ASCII)
"""The beginning of what a spreadsheet takes for a formula; a plain negative number is none."""
_GUARDED = re.compile(rf"\A'++(?=[\t\r\n])|{_BEGINS}'++{_SIGN}", re.ASCII)
_TO_GUARD = re.compile(_GUARDED.pattern.replace("'++", "'*+"), re.ASCII)
"""With the apostrophes that stand before it already."""


def harmless(cell: object) -> object:
    """A text that no spreadsheet reckons with: an apostrophe in front says that it is one.

    It stands before every part of the text that would be a formula in a cell of its own, since a program
    whose separator is another than ours makes cells of the parts.
    """
    return _FORMULA.sub("'", cell) if isinstance(cell, str) else cell


def guarded(text: str) -> str:
    """The same for a text that is to be read back: `unguarded` gives just this text again."""
    if _PART.search(text) is None:  # and most have one part only
        return f"'{text}" if _TO_GUARD.match(text) else text
    return _TO_GUARD.sub(lambda found: f"'{found[0]}", text)


def unguarded(text: str) -> str:
    """What was written by `guarded`, or by a person who has put no apostrophe in front."""
    return _GUARDED.sub(lambda found: found[0][1:], text) if "'" in text else text
