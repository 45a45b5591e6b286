"""What a whole row costs: seconds of CPU of the command, beside a loop without state over the same requests.

    python -m benchmarks.row [--rows N] [--in-flight 64,256,1024] [--image-bytes N] [--rounds N] [--json FILE]

The stub server in C stands on one core, the client on the other where there are two. All that makes a run
durable is on. The loop beside it (aiohttp, the fastest sensible library) sends the same requests, reads each
task once and writes each image to a file of its own without syncing it or remembering anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from benchmarks.lines import Line, Scale, at_most, noted
from benchmarks.process import PRODUCT, carried_out
from benchmarks.stub import Manner, Stub, serving

_MODEL = "gemini-3.1-flash-image-preview"
KEY = "benchmark-key"
_MOST_MS, _MOST_SPREAD, _MOST_OF_SERVER = 1.2, 1.2, 0.5


@dataclass(frozen=True)
class RowFigures:
    """One way of making so many rows."""

    way: str
    in_flight: int
    rows: int
    seconds: float
    cpu_ms_a_row: float
    peak_mib: float
    server_cpu_ms_a_row: float
    server_share: float
    """Of the core that the server has for itself: far below 1, or it is what was measured."""


def manifest_of(folder: Path, rows: int) -> Path:
    """As many prompts."""
    path = folder / "rows.csv"
    lines = [f"picture {n} of a harbour at dusk,{_MODEL},1:1,0.5K" for n in range(rows)]
    path.write_text("\n".join(["prompt,model,aspect_ratio,resolution", *lines]) + "\n")
    return path


def command(folder: Path, rows: int, in_flight: int, stub: Stub) -> list[str]:
    """The whole product."""
    return [
        *(sys.executable, *PRODUCT, "run"),
        *(str(manifest_of(folder, rows)), "--out", str(folder / "out"), "--base-url", stub.base_url),
        *("--concurrency", str(in_flight), "--submit-concurrency", str(min(in_flight, 64)), "--no-progress"),
    ]


def bare(folder: Path, rows: int, in_flight: int, stub: Stub) -> list[str]:
    """The loop, as a process of its own."""
    here = f"from benchmarks.row import loop; loop({str(folder)!r}, {rows}, {in_flight}, {stub.base_url!r})"
    return [sys.executable, "-c", here]


def loop(folder: str, rows: int, in_flight: int, base_url: str) -> None:
    """The same requests with nothing around them."""
    asyncio.run(_all(Path(folder), rows, in_flight, base_url))


async def _all(folder: Path, rows: int, in_flight: int, base_url: str) -> None:
    left = iter(range(rows))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(base_url, connector=connector) as session:

        async def work() -> None:
            for number in left:
                body = {"model": _MODEL, "prompt": f"picture {number} of a harbour at dusk"}
                async with session.post("/v1/images/generations", json=body) as reply:
                    task = await reply.json()
                while task["status"] != "completed":
                    await asyncio.sleep(1.0)
                    async with session.get(f"/v1/tasks/{task['id']}") as reply:
                        task = await reply.json()
                async with session.get(task["results"][0]) as reply:
                    (folder / f"{number}.png").write_bytes(await reply.read())

        await asyncio.gather(*(work() for _ in range(in_flight)))


def measure(way: str, rows: int, in_flight: int, image_bytes: int) -> RowFigures:
    """One run against a server of its own.

    Raises:
        SystemExit: it failed, or did not ask for each row.
    """
    cores = sorted(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory() as name,
        serving(Manner(0.5, 0.4, image_bytes=image_bytes), cores[0]) as stub,
    ):
        words = {"run": command, "bare loop": bare}[way](Path(name), rows, in_flight, stub)
        ended = carried_out(words, {"EVOLINK_API_KEY": KEY}, cores[-1] if len(cores) > 1 else None)
        if ended.exit_code:
            raise SystemExit(ended.said)
        served_s, asked = stub.cpu_s(), stub.counts()["submits"]
    if asked < rows:
        raise SystemExit(f"{way}: only {asked} of {rows} rows were asked for")
    a_row = 1e3 / rows
    return RowFigures(
        way,
        in_flight,
        rows,
        ended.seconds,
        ended.cpu_s * a_row,
        ended.peak_mib,
        served_s * a_row,
        served_s / ended.seconds,
    )


@dataclass(frozen=True)
class Beside:
    """Both ways with so many in flight: of each the round in the middle."""

    loop: RowFigures
    run: RowFigures
    times: float
    """CPU of the run over that of the loop in the same round, the median of the rounds."""


def figures(rows: int, in_flight: list[int], image_bytes: int, rounds: int) -> Iterator[Beside]:
    """Each number in flight, the two ways in turns."""
    for most in in_flight:
        pairs = [
            (measure("bare loop", rows, most, image_bytes), measure("run", rows, most, image_bytes))
            for _ in range(rounds)
        ]
        loop, run = map(_in_the_middle, zip(*pairs, strict=True))
        times = statistics.median(run.cpu_ms_a_row / loop.cpu_ms_a_row for loop, run in pairs)
        yield Beside(loop, run, times)


def _in_the_middle(rounds: Sequence[RowFigures]) -> RowFigures:
    return sorted(rounds, key=lambda one: one.cpu_ms_a_row)[(len(rounds) - 1) // 2]


def lines(scale: Scale) -> Iterator[Line]:
    """See `benchmarks.lines`."""
    is_full = scale is Scale.FULL
    sizes = (2000, [64, 256, 1024], 200_000, 2) if is_full else (40, [16, 32], 20_000, 1)
    costs, busiest = [], 0.0
    for one in figures(*sizes):
        where = f"{one.run.in_flight:,} in flight"
        note = f"{one.run.rows} rows in {one.run.seconds:.0f} s; the loop {one.loop.cpu_ms_a_row:.2f} ms"
        yield at_most(f"CPU of a row, {where}", _MOST_MS, one.run.cpu_ms_a_row, "ms", note)
        yield noted(f"CPU over a bare loop of aiohttp, {where}", one.times, "times", "median of the rounds")
        yield noted(f"memory, {where}", one.run.peak_mib, "MiB", "the most of the process")
        costs.append(one.run.cpu_ms_a_row)
        busiest = max(busiest, one.run.server_share, one.loop.server_share)
    yield at_most("the dearest over the cheapest of these", _MOST_SPREAD, max(costs) / min(costs), "times")
    note = f"of the core that it has for itself; above {_MOST_OF_SERVER:g} it might be what is measured"
    yield noted("row: the stub's share of a core", busiest, "of a core", note)


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--in-flight", default="64,256,1024")
    parser.add_argument("--image-bytes", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    most = [int(each) for each in given.in_flight.split(",")]
    pairs = list(figures(given.rows, most, given.image_bytes, given.rounds))
    found = [way for pair in pairs for way in (pair.loop, pair.run)]
    print("way        in flight   rows   seconds   ms of CPU a row   of the server   its share   peak MiB")
    for one in found:
        print(
            f"{one.way:<10}{one.in_flight:10}{one.rows:7}{one.seconds:10.1f}{one.cpu_ms_a_row:18.2f}"
            f"{one.server_cpu_ms_a_row:16.3f}{one.server_share:12.1%}{one.peak_mib:11.0f}"
        )
    for pair in pairs:
        print(f"{pair.run.in_flight:,} in flight: {pair.times:.2f} times the CPU of the loop")
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
