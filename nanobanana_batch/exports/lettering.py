"""Captions in pictures: wrapped to a width, in the fonts that this machine has."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "LiberationSans-Regular.ttf",
    "arial.ttf",
)
_EAST_ASIAN = ("NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "PingFang.ttc", "msgothic.ttc", "simsun.ttc")
_MOST_READ = 1000


def wrapped(text: str, size: int, width: int, most_lines: int) -> list[str]:
    """The text in lines that are no wider; what does not fit ends with `…`."""
    font = font_for(text, size)
    lines, line = [], ""
    for word in text[:_MOST_READ].split():
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        while font.getlength(word) > width and len(lines) < most_lines:
            fitting = _fitting(word, font, width)
            lines.append(word[:fitting])
            word = word[fitting:]
        line = word
        if len(lines) >= most_lines:
            break
    lines.append(line)
    lines = [each for each in lines if each]
    if len(lines) <= most_lines and len(text) <= _MOST_READ:
        return lines
    last = lines[most_lines - 1] if len(lines) >= most_lines else lines[-1]
    while last and font.getlength(f"{last}…") > width:
        last = last[:-1]
    return [*lines[: most_lines - 1], f"{last}…"]


def font_for(text: str, size: int) -> FreeTypeFont:
    """One that most likely has all that is in the text."""
    return _font(size, any("\u2e80" <= char <= "\uffdc" for char in text[:_MOST_READ]))


@cache
def _font(size: int, is_east_asian: bool) -> FreeTypeFont:
    from PIL import ImageFont

    for name in (*(_EAST_ASIAN if is_east_asian else ()), *_FONTS):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont), "Pillow has one of its own"
    return found


def _fitting(word: str, font: FreeTypeFont, width: int) -> int:
    count = 1
    while count < len(word) and font.getlength(word[: count + 1]) <= width:
        count += 1
    return count
