"""Benchmarks whose verdicts are relied on: they measure what they say, and too high a figure fails."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import memory, soak, startup
from benchmarks.finished import finished_folder, write_manifest
from nanobanana_batch.files.folder import STATE_NAME


def test_start_up_is_measured_beside_a_python_that_does_nothing() -> None:
    """One line for each page; what is over Python is the page's own."""
    bare, *pages = startup.measure(times=1)
    assert (bare.name, bare.cpu_over_python_ms) == ("python", 0.0)
    assert {"nanobanana-batch --help", "nanobanana-batch --version"} <= {page.name for page in pages}
    assert all(page.cpu_ms > bare.cpu_ms for page in pages)
    slow = replace(pages[0], least_cpu_over_python_ms=startup.MOST_MS + 0.1)
    assert not slow.is_within
    assert replace(slow, least_cpu_over_python_ms=startup.MOST_MS).is_within


def test_a_finished_folder_is_one_in_which_nothing_is_left_to_do(tmp_path: Path) -> None:
    """The manifest beside it asks for its rows and no others; its payments make the same state anew."""
    folder = finished_folder(tmp_path / "out", 12)
    table = write_manifest(tmp_path / "out.csv", 12)
    before = (folder / STATE_NAME).read_bytes()
    wanted = ("plan", "status", "audit", "audit --rebuild")
    found = {one.name: one for one in memory.measure(12, folder, only=wanted)}
    assert {name: one.exit_code for name, one in found.items()} == dict.fromkeys(wanted, 0)
    assert len(table.read_text().splitlines()) == 13
    assert (folder / STATE_NAME).read_bytes() == before


def test_a_command_that_takes_too_much_misses_its_target() -> None:
    """Memory however many rows there are, and time by their number."""
    fine = memory.Taken("audit", 400_000, memory.MOST_MIB, 2 * memory.AUDIT_CPU_S, 99.0, 1)
    assert fine.is_within
    assert not replace(fine, peak_mib=memory.MOST_MIB + 0.1).is_within
    assert not replace(fine, cpu_s=2 * memory.AUDIT_CPU_S + 0.1).is_within
    assert not replace(fine, exit_code=3).is_within


def line(*rss: float) -> tuple[soak.Sample, ...]:
    """Looks at a process, 5,000 rows apart."""
    return tuple(soak.Sample(n, n * 5_000, mib, 30, 10) for n, mib in enumerate(rss))


def test_growth_is_told_by_rows() -> None:
    """Of a process that takes a MiB for 5,000 rows; one that stands still does not grow."""
    assert soak.grown(line(80, 81, 82, 83)) == pytest.approx(2.0)
    assert soak.grown(line(80, 80)) == 0.0
    assert soak.grown(line(80)) == 0.0


def test_a_process_that_grows_or_does_not_end_in_order_misses_its_target() -> None:
    """Memory, descriptors that are never closed, another exit code."""
    steady = soak.Soak(60, 10**6, 300, 3, 80.0, 82.0, 90.0, 0.4, 40, 0, 18, 130, ())
    assert steady.is_within
    assert not replace(steady, mib_in_10_000_rows=0.6, last_mib=90.0).is_within
    assert not replace(steady, mib_in_10_000_rows=0.6).is_within
    assert not replace(steady, peak_mib=120.1).is_within
    assert not replace(steady, descriptors_grown=9).is_within
    assert not replace(steady, exit_code=3).is_within


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler here")
def test_a_short_soak_works_and_is_interrupted_in_order() -> None:
    """Rows are made, the process is looked at, and the interrupt ends it with its own exit code."""
    found = soak.soak(0.05, in_flight=8, every_s=1.0)
    assert found.exit_code == 130
    assert len(found.samples) >= 2
    assert found.peak_mib >= found.last_mib > 10
    assert found.most_threads > 1


def test_a_look_tells_of_the_process_itself() -> None:
    """Its descriptors and threads, at the time and rows that are said."""
    with open(os.devnull) as _:
        more = soak.look(os.getpid(), 1.0, 7)
    less = soak.look(os.getpid(), 1.0, 7)
    assert more.descriptors == less.descriptors + 1
    assert (more.rows, more.threads >= 1, more.rss_mib > 5) == (7, True, True)
