"""What a terminal can show: how wide it is, and whether it has colours; nothing is assumed of a pipe."""

from __future__ import annotations

import os
import re
import textwrap
from typing import TextIO

import click

_COMMAND = re.compile("`[^`]*`")
_LABELS = re.compile(r"\s*(?:\S+\s{2,}){0,2}")
"""What a line begins with before its text: its indent, and names that stand in columns of their own."""
_DEEPEST = 30
_NARROWEST = 20
_PAINT = (
    (re.compile(r"^nanobanana-batch:"), "red"),
    (re.compile(r"^(?:warning:|  warning\b)"), "yellow"),
    (re.compile(r"^ok\b(?=  )"), "green"),
    (re.compile(r"^note\b(?=  )"), "yellow"),
    (re.compile(r"^problem\b(?=  )"), "red"),
    (re.compile(r"^  budget(?=  )"), "red"),
    (re.compile(r"^(?:Everything is explained|All is well)\.$"), "green"),
    (re.compile(r"^([\d,]+) of \1 rows? completed\.$"), "green"),
    (re.compile(r"^[\d,]+ of [\d,]+ rows? completed\b.*$"), "yellow"),
    (re.compile(r"^[\d,]+ (?:findings?|problems?)\.$"), "red"),
)


class Verbatim(str):
    """A text that is shown as it is: for programs, or to be pasted."""

    __slots__ = ()


def width_of(stream: TextIO) -> int | None:
    """Characters in a line, as COLUMNS says or the terminal; None where there is neither."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns):
        return int(columns)
    try:
        return (os.get_terminal_size(stream.fileno()).columns or None) if stream.isatty() else None
    except (OSError, ValueError):
        return None


def has_colours(stream: TextIO) -> bool:
    """As most programs have it: NO_COLOR goes before FORCE_COLOR, and that before what a terminal can do."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    except ValueError:
        return False


def wrapped(text: str, width: int | None) -> str:
    """Lines that are too long, broken at words; a command, a path and a row of a table stay in one piece."""
    if width is None:
        return text
    return "\n".join(line if len(line) <= width else _folded(line, width) for line in text.split("\n"))


def _folded(line: str, width: int) -> str:
    begin = _LABELS.match(line)
    indent = len(begin[0]) if begin else 0
    if indent > _DEEPEST or width - indent < _NARROWEST or "  " in line[indent:].rstrip():
        return line  # of a table, which would be no easier to read
    lines = textwrap.wrap(
        _COMMAND.sub(lambda found: found[0].replace(" ", "\0"), line[indent:]),
        width,
        initial_indent=line[:indent],
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\0", " ")


def painted(text: str) -> str:
    """What is good is green, what needs a look yellow, what is wrong red; all of it is said in words, too."""
    return "\n".join(map(_painted_line, text.split("\n")))


def _painted_line(line: str) -> str:
    for pattern, colour in _PAINT:
        if found := pattern.match(line):
            return click.style(found[0], fg=colour) + line[found.end() :]
    return line
