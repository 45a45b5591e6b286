"""Charts as SVG, without a script: each is drawn for a wide and a narrow page; its numbers stand in a table.

What held runs up is a lane of its own under the plot, with its name, so that no colour has to tell it apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nanobanana_batch.reports.latency import Latency
from nanobanana_batch.reports.markup import Markup, join, tag
from nanobanana_batch.reports.moments import moment, offset_s
from nanobanana_batch.reports.periods import Period, What
from nanobanana_batch.reports.timeline import STEPS_S, Timeline
from nanobanana_batch.wording import amount, duration_text, rough_duration_text

WIDE, NARROW = 900, 340
_TOP, _RIGHT, _PLOT = 12, 10, 170
_GAP = 22
_LANE = 15
_LABEL_ABOVE = 400
"""Narrower charts have the names of lanes above them."""
LANES = (
    (What.RUN, "a run at work"),
    (What.OUTAGE, "outage"),
    (What.SLOWED, "slowed down"),
    (What.WAIT, "asked to wait"),
    (What.QUOTA, "daily quota"),
    (What.BLOCKED, "images blocked"),
)
_MOST_DRAWN = 400


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one kind by bucket, and the class that colours it."""

    name: str
    values: Mapping[int, float]
    style: str


def both(draw: Callable[[int], Markup]) -> Markup:
    """A chart for either width; the page shows one of them."""
    return join([tag("div", draw(WIDE), class_="wide"), tag("div", draw(NARROW), class_="narrow")])


class _Scale:
    """Where a moment is on a chart of some width."""

    def __init__(self, line: Timeline, width: int, left: int) -> None:
        self.line, self.left, self.right = line, left, width - _RIGHT
        room = self.right - left - _GAP * (len(line.stretches) - 1)
        self.bucket = room / max(line.buckets, 1)
        self.starts: list[float] = []
        at = float(left)
        for one in line.stretches:
            self.starts.append(at)
            at += one.buckets * self.bucket + _GAP

    def of_bucket(self, number: int) -> float | None:
        for start, one in zip(self.starts, self.line.stretches, strict=True):
            if one.first <= number <= one.last:
                return start + (number - one.first) * self.bucket
        return None

    def of(self, began: float, ended: float) -> Iterator[tuple[float, float]]:
        """Where a stretch of time is drawn: in parts, where gaps are in it."""
        for start, one in zip(self.starts, self.line.stretches, strict=True):
            span = self.line.span(one)
            first, last = max(began, span.began), min(ended, span.ended)
            if last > first or (began == ended and span.began <= began < span.ended):
                per_s = self.bucket / self.line.bucket_s
                yield start + (first - span.began) * per_s, start + (last - span.began) * per_s


def stacked(
    line: Timeline, series: Sequence[Series], periods: Sequence[Period], title: str, unit: str
) -> Markup:
    """Bars over time, one part a series."""
    total = {
        number: sum(one.values.get(number, 0) for one in series) for one in series for number in one.values
    }
    top = max(total.values(), default=0)

    def draw(width: int) -> Markup:
        frame = _Frame(line, width, top, periods, whole=True)
        return frame.svg(title, _bars(frame, series, unit))

    return both(draw)


def _bars(frame: _Frame, series: Sequence[Series], unit: str) -> Iterator[Markup]:
    scale, line = frame.scale, frame.scale.line
    wide = max(scale.bucket - (1.0 if scale.bucket > 3 else 0.2), 0.4)
    for number in line.numbers():
        x, base = scale.of_bucket(number), float(_TOP + _PLOT)
        for one in series:
            value = one.values.get(number, 0)
            if not value or x is None:
                continue
            height = value / frame.top * _PLOT
            base -= height
            said = f"{moment(number * line.bucket_s, '%Y-%m-%d %H:%M:%S')}: {amount(value)} {unit}"
            told = f"{said} ({one.name})" if len(series) > 1 else said
            yield tag(
                "rect", tag("title", told), x=x, y=base, width=wide, height=max(height, 0.6), class_=one.style
            )


def cumulative(
    line: Timeline, values: Mapping[int, float], periods: Sequence[Period], title: str, end: str
) -> Markup:
    """A line that rises to a sum; `end` is what to write at its end."""
    top = sum(values.values())

    def draw(width: int) -> Markup:
        frame = _Frame(line, width, top, periods)
        return frame.svg(title, _rising(frame, values, end))

    return both(draw)


