"""A prompt in any script can be shown: what the built-in font lacks is named, never drawn as empty boxes."""

from __future__ import annotations

import textwrap
import threading
import unicodedata
from functools import lru_cache
from itertools import groupby
from typing import Any

from PIL import ImageFont

_MISSING = "\ufffe"
_EAST_ASIAN = ("HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH")


def font(size: int) -> Any:
    return _font(size, threading.get_ident())  # FreeType faces are not shared between threads


@lru_cache(maxsize=64)
def _font(size: int, thread: int) -> Any:
    return ImageFont.load_default(size=size)


def drawable(text: str) -> str:
    """Letters that the font has; accents dropped before a letter is; other scripts as `[CJK x 12]`."""
    if text.isascii():
        return " ".join(text.split())
    characters = "".join(_closest(one) for one in unicodedata.normalize("NFC", " ".join(text.split())))
    pieces = []
    for script, run in groupby(characters, key=_script):
        piece = "".join(run)
        pieces.append(f"[{script} x {len(piece)}]" if script else piece)
    return "".join(pieces)


def wrapped(text: str, face: Any, width: float, max_lines: int) -> list[str]:
    if max_lines < 1:
        return []
    average = face.getlength(text[:200]) / max(len(text[:200]), 1)
    columns = max(4, int(width / (average * 1.06)))
    return textwrap.wrap(text, columns, max_lines=max_lines, placeholder=" ...") or [""]


def _closest(character: str) -> str:
    if _has(character):
        return character
    base = unicodedata.normalize("NFKD", character)
    base = "".join(one for one in base if not unicodedata.combining(one))
    return base if base and all(_has(one) for one in base) else character


def _script(character: str) -> str:
    """Empty for what can be drawn."""
    if _has(character):
        return ""
    name = unicodedata.name(character, "OTHER").split()[0].split("-")[0]
    return "CJK" if name in _EAST_ASIAN else name


@lru_cache(maxsize=4096)
def _has(character: str) -> bool:
    if character.isascii():
        return True
    return _shape(character) != _shape(_MISSING)


def _shape(character: str) -> tuple[Any, bytes]:
    mask = font(24).getmask(character)
    return mask.size, bytes(mask)
