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
from typing import Any

from benchmarks.lines import Line, Scale, at_least, at_most, not_measured, noted

IMG2DATASET = "IMG2DATASET_PYTHON"
"""Names a Python that has img2dataset, which is no part of what the benchmarks need."""
_MOST_MIB = 114.0
_MOST_S = {"plan": 8.0, "first submit": 10.0, "nothing to do": 2.0, "status": 0.3}
_MOST_REQUESTS = 1.3
_SOAK_MIN = 4.0
_AT_LEAST_TIMES = {"aria2c": 2.0, "img2dataset": 2.0}


def startup(scale: Scale) -> Iterator[Line]:
    """Each page of help over bare Python."""
    module = import_module("benchmarks.startup")
    for one in module.measure(30 if scale is Scale.FULL else 2):
        if one.name != "python":
            note = f"CPU, the least of all rounds; wall {one.wall_ms:.0f} ms, median"
            name, took_ms = f"{one.name} over Python", one.least_cpu_over_python_ms
            is_help = one.name.endswith("--help")
            yield (
                at_most(name, module.MOST_MS, took_ms, "ms", note)
                if is_help
                else noted(name, took_ms, "ms", note)
            )


def memory(scale: Scale) -> Iterator[Line]:
    """Each command over the folder of a large run."""
    module = import_module("benchmarks.memory")
    is_full = scale is Scale.FULL
    sizes = ((200_000, module.OF_STATE), (40_000, module.OF_IMAGES)) if is_full else ((50, ()),)
    for rows, commands in sizes:
        with tempfile.TemporaryDirectory() as name:
            for one in module.measure(rows, Path(name) / "run", commands):
                note = f"{one.cpu_s:.1f} s of CPU, exit {one.exit_code}"
                what = f"{one.name}, {rows:,} rows: memory"
                yield at_most(what, module.MOST_MIB, one.peak_mib, "MiB", note)


def downloads(scale: Scale) -> Iterator[Line]:
    """Files a second beside other programs, over the same nginx."""
    if shutil.which("nginx") is None:
        yield not_measured("downloads beside other programs", "there is no nginx here")
        return
    module = import_module("benchmarks.downloads")
    sizes = (2000, 205_000, 16, 3) if scale is Scale.FULL else (1000, 5_000, 16, 1)
    found = module.figures(*sizes, os.environ.get(IMG2DATASET))
    ours = next(one for one in found if one.tool == module.PRODUCT)
    if ours.remark:
        yield not_measured("downloads beside other programs", ours.remark)
        return
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
    """A large CSV: plan, first submit, nothing to do, resumed, edited, status."""
    module = import_module("benchmarks.manifest")
    rows = 1_000_000 if scale is Scale.FULL else 200
    with tempfile.TemporaryDirectory() as name:
        table = module.table_of(Path(name) / "rows.csv", rows)
        began = time.process_time()
        module.read_alone(table)
        read_s = time.process_time() - began
        found = module.large_table(Path(name), table, rows)
    plan = found.plan
    yield from _of_command(rows, "plan", plan.seconds, plan)
    yield noted("plan, CPU over csv.reader on the same file", plan.cpu_seconds / read_s, "times")
    for what, begun in (("first submit", found.first), ("resumed", found.resumed), ("edited", found.edited)):
        if begun.first_submit_s is None:
            yield not_measured(f"{rows:,} rows, {what}", "no paid request was sent")
        else:
            yield from _of_command(rows, what, begun.first_submit_s, begun.whole)
    yield from _of_command(rows, "nothing to do", found.nothing_to_do.seconds, found.nothing_to_do)
    written = 0 if found.results_untouched else 1
    yield at_most("results.csv written when there was nothing to do", 0, written, "times")
    yield from _of_command(rows, "status", found.status.seconds, found.status)


def _of_command(rows: int, what: str, seconds: float, figures: Any) -> Iterator[Line]:
    name, note = f"{rows:,} rows, {what}", f"{figures.cpu_seconds:.1f} s of CPU, exit {figures.exit_code}"
    bound = _MOST_S.get(what)
    yield noted(name, seconds, "s", note) if bound is None else at_most(name, bound, seconds, "s", note)
    yield at_most(f"{name}: memory", _MOST_MIB, figures.peak_mib, "MiB")


def slots(scale: Scale) -> Iterator[Line]:
    """Wall time over the ideal list schedule of the same task times, in virtual time; and many in flight."""
    module = import_module("benchmarks.slots")
    if scale is Scale.QUICK:
        yield not_measured(
            "wall time over the ideal list schedule", "it takes a minute of CPU; `--only slots`"
        )
        return
    for one in module.slots():
        name = f"wall over ideal, {one.median_s:g} s, estimate {one.estimate}"
        note = f"virtual time; a task is looked at {one.reads_a_task:.2f} times"
        yield at_most(name, one.target, round(one.over_ideal, 2), "times", note)
        note = "submits, reads and downloads, against those of before"
        yield at_most(f"{name}: requests", _MOST_REQUESTS, one.requests_over_before, "times", note)
        yield at_most(f"{name}: reads alone", _MOST_REQUESTS, one.reads_over_before, "times")
    many = module.many()
    name = f"{many.in_flight:,} in flight"
    yield at_most(f"{name}: CPU of waiting", many.target, many.core, "of a core", "virtual seconds")
    yield at_most(f"{name}: reads", many.allowed_per_s, many.reads_per_s, "reads/s", "the most in a second")


def soak(scale: Scale) -> Iterator[Line]:
    """Does anything grow? An hour of it, which alone can be judged, is looked at by the module itself."""
    module = import_module("benchmarks.soak")
    one = module.soak(_SOAK_MIN, every_s=5.0) if scale is Scale.FULL else module.soak(0.2, 16, 2_000, 1.0)
    name = f"{one.minutes:g} minutes of work"
    note = f"{one.rows:,} rows, {one.rows_a_second} a second; {one.first_mib:.0f} to {one.last_mib:.0f} MiB"
    yield at_most(f"{name}: memory", module.MOST_MIB, one.peak_mib, "MiB", note)
    note = f"≤ {module.MOST_MIB_IN_10_000_ROWS:g} is for an hour: python -m benchmarks.soak"
    yield noted(f"{name}: its growth", one.mib_in_10_000_rows, "MiB/10,000 rows", note)
    note = f"at most {one.most_descriptors}, and {one.most_threads} threads"
    yield noted(f"{name}: descriptors more at the end", one.descriptors_grown, "", note)
    yield noted(f"{name}: CPU", one.cpu_ms_a_row, "ms a row", f"exit {one.exit_code}")
