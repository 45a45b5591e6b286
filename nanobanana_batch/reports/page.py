"""A report as one HTML file: opens from disk, asks nobody for anything, runs no script, and prints.

Its policy allows the one style that stands in it, by its hash, and nothing else; so no text of a folder,
however it is written, can load or run anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from importlib.resources import files

from nanobanana_batch.model import RowStatus
from nanobanana_batch.provider_names import is_practice
from nanobanana_batch.reports.markup import Markup, join, named, tag
from nanobanana_batch.reports.moments import between, moment, zone
from nanobanana_batch.reports.parts import figures, legend, note, notice, share, size_text
from nanobanana_batch.reports.periods import What
from nanobanana_batch.reports.refused import refusals_section
from nanobanana_batch.reports.sections import (
    ROWS_SHOWN,
    failures_section,
    folders_section,
    images_section,
    latency_section,
    made_section,
    seconds,
)
from nanobanana_batch.reports.trouble import owed_section, periods_section, retries_section
from nanobanana_batch.reports.value import Report
from nanobanana_batch.wording import amount, counted, cut, duration_text, money_text


def pieces(report: Report, gallery: str = "") -> Iterator[str]:
    """The page, in pieces; `gallery` is the name of a page of the same folders that stands beside it."""
    style = files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    yield "<!doctype html>\n"
    yield '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
    yield f"{tag('title', f'Report: {_names(report)}')}\n<style>{style}</style>\n</head>\n<body>\n"
    yield tag("header", *_head(report, gallery))
    yield "\n<main>\n"
    for part in _sections(report):
        yield f"{part}\n"
    yield f"</main>\n{_foot(report)}\n</body>\n</html>\n"


def _names(report: Report) -> str:
    names = [folder.name for folder in report.folders]
    return ", ".join(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} more folders"


def _head(report: Report, gallery: str) -> Iterator[Markup]:
    yield tag("p", "Report", class_="kind")
    yield tag("h1", named(_names(report)))
    yield tag("p", join(_when(report)), *_way_to(gallery), class_="when")
    if report.is_running:
        yield notice(
            "live",
            "A run is going on: this is how things stood then, and what is being made counts as owed.",
        )
    if report.is_practice:
        yield notice(
            "practice",
            "Practice: placeholders, drawn on this machine. They cost nothing; credits are make-believe.",
        )
    elif any(any(map(is_practice, folder.providers)) for folder in report.folders):
        yield notice(
            "practice",
            "Some of these images are placeholders, drawn for nothing; their credits are make-believe.",
        )
    yield figures(_figures(report))
    yield _rows_bar(report)


def _way_to(gallery: str) -> Iterator[str | Markup]:
    if gallery:
        yield " "
        yield tag("a", "The images", href=gallery)


def _when(report: Report) -> Iterator[str]:
    line = report.timeline
    if line.stretches:
        began, ended = line.span(line.stretches[0]).began, line.span(line.stretches[-1]).ended
        yield f"{between(began, min(ended, max(report.made_at, began)))}. "
    yield f"Written {moment(report.made_at)}. Times are of this machine's clock, {zone(report.made_at)}."


def _figures(report: Report) -> Iterator[tuple[str, str, str]]:
    sums, counts = report.sums, report.counts
    per_usd = report.credits_per_usd
    yield f"{sums.images:,}", "images saved", size_text(sums.size_bytes)
    done = counts.get(RowStatus.COMPLETED, 0)
    yield f"{done:,}", f"of {report.rows:,} rows completed", share(done, report.rows)
    each = f"{amount(sums.credits_used / sums.images)} an image" if sums.images else ""
    practice = sum(one.credits_practice for one in report.folders)
    usd = money_text(sums.credits_used - practice, per_usd)
    mixed = f"{amount(practice)} make-believe" if practice and not report.is_practice else ""
    reserved = sum(one.credits_reserved for one in report.folders)
    held = f"{amount(reserved)} reserved besides" if reserved else ""
    yield amount(sums.credits_used), "credits spent", " · ".join(filter(None, [mixed, usd, each, held]))
    refused = counts.get(RowStatus.REFUSED, 0)
    yield f"{refused:,}", "rows refused", f"{share(refused, report.refusals.all.rows)} of those judged"
    yield f"{counts.get(RowStatus.FAILED, 0):,}", "rows failed", counted(sums.further, "further request")
    owed = report.owed
    waits = owed["running"].requests + owed["unknown"].requests
    lost = owed["expired"].requests + owed["lost"].requests
    yield (
        f"{waits:,}",
        "requests owed or unknown",
        f"{lost:,} expired or lost" if lost else "none expired or lost",
    )
    usual = max(report.latencies, key=lambda one: one.images, default=None)
    if usual is not None:
        yield seconds(usual.quantiles[50]), "for an image, half are faster", cut(usual.model, 40)
    runs = [one.length_s for one in report.periods if one.what is What.RUN]
    if runs:
        yield duration_text(sum(runs)), "at work", counted(len(runs), "run")


_ORDER = (
    RowStatus.COMPLETED,
    RowStatus.READY,
    RowStatus.RUNNING,
    RowStatus.UNKNOWN,
    RowStatus.REFUSED,
    RowStatus.FAILED,
    RowStatus.EXPIRED,
    RowStatus.PENDING,
)


def _rows_bar(report: Report) -> Markup:
    """All rows by status, as one bar with its legend."""
    counts = dict(report.counts)
    sent = sum(folder.being_sent for folder in report.folders)
    found = [(status.value, counts.get(status, 0)) for status in _ORDER if counts.get(status, 0)]
    found += [("being sent", sent)] if sent else []
    total = sum(count for _, count in found)
    if not total:
        return note("There are no rows.")
    parts, x = [], 0.0
    for name, count in found:
        width = 1000 * count / total
        parts.append(
            tag("rect", tag("title", f"{name}: {count:,}"), x=x, y=0, width=max(width - 2, 1.0), height=14,
                class_=f"s-{name.replace(' ', '-')}")
        )  # fmt: skip
        x += width
    told = "Rows by status: " + ", ".join(f"{count:,} {name}" for name, count in found)
    return tag(
        "div",
        tag("svg", tag("title", told), parts, viewBox="0 0 1000 14", preserveAspectRatio="none", role="img",
            aria_label=told, class_="bar"),
        legend((f"{name} {count:,}", f"s-{name.replace(' ', '-')}") for name, count in found),
        class_="rows",
    )  # fmt: skip


def _sections(report: Report) -> Iterator[Markup]:
    yield images_section(report)
    yield made_section(report)
    yield latency_section(report)
    yield failures_section(report)
    yield refusals_section(report)
    yield retries_section(report)
    yield owed_section(report)
    yield periods_section(report)
    if len(report.folders) > 1:
        yield folders_section(report)


def _foot(report: Report) -> Markup:
    whose = join(
        tag("li", named(folder.folder), f": {counted(folder.rows, 'row')}, {named_list(folder.providers)}")
        for folder in report.folders[:ROWS_SHOWN]
    )
    said = (
        "Counts and money are those of state.sqlite3, as status and audit say them; what held runs up is"
        " what run.log tells. It holds words of prompts, and paths: think before you hand it on."
    )
    return tag("footer", tag("ul", whose), tag("p", said))


def named_list(names: Iterable[str]) -> str:
    """Names, or that there is none yet."""
    return ", ".join(names) or "nothing sent yet"
