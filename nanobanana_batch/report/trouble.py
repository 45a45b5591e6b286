"""The sections about what did not go well: refusals, retries, what is owed, and what held runs up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.report.charts import LANES
from nanobanana_batch.report.markup import Markup, named, tag
from nanobanana_batch.report.moments import moment
from nanobanana_batch.report.parts import Cell, details, meter, money, notice, section, share, tables
from nanobanana_batch.report.periods import What
from nanobanana_batch.report.refusals import Count, OfPair, OfValue, OfWord
from nanobanana_batch.report.value import Report
from nanobanana_batch.wording import amount, counted, cut, duration_text, rough_duration_text

_LONGEST_VALUE = 60
_PAIRS_OPEN = 1
_PERIODS_SHOWN = 100
_DEPTHS = 6


def refusals_section(report: Report) -> Markup:
    """Which rows are refused, and what they have in common."""
    found = report.refusals
    title = "What is refused"
    if not found.all.refused:
        return section(title, tag("p", "No row of the manifest is.", class_="good"))
    words = (
        f"{found.all.refused:,} of {counted(found.all.rows, 'row')} that were made or refused, which is"
        f" {share(found.all.refused, found.all.rows)}. “At least” is what chance leaves of a share (the lower end"
        " of Wilson's interval, 95 %); few rows leave little. With many words and values a few stand out by chance"
        " alone, and what stands out need not be why."
    )
    return section(
        title, tag("p", words, class_="note"), _words(found.words), _values(report), _pairs(report)
    )


def _words(found: tuple[OfWord, ...]) -> Markup:
    if not found:
        return tag(
            "p", "No word of the prompts is refused clearly more often than all others.", class_="note"
        )
    rows = (
        (
            _flagged(" · ".join(one.words[:8]), one.count, is_high=False),
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
        tag("p", "Words in one line are always together: which of them it is cannot be told.", class_="note")
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

    def rows(values: Iterator[OfValue]) -> Iterator[tuple[Cell, ...]]:
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
        tag("details", tag("summary", named(one.rows), " by ", named(one.columns)), _grid(one),
            **({"open": ""} if number < _PAIRS_OPEN else {}))
        for number, one in enumerate(pairs)
    ]  # fmt: skip
    more = f"Left out, since there are too many values: {', '.join(left)}." if left else None
    return tag(
        "div",
        tag("h3", "By cell of the matrix"),
        tag("p", "Refused of all that were made or refused; tables in which cells differ most come first.", class_="note"),
        drawn,
        tag("p", more, class_="note") if more else None,
    )  # fmt: skip


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
        return tag("td", "–", class_="none")
    depth = math.ceil(count.share * (_DEPTHS - 1)) if count.refused else 0
    return tag(
        "td",
        f"{count.refused:,}/{count.rows:,}",
        class_=f"h{depth}",
        title=f"{share(count.refused, count.rows)}, at least {share(count.at_least, 1)}",
    )


def retries_section(report: Report) -> Markup:
    """Rows that needed more than one request."""
    sums, title = report.sums, "Retries, and what they cost"
    if not sums.further:
        return section(title, tag("p", "No row had more than one request.", class_="good"))
    earlier = sum(one.credits for one in report.again)
    usd = money(sums.further_credits, report.credits_per_usd)
    paid = f"{amount(sums.further_credits)} credits{f' ({usd})' if usd else ''}"
    words = (
        f"{counted(sums.rows_tried_again, 'row')} had more than one request: {sums.further:,} further"
        f" {'one' if sums.further == 1 else 'ones'}, of which {sums.further_completed:,} made an image. The further ones"
        f" cost {paid}; those before them cost {amount(earlier)} that were not given back."
    )
    rows = (
        (
            named(one.code),
            f"{one.requests:,}",
            f"{one.completed:,}",
            share(one.completed, one.requests),
            amount(one.credits),
        )
        for one in report.again
    )
    return section(
        title,
        tag("p", words, class_="note"),
        tables(
            ("ended before with", "requests", "row has its image now", "", "credits lost by it"),
            rows,
            numbers=range(1, 5),
        ),
    )


_OWED = (
    ("running", "paid, and not here yet", "a run or `audit --repair` fetches it"),
    ("unknown", "may have been paid: no answer came", "looked for by every run; then `retry --only unknown`"),
    ("resent", "sent again: the earlier sending may have been paid too", "look in your account"),
    ("expired", "paid, and its links died before it was fetched", "`retry --only expired` pays again"),
    ("lost", "saved images whose file is gone", "a run or `audit --repair` fetches them again"),
    ("given_up", "given up by you, paid", "look in your account"),
    ("given_up_unknown", "given up by you, may have been paid", "look in your account"),
    ("charged", "failed or refused, and charged all the same", "ask the provider"),
)


def owed_section(report: Report) -> Markup:
    """What is, or may be, paid for without an image to show for it."""
    title = "What was owed and never came"
    found = [(name, what, advice) for name, what, advice in _OWED if report.owed[name].requests]
    if not found:
        return section(
            title, tag("p", "Nothing: every request that was paid for has its image.", class_="good")
        )
    rows = [
        (
            what,
            f"{report.owed[name].requests:,}",
            amount(report.owed[name].credits) if report.owed[name].credits else "",
            _age(report, report.owed[name].since),
            advice.replace("`", ""),
        )
        for name, what, advice in found
    ]
    ids = tables(
        ("row", "stands", "task", "since", "credits"),
        (
            (
                named(cut(one.id, 80)),
                one.phase.value,
                named(one.task_id or ""),
                moment(one.since, "%Y-%m-%d %H:%M:%S"),
                "" if one.credits is None else amount(one.credits),
            )
            for _, one in report.waiting
        ),
        numbers=(4,),
    )
    commands = ", ".join(FolderCommands(one.folder).audit().strip("`") for one in report.folders[:3])
    return section(
        title,
        notice("live", "A run is at work: what is being made just now is among these.") if report.is_running else None,
        tables(("what", "requests", "credits", "oldest", "what to do"), rows, numbers=(1, 2)),
        details(f"The oldest {len(report.waiting)}", ids) if report.waiting else None,
        tag("p", "All of them, each with its row: ", tag("code", commands), class_="note"),
    )  # fmt: skip


def _age(report: Report, since: float | None) -> str:
    if since is None:
        return ""
    return f"{moment(since)} ({rough_duration_text(report.made_at - since)} ago)"


def periods_section(report: Report) -> Markup:
    """What held runs up, and what the log cannot tell."""
    names, several = dict(LANES), len(report.folders) > 1
    held = [one for one in report.periods if one.what is not What.RUN]
    sums = [
        (
            names[what],
            f"{len(of):,}",
            duration_text(sum(one.length_s for one in of)),
            duration_text(max(one.length_s for one in of)),
        )
        for what, _ in LANES
        if (of := [one for one in report.periods if one.what is what])
    ]
    rows = (
        (
            moment(one.began, "%Y-%m-%d %H:%M:%S"),
            names[one.what],
            duration_text(one.length_s) if one.is_whole else f"{duration_text(one.length_s)} at least",
            *((named(one.folder),) if several else ()),
            named(cut(one.said, 160)),
        )
        for one in [*held, *(each for each in report.periods if each.what is What.RUN)][:_PERIODS_SHOWN]
    )
    return section(
        "What held runs up",
        tables(("what", "times", "together", "longest"), sums, numbers=(1, 2, 3)) if sums else None,
        tag("p", "Nothing that the log tells of.", class_="good") if sums and not held else None,
        details("Each of them", tables(
            ("from", "what", "for", *(("folder",) if several else ()), "what was said"), rows)) if sums else None,
        _replies(report),
        (tag("p", note, class_="note") for note in _log_notes(report)),
    )  # fmt: skip


def _replies(report: Report) -> Markup | None:
    total: dict[str, int] = {}
    for folder in report.folders:
        for status, count in (folder.log.replies or {}).items():
            total[status] = total.get(status, 0) + count
    if not total:
        return None
    rows = ((status, f"{count:,}") for status, count in sorted(total.items(), key=lambda item: -item[1]))
    return details(
        "All requests by the status of the reply", tables(("HTTP status", "requests"), rows, numbers=(1,))
    )


def _log_notes(report: Report) -> Iterator[str]:
    for folder in report.folders:
        log, whose = folder.log, f"{folder.name}: " if len(report.folders) > 1 else ""
        if folder.log_gap:
            yield f"{whose}{folder.log_gap}"
        if log.broken:
            yield f"{whose}{counted(log.broken, 'line')} of the log cannot be understood."
        if log.dropped:
            yield f"{whose}{counted(log.dropped, 'line')} could not be written to the log."
        if log.left_out:
            yield f"{whose}{counted(log.left_out, 'more period')} of the log are not told."
        if abs(log.clock_ahead_s) >= 60:
            where = "ahead of" if log.clock_ahead_s > 0 else "behind"
            yield (
                f"{whose}the provider's clock was {rough_duration_text(abs(log.clock_ahead_s))} {where} this machine's:"
                " times of requests are by the provider's, times of the log by this machine's."
            )
