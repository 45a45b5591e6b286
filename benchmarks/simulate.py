"""Ten million rows, 64 workers, one account, and an hour in which nobody reaches it: in virtual time.

    python -m benchmarks.simulate [--rows N] [--workers N] [--check 4,16,64] [--check-rows N] [--json FILE]

Three ways to keep an account-wide limit: each worker allows itself its part (*divided*), a coordinator gives
out parts by what each could use (*shared*), or each finds out by 429 and knows of nobody (*nobody*).
One worker in eight begins an hour late, as on the queue of a cluster; the outage comes after four hours.

Real engines are run in one virtual time as far as that goes (`real_workers`: some 400 rows a second of CPU).
The whole is modelled (`model_workers`: what is real there is said at its head), from what was measured of the
real ones, and held against them in each way, with 4, 16 and 64 workers and the whole outage.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from benchmarks import model_workers, real_workers
from benchmarks.account import Account, Terms
from benchmarks.lines import Line, Scale, noted
from benchmarks.model_sharing import Sharing
from benchmarks.model_workers import Seen
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.sharing.values import Limits

WAYS = ("divided", "shared", "nobody")
_PER_WORKER_PER_MIN = 187.5
"""Of what the account takes: 12,000 a minute for 64."""
_CONCURRENCY = 64
_HOUR_S = 3600.0
_ONE_IN = 8
_OUTAGE_AT, _LATE = 0.3, 0.072
"""Of the time that sending takes at the whole limit: four hours, and one, of ten million rows."""


@dataclass(frozen=True)
class Plan:
    """What is to be done, and what happens meanwhile."""

    workers: int
    rows: int
    """Of all of them."""
    outage_at_s: float
    outage_s: float
    late_s: float
    """How much later one worker in eight begins."""
    seed: int = 1

    @property
    def terms(self) -> Terms:
        """Of the account."""
        per_min = _PER_WORKER_PER_MIN * self.workers
        return Terms(per_min, (self.outage_at_s, self.outage_at_s + self.outage_s))

    @property
    def ideal_s(self) -> float:
        """At the whole limit all the time but for the outage, and one median task at the end."""
        terms = self.terms
        return self.rows / terms.per_min * 60.0 + self.outage_s + terms.task_s

    def sizes(self) -> list[int]:
        """Rows of each worker: shards by row key are as unequal as chance makes them."""
        dice, mean = random.Random(self.seed), self.rows / self.workers
        sizes = [round(dice.gauss(mean, math.sqrt(mean))) for _ in range(self.workers - 1)]
        return [*sizes, self.rows - sum(sizes)]

    def starts(self) -> list[float]:
        """When each begins."""
        return [self.late_s if number % _ONE_IN == 1 else 0.0 for number in range(self.workers)]


@dataclass(frozen=True)
class Figures:
    """One way, by engines or by the model."""

    way: str
    by: str
    workers: int
    rows: int
    took_s: float
    over_ideal: float
    taken: int
    turned_away: int
    refused: int
    probes: int
    reads: int
    requests_per_row: float
    back_after_s: float
    """From the end of the outage until the first new request was taken."""
    cpu_s: float
    exchanges: int = 0
    exchange_us: float = 0.0
    coordinator_share: float = 0.0
    """Of a core, while all is on its way."""


def figures(way: str, by: str, plan: Plan, ran: real_workers.Ran | model_workers.Modelled) -> Figures:
    """Of one that has ended."""
    account = ran.account
    return Figures(
        way=way,
        by=by,
        workers=plan.workers,
        rows=plan.rows,
        took_s=ran.took_s,
        over_ideal=ran.took_s / plan.ideal_s,
        taken=account.taken,
        turned_away=account.turned_away,
        refused=account.refused,
        probes=account.probes,
        reads=account.reads,
        requests_per_row=account.asked / plan.rows,
        back_after_s=account.first_after_outage - account.terms.outage[1],
        cpu_s=ran.cpu_s,
    )


def by_engines(way: str, plan: Plan) -> tuple[Figures, Seen]:
    """The real ones, and what was seen of them."""
    account = Account(plan.terms)
    per_min = _PER_WORKER_PER_MIN if way == "divided" else None
    settings = Settings(concurrency=_concurrency(way, plan), submits_per_min=per_min)
    with tempfile.TemporaryDirectory(prefix="simulate-") as name:
        ran = real_workers.run(
            Path(name), account, plan.sizes(), plan.starts(), settings, limits_of(way, plan)
        )
    in_outage = account.reads_in_outage / plan.workers
    a_row = (account.reads - account.reads_in_outage) / plan.rows
    return figures(way, "engines", plan, ran), Seen(account.lags_s, a_row, in_outage)


def by_model(way: str, plan: Plan, seen: Seen) -> Figures:
    """The same, modelled."""
    world = model_workers.World(Account(plan.terms), seen, plan.seed)
    per_min = _PER_WORKER_PER_MIN if way == "divided" else None
    workers = model_workers.workers_of(
        world, plan.sizes(), plan.starts(), concurrency=_concurrency(way, plan), per_min=per_min
    )
    limits = limits_of(way, plan)
    sharing = None if limits is None else Sharing(world, workers, limits)
    found = figures(way, "model", plan, model_workers.finish(world, workers))
    if sharing is None:
        return found
    share = sharing.cpu_s / found.took_s
    return replace(found, exchanges=sharing.exchanges, exchange_us=sharing.us_each, coordinator_share=share)


def _concurrency(way: str, plan: Plan) -> int:
    """Of one worker; who shares may have all that the others leave."""
    return _CONCURRENCY * (plan.workers if way == "shared" else 1)


def limits_of(way: str, plan: Plan) -> Limits | None:
    """What the coordinator is told, where there is one."""
    if way != "shared":
        return None
    return Limits(plan.workers, _CONCURRENCY * plan.workers, per_min=plan.terms.per_min)


def checked(
    sizes: Sequence[int], rows_each: int, ways: Sequence[str] = WAYS
) -> Iterator[tuple[Figures, Figures, Seen]]:
    """Engines and model side by side, with the whole outage and shortened rows."""
    for workers in sizes:
        plan = Plan(workers, rows_each * workers, 60.0, _HOUR_S, 30.0)
        for way in ways:
            real, seen = by_engines(way, plan)
            yield real, by_model(way, plan, seen), seen


def off(real: Figures, model: Figures, outage_s: float = _HOUR_S) -> float:
    """Times that the model's time is away from the engines', outage left out; at least 1."""
    times = (model.took_s - outage_s) / (real.took_s - outage_s)
    return max(times, 1.0 / times)


def whole(rows: int, workers: int, seen: dict[str, Seen]) -> Iterator[Figures]:
    """All rows, by the model, in each way."""
    sending_s = rows / (_PER_WORKER_PER_MIN * workers) * 60.0
    plan = Plan(workers, rows, _OUTAGE_AT * sending_s, _HOUR_S, min(_HOUR_S, _LATE * sending_s))
    ways = sorted(seen, key=lambda way: way != "shared")  # the longest of them first
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        begun = {way: processes.submit(by_model, way, plan, seen[way]) for way in ways}
        for way in seen:
            yield begun[way].result()


def lines(scale: Scale) -> Iterator[Line]:
    """See `benchmarks.lines`."""
    is_full = scale is Scale.FULL
    rows, workers, sizes, each = (10_000_000, 64, (4,), 300) if is_full else (4_000, 4, (2,), 30)
    seen: dict[str, Seen] = {}
    for real, model, of_real in checked(sizes, each):
        seen[real.way] = of_real
        note = (
            f"engines {real.took_s:.0f} s, model {model.took_s:.0f} s with the hour; 429: {real.turned_away}"
        )
        note += f" and {model.turned_away}"
        name = f"model beside {real.workers} real engines, {real.way}"
        yield noted(name, off(real, model), "times", note)
    for found in whole(rows, workers, seen):
        yield from _of_whole(found)


def _of_whole(found: Figures) -> Iterator[Line]:
    name = f"{found.rows / 1e6:g} M rows, {found.workers} workers, {found.way}"
    note = f"{found.took_s / _HOUR_S:.2f} h; {found.requests_per_row:.3f} requests a row, 429:"
    note += (
        f" {found.turned_away:,}, probes {found.probes:,}, back {found.back_after_s:.1f} s after the outage"
    )
    yield noted(f"{name}: time over ideal", found.over_ideal, "times", note)
    if found.exchanges:
        cost = f"{found.exchanges:,} exchanges of {found.exchange_us:.0f} µs, one a second and worker"
        share = found.coordinator_share
        yield noted("its coordinator", share, "of a core", cost)


def _text(one: Figures) -> str:
    return (
        f"{one.way:<8} {one.by:<8}{one.workers:4}{one.rows:12,}{one.took_s / _HOUR_S:9.3f} h"
        f"{one.over_ideal:7.3f}{one.requests_per_row:9.3f}{one.turned_away:11,}{one.refused:8,}"
        f"{one.probes:8,}{one.reads:11,}{one.back_after_s:8.1f} s{one.cpu_s:9.1f} s"
    )


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--check", default="4,16,64", help="with so many real engines")
    parser.add_argument("--check-rows", type=int, default=600, help="of each of them")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print(
        "way      by       workers   rows       took   ÷ ideal  a row      429 refused  probes"
        "      reads    back        CPU"
    )
    found, seen = [], {}
    sizes = [int(each) for each in given.check.split(",")]
    for real, model, of_real in checked(sizes, given.check_rows, given.ways.split(",")):
        seen[real.way] = of_real
        found += [real, model]
        print(f"{_text(real)}\n{_text(model)}   {off(real, model):.2f} times", flush=True)
    for one in whole(given.rows, given.workers, seen):
        found.append(one)
        print(_text(one), flush=True)
        if one.exchanges:
            cost = f"{one.exchanges:,} exchanges, {one.exchange_us:.0f} µs each"
            print(f"         coordinator: {cost}, {one.coordinator_share:.1%} of a core")
    lags = {way: round(statistics.mean(one.lags_s), 3) for way, one in seen.items()}
    print(f"seen of engines: lag {lags} s, reads a row {[round(s.reads_per_row, 3) for s in seen.values()]}")
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
