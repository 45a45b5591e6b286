"""The sections about what was made: images over time, what they cost and took, what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nanobanana_batch.reports import charts
from nanobanana_batch.reports.charts import Series
from nanobanana_batch.reports.latency import Latency
from nanobanana_batch.reports.markup import Markup, join, named
from nanobanana_batch.reports.moments import moment
from nanobanana_batch.reports.parts import (
    Cell,
    details,
    figure,
    good,
    legend,
    note,
    notice,
    section,
    share,
    size_text,
    tables,
)
from nanobanana_batch.reports.value import OfModel, Report
from nanobanana_batch.wording import amount, counted, duration_text, money_text

_CODES_DRAWN = 6
_GROUPS_DRAWN = 12
ROWS_SHOWN = 200
"""Of a table; a page is for people."""
_NOTHING_YET = "No image has been saved yet."
_NO_RESOLUTION = "none asked"


def images_section(report: Report) -> Markup:
    """How many were saved when, over what held the runs up."""
    line, title = report.timeline, "Images over time"
    if not report.images:
        return section(title, note(_NOTHING_YET))
    said = f"How many were saved in each {_step(line.bucket_s)}, and what was going on."
    if line.gaps:
        said += f" {counted(len(line.gaps), 'long pause')} not drawn."
    series = [Series("images", report.images, "c-image")]
    unit = f"images in {duration_text(line.bucket_s)}"
    return section(
        title,
        note(said),
        _log_gaps(report),
        figure(charts.stacked(line, series, report.periods, "Images saved over time", unit)),
        details("The numbers", tables(("from", "images", "credits"), _by_bucket(report), numbers=(1, 2))),
    )


def _by_bucket(report: Report) -> Iterator[tuple[str, ...]]:
    for number in report.timeline.numbers():
        if number in report.images or number in report.credits:
            at = moment(number * report.timeline.bucket_s, "%Y-%m-%d %H:%M:%S")
            credits = report.credits.get(number, 0.0)
            yield at, f"{report.images.get(number, 0):,}", amount(credits) if credits else "0"


def _step(bucket_s: int) -> str:
    length, name = next(
        each
        for each in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
        if not bucket_s % each[0]
    )
    count = bucket_s // length
    return name if count == 1 else f"{count} {name}s"


def _log_gaps(report: Report) -> Markup:
    several = len(report.folders) > 1
    gaps = [(folder.name, folder.log_gap) for folder in report.folders if folder.log_gap]
    return join(notice("gap", f"{name}: {why}" if several else why) for name, why in gaps)


def made_section(report: Report) -> Markup:
    """By model and resolution, and how the money went."""
    sums, per_usd = report.sums, report.credits_per_usd
    said = "Credits are the provider's word, of all requests that were not refunded, by when it took them."
    if sums.credits_refunded:
        said += f" {amount(sums.credits_refunded)} were reserved and given back."
    every = OfModel(
        "all",
        "",
        sums.requests,
        images=sums.images,
        size_bytes=sums.size_bytes,
        credits=sums.credits_used,
    )
    rows = [_made(one, per_usd) for one in report.models[:ROWS_SHOWN]]
    head = ("model", "resolution", "images", "of requests", "size", "credits", "an image")
    return section(
        "What was made, and what it cost",
        note(said),
        _money(report) if report.credits else None,
        tables(
            head if per_usd is None else (*head, "USD"),
            rows,
            numbers=range(2, 8),
            last=_made(every, per_usd) if len(rows) > 1 else None,
        ),
    )


def _money(report: Report) -> Markup:
    what = "make-believe credits" if report.is_practice else "credits"
    end = f"{amount(report.sums.credits_used)} {what}"
    title = "Credits spent over time, all together"
    return figure(charts.cumulative(report.timeline, report.credits, report.periods, title, end))


def _made(one: OfModel, per_usd: float | None) -> tuple[Cell, ...]:
    cells = (
        named(one.model),
        one.resolution or ("" if one.model == "all" else _NO_RESOLUTION),
        f"{one.images:,}",
        f"{one.requests:,}",
        size_text(one.size_bytes) if one.images else "",
        amount(one.credits),
        amount(one.credits / one.images) if one.images else "",
    )
    return cells if per_usd is None else (*cells, money_text(one.credits, per_usd))


def latency_section(report: Report) -> Markup:
    """Its distribution by model and resolution."""
    found, title = report.latencies, "How long an image takes"
    if not found:
        return section(title, note(_NOTHING_YET))
    most = sorted(found, key=lambda one: -one.images)[:_GROUPS_DRAWN]
    drawn = sorted(most, key=lambda one: (one.model, one.resolution))
    back = sum(one.set_back for one in found)
    said = (
        "From when the provider had taken the request until the file was saved. Below each curve: the box"
        " holds the middle half, its line is the median, the marks to the right are 90 and 99 of 100."
    )
    if len(drawn) < len(found):
        said += f" The {len(drawn)} with the most images are drawn."
    if back:
        said += f" Of {counted(back, 'image')} it is not known: a clock was set back."
    return section(
        title,
        note(said),
        figure(charts.distributions(drawn, "How long images took, by model and resolution")),
        tables(
            ("model", "resolution", "images", "10 %", "median", "90 %", "99 %", "longest", "mean"),
            map(_latency, found[:ROWS_SHOWN]),
            numbers=range(2, 9),
        ),
    )


def _latency(one: Latency) -> tuple[Cell, ...]:
    lengths = (*(one.quantiles[share] for share in (10, 50, 90, 99)), one.most_s, one.mean_s)
    return (
        named(one.model),
        one.resolution or _NO_RESOLUTION,
        f"{one.images:,}",
        *map(seconds, lengths),
    )


def seconds(length: float) -> str:
    """A length of time that is mostly of some seconds."""
    return f"{length:.1f} s" if length < 120 else duration_text(length)


def failures_section(report: Report) -> Markup:
    """Of requests, by code, over time."""
    title = "Requests that ended without an image"
    if not report.failures:
        return section(title, good("None did."))
    series, line = _by_code(report), report.timeline
    unit = f"in {duration_text(line.bucket_s)}"
    chart_title = "Requests without an image over time, by code"
    return section(
        title,
        note("By the code of the provider, or ours; those whose row got its image later are in it."),
        figure(
            legend((one.name, one.style) for one in series),
            charts.stacked(line, series, report.periods, chart_title, unit),
        ),
        tables(
            ("code", "row is", "requests", "of all"),
            (
                (
                    named(one.code),
                    one.status,
                    f"{one.requests:,}",
                    share(one.requests, report.sums.requests),
                )
                for one in report.failures
            ),
            numbers=(2, 3),
        ),
    )


def _by_code(report: Report) -> list[Series]:
    """The most frequent ones, each with its colour, and all others together."""
    drawn, rest = report.failures[:_CODES_DRAWN], report.failures[_CODES_DRAWN:]
    series = [Series(one.code, one.by_bucket, f"c-{number}") for number, one in enumerate(drawn)]
    others: dict[int, int] = {}
    for one in rest:
        for bucket, count in one.by_bucket.items():
            others[bucket] = others.get(bucket, 0) + count
    return [*series, Series("others", others, "c-rest")] if others else series


def folders_section(report: Report) -> Markup:
    """How each of several stands."""
    return section(
        "By folder",
        tables(
            ("folder", "rows", "completed", "refused", "failed", "credits", "provider"),
            (
                (
                    named(one.name),
                    f"{one.rows:,}",
                    *_counts(one.counts),
                    amount(one.credits_used),
                    named(", ".join(one.providers)),
                )
                for one in report.folders[:ROWS_SHOWN]
            ),
            numbers=range(1, 6),
        ),
    )


def _counts(counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{counts.get(status, 0):,}" for status in ("completed", "refused", "failed"))
