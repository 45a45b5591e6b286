"""How well slots are used, and what waiting costs: whole runs in virtual time.

    python -m benchmarks.slots [--seeds N] [--json FILE]

*Over ideal*: the time of a run as a share of the exact list schedule of the same task times in the same
number of slots, rows in order. Task times are lognormal (sigma 0.4) around 5, 15 and 40 s; the provider's
estimate is right (the median), twice too long, or not told, or it calls back. 512 rows, 64 in flight, 20 ms
for a submit and a read; the mean of some seeds. Lower bounds for whoever reads each task every 3 s: 1.26,
1.09 and 1.03.
*Many*: 10,000 tasks that all work, and no end in sight. CPU is that of this process, provider in memory and
event loop included, for each second that the run has waited: a share of a core.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

from benchmarks.virtual import Timed, run
from nanobanana_batch.engine.settings import Settings

_SIGMA, _ROWS, _IN_FLIGHT = 0.4, 512, 64
_MEDIANS_S = (5.0, 15.0, 40.0)
_POLLED, _CALLED = (1.27, 1.09, 1.04), (1.02, 1.02, 1.02)
_READS_BEFORE = {
    "exact": (39, 65, 180),
    "twice too long": (24, 45, 94),
    "none": (32, 86, 301),
    "callbacks": (45, 60, 117),
}
"""Read requests of the same runs (6 seeds) before read times were learnt, at commit 4fecd0b."""
_MANY, _MANY_FROM_S, _MANY_TO_S, _MANY_TASK_S = 10_000, 40.0, 100.0, 600.0
_SUBMITS_AT_ONCE = 16


@dataclass(frozen=True)
class Slots:
    """Runs of one kind, the mean of their seeds."""

    estimate: str
    median_s: float
    over_ideal: float
    target: float
    """Of `over_ideal`, at most, to two digits."""
    reads_a_task: float
    reads: float
    """On the wire, of many tasks each; below: the same before read times were learnt."""
    reads_before: float
    others: float
    """Other requests of such a run, which were as many before: one to submit and one to download a row."""
    closest_s: float
    """The shortest time between two reads of one task."""

    @property
    def is_met(self) -> bool:
        """Whether the slots are used as well as they are to be, and no task is read too often."""
        return round(self.over_ideal, 2) <= self.target and self.closest_s >= 3.0 - 1e-6

    @property
    def reads_over_before(self) -> float:
        """How many times the reads of before."""
        return self.reads / self.reads_before

    @property
    def requests_over_before(self) -> float:
        """How many times the requests of before, those that submit and download included."""
        return (self.reads + self.others) / (self.reads_before + self.others)

    def __str__(self) -> str:
        return (
            f"{self.estimate:<15}{self.median_s:4.0f} s  over ideal {self.over_ideal:.3f} (<= {self.target})"
            f"  reads a task {self.reads_a_task:5.2f}  reads {self.reads:4.0f}"
            f" ({self.reads_over_before:.2f} x before), requests {self.requests_over_before:.2f} x"
            f"  {'met' if self.is_met else 'MISSED'}"
        )


@dataclass(frozen=True)
class Many:
    """What it costs to wait for many tasks."""

    in_flight: int
    reads_per_s: float
    """The most in any second."""
    allowed_per_s: float
    core: float
    """CPU seconds for each second of waiting."""
    target: float = 0.05

    @property
    def is_met(self) -> bool:
        """Whether it costs no more than it may, in reads and in CPU."""
        return self.reads_per_s <= self.allowed_per_s and self.core <= self.target

    def __str__(self) -> str:
        return (
            f"{self.in_flight:,} in flight: {self.reads_per_s:.0f} reads/s (<= {self.allowed_per_s:.0f}),"
            f" {self.core:.1%} of a core (<= {self.target:.0%})  {'met' if self.is_met else 'MISSED'}"
        )


def ideal_s(times_s: Sequence[float], slots: int) -> float:
    """The exact list schedule: each task begins when a slot is free, which is when another has ended."""
    free = [0.0] * slots
    for took_s in times_s:
        heapq.heapreplace(free, free[0] + took_s)
    return max(free)


def slots(seeds: int = 3) -> Iterator[Slots]:
    """All kinds of runs with 64 in flight, one by one."""
    factors: dict[str, float | None] = {"exact": 1.0, "twice too long": 2.0, "none": None, "callbacks": 1.0}
    for estimate, factor in factors.items():
        for number in range(len(_MEDIANS_S)):
            yield _slots(estimate, factor, number, seeds)


def _slots(estimate: str, factor: float | None, number: int, seeds: int) -> Slots:
    median_s, calls = _MEDIANS_S[number], estimate == "callbacks"
    shares, providers = [], []
    for seed in range(1, seeds + 1):
        chance = random.Random(seed)
        times_s = [median_s * math.exp(chance.gauss(0, _SIGMA)) for _ in range(_ROWS)]
        provider = Timed(times_s, None if factor is None else factor * median_s)
        with tempfile.TemporaryDirectory(prefix="slots-") as name:
            settings = Settings(concurrency=_IN_FLIGHT)
            took_s = run(Path(name) / "run", provider, _ROWS, settings, callbacks=calls)
        shares.append(took_s / ideal_s(times_s, _IN_FLIGHT))
        providers.append(provider)
    return Slots(
        estimate=estimate,
        median_s=median_s,
        over_ideal=mean(shares),
        target=(_CALLED if calls else _POLLED)[number],
        reads_a_task=mean(provider.reads / _ROWS for provider in providers),
        reads=mean(len(provider.read_at) for provider in providers),
        reads_before=_READS_BEFORE[estimate][number],
        others=2 * _ROWS,
        closest_s=min(provider.closest_s for provider in providers),
    )


def many() -> Many:
    """All that may be in flight is, and nothing ends."""
    provider = Timed([_MANY_TASK_S] * _MANY, _MANY_TASK_S)
    settings = Settings(concurrency=_MANY, submit_concurrency=_SUBMITS_AT_ONCE)
    with tempfile.TemporaryDirectory(prefix="slots-") as name:
        run(Path(name) / "run", provider, _MANY, settings, until_s=_MANY_TO_S)
    first, at = bisect_left(provider.read_at, _MANY_FROM_S), provider.read_at
    if len(provider.done_at) < _MANY or max(provider.done_at.values()) - _MANY_TASK_S > _MANY_FROM_S:
        raise SystemExit("not all tasks were in flight by then")
    return Many(
        in_flight=_MANY,
        reads_per_s=max(bisect_left(at, moment + 1.0 - 1e-6) - n for n, moment in enumerate(at)),
        allowed_per_s=provider.reads_per_s,
        core=(provider.read_cpu_s[-1] - provider.read_cpu_s[first]) / (at[-1] - at[first]),
    )


def main() -> None:
    """Print a line for each kind of run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: list[Slots | Many] = [*slots(given.seeds), many()]
    print(*found, sep="\n")
    if given.json:
        lines = [{**asdict(one), "is_met": one.is_met} for one in found]
        given.json.write_text(json.dumps(lines, indent=2) + "\n")


if __name__ == "__main__":
    main()
