"""The section about what a provider refuses: by words, by values, by cells of the matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby

from nanobanana_batch.reports.markup import Markup, named, tag
from nanobanana_batch.reports.parts import Cell, good, meter, note, section, share, tables
from nanobanana_batch.reports.refusals import Count, OfPair, OfValue, OfWord
from nanobanana_batch.reports.value import Report
from nanobanana_batch.wording import counted, cut

_LONGEST_VALUE = 60
_WORDS_TOLD = 8
_DEPTHS = 6


def refusals_section(report: Report) -> Markup:
    """Which rows are refused, and what they have in common."""
    found = report.refusals
    title = "What is refused"
    if not found.all.refused:
        return section(title, good("No row of the manifest is."))
    words = (
        f"{found.all.refused:,} of {counted(found.all.rows, 'row')} that were made or refused, which is"
        f" {share(found.all.refused, found.all.rows)}. “At least” is what chance leaves of a share (the lower"
        " end of Wilson's interval, 95 %); few rows leave little. Of many words and values some stand out by"
        " chance alone, and what stands out need not be why."
    )
    return section(title, note(words), _words(found.words), _values(report), _pairs(report))


def _words(found: tuple[OfWord, ...]) -> Markup:
    if not found:
        return note("No word of the prompts is refused clearly more often than all others.")
    rows = (
        (
            _flagged(" · ".join(one.words[:_WORDS_TOLD]), one.count, is_high=False),
            f"{one.count.refused:,} of {one.count.rows:,}",
            meter(one.count.share, one.count.at_least),
            share(one.count.refused, one.count.rows),
            share(one.count.at_least, 1),
            share(one.others.refused, one.others.rows),
        )
        for one in found
    )
    return tag(
        "div",
        tag("h3", "Words in prompts that are refused more often than others"),
        tables(("word", "refused", "", "share", "at least", "without it"), rows, numbers=(1, 3, 4, 5)),
        note("Words in one line are always together: which of them it is cannot be told.")
        if any(len(one.words) > 1 for one in found)
        else None,
    )


def _flagged(value: str, count: Count, *, is_high: bool) -> Markup:
    """With a word on how it is to be taken."""
    said = "few rows" if count.is_few else "often" if is_high else ""
    flag = tag("span", said, class_=f"flag {'high' if said == 'often' else 'few'}") if said else None
    return tag("span", named(value), " " if flag else None, flag)


def _values(report: Report) -> Markup | None:
    found = report.refusals.values
    if not found:
        return None

    def rows(values: Iterable[OfValue]) -> Iterable[tuple[Cell, ...]]:
        for one in values:
            yield (
                _flagged(cut(one.value, _LONGEST_VALUE) or "(empty)", one.count, is_high=one.is_high),
                f"{one.count.refused:,} of {one.count.rows:,}",
                meter(one.count.share, one.count.at_least),
                share(one.count.refused, one.count.rows),
                share(one.count.at_least, 1),
            )

    parts = [
        tag(
            "div",
            tag("h4", named(variable)),
            tables(("value", "refused", "", "share", "at least"), rows(values), numbers=(1, 3, 4)),
        )
        for variable, values in groupby(found, key=lambda one: one.variable)
    ]
    return tag(
        "div",
        tag("h3", "By the value of each variable"),
        tag("div", parts, class_="columns"),
        class_="values",
    )


def _pairs(report: Report) -> Markup | None:
    pairs, left = report.refusals.pairs, report.refusals.left_out
    if not pairs and not left:
        return None
    drawn = [
        tag("details", tag("summary", named(one.rows), " by ", named(one.columns)), _grid(one), open=opened)
        for one, opened in zip(pairs, ["", *[None] * len(pairs)], strict=False)
    ]
    more = f"Left out, since there are too many values: {', '.join(left)}." if left else None
    return tag(
        "div",
        tag("h3", "By cell of the matrix"),
        note("Refused of all that were made or refused; tables in which cells differ most come first."),
        drawn,
        note(more) if more else None,
    )


def _grid(pair: OfPair) -> Markup:
    head = tag(
        "tr",
        tag("th", tag("span", named(pair.rows), " ↓  ", named(pair.columns), " →", class_="corner")),
        (tag("th", named(cut(value, 28) or "(empty)"), scope="col") for value in pair.column_values),
    )
    body = (
        tag("tr", tag("th", named(cut(value, 40) or "(empty)"), scope="row"), map(_cell, cells))
        for value, cells in zip(pair.row_values, pair.cells, strict=True)
    )
    table = tag("table", tag("thead", head), tag("tbody", body), class_="heat")
    return tag("div", table, class_="scroll")


def _cell(count: Count | None) -> Markup:
    if count is None:
        return tag("td", "-", class_="none")
    depth = math.ceil(count.share * (_DEPTHS - 1)) if count.refused else 0
    return tag(
        "td",
        f"{count.refused:,}/{count.rows:,}",
        class_=f"h{depth}",
        title=f"{share(count.refused, count.rows)}, at least {share(count.at_least, 1)}",
    )
