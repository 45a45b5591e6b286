"""HTML and SVG as text of which nothing that comes from elsewhere can become a part: a text is a text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from nanobanana_batch.visible import visible


class Markup(str):
    """Is written as it stands; every other text is escaped."""

    __slots__ = ()


def text(value: str) -> Markup:
    """A text, with what is not seen but does something written out."""
    return Markup(escape(visible(value), quote=True))


def tag(name: str, *children: str | Markup | Iterable[Markup] | None, **attributes: object) -> Markup:
    """An element; `class_` is `class`, `_` in names is `-`, and what is None is left out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(visible(_value(value)), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{told}>{join(children)}</{name}>")


def join(children: Iterable[str | Markup | Iterable[Markup] | None]) -> Markup:
    """Side by side."""
    return Markup("".join(map(_child, children)))


def named(value: str) -> Markup:
    """A text from elsewhere beside ours: its direction is its own."""
    return tag("bdi", value)


def _child(child: str | Markup | Iterable[Markup] | None) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    return text(child) if isinstance(child, str) else join(child)


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
