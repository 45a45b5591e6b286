"""What planning 40,000 rows costs for each kind of file, beside pandas reading the same file.

`python -m benchmarks.kinds`. Each plan and each reading is a process of its own; the figure of memory is the
most that it held (Linux). The prompts are PartiPrompts over and over, each with its number.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import zstandard

from benchmarks.lines import Line, Scale, noted

PARTI = Path(__file__).parents[1] / "manifests" / "data" / "PartiPrompts.tsv"
PLAN = "from nanobanana_batch.cli import main; main()"
_ALONE = """
import sys, time
try:
    {code}
finally:
    with open("/proc/self/status") as status:
        most = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    print(time.process_time(), most, file=sys.stderr)
"""
READERS = {
    "txt": "pd.read_csv(path, sep='\\0', header=None, quoting=3, engine='python')",
    "csv": "pd.read_csv(path)",
    "tsv": "pd.read_csv(path, sep='\\t', quoting=3)",
    "json": "pd.read_json(path)",
    "jsonl": "pd.read_json(path, lines=True)",
    "parquet": "pd.read_parquet(path)",
    "xlsx": "pd.read_excel(path)",
    "folder": "pd.DataFrame([each.read_text() for each in sorted(path.iterdir())])",
}
"""What pandas reads each kind with."""


def prompts(rows: int) -> Iterator[str]:
    """Prompts of people, each another one."""
    known = pd.read_csv(PARTI, sep="\t", quoting=csv.QUOTE_NONE)["Prompt"].str.strip().tolist()
    return (f"{known[number % len(known)]} ({number})" for number in range(rows))


def write(folder: Path, rows: int) -> list[Path]:
    """One file of each kind with the same rows."""
    texts = list(prompts(rows))
    frame = pd.DataFrame({"prompt": texts, "category": [f"c{n % 12}" for n in range(rows)], "n": range(rows)})
    writers: dict[str, Callable[[Path], object]] = {
        "t.txt": lambda path: path.write_text("\n".join(texts), encoding="utf-8"),
        "t.csv": lambda path: frame.to_csv(path, index=False),
        "t.tsv": lambda path: frame.to_csv(
            path, sep="\t", index=False, quoting=csv.QUOTE_NONE, quotechar="\0"
        ),
        "t.json": lambda path: path.write_text(
            json.dumps(frame.to_dict("records"), indent=2), encoding="utf-8"
        ),
        "t.jsonl": lambda path: frame.to_json(path, orient="records", lines=True, force_ascii=False),
        "t.parquet": lambda path: frame.to_parquet(path),
        "t.xlsx": lambda path: frame.to_excel(path, index=False),
        "t.csv.gz": lambda path: path.write_bytes(gzip.compress((folder / "t.csv").read_bytes())),
        "t.csv.zst": lambda path: path.write_bytes(
            zstandard.ZstdCompressor().compress((folder / "t.csv").read_bytes())
        ),
    }
    for name, writer in writers.items():
        writer(folder / name)
    texts_folder = folder / "texts"
    texts_folder.mkdir()
    for number, text in enumerate(texts):
        (texts_folder / f"{number:06}.txt").write_text(text, encoding="utf-8")
    return [*(folder / name for name in writers), texts_folder]


def measured(code: str, words: list[str], folder: Path) -> tuple[float, float, float, str]:
    """Seconds, seconds of CPU, the most MB of a process of its own, and what it printed."""
    began = time.monotonic()
    command = [sys.executable, "-c", _ALONE.format(code=code), *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said, told = process.communicate()
    if process.returncode:
        raise SystemExit(told)
    cpu, most = map(float, told.split()[-2:])
    return time.monotonic() - began, cpu, most / 1024, said


def by_pandas(path: Path) -> str:
    """What reads this file, and nothing else."""
    kind = path.name.removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    read = READERS["folder" if path.is_dir() else kind]
    return f"import pandas as pd, pathlib; path = pathlib.Path({str(path)!r}); print(len({read}))"


Taken = tuple[float, float, float]
"""Seconds, seconds of CPU, MB at most."""


def each(rows: int, kinds: int | None = None) -> Iterator[tuple[str, Taken, Taken]]:
    """Each kind of file, or so many: what a plan of it takes, and what pandas takes."""
    folder = Path(tempfile.mkdtemp())
    given = ["--defaults", "model=nano-banana-beta", "--provider", "local", "--rows", "0"]
    try:
        for path in write(folder, rows)[:kinds]:
            *plan, said = measured(PLAN, ["plan", path.name, *given], folder)
            assert f"{rows:,} rows" in said, said
            *other, counted = measured(by_pandas(path), [], folder)
            assert int(counted) == rows, counted
            yield path.name, (plan[0], plan[1], plan[2]), (other[0], other[1], other[2])
    finally:
        shutil.rmtree(folder)


def lines(scale: Scale) -> Iterator[Line]:
    """See `benchmarks.lines`."""
    for name, plan, pandas in each(*((40_000, None) if scale is Scale.FULL else (50, 2))):
        note = f"plan {plan[1]:.2f} s and {plan[2]:.0f} MB, pandas {pandas[1]:.2f} s and {pandas[2]:.0f} MB"
        yield noted(f"plan of {name}, CPU over pandas reading it", plan[1] / pandas[1], "times", note)


def main() -> None:
    """Write the files, measure, print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=40_000)
    print(f"{'file':10} {'plan s':>7} {'cpu s':>6} {'MB':>5} {'pandas s':>9} {'cpu s':>6} {'MB':>5}")
    for name, plan, other in each(parser.parse_args().rows):
        print("{:10} {:7.2f} {:6.2f} {:5.0f} {:9.2f} {:6.2f} {:5.0f}".format(name, *plan, *other))


if __name__ == "__main__":
    main()
