"""The sections about what did not go well: retries, what is owed, and what held runs up."""

from __future__ import annotations

from collections.abc import Iterator

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.reports.charts import LANES
from nanobanana_batch.reports.markup import Markup, named, tag
from nanobanana_batch.reports.moments import moment
from nanobanana_batch.reports.parts import details, good, note, notice, section, share, tables
from nanobanana_batch.reports.periods import What
from nanobanana_batch.reports.value import Report
from nanobanana_batch.wording import amount, counted, cut, duration_text, money_text, rough_duration_text

_PERIODS_SHOWN = 100
_FOLDERS_TOLD = 20
_AT_WORK = "A run is at work: what is being made just now is among these."


def retries_section(report: Report) -> Markup:
    """Rows that needed more than one request."""
    sums, title = report.sums, "Retries, and what they cost"
    if not sums.further:
        return section(title, good("No row had more than one request."))
    earlier = sum(one.credits for one in report.again)
    usd = money_text(sums.further_credits, report.credits_per_usd)
    paid = f"{amount(sums.further_credits)} credits{f' ({usd})' if usd else ''}"
    further = counted(sums.further, "further one")
    words = (
        f"{counted(sums.rows_tried_again, 'row')} had more than one request: {further}, of which"
        f" {sums.further_completed:,} made an image. The further ones cost {paid}; those before them cost"
        f" {amount(earlier) if earlier else 'nothing'} that was not given back."
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
        note(words),
        tables(
            ("ended before with", "requests", "row has its image now", "", "credits lost by it"),
            rows,
            numbers=range(1, 5),
        ),
    )


_OWED = (
    ("running", "paid, and not here yet", "the next run fetches it, or a repair"),
    ("unknown", "may have been paid: no answer came", "each run looks for it; a retry sends it again"),
    ("resent", "sent again: the earlier sending may have been paid too", "look in your account"),
    (
        "expired",
        "paid, and its links died before it was fetched",
        "a run tries again; a retry pays again",
    ),
    ("lost", "saved images whose file is gone", "the next run fetches them again, or a repair"),
    ("given_up", "given up by you, paid", "look in your account"),
    ("given_up_unknown", "given up by you, may have been paid", "look in your account"),
    ("charged", "failed or refused, and charged all the same", "ask the provider"),
)


def owed_section(report: Report) -> Markup:
    """What is, or may be, paid for without an image to show for it."""
    title = "What was owed and never came"
    found = [(name, what, advice) for name, what, advice in _OWED if report.owed[name].requests]
    if not found:
        return section(title, good("Nothing: every request that was paid for has its image."))
    rows = [
        (
            what,
            f"{report.owed[name].requests:,}",
            amount(report.owed[name].credits) if report.owed[name].credits else "",
            _age(report, report.owed[name].since),
            advice,
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
    commands = [FolderCommands(one.folder).audit().strip("`") for one in report.folders[:_FOLDERS_TOLD]]
    each = [tag("p", tag("code", command), class_="note") for command in commands]
    return section(
        title,
        notice("live", _AT_WORK) if report.is_running else None,
        tables(("what", "requests", "credits", "oldest", "what to do"), rows, numbers=(1, 2)),
        details(f"The oldest {len(report.waiting)}", ids) if report.waiting else None,
        note("All of them, each with its row and the command that sets it right:"),
        each,
    )


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
    head = ("from", "what", "for", *(("folder",) if several else ()), "what was said")
    return section(
        "What held runs up",
        tables(("what", "times", "together", "longest"), sums, numbers=(1, 2, 3)) if sums else None,
        good("Nothing that the log tells of.") if sums and not held else None,
        details("Each of them", tables(head, rows)) if sums else None,
        _replies(report),
        map(note, _log_notes(report)),
    )


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
                f"{whose}the provider's clock was {rough_duration_text(abs(log.clock_ahead_s))} {where} this"
                " machine's: times of requests are by the provider's, times of the log by this machine's."
            )
