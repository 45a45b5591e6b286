"""A template only ever inserts text: no attributes, no formats, no code from a manifest.

`{name}` is replaced by the value of that name, `{{` and `}}` are braces, a lone brace is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

_PIECES = re.compile(r"(\{\{|\}\}|\{[^{}]*\}|[{}])")

Value = str | tuple[str, ...]
"""What a name stands for; several values are only possible for `images`."""


class TemplateFault(Exception):
    """The template cannot be read."""


class Template:
    """Literal pieces with names between them."""

    __slots__ = ("_pieces", "_slots", "names")

    def __init__(self, text: str) -> None:
        self._pieces: list[str] = []
        self._slots: list[tuple[int, str]] = []
        for piece in _PIECES.split(text):
            if piece in ("{", "}"):
                raise TemplateFault(f"a lone {piece!r} in a template; write {piece * 2!r} for a brace")
            if piece in ("{{", "}}"):
                self._pieces.append(piece[0])
            elif piece.startswith("{"):
                self._slot(piece[1:-1].strip())
            else:
                self._pieces.append(piece)
        self.names = tuple(dict.fromkeys(name for _, name in self._slots))

    def _slot(self, name: str) -> None:
        if not name:
            raise TemplateFault("'{}' names no variable; write '{name}', or '{{}}' for braces")
        self._slots.append((len(self._pieces), name))
        self._pieces.append("")

    def render(self, values: Mapping[str, Value]) -> str:
        """The text with every name replaced; `KeyError` with the name that has no value."""
        if not self._slots:
            return "".join(self._pieces)
        pieces = self._pieces.copy()
        for index, name in self._slots:
            pieces[index] = as_text(values[name])
        return "".join(pieces)


@lru_cache(maxsize=1024)
def compiled(text: str) -> Template:
    """The template of this text; raises `TemplateFault`."""
    return Template(text)


def as_text(value: Value) -> str:
    """A value as it stands in a text."""
    return value if isinstance(value, str) else " ".join(value)
