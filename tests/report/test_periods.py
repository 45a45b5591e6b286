"""What run.log tells of outages and waits, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.jobs.report import make_report
from nanobanana_batch.reports.periods import LogRead, What, read_log
from tests.report.nights import BEGAN, Row, bad_night, log_line, make_night, write_log


def told(log: LogRead) -> list[tuple[str, float, float, bool]]:
    """Each period, in seconds after the beginning."""
    return [(one.what.value, one.began - BEGAN, one.ended - BEGAN, one.is_whole) for one in log.periods]


def test_runs_outages_slow_times_and_quotas_have_their_length(tmp_path: Path) -> None:
    """From the line that tells of their beginning to the one that tells of their end."""
    log = read_log(bad_night(tmp_path))
    assert told(log) == [
        ("run", 0, 400, True),
        ("slowed", 20, 60, True),
        ("outage", 100, 130, True),
        ("quota", 150, 180, True),
    ]
    assert log.replies == {"200": 1}
    assert (log.lines, log.broken) == (10, 0)


def test_a_run_that_was_killed_ends_with_its_last_line(tmp_path: Path) -> None:
    """And so does all that it waited for; nothing tells of its end."""
    write_log(
        tmp_path,
        log_line(0, "run_begins"),
        log_line(5, "breaker_open", reason="HTTP 503"),
        log_line(9, "probe", is_up=False),
        log_line(100, "run_begins"),
        log_line(110, "run_ends"),
    )
    assert told(read_log(tmp_path)) == [
        ("run", 0, 9, False),
        ("outage", 5, 9, False),
        ("run", 100, 110, True),
    ]


def test_the_older_parts_of_the_log_are_read_first(tmp_path: Path) -> None:
    """An outage that begins in one and ends in the next is one."""
    write_log(tmp_path, log_line(0, "run_begins"), log_line(10, "breaker_open"), name="run.log.1")
    write_log(tmp_path, log_line(30, "breaker_closed"), log_line(50, "run_ends"))
    assert told(read_log(tmp_path)) == [("run", 0, 50, True), ("outage", 10, 30, True)]


def test_slowing_down_without_a_pace_ends_when_nobody_asks_for_it_any_more(tmp_path: Path) -> None:
    """A provider whose 429 only bounds what is in flight gives no pace."""
    write_log(
        tmp_path,
        log_line(0, "run_begins"),
        log_line(10, "rate_limited", code="rate"),
        log_line(30, "rate_limited", code="rate"),
        log_line(200, "probe", is_up=True),
        log_line(300, "run_ends"),
    )
    assert ("slowed", 10, 30, True) in told(read_log(tmp_path))


def test_waits_close_to_each_other_are_one(tmp_path: Path) -> None:
    """A provider that asks for five seconds again and again has been one wait."""
    waits = [log_line(n * 6, "asked_to_wait", seconds=5, said="busy") for n in range(100)]
    write_log(tmp_path, *waits, log_line(700, "run_ends"))
    assert told(read_log(tmp_path)) == [("wait", 0, 99 * 6 + 5, True)]


def test_a_wait_is_no_longer_than_the_run(tmp_path: Path) -> None:
    """A provider may ask for a month, and the run ends."""
    lines = [log_line(0, "run_begins"), log_line(10, "asked_to_wait", seconds=1e9), log_line(40, "run_ends")]
    write_log(tmp_path, *lines)
    assert told(read_log(tmp_path)) == [("run", 0, 40, True), ("wait", 10, 40, True)]


def test_images_that_cannot_be_saved_hold_paying_up_until_one_is(tmp_path: Path) -> None:
    """The log tells of no end; the next image is it."""
    write_log(
        tmp_path,
        log_line(0, "run_begins"),
        log_line(10, "paying_paused", place="disk", failure="No space left on device"),
        log_line(70, "saved", attempt=3, image="images/r.png"),
        log_line(80, "run_ends"),
    )
    assert ("blocked", 10, 70, True) in told(read_log(tmp_path))


def test_lines_that_nobody_understands_are_counted_and_hurt_nothing(tmp_path: Path) -> None:
    """Torn, of another version, or made by somebody who means ill."""
    lines = [
        b'{"time":"2026-11-18T11:06:40.000Z","event":"run_begins"',
        b"\xff\xfe\x00" * 40,
        b"[" * 200_000,
        b'{"time":"2026-11-18T11:06:40.000Z","event":"asked_to_wait","seconds":"many"}',
        b'{"time":"2026-99-18T11:06:40.000Z","event":"run_begins"}',
        b'{"time":"2026-11-18T11:06:40.000Z","event":"asked_to_wait","seconds":1e999}',
        b"",
        b'{"time":"2026-11-18T11:06:40.000Z","event":"daily_quota","is_used_up":true}',
    ]
    (tmp_path / "run.log").write_bytes(b"\n".join(lines) + b"\n")
    log = read_log(tmp_path)
    assert log.broken == 6
    assert {one.what for one in log.periods} == {What.WAIT, What.QUOTA}


def test_a_log_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    """Whoever made the folder does not choose what is read."""
    other = tmp_path / "other"
    other.mkdir()
    write_log(other, log_line(0, "run_begins"))
    (tmp_path / "run.log").symlink_to(other / "run.log")
    assert read_log(tmp_path) == LogRead(replies={}, events={})


@pytest.mark.parametrize(("late_s", "is_gap"), [(0, False), (3600, True)])
def test_a_log_that_begins_after_the_first_request_is_told(
    tmp_path: Path, late_s: float, is_gap: bool
) -> None:
    """Old parts of it are removed: what was in them is not known."""
    make_night(tmp_path, [Row("r")])
    write_log(tmp_path, log_line(late_s, "run_begins"), log_line(late_s + 1, "run_ends"))
    assert bool(make_report([tmp_path]).folders[0].log_gap) is is_gap
