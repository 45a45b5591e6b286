"""How long a run takes at a provider that turns requests away, beside the same rows where it does not.

    python -m benchmarks.pace [--only random|at-once|per-minute] [--json FILE]

An independent strict provider (tests/campaign/strict) on a real port, the real command line, tasks of 1 s.
*random*: one submit in ten is a 429, whatever was sent before it. *at-once*: more than 8 tasks in flight
are one too many. *per-minute*: 60 submits a minute, counted in fixed windows, in sliding ones, or as a
bucket that is filled steadily; the three run side by side, 300 rows each. Used: tasks a minute, as a share
of what is allowed (a window lets its number pass in a moment, so more than all of it is possible); of 8 at
once: the time of a run that asks for no more, as a share of what it was.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.lines import Line, Scale, at_least, at_most, noted
from tests.campaign.strict_night import Night, Plan, spend

_TASK = (("task_s", (1.0, 1.0)), ("read_gap_s", 1.0))
_QUIET = Plan(time_scale=1.0, outage_s=0.0, faults=(), settings=_TASK)
_AT_ONCE = 8
_PER_MINUTE, _WINDOW_S, _WINDOWS = 60, 60.0, 5
_KINDS = ("fixed", "sliding", "bucket")
_LEAST_USED, _MOST_TIMES = 0.9, 1.3
"""Of what is allowed; and of the time without a limit, where 429 are silent and come at random."""


@dataclass(frozen=True)
class Figures:
    """One run at a provider that turns away."""

    name: str
    rows: int
    seconds: float
    times_quiet: float | None
    """The same rows where nothing is turned away and no more are in flight than the limit allows."""
    used: float | None
    """Share of what the limit allows."""
    turned_away: int
    """429s; below: those of the first minute, in which the limit is found, and of the worst one after it."""
    at_first: int
    most_in_a_minute: int

    def __str__(self) -> str:
        times = "" if self.times_quiet is None else f"{self.times_quiet:.2f} times the quiet run"
        used = "" if self.used is None else f"{self.used:.1%} of what is allowed"
        measured = ", ".join(filter(None, (times, used)))
        away = f"429: {self.turned_away}, {self.at_first} in the first minute, then at most"
        away += f" {self.most_in_a_minute} in a minute"
        return f"{self.name:<28} {self.rows:4} rows {self.seconds:6.1f} s  {measured}; {away}"


def _spent(plan: Plan) -> Night:
    with tempfile.TemporaryDirectory(prefix="pace-") as name:
        night = spend(Path(name) / "run", plan)
    if (made := len(night.made_at)) != plan.rows or night.judged.paid_twice or night.judged.lost:
        raise SystemExit(f"{made} tasks for {plan.rows} rows, exit {night.exit_codes}:\n{night.said}")
    return night


def _most_in_a_minute(at: list[float]) -> int:
    return max((bisect_left(at, one + 60.0) - n for n, one in enumerate(at)), default=0)


def _figures(
    name: str, plan: Plan, night: Night, *, quiet: Night | None = None, used: float | None = None
) -> Figures:
    learnt = bisect_left(night.turned_away, night.made_at[0] + 60.0)
    return Figures(
        name=name,
        rows=plan.rows,
        seconds=round(night.seconds, 1),
        times_quiet=None if quiet is None else round(night.seconds / quiet.seconds, 3),
        used=None if used is None else round(used, 4),
        turned_away=len(night.turned_away),
        at_first=learnt,
        most_in_a_minute=_most_in_a_minute(night.turned_away[learnt:]),
    )


def random_rejections() -> list[Figures]:
    """10 % of all submits, independent of one another: no limit, and nothing to learn.

    Silent ones cost a little time. Those that ask for a second's wait hold everything for that second.
    """
    found = []
    for rows, concurrency in ((150, 16), (300, 64)):
        quiet = replace(_QUIET, rows=rows, concurrency=concurrency)
        without = _spent(quiet)
        for asks, share in (("silent", 0.0), ("wait 1 s", 0.5)):
            bad = replace(quiet, faults=(("rate_429", 0.1), ("retry_after_share", share)))
            found.append(_figures(f"random {asks}, {concurrency} at once", bad, _spent(bad), quiet=without))
    return found


def at_once() -> list[Figures]:
    """A limit of tasks in flight, and a run that asks for eight times as many."""
    quiet = replace(_QUIET, rows=300, concurrency=_AT_ONCE)
    bad = replace(quiet, concurrency=64, faults=(("most_at_once", _AT_ONCE),))
    without, night = _spent(quiet), _spent(bad)
    used = without.seconds / night.seconds
    return [_figures(f"{_AT_ONCE} at once", bad, night, quiet=without, used=used)]


def per_minute() -> list[Figures]:
    """Three kinds of counting, side by side: they leave the machine idle."""
    with ThreadPoolExecutor(len(_KINDS)) as threads:
        return list(threads.map(_in_windows, _KINDS))


def _in_windows(kind: str) -> Figures:
    limit = (("most_per_window", _PER_MINUTE), ("window_s", _WINDOW_S), ("window_kind", kind))
    plan = replace(_QUIET, rows=_PER_MINUTE * _WINDOWS, faults=limit)
    night = _spent(plan)
    lasted_s = night.made_at[-1] - night.made_at[0]
    used = plan.rows / lasted_s * _WINDOW_S / _PER_MINUTE
    return _figures(f"{_PER_MINUTE} a minute, {kind}", plan, night, used=used)


_PARTS: dict[str, Callable[[], list[Figures]]] = {
    "random": random_rejections,
    "at-once": at_once,
    "per-minute": per_minute,
}


def lines(scale: Scale) -> Iterator[Line]:
    """See `benchmarks.lines`; the small form has one run of each kind that is not for minutes."""
    if scale is Scale.QUICK:
        quiet = replace(_QUIET, rows=8, concurrency=8)
        bad = replace(quiet, faults=(("rate_429", 0.1), ("retry_after_share", 0.0)))
        yield _line(_figures("random silent, 8 at once", bad, _spent(bad), quiet=_spent(quiet)))
        return
    with ThreadPoolExecutor(2) as beside:  # a few submits a second: for minutes they do next to nothing
        slow = [beside.submit(part) for part in (at_once, per_minute)]
        yield from map(_line, random_rejections())
        for part in slow:
            yield from map(_line, part.result())


def _line(found: Figures) -> Line:
    note = f"{found.rows} rows in {found.seconds:.0f} s, {found.turned_away} times 429"
    if found.used is not None:
        return at_least(f"{found.name}: used", _LEAST_USED, found.used, "of the limit", note)
    assert found.times_quiet is not None
    name = f"{found.name}: time"
    if "silent" not in found.name:
        return noted(name, found.times_quiet, "times", f"{note}; each second was asked for")
    return at_most(name, _MOST_TIMES, found.times_quiet, "times", note)


def main() -> None:
    """Print a line a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=tuple(_PARTS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: list[Figures] = []
    for name, part in _PARTS.items():
        if given.only in (None, name):
            for figures in part():
                print(figures, flush=True)
                found.append(figures)
    if given.json:
        given.json.write_text(json.dumps([asdict(figures) for figures in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
