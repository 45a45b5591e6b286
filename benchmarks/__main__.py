"""All benchmarks, one table: what was to be reached, what was, and what was not measured and why.

    python -m benchmarks [--quick] [--only NAME]... [--json FILE]

Each benchmark is a process of its own; one that fails, or is not there, is a line of the table and not its
end. Figures of time are only as good as the machine is quiet: ratios come of runs that were interleaved.
Full sizes take within an hour where the machine is quiet, and an hour and a half at most: each benchmark is
cut off at a bound of its own, and what it has told by then is kept. `--quick` shows within minutes that each
works, and judges nothing. An hour of steady work is looked at by `python -m benchmarks.soak`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.lines import Line, Scale, Verdict, not_measured
from benchmarks.registry import ENTRIES, Entry, entry
from benchmarks.table import Table, commit, head_text, machine, now, texts

_JUDGED = (Verdict.MET, Verdict.MISSED)


def measured(one: Entry, scale: Scale) -> list[Line]:
    """The lines of a benchmark that was carried out in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        told = Path(name) / "lines.json"
        words = [
            sys.executable,
            "-m",
            "benchmarks",
            "--alone",
            one.name,
            "--scale",
            scale,
            "--json",
            str(told),
        ]
        why = _carried_out(words, {**os.environ, "TMPDIR": name}, one.longest_s)
        found = read_lines(told)
    return [*found, *([not_measured(one.title, why)] if why or not found else [])]


def _carried_out(words: list[str], environment: Mapping[str, str], longest_s: float) -> str:
    """Why it failed; empty where it did not. What it has started ends with it."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(timeout=longest_s)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        return f"cut off after {longest_s:g} s, the lines above are what there is of it"
    return _last(said) if process.returncode else ""


def _last(said: str) -> str:
    return (said.strip().splitlines() or ["it failed without a word"])[-1]


def alone(one: Entry, scale: Scale, told: Path) -> None:
    """Carry a benchmark out here; each line is written down as soon as it is known."""
    try:
        benchmark = one.load()
    except ModuleNotFoundError as error:
        write_lines(told, [not_measured(one.title, f"{error.name} is not here")])
        return
    except AttributeError:
        write_lines(told, [not_measured(one.title, f"{one.module} gives no lines")])
        return
    found: list[Line] = []
    for line in benchmark(scale):
        found.append(as_judged(line, scale))
        write_lines(told, found)


def as_judged(line: Line, scale: Scale) -> Line:
    """Small sizes judge nothing."""
    is_judged = line.verdict in _JUDGED and scale is Scale.QUICK
    return replace(line, verdict=Verdict.NOT_JUDGED) if is_judged else line


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """For `read_lines`."""
    path.write_text(json.dumps([vars(line) for line in lines]))


def read_lines(path: Path) -> list[Line]:
    """What a benchmark has told, as far as it came."""
    if not path.exists():
        return []
    return [Line(**{**line, "verdict": Verdict(line["verdict"])}) for line in json.loads(path.read_text())]


def table_of(entries: Iterable[Entry], scale: Scale) -> Table:
    """Measure and print, benchmark by benchmark."""
    table = Table(scale, machine(), now(), commit(), {})
    print(head_text(table), flush=True)
    for one in entries:
        began = time.monotonic()
        table.lines[one.name] = measured(one, scale)
        table.seconds[one.name] = round(time.monotonic() - began, 1)
        title = f"{one.title}: {table.seconds[one.name]:.0f} s"
        print("\n".join(texts(title, table.lines[one.name])), flush=True)
    took_min = sum(table.seconds.values()) / 60
    print(f"{table.summary}; {took_min:.0f} min, ended {now()}")
    return table


def main() -> None:
    """Print the table; the exit code is 0, whatever the verdicts are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [one.name for one in ENTRIES]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="small sizes, which judge nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it there, too")
    parser.add_argument("--alone", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--scale", type=Scale, default=Scale.FULL, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        alone(entry(given.alone), given.scale, given.json)
        return
    chosen = [one for one in ENTRIES if given.only is None or one.name in given.only]
    table = table_of(chosen, Scale.QUICK if given.quick else Scale.FULL)
    if given.json:
        given.json.write_text(json.dumps(table.as_json(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
