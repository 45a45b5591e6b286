"""Large manifests: how long until a plan is seen, until the first row is paid for, and in how much memory.

    python -m benchmarks.manifest [--rows N] [--json FILE]

Each figure stands beside what the machine needs at least, measured in the same minute: `csv.reader` alone,
and a product whose combinations are written into a text and hashed. Seconds of CPU are the steadier figure.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.parti import Figures, measure
from nanobanana_batch.jobs.order import Order, open_ordered
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import PlainDrafts
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state.roster import Roster

_MODEL = "gemini-3.1-flash-image-preview"
_WORDS = (
    "amber",
    "bright",
    "city",
    "dusk",
    "ember",
    "fjord",
    "garden",
    "harbour",
    "island",
    "jungle",
    "meadow",
)
_FACTORS = ("style", "thing", "place", "mood", "side", "hour", "light", "frame", "paper")


def table_of(path: Path, rows: int) -> Path:
    """A CSV of prompts of some hundred bytes, with an id and two variables."""
    draw = random.Random(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "prompt", "model", "style", "mood"))
        for number in range(rows):
            prompt = f"picture {number} of {' '.join(draw.choices(_WORDS, k=13))}"
            writer.writerow((f"row-{number:07}", prompt, _MODEL, *draw.choices(_WORDS, k=2)))
    return path


def template_of(factors: int) -> str:
    """A prompt with a place for each factor."""
    return "a picture, " + ", ".join(f"with some {{{name}}}" for name in _FACTORS[:factors])


def matrix_of(path: Path, factors: int) -> Path:
    """A product of as many factors of ten values."""
    lines = [f"  {name}: [{', '.join(f'{name}{n}' for n in range(10))}]" for name in _FACTORS[:factors]]
    head = [f"defaults: {{model: {_MODEL}}}", f'prompt: "{template_of(factors)}"', "matrix:"]
    path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return path


def command(folder: Path, *words: str) -> Figures:
    """One command as a process of its own, its output thrown away; modules are compiled, as installed."""
    program = (sys.executable, "-c", "from nanobanana_batch.cli import main; main()")
    known = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with (folder / "output.txt").open("w") as output:
        return measure([*program, *words], known, output.fileno())


@dataclass(frozen=True)
class Begun:
    """A run of a few rows of a large table."""

    first_submit_s: float | None
    """Seconds from its start until its first paid request was about to be sent; None: it sent none."""
    whole: Figures
    """Until it has ended and results.csv is written."""


@dataclass(frozen=True)
class LargeTable:
    """What a CSV of very many rows costs; seconds, seconds of CPU and peak MiB of each process."""

    rows: int
    plan: Figures
    first: Begun
    """Five rows of it, in a new folder."""
    nothing_to_do: Figures
    """The same again."""
    results_untouched: bool
    """That has left results.csv as it was, with its time."""
    resumed: Begun
    """Five rows more, of the same manifest."""
    edited: Begun
    """One prompt of these changed."""
    status: Figures


def large_table(folder: Path, table: Path, rows: int) -> LargeTable:
    """Plan, run, run again, go on, edit and look, each as a person would; `folder` holds what they write."""
    out = folder / "out"
    few = ("run", str(table), "--out", str(out), "--provider", "local", "--no-progress", "--limit")
    command(folder, "--help")  # compiled
    plan = command(folder, "plan", str(table), "--out", str(folder / "none"))
    first = _begun(folder, out, *few, "5")
    before = (out / "results.csv").stat()
    nothing = command(folder, *few, "5")
    untouched = (out / "results.csv").stat().st_mtime_ns == before.st_mtime_ns
    resumed = _begun(folder, out, *few, "10")
    with table.open("r+b") as file:
        file.seek(file.read(1 << 20).index(b"picture 3 "))
        file.write(b"drawing 3 ")
    edited = _begun(folder, out, *few, "10")
    status = command(folder, "status", str(out))
    return LargeTable(rows, plan, first, nothing, untouched, resumed, edited, status)


def _begun(folder: Path, out: Path, *words: str) -> Begun:
    log = out / "run.log"
    log.unlink(missing_ok=True)
    began = time.time()
    figures = command(folder, *words)
    return Begun(first_submit_s(log, began), figures)


def said(title: str, figures: Figures, more: str = "") -> None:
    """A line about a process."""
    print(
        f"{title:<44}{figures.seconds:8.2f} s {figures.cpu_seconds:8.2f} s of CPU,"
        f" peak {figures.peak_mib:4.0f} MiB, exit {figures.exit_code}{more}",
        flush=True,
    )


def said_of_run(title: str, begun: Begun) -> None:
    """A line about a run."""
    first = "nothing sent" if begun.first_submit_s is None else f"first submit {begun.first_submit_s:.1f} s"
    said(title, begun.whole, f", {first}")


def rate(title: str, work: Callable[[], int]) -> None:
    """A line about rows a second of CPU."""
    began = time.process_time()
    rows = work()
    took_s = time.process_time() - began
    print(f"{title:<44}{rows / took_s:12,.0f} rows/s of CPU ({took_s / rows * 1e6:.1f} µs a row)", flush=True)


def read_alone(table: Path) -> int:
    """The table through `csv.reader`."""
    with table.open(newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.reader(file))


def product_alone(rows: int) -> int:
    """Combinations written into a text and hashed."""
    names, template = _FACTORS[:7], template_of(7)
    points = itertools.product(*([f"{name}{n}" for n in range(10)] for name in names))
    for point in itertools.islice(points, rows):
        hashlib.sha256(template.format(**dict(zip(names, point, strict=True))).encode()).hexdigest()
    return rows


def expanded(path: Path, rows: int) -> int:
    """Rows of a manifest, checked one by one."""
    drafts = open_ordered(Order(path)).light_drafts(ProblemLog())
    return sum(len(d.prompts) if isinstance(d, PlainDrafts) else 1 for d in itertools.islice(drafts, rows))


def gathered(path: Path, rows: int) -> int:
    """The same rows, each with its key and its id, on disk."""
    drafts = open_ordered(Order(path)).light_drafts(ProblemLog())
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(itertools.islice(drafts, rows), ProblemLog())
        return len(roster)


def first_submit_s(log: Path, began: float) -> float | None:
    """Seconds from the start of a run until its first paid request was about to be sent; None: none was."""
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        event = json.loads(line)
        if event["event"] == "intent":
            return datetime.fromisoformat(event["time"]).timestamp() - began
    return None


def tell(found: LargeTable) -> None:
    """All of it, for people."""
    said("CSV: plan", found.plan)
    said_of_run("CSV: run --limit 5", found.first)
    untouched = "untouched" if found.results_untouched else "WRITTEN"
    said("CSV: the same again, nothing to do", found.nothing_to_do, f", results.csv {untouched}")
    said_of_run("CSV: run --limit 10, the manifest unchanged", found.resumed)
    said_of_run("CSV: one prompt changed", found.edited)
    said("CSV: status", found.status)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="write the figures of the CSV there")
    options = parser.parse_args()
    rows: int = options.rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, matrix = table_of(folder / "rows.csv", rows), matrix_of(folder / "product.yaml", 7)
        rate("csv.reader alone", lambda: read_alone(table))
        rate("CSV: read and checked", lambda: expanded(table, rows))
        rate("CSV: with keys and ids, on disk", lambda: gathered(table, rows))
        rate("product, str.format and SHA-256 alone", lambda: product_alone(rows))
        rate("matrix: written out and checked", lambda: expanded(matrix, rows))
        rate("matrix: with keys and ids, on disk", lambda: gathered(matrix, rows))
        vast = matrix_of(folder / "vast.yaml", 9)
        said("matrix of 10⁹: plan", command(folder, "plan", str(vast), "--out", str(folder / "none")))
        found = large_table(folder, table, rows)
        tell(found)
        if options.json:
            options.json.write_text(json.dumps(asdict(found), indent=1) + "\n")


if __name__ == "__main__":
    main()
