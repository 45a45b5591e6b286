"""A report as one HTML file: opens from disk, asks nobody for anything, runs no script, and prints.

Its policy allows the one style that stands in it, by its hash, and nothing else; so no text of a folder, however
it is written, can load or run anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from importlib.resources import files

from nanobanana_batch.model import RowStatus
from nanobanana_batch.report import charts
from nanobanana_batch.report.charts import Series
from nanobanana_batch.report.markup import Markup, join, named, tag
from nanobanana_batch.report.moments import between, moment, zone
from nanobanana_batch.report.parts import (
    details,
    figures,
    legend,
    money,
    notice,
    of,
    section,
    share,
    tables,
)
from nanobanana_batch.report.periods import What
from nanobanana_batch.report.trouble import owed_section, periods_section, refusals_section, retries_section
from nanobanana_batch.report.value import OfModel, Report
from nanobanana_batch.wording import amount, bytes_text, counted, cut, duration_text

_CODES_DRAWN = 6
_GROUPS_DRAWN = 12
_ROWS_SHOWN = 200


def pieces(report: Report) -> Iterator[str]:
    """The page, in pieces."""
    style = files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    yield "<!doctype html>\n"
    yield '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
    yield f"{tag('title', f'Report: {_names(report)}')}\n<style>{style}</style>\n</head>\n<body>\n"
    yield tag("header", *_head(report))
    yield "\n<main>\n"
    for part in _sections(report):
        yield f"{part}\n"
    yield f"</main>\n{_foot(report)}\n</body>\n</html>\n"


def _names(report: Report) -> str:
    names = [folder.name for folder in report.folders]
    return ", ".join(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} more folders"


def _head(report: Report) -> Iterator[Markup]:
    yield tag("p", "Report", class_="kind")
    yield tag("h1", named(_names(report)))
    yield tag("p", join(_when(report)), class_="when")
    if report.is_running:
        yield notice(
            "live",
            "A run is going on: this is how things stood at that moment, and what is being made counts as owed.",
        )
    if report.is_practice:
        yield notice(
            "practice",
            "Practice: placeholders, drawn on this machine. They cost nothing; credits are make-believe.",
        )
    elif any(folder.is_practice for folder in report.folders):
        yield notice(
            "practice",
            "Some of these folders hold placeholders that were drawn for nothing; their credits are make-believe.",
        )
    yield figures(_figures(report))
    yield _rows_bar(report)


def _when(report: Report) -> Iterator[str]:
    line = report.timeline
    if line.stretches:
        began, ended = line.span(line.stretches[0]).began, line.span(line.stretches[-1]).ended
        yield f"{between(began, min(ended, max(report.made_at, began)))}. "
    yield f"Written {moment(report.made_at)}. Times are of this machine's clock, {zone(report.made_at)}."


def _figures(report: Report) -> Iterator[tuple[str, str, str]]:
    sums, counts = report.sums, report.counts
    per_usd = report.credits_per_usd
    yield f"{sums.images:,}", "images saved", bytes_text(sums.size_bytes)
    done = counts.get(RowStatus.COMPLETED, 0)
    yield f"{done:,}", f"of {report.rows:,} rows completed", share(done, report.rows)
    each = f"{amount(sums.credits_used / sums.images)} an image" if sums.images else ""
    usd = money(sums.credits_used, per_usd)
    yield amount(sums.credits_used), "credits spent", " · ".join(filter(None, [usd, each]))
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
        yield _seconds(usual.quantiles[50]), "for an image, half are faster", cut(usual.model, 40)
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
        return tag("p", "There are no rows.", class_="note")
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
    yield _images_section(report)
    yield _made_section(report)
    yield _latency_section(report)
    yield _failures_section(report)
    yield refusals_section(report)
    yield retries_section(report)
    yield owed_section(report)
    yield periods_section(report)
    if len(report.folders) > 1:
        yield _folders_section(report)


def _images_section(report: Report) -> Markup:
    line = report.timeline
    if not report.images:
        return section("Images over time", tag("p", "No image has been saved yet.", class_="note"))
    series = [Series("images", dict(report.images), "c-image")]
    unit = f"images in {duration_text(line.bucket_s)}"
    gaps = f" {counted(len(line.gaps), 'long pause')} not drawn." if line.gaps else ""
    return section(
        "Images over time",
        tag("p", f"How many were saved in each {_step(line.bucket_s)}, and what was going on.{gaps}", class_="note"),
        _log_gaps(report),
        tag("figure", charts.stacked(line, series, report.periods, "Images saved over time", unit)),
        details("The numbers", tables(
            ("from", "images", "credits"),
            (
                (moment(n * line.bucket_s, "%Y-%m-%d %H:%M:%S"), f"{report.images.get(n, 0):,}",
                 amount(report.credits.get(n, 0)))
                for n in line.numbers()
                if n in report.images or n in report.credits
            ),
            numbers=(1, 2),
        )),
    )  # fmt: skip


def _step(bucket_s: int) -> str:
    for length, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if bucket_s % length == 0:
            count = bucket_s // length
            return name if count == 1 else f"{count} {name}s"
    return f"{bucket_s} seconds"


def _log_gaps(report: Report) -> Markup:
    told = dict.fromkeys((folder.name, folder.log_gap) for folder in report.folders if folder.log_gap)
    several = len(report.folders) > 1
    return join(notice("gap", f"{name}: {why}" if several else why) for name, why in told)


def _made_section(report: Report) -> Markup:
    per_usd = report.credits_per_usd
    has_usd = per_usd is not None
    head = (
        "model",
        "resolution",
        "images",
        "of requests",
        "size",
        "credits",
        "an image",
        *(("USD",) if has_usd else ()),
    )

    def line(one: OfModel) -> tuple[str | Markup, ...]:
        return (
            named(one.model),
            one.resolution or "none asked",
            f"{one.images:,}",
            f"{one.requests:,}",
            bytes_text(one.size_bytes) if one.images else "",
            amount(one.credits),
            amount(one.credits / one.images) if one.images else "",
            *((money(one.credits, per_usd),) if has_usd else ()),
        )

    rows = [line(one) for one in report.models[:_ROWS_SHOWN]]
    sums = report.sums
    total = (
        "all", "", f"{sums.images:,}", f"{sums.requests:,}", bytes_text(sums.size_bytes), amount(sums.credits_used),
        amount(sums.credits_used / sums.images) if sums.images else "",
        *((money(sums.credits_used, per_usd),) if has_usd else ()),
    )  # fmt: skip
    what = "make-believe credits" if report.is_practice else "credits"
    refunded = (
        f" {amount(sums.credits_refunded)} were reserved and given back." if sums.credits_refunded else ""
    )
    chart: Iterable[Markup] = ()
    if report.credits:
        end = f"{amount(sums.credits_used)} {what}"
        chart = [
            tag(
                "figure",
                charts.cumulative(
                    report.timeline, report.credits, report.periods, "Credits spent over time", end
                ),
            )
        ]
    return section(
        "What was made, and what it cost",
        tag(
            "p",
            f"Credits are the provider's word, of all requests that were not refunded, by when it took them.{refunded}",
            class_="note",
        ),
        chart,
        tables(head, rows, numbers=range(2, 8), last=total if len(rows) > 1 else None),
    )


def _latency_section(report: Report) -> Markup:
    found = report.latencies
    if not found:
        return section("How long an image takes", tag("p", "No image has been saved yet.", class_="note"))
    drawn = sorted(
        sorted(found, key=lambda one: -one.images)[:_GROUPS_DRAWN],
        key=lambda one: (one.model, one.resolution),
    )
    back = sum(one.set_back for one in found)
    more = [f"The {len(drawn)} with the most images are drawn."] if len(drawn) < len(found) else []
    more += [f"Of {counted(back, 'image')} it is not known: a clock was set back."] if back else []
    return section(
        "How long an image takes",
        tag("p", " ".join(["From when the provider had taken the request until the file was saved. Below each curve: the"
            " box holds the middle half, its line is the median, the marks to the right are 90 and 99 of 100.", *more]), class_="note"),
        tag("figure", charts.distributions(drawn, "How long images took, by model and resolution")),
        tables(
            ("model", "resolution", "images", "10 %", "median", "90 %", "99 %", "longest", "mean"),
            (
                (named(one.model), one.resolution or "none asked", f"{one.images:,}",
                 *(_seconds(one.quantiles[each]) for each in (10, 50, 90, 99)), _seconds(one.most_s), _seconds(one.mean_s))
                for one in found[:_ROWS_SHOWN]
            ),
            numbers=range(2, 9),
        ),
    )  # fmt: skip


def _seconds(length: float) -> str:
    return f"{length:.1f} s" if length < 120 else duration_text(length)


def _failures_section(report: Report) -> Markup:
    title = "Requests that ended without an image"
    if not report.failures:
        return section(title, tag("p", "None did.", class_="good"))
    drawn, rest = report.failures[:_CODES_DRAWN], report.failures[_CODES_DRAWN:]
    series = [Series(one.code, dict(one.by_bucket), f"c-{number}") for number, one in enumerate(drawn)]
    if rest:
        others: dict[int, float] = {}
        for one in rest:
            for bucket, count in one.by_bucket.items():
                others[bucket] = others.get(bucket, 0) + count
        series.append(Series("others", others, "c-rest"))
    line = report.timeline
    return section(
        title,
        tag("p", "By the code of the provider, or ours, over time; those whose row got its image later are in it.", class_="note"),
        tag("figure", legend((one.name, one.style) for one in series),
            charts.stacked(line, series, report.periods, "Requests without an image over time, by code", f"in {duration_text(line.bucket_s)}")),
        tables(
            ("code", "row is", "requests", "of all"),
            ((named(one.code), one.status, f"{one.requests:,}", share(one.requests, report.sums.requests)) for one in report.failures),
            numbers=(2, 3),
        ),
    )  # fmt: skip


def _folders_section(report: Report) -> Markup:
    return section(
        "By folder",
        tables(
            ("folder", "rows", "completed", "refused", "failed", "credits", "provider"),
            (
                (named(one.name), f"{one.rows:,}", *(f"{one.counts.get(each, 0):,}" for each in ("completed", "refused", "failed")),
                 amount(one.credits_used), named(", ".join(one.providers)))
                for one in report.folders[:_ROWS_SHOWN]
            ),
            numbers=range(1, 6),
        ),
    )  # fmt: skip


def _foot(report: Report) -> Markup:
    whose = join(
        tag("li", named(folder.folder), f": {of(folder.rows, 'row')}, {named_list(folder.providers)}")
        for folder in report.folders[:_ROWS_SHOWN]
    )
    said = (
        "Counts and money are those of state.sqlite3, as `status` and `audit` say them; what held runs up is what run.log"
        " tells. Prompts and paths are as in the folder: think before you hand this page on."
    )
    return tag("footer", tag("ul", whose), tag("p", said))


def named_list(names: Iterable[str]) -> str:
    """Names, or that there is none yet."""
    return ", ".join(names) or "nothing sent yet"
