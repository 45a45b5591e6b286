"""How long a run takes where one paid request in ten is answered 429 for no reason, beside one without.

    python -m benchmarks.throttled [--rows N] [--in-flight N] [--rounds N] [--json FILE]

The stub server in C, the real command, tasks of 2 s (lognormal, sigma 0.4). The 429 come at random, so there
is no rate to find, and nothing to gain by sending less. *silent*: they say nothing of how long to wait. *wait
1 s*: each asks for a second, which holds everything for that second. Interleaved; the medians of the rounds.
The same without a machine's noise: the real engine in virtual time (`real_workers`), tasks of 15 s.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import real_workers
from benchmarks.account import Account, Terms
from benchmarks.lines import Line, Scale, at_most, noted
from benchmarks.process import carried_out
from benchmarks.row import KEY, command
from benchmarks.stub import Manner, serving
from nanobanana_batch.engine.settings import Settings

_SHARE = 0.1
_WAYS = {"none": (0.0, 0.0), "silent": (_SHARE, 0.0), "wait 1 s": (_SHARE, 1.0)}
_MOST_REQUESTS = 1.3
"""Times those of a run at which nothing is turned away: one in ten is sent again, and again."""
_MOST_TIMES = 1.3


@dataclass(frozen=True)
class Throttled:
    """One run."""

    way: str
    rows: int
    in_flight: int
    seconds: float
    requests: int
    """Of all kinds but downloads."""
    turned_away: int


def spent(way: str, rows: int, in_flight: int, task_s: float) -> Throttled:
    """One run to its end.

    Raises:
        SystemExit: it failed, or made another number of tasks than it has rows.
    """
    share, wait_s = _WAYS[way]
    manner = Manner(task_s, 0.4, throttle=share, retry_after_s=wait_s, image_bytes=2_000)
    with tempfile.TemporaryDirectory(prefix="throttled-") as name, serving(manner) as stub:
        ended = carried_out(command(Path(name), rows, in_flight, stub), {"EVOLINK_API_KEY": KEY})
        counts = stub.counts()
    if ended.exit_code or counts["tasks"] != rows:
        raise SystemExit(f"{counts['tasks']} tasks for {rows} rows, exit {ended.exit_code}:\n{ended.said}")
    requests = counts["submits"] + counts["reads"] + counts["batch_reads"]
    return Throttled(way, rows, in_flight, ended.seconds, requests, counts["throttled"])


def rounds_of(rows: int, in_flight: int, task_s: float, rounds: int) -> dict[str, list[Throttled]]:
    """Each way in turn, so many times over."""
    found: dict[str, list[Throttled]] = {way: [] for way in _WAYS}
    for _ in range(rounds):
        for way, runs in found.items():
            runs.append(spent(way, rows, in_flight, task_s))
    return found


def ratios(found: dict[str, list[Throttled]], way: str) -> tuple[float, float]:
    """Times the seconds, and times the requests, of the runs at which nothing is turned away."""
    seconds, requests = (
        statistics.median(getattr(one, what) for one in found[way])
        / statistics.median(getattr(one, what) for one in found["none"])
        for what in ("seconds", "requests")
    )
    return seconds, requests


def virtual(way: str, rows: int, in_flight: int) -> tuple[float, int, int]:
    """The engine alone: virtual seconds, requests but downloads, and how many were turned away."""
    share, wait_s = _WAYS[way]
    account = Account(Terms(math.inf, at_random=share, asks_s=wait_s))
    settings = Settings(concurrency=in_flight)
    with tempfile.TemporaryDirectory(prefix="throttled-") as name:
        ran = real_workers.run(Path(name), account, [rows], [0.0], settings)
    return ran.took_s, account.asked, account.turned_away


def _virtual_lines(rows: int, in_flight: int) -> Iterator[Line]:
    quiet_s, quiet, _ = virtual("none", rows, in_flight)
    for way in ("silent", "wait 1 s"):
        seconds, requests, away = virtual(way, rows, in_flight)
        name = f"the same in virtual time, {way}, {in_flight} in flight"
        note = f"{rows} rows of 15 s in {seconds:.0f} s, {quiet_s:.0f} s without; {away} times 429"
        note += f", {requests / quiet:.2f} times the requests"
        if way == "silent":
            yield at_most(name, _MOST_TIMES, seconds / quiet_s, "times", note)
        else:
            yield noted(name, seconds / quiet_s, "times", note)


def lines(scale: Scale) -> Iterator[Line]:
    """See `benchmarks.lines`."""
    is_full = scale is Scale.FULL
    for rows, in_flight in ((1000, 64), (3000, 256)) if is_full else ((30, 16),):
        yield from _virtual_lines(rows, in_flight)
    for rows, in_flight in ((600, 64),) if is_full else ((20, 16),):
        found = rounds_of(rows, in_flight, 2.0 if is_full else 0.1, 2 if is_full else 1)
        for way in ("silent", "wait 1 s"):
            seconds, requests = ratios(found, way)
            runs = found[way]
            name = f"10 % are 429, {way}, {in_flight} in flight"
            away = statistics.median(one.turned_away for one in runs)
            note = (
                f"{rows} rows in {statistics.median(one.seconds for one in runs):.0f} s, {away:.0f} times 429"
            )
            if way == "silent":
                yield at_most(f"{name}: time", _MOST_TIMES, seconds, "times", note)
            else:
                yield noted(f"{name}: time", seconds, "times", f"{note}; each second was asked for")
            yield at_most(f"{name}: requests", _MOST_REQUESTS, requests, "times")


def main() -> None:
    """Print a line a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--task-s", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = rounds_of(given.rows, given.in_flight, given.task_s, given.rounds)
    for way, runs in found.items():
        seconds, requests = ratios(found, way)
        for one in runs:
            print(f"{way:<10}{one.seconds:8.1f} s {one.requests:7} requests, {one.turned_away:5} turned away")
        print(f"{way:<10}{seconds:8.2f} times the seconds, {requests:.2f} times the requests")
    if given.json:
        every = [asdict(one) for runs in found.values() for one in runs]
        given.json.write_text(json.dumps(every, indent=2) + "\n")


if __name__ == "__main__":
    main()