def _rising(frame: _Frame, values: Mapping[int, float], end: str) -> Iterator[Markup]:
    scale, base = frame.scale, float(_TOP + _PLOT)
    total, x = 0.0, float(scale.left)
    points: list[tuple[float, float]] = []
    for start, one in zip(scale.starts, scale.line.stretches, strict=True):
        points.append((start, base - total / frame.top * _PLOT))
        for number in range(one.first, one.last + 1):
            total += values.get(number, 0)
            x = start + (number - one.first + 1) * scale.bucket
            points.append((x, base - total / frame.top * _PLOT))
    if not points:
        return
    told = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield tag("polygon", points=f"{points[0][0]:.1f},{base} {told} {x:.1f},{base}", class_="area")
    yield tag("polyline", points=told, class_="line")
    yield tag("circle", cx=x, cy=points[-1][1], r=3.5, class_="dot")
    yield tag("text", end, x=x - 7, y=max(points[-1][1] - 7, 11.0), class_="end", text_anchor="end")


class _Frame:
    """What is around the marks of a chart over time: its axes, gaps, and lanes."""

    def __init__(
        self, line: Timeline, width: int, top: float, periods: Sequence[Period], *, whole: bool = False
    ) -> None:
        self.width, self.periods = width, periods
        self.lanes = [lane for lane in LANES if any(one.what is lane[0] for one in periods)]
        self.is_narrow = width < _LABEL_ABOVE
        self.marks = _marks(top, whole=whole)
        self.top = self.marks[-1] or 1.0
        left = 8 + 6.4 * max(len(amount(mark)) for mark in self.marks)
        labels = 0 if self.is_narrow or not self.lanes else 96
        self.scale = _Scale(line, width, int(max(left, labels)))

    def svg(self, title: str, marks: Iterable[Markup]) -> Markup:
        base = _TOP + _PLOT
        lanes = len(self.lanes) * (_LANE + (13 if self.is_narrow else 0))
        height = base + 38 + lanes + (4 if lanes else 0)
        return tag(
            "svg",
            tag("title", title),
            self._shades(),
            self._grid(),
            marks,
            self._times(),
            self._gaps(height),
            self._lanes(base + 40),
            viewBox=f"0 0 {self.width} {height}",
            role="img",
            aria_label=title,
        )

    def _grid(self) -> Iterator[Markup]:
        for mark in self.marks:
            y = _TOP + _PLOT - mark / self.top * _PLOT
            style = "base" if not mark else "grid"
            yield tag("line", x1=self.scale.left, x2=self.scale.right, y1=y, y2=y, class_=style)
            yield tag("text", amount(mark), x=self.scale.left - 6, y=y + 4, class_="tick", text_anchor="end")

    def _shades(self) -> Iterator[Markup]:
        for one in self.periods[:_MOST_DRAWN]:
            if one.what is What.RUN:
                continue
            for x1, x2 in self.scale.of(one.began, one.ended):
                yield tag(
                    "rect", x=x1, y=_TOP, width=max(x2 - x1, 1.0), height=_PLOT,
                    class_=f"shade {one.what.value}",
                )  # fmt: skip

    def _times(self) -> Iterator[Markup]:
        scale, base = self.scale, _TOP + _PLOT
        per_s = scale.bucket / scale.line.bucket_s
        step = next((each for each in STEPS_S if each * per_s >= 62), math.ceil(62 / per_s))
        form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%d %b"
        for start, one in zip(scale.starts, scale.line.stretches, strict=True):
            span = scale.line.span(one)
            offset, width = offset_s(span.began), one.buckets * scale.bucket
            at = math.ceil((span.began + offset) / step) * step - offset
            has_mark = False
            while at <= span.ended:
                x = start + (at - span.began) * per_s
                if start - 1 <= x <= start + width - (0 if width < 40 else 12):
                    yield tag("line", x1=x, x2=x, y1=base, y2=base + 4, class_="base")
                    yield tag("text", moment(at, form), x=x, y=base + 16, class_="tick", text_anchor="middle")
                    has_mark = True
                at += step
            if (step < 86400 or not has_mark) and (width > 24 or len(scale.starts) == 1):
                form_of_day = "%a %d %b %Y" if width > 96 or len(scale.starts) == 1 else "%d %b"
                yield tag("text", moment(span.began, form_of_day), x=start, y=base + 30, class_="day")

    def _gaps(self, height: int) -> Iterator[Markup]:
        for start, gap in zip(self.scale.starts[1:], self.scale.line.gaps, strict=True):
            x, base = start - _GAP / 2, _TOP + _PLOT
            length = rough_duration_text(gap.length_s).removesuffix(" 0 min")
            said = f"{length} in which nothing was going on, not drawn"
            yield tag(
                "g",
                tag("title", said),
                tag("rect", x=x - _GAP / 2 + 1, y=_TOP, width=_GAP - 2, height=_PLOT + 4, class_="gap"),
                tag(
                    "text", f"{length} later", class_="tick",
                    transform=f"translate({x + 4:.1f} {base - 6}) rotate(-90)",
                ),
            )  # fmt: skip

    def _lanes(self, y: float) -> Iterator[Markup]:
        for what, label in self.lanes:
            if self.is_narrow:
                y += 13
                yield tag("text", label, x=self.scale.left, y=y - 3, class_="lane-name")
            else:
                yield tag(
                    "text", label, x=self.scale.left - 8, y=y + 9, class_="lane-name", text_anchor="end"
                )
            yield tag(
                "rect", x=self.scale.left, y=y, width=self.scale.right - self.scale.left, height=_LANE - 4,
                class_="lane",
            )  # fmt: skip
            drawn = [one for one in self.periods if one.what is what][:_MOST_DRAWN]
            for one in drawn:
                said = f"{label}: {moment(one.began, '%H:%M:%S')}, {duration_text(one.length_s)}"
                for x1, x2 in self.scale.of(one.began, one.ended):
                    yield tag(
                        "rect", tag("title", f"{said}. {one.said}" if one.said else said),
                        x=x1, y=y, width=max(x2 - x1, 1.5), height=_LANE - 4, rx=2, class_=what.value,
                    )  # fmt: skip
            y += _LANE


