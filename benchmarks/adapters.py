"""Lines of benchmarks whose modules give figures of their own kind, by the name of the module.

A module that has `lines` itself needs no entry here. Targets are those of each function below.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from benchmarks.lines import Line, Scale, at_least, at_most, not_measured, noted

IMG2DATASET = "IMG2DATASET_PYTHON"
"""Names a Python that has img2dataset, which is no part of what the benchmarks need."""
_MOST_MIB = 120.0
_MOST_S = {"plan": 8.0, "first submit": 10.0, "nothing to do": 2.0, "status": 0.3}
_AT_LEAST_TIMES = {"aria2c": 2.0, "img2dataset": 2.0}


def startup(scale: Scale) -> Iterator[Line]:
    """Each page of help over bare Python."""
    module = import_module("benchmarks.startup")
    for one in module.measure(30 if scale is Scale.FULL else 2):
        if one.name != "python":
            note = f"CPU, the least of all rounds; wall {one.wall_ms:.0f} ms, median"
            yield at_most(f"{one.name} over Python", module.MOST_MS, one.least_cpu_over_python_ms, "ms", note)


def memory(scale: Scale) -> Iterator[Line]:
    """Each command over the folder of a large run."""
    module = import_module("benchmarks.memory")
    rows = 200_000 if scale is Scale.FULL else 50
    with tempfile.TemporaryDirectory() as name:
        for one in module.measure(rows, Path(name) / "run"):
            note = f"{one.cpu_s:.1f} s of CPU, exit {one.exit_code}"
            yield at_most(f"{one.name}, {rows:,} rows: memory", module.MOST_MIB, one.peak_mib, "MiB", note)


def downloads(scale: Scale) -> Iterator[Line]:
    """Files a second beside other programs, over the same nginx."""
    if shutil.which("nginx") is None:
        yield not_measured("downloads beside other programs", "there is no nginx here")
        return
    module = import_module("benchmarks.downloads")
    sizes = (2000, 205_000, 16, 3) if scale is Scale.FULL else (5, 5_000, 4, 1)
    found = module.figures(*sizes, os.environ.get(IMG2DATASET))
    ours = next(one for one in found if one.tool == module.PRODUCT)
    note = f"{ours.median_files_per_s:.0f} files/s, {ours.cpu_ms_a_file:.2f} ms of CPU a file"
    yield noted("downloads, verified and synced", ours.files_per_s, "files/s", f"best; median {note}")
    for other in found:
        if other.tool != module.PRODUCT:
            yield _beside(ours.files_per_s, other.tool, other.files_per_s, other.remark)


def _beside(ours_per_s: float, tool: str, files_per_s: float, why_not: str) -> Line:
    name, bound = f"downloads, speed over {tool}", _AT_LEAST_TIMES.get(tool)
    if why_not:
        return not_measured(name, why_not, f"≥ {bound:g} times" if bound else "")
    note = f"{files_per_s:.0f} files/s, which it neither checks nor syncs"
    if bound is None:
        return noted(name, ours_per_s / files_per_s, "times", note)
    return at_least(name, bound, ours_per_s / files_per_s, "times", note)


def manifest(scale: Scale) -> Iterator[Line]:
    """A large CSV: plan, first submit, nothing to do, status."""
    module = import_module("benchmarks.manifest")
    rows = 1_000_000 if scale is Scale.FULL else 200
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, out = module.table_of(folder / "rows.csv", rows), folder / "out"
        words = ("run", str(table), "--out", str(out), "--provider", "local", "--limit", "5", "--no-progress")
        planned = module.command(folder, "plan", str(table), "--out", str(folder / "none"))
        yield from _of_command("plan", rows, planned.seconds, planned)
        began = time.time()
        first = module.command(folder, *words)
        submit_s = module.first_submit_s(out / "run.log", began)
        yield from _of_command("first submit", rows, submit_s, first)
        before = (out / "results.csv").stat()
        again = module.command(folder, *words)
        yield from _of_command("nothing to do", rows, again.seconds, again)
        after = (out / "results.csv").stat()
        is_same = (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
        yield at_most("results.csv written again when nothing was to do", 0, 0 if is_same else 1, "times")
        status = module.command(folder, "status", str(out))
        yield from _of_command("status", rows, status.seconds, status)


def _of_command(what: str, rows: int, seconds: float, figures: object) -> Iterator[Line]:
    cpu_s, peak_mib = getattr(figures, "cpu_seconds", 0.0), getattr(figures, "peak_mib", 0.0)
    name = f"{rows:,} rows, {what}"
    yield at_most(f"{name}: wall", _MOST_S[what], seconds, "s", f"{cpu_s:.1f} s of CPU")
    yield at_most(f"{name}: memory", _MOST_MIB, peak_mib, "MiB")
