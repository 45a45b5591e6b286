"""What the sections of the page are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from nanobanana_batch.reports.markup import Markup, tag
from nanobanana_batch.wording import bytes_text

Cell = str | Markup


def section(title: str, *children: Cell | Iterable[Markup] | None) -> Markup:
    """With its heading."""
    return tag("section", tag("h2", title), *children)


def notice(kind: str, said: str) -> Markup:
    """Something that has to be known before the numbers are read."""
    return tag("p", said, class_=f"notice {kind}")


def note(said: str) -> Markup:
    """How something is to be read."""
    return tag("p", said, class_="note")


def good(said: str) -> Markup:
    """There is nothing to worry about."""
    return tag("p", said, class_="good")


def figure(*children: Cell) -> Markup:
    """A chart, with what explains it."""
    return tag("figure", *children)


def figures(found: Iterable[tuple[str, str, str]]) -> Markup:
    """Large numbers: each with what it counts, and a word more."""
    return tag(
        "dl",
        (
            tag("div", tag("dt", what), tag("dd", number, tag("small", more) if more else None))
            for number, what, more in found
        ),
        class_="figures",
    )


def legend(found: Iterable[tuple[str, str]]) -> Markup:
    """Names, each with its colour."""
    return tag("ul", (tag("li", _swatch(style), tag("bdi", name)) for name, style in found), class_="legend")


def _swatch(style: str) -> Markup:
    shape = tag("rect", width=10, height=10, rx=2, class_=style)
    return tag("svg", shape, viewBox="0 0 10 10", class_="swatch", aria_hidden="true")


def details(summary: str, *children: Cell) -> Markup:
    """What is looked at by who wants to know."""
    return tag("details", tag("summary", summary), *children)


def tables(
    header: Sequence[Cell],
    rows: Iterable[Sequence[Cell]],
    *,
    numbers: Collection[int] = (),
    last: Sequence[Cell] | None = None,
    style: str | None = None,
) -> Markup:
    """A table; `numbers` are the columns that hold some, `last` is its sum."""

    def line(cells: Sequence[Cell], name: str = "td") -> Markup:
        return tag(
            "tr",
            (tag(name, cell, class_="n" if place in numbers else None) for place, cell in enumerate(cells)),
        )

    body = tag("tbody", map(line, rows))
    foot = tag("tfoot", line(last)) if last is not None else None
    return tag(
        "div", tag("table", tag("thead", line(header, "th")), body, foot, class_=style), class_="scroll"
    )


def share(part: float, whole: float) -> str:
    """Of a hundred: 3.2 %; empty where there is nothing to share."""
    if not whole:
        return ""
    percent = 100 * part / whole
    if part and percent < 0.1:
        return "under 0.1 %"
    if percent > 99.9 and part < whole:
        return "over 99.9 %"
    return f"{percent:.1f} %" if percent < 10 and part else f"{percent:.0f} %"


def size_text(size: int) -> str:
    """An amount of bytes; of a whole run it may be many."""
    return bytes_text(size) if size < 1_000_000_000 else f"{size / 1e9:,.1f} GB"


def meter(part: float, least: float = 0.0) -> Markup:
    """A share as a bar, with a mark for the least that it may be."""
    return tag(
        "svg",
        tag("rect", x=0, y=0, width=100, height=8, rx=2, class_="lane"),
        tag("rect", x=0, y=0, width=max(100 * part, 0.5), height=8, rx=2, class_="s-refused"),
        tag("rect", x=max(100 * least - 0.75, 0.0), y=-1, width=1.5, height=10, class_="least")
        if least
        else None,
        viewBox="0 -1 100 10",
        class_="meter",
        aria_hidden="true",
    )
