"""Texts of strangers in Markdown: they are words there, and no markup, link or picture."""

from __future__ import annotations

import re

from nanobanana_batch.visible import visible_line
from nanobanana_batch.wording import cut

_MEANT = re.compile(r"([\\`*_\[\]|~$])")
_MOST = 200


def plain(text: str, most: int = _MOST) -> str:
    """A text in one line as Markdown shows it, and no longer than helps."""
    told = cut(visible_line(text), most).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    told = _MEANT.sub(r"\\\1", told)
    return told.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


def code(text: str) -> str:
    """A name in letters of one width."""
    return f"`{cut(visible_line(text), _MOST).replace('`', chr(39))}`"


def table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    """The lines of a table; cells that are texts of strangers are `plain` already."""
    lines = [header, tuple("---" for _ in header), *rows]
    return [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]
