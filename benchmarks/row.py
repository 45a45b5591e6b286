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
from collections.abc import Iterator
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


def figures(rows: int, in_flight: list[int], image_bytes: int, rounds: int) -> list[RowFigures]:
    """The median of some rounds for each way and number in flight, interleaved."""
    found: dict[tuple[str, int], list[RowFigures]] = {}
    for _ in range(rounds):
        for most in in_flight:
            for way in ("bare loop", "run"):
                found.setdefault((way, most), []).append(measure(way, rows, most, image_bytes))
    return [
        sorted(group, key=lambda one: one.cpu_ms_a_row)[(len(group) - 1) // 2] for group in found.values()
    ]


def lines(scale: Scale) -> Iterator[Line]:
    """See `benchmarks.lines`."""
    is_full = scale is Scale.FULL
    found = figures(3000, [64, 256, 1024], 200_000, 3) if is_full else figures(40, [16, 32], 20_000, 1)
    whole = [one for one in found if one.way == "run"]
    loops = {one.in_flight: one for one in found if one.way != "run"}
    for one in whole:
        loop_ms = loops[one.in_flight].cpu_ms_a_row
        note = f"bare aiohttp loop {loop_ms:.2f} ms, {one.cpu_ms_a_row / loop_ms:.1f} times; {one.rows} rows"
        name = f"CPU of a row, {one.in_flight} in flight"
        yield at_most(name, _MOST_MS, one.cpu_ms_a_row, "ms", note)
        yield noted(f"memory, {one.in_flight} in flight", one.peak_mib, "MiB", "the most of the process")
    costs = [one.cpu_ms_a_row for one in whole]
    yield at_most("the dearest over the cheapest of these", _MOST_SPREAD, max(costs) / min(costs), "times")
    busiest = max(one.server_share for one in found)
    note = "of the core that the stub has for itself; above that it might be what is measured"
    yield at_most("row: the stub's share of a core", _MOST_OF_SERVER, busiest, "of a core", note)


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
    found = figures(given.rows, most, given.image_bytes, given.rounds)
    print("way        in flight   rows   seconds   ms of CPU a row   of the server   its share   peak MiB")
    for one in found:
        print(
            f"{one.way:<10}{one.in_flight:10}{one.rows:7}{one.seconds:10.1f}{one.cpu_ms_a_row:18.2f}"
            f"{one.server_cpu_ms_a_row:16.3f}{one.server_share:12.1%}{one.peak_mib:11.0f}"
        )
    middle = statistics.median(one.cpu_ms_a_row for one in found if one.way == "run")
    print(f"median of the runs: {middle:.2f} ms of CPU a row")
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