def distributions(found: Sequence[Latency], title: str) -> Markup:
    """One below the other on the same axis of seconds: how many took how long, and where the shares are."""
    until_s = _until(found)

    def draw(width: int) -> Markup:
        row, left, right = 76, 4, width - 14
        height = row * len(found) + 30
        marks = _marks(until_s, most=4 if width < _LABEL_ABOVE else 8)
        per_s = (right - left) / until_s
        return tag(
            "svg",
            tag("title", title),
            (
                tag("line", x1=at, x2=at, y1=14, y2=height - 22, class_="grid")
                for at in (left + mark * per_s for mark in marks if mark <= until_s)
            ),
            join(_one(one, 0 + number * row, left, right, until_s) for number, one in enumerate(found)),
            (
                tag(
                    "text", f"{amount(mark)} s", x=left + mark * per_s, y=height - 8, class_="tick",
                    text_anchor="middle" if mark else "start",
                )
                for mark in marks
                if mark <= until_s
            ),
            viewBox=f"0 0 {width} {height}",
            role="img",
            aria_label=title,
        )  # fmt: skip

    return both(draw)


def _one(one: Latency, top: float, left: int, right: int, until_s: float) -> Markup:
    per_s, base = (right - left) / until_s, top + 50
    count = 90 if right > _LABEL_ABOVE else 45
    bars = one.bars(until_s, count)
    most, wide = max(bars, default=0) or 1, (right - left) / count

    def x(seconds: float) -> float:
        return left + min(seconds, until_s) * per_s

    q = one.quantiles
    beyond = one.images - sum(bars)
    more = f", {beyond:,} beyond this" if beyond else ""
    name = f"{one.model} {one.resolution}".strip()
    name = name if len(name) <= count * 0.95 else name[: int(count * 0.95) - 1] + "…"
    return tag(
        "g",
        tag(
            "title",
            f"{one.model} {one.resolution}: half within {q[50]} s, 99 of 100 within {q[99]} s",
        ),
        (
            tag("rect", x=left + number * wide + 0.3, y=base - 26 * value / most, width=wide - 0.6,
                height=max(26 * value / most, 0.8), class_="hist")
            for number, value in enumerate(bars)
            if value
        ),
        tag("line", x1=x(q[5]), x2=x(q[99]), y1=base + 6, y2=base + 6, class_="whisker"),
        tag("rect", x=x(q[25]), y=base + 2.5, width=max(x(q[75]) - x(q[25]), 1.5), height=7, rx=2,
            class_="box"),
        tag("line", x1=x(q[50]), x2=x(q[50]), y1=base, y2=base + 12, class_="median"),
        tag("line", x1=x(q[90]), x2=x(q[90]), y1=base + 2, y2=base + 10, class_="whisker"),
        tag("line", x1=x(q[99]), x2=x(q[99]), y1=base + 2, y2=base + 10, class_="whisker"),
        tag("text", name, x=left, y=top + 13, class_="name"),
        tag("text", f"{one.images:,} images, half within {amount(q[50])} s{more}" if right > _LABEL_ABOVE
            else f"{one.images:,}", x=right, y=top + 13, class_="tick", text_anchor="end"),
    )  # fmt: skip


def _until(found: Sequence[Latency]) -> float:
    """To where the axis goes: a few that took hours do not make all others one bar."""
    usual = max((one.quantiles[90] for one in found), default=1.0)
    most = max((one.quantiles[99] for one in found), default=1.0)
    return max(min(most, usual * 4) * 1.04, 0.1)


def _marks(top: float, *, whole: bool = False, most: int = 4) -> list[float]:
    """Round numbers from 0 to at least that."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= rough - 1e-12)
    step = max(step, 1.0) if whole else step
    step = math.ceil(step) if whole else step
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]
