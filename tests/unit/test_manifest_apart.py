"""Rows of a large table that another process reads are those that one process reads, or there are none."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-W", "error", "-m", "tests.unit.reading_apart")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there another one reads")


def held(*what: str) -> None:
    """In a process of its own, which has one thread; `tests/unit/reading_apart.py` says what it does."""
    done = subprocess.run(
        [*PROGRAM, *what], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout.endswith("held\n"), done.stdout + done.stderr


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_rows_problems_and_warnings_are_the_same_to_the_letter(seed: str) -> None:
    """Keys, ids, order, places, what is remembered of files: over tables with all kinds of faults."""
    held("same", seed)


@pytest.mark.parametrize("how", ["killed", "killed_last", "cut_short", "miscounted"])
def test_a_process_that_ends_too_early_leaves_no_short_manifest(how: str) -> None:
    """Whatever it had said before; the error says what has happened."""
    held(how)


def test_a_fault_in_the_other_process_is_told_with_its_place() -> None:
    """As it would be in this one."""
    held("failed")


def test_who_stops_reading_ends_the_other_process() -> None:
    """Which waits in a full pipe."""
    held("left_alone")


def test_the_other_process_holds_nothing_open() -> None:
    """The lock of a folder would stay locked by it, a pipe to somebody would not end."""
    held("descriptors")


def test_signals_that_reach_both_are_for_who_reads() -> None:
    """Those that he ignores, as under nohup, end neither."""
    held("signals")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_other_process_ends_with_a_plan_that_is_ended(number: int, code: int) -> None:
    """By a person, or by what gives it no time; it waited in a full pipe."""
    program = [*PROGRAM, "command"]
    with subprocess.Popen(
        program, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as plan:
        assert plan.stdout
        pidfd = os.pidfd_open(int(plan.stdout.readline()))
        os.kill(plan.pid, number) if number == signal.SIGKILL else os.killpg(plan.pid, number)
        assert plan.wait(120) == code
    assert select.select([pidfd], [], [], 60)[0], "it is still there"
    os.close(pidfd)


def test_where_it_does_not_pay_or_is_not_safe_one_process_reads() -> None:
    """And where there is no room for another one."""
    held("not_apart")
