"""The run's log: every line parses, the files are bounded, and nothing that happens to it ends a run."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.files.log import NoLog, RunLog


def lines(path: Path) -> list[dict[str, Any]]:
    """Every line of one file; each must be an object of its own."""
    content = path.read_bytes()
    assert not content or content.endswith(b"\n")
    found = [json.loads(line) for line in content.split(b"\n")[:-1]]
    assert all(isinstance(line, dict) for line in found)
    return found


def everything(path: Path) -> list[dict[str, Any]]:
    """The lines of all files, oldest first."""
    older = sorted(path.parent.glob(f"{path.name}.*"), key=lambda one: -int(one.suffix[1:]))
    return [line for one in [*older, path] for line in lines(one)]


class Unspeakable:
    """Raises when it is asked for its text."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def test_a_line_holds_time_event_and_fields(tmp_path: Path) -> None:
    """UTC with milliseconds; texts in any script stay readable."""
    with RunLog(tmp_path / "run.log") as log:
        log("http", route="POST /v1/images/generations", status=200, ms=12.5, row="狐")
    (line,) = lines(tmp_path / "run.log")
    assert list(line) == ["time", "event", "route", "status", "ms", "row"]
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2026-11-21T02:03:04.567Z")
    assert datetime.fromisoformat(line["time"]).tzinfo is not None
    assert "狐" in (tmp_path / "run.log").read_text(encoding="utf-8")
    assert (line["event"], line["status"], line["ms"]) == ("http", 200, 12.5)


def test_runs_are_appended(tmp_path: Path) -> None:
    """The second run does not forget the first."""
    for number in range(2):
        with RunLog(tmp_path / "run.log") as log:
            log("begin", run=number)
    assert [line["run"] for line in lines(tmp_path / "run.log")] == [0, 1]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (b"\xff\x00abc", "\N{REPLACEMENT CHARACTER}\x00abc"),
        ("cut \ud83d here", "cut ? here"),
        (ValueError("two\nlines"), "ValueError: two\nlines"),
        ({1: "a"}, {"1": "a"}),
        ([math.nan], "[nan]"),
        ({(1, 2): "pair"}, "{(1, 2): 'pair'}"),
        (Path("images/a.png"), "images/a.png"),
        (Unspeakable(), "<Unspeakable>"),
        (None, None),
        ("\x1b[31m\r\n\u2028", "\x1b[31m\r\n\u2028"),
    ],
)
def test_no_value_breaks_a_line(tmp_path: Path, value: object, said: object) -> None:
    """Nor its neighbours."""
    with RunLog(tmp_path / "run.log") as log:
        log("odd", value=value, row="r1")
        log("next")
    odd, after = lines(tmp_path / "run.log")
    assert (odd["value"], odd["row"], after["event"]) == (said, "r1", "next")


@pytest.mark.parametrize("value", [10**6000, nested(100_000), "x" * 3_000_000], ids=["int", "deep", "long"])
def test_a_value_without_measure_is_cut(tmp_path: Path, value: object) -> None:
    """A page of HTML or worse does not fill the log."""
    with RunLog(tmp_path / "run.log") as log:
        log("odd", value=value, row="r1")
    assert lines(tmp_path / "run.log")[0]["row"] == "r1"
    assert (tmp_path / "run.log").stat().st_size < 10_000


def test_a_field_cannot_take_the_place_of_time_or_event(tmp_path: Path) -> None:
    """Whoever reads the log relies on both."""
    fields: dict[str, Any] = {"time": "never", "event": "other"}
    with RunLog(tmp_path / "run.log") as log:
        log("http", **fields)
    (line,) = lines(tmp_path / "run.log")
    assert line["event"] == "http"
    assert line["time"] != "never"


def test_a_full_file_makes_room_and_every_line_parses(tmp_path: Path) -> None:
    """Four files, none above its size, the newest lines in the first."""
    with RunLog(tmp_path / "run.log", file_bytes=10_000, files=4) as log:
        for number in range(2000):
            log("http", number=number)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["run.log", "run.log.1", "run.log.2", "run.log.3"]
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
    numbers = [line["number"] for line in everything(tmp_path / "run.log")]
    assert numbers == list(range(numbers[0], 2000))
    assert len(numbers) > 300


def test_the_bound_holds_over_many_runs(tmp_path: Path) -> None:
    """Each run begins where the one before ended, also in size."""
    for _ in range(40):
        with RunLog(tmp_path / "run.log", file_bytes=1000, files=2) as log:
            for number in range(7):
                log("http", number=number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.log", "run.log.1"]
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 1000


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    """Each line once, also across rotations."""
    with RunLog(tmp_path / "run.log", file_bytes=50_000, files=50) as log:

        def write(thread: int) -> None:
            for number in range(500):
                log("http", thread=thread, number=number, text="y" * 100)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [(line["thread"], line["number"]) for line in everything(tmp_path / "run.log")]
    assert sorted(found) == [(thread, number) for thread in range(8) for number in range(500)]


def test_a_full_disk_drops_lines_and_says_so_once(tmp_path: Path) -> None:
    """Then the log goes on as if nothing had been."""
    path = tmp_path / "run.log"
    with RunLog(path) as log:
        log("before")
        os.rename(path, tmp_path / "kept")
        log("before", still="in the file that was renamed")
    path.symlink_to("/dev/full")
    with RunLog(path) as log:
        for _ in range(3):
            log("lost")
        path.unlink()
        log("works")
        log("again")
    assert [(line["event"], line.get("lines")) for line in lines(path)] == [
        ("lines_dropped", 3),
        ("works", None),
        ("again", None),
    ]


def test_a_line_that_fits_in_part_is_taken_back(tmp_path: Path) -> None:
    """A disk with some bytes left takes the first of them; the reader is not to stumble over these."""
    path = tmp_path / "run.log"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RunLog(path) as log:
        log("before", text="a" * 50)
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
        try:
            log("cut")
            log("cut")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert path.stat().st_size == size
        log("after")
    assert [line["event"] for line in lines(path)] == ["before", "lines_dropped", "after"]


@pytest.mark.parametrize("spoil", [Path.mkdir, lambda path: path.symlink_to(path.name)])
def test_a_place_where_no_log_can_be_is_no_reason_to_end(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """A folder of that name, or a link that leads nowhere."""
    spoil(tmp_path / "run.log")
    with RunLog(tmp_path / "run.log") as log:
        log("lost")


def test_a_torn_last_line_is_completed_at_the_next_start(tmp_path: Path) -> None:
    """What power loss left of a line stays alone on its line."""
    path = tmp_path / "run.log"
    path.write_bytes(b'{"event":"whole"}\n{"event":"to')
    with RunLog(path) as log:
        log("next")
    whole, torn, after, end = path.read_bytes().split(b"\n")
    assert (whole, torn, end) == (b'{"event":"whole"}', b'{"event":"to', b"")
    assert json.loads(after)["event"] == "next"


def test_a_kill_leaves_whole_lines(tmp_path: Path) -> None:
    """SIGKILL in the middle of writing, three times over the same files."""
    path = tmp_path / "run.log"
    script = (
        "import sys, pathlib\n"
        "from nanobanana_batch.files.log import RunLog\n"
        "log = RunLog(pathlib.Path(sys.argv[1]), file_bytes=100_000, files=3)\n"
        "for number in range(10_000_000):\n"
        "    log('http', number=number, text='z' * 500)\n"
        "    if number == 300: print('going', flush=True)\n"
    )
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"going\n"
            child.kill()
    assert len(everything(path)) > 300
    with RunLog(path) as log:
        log("after")
    assert everything(path)[-1]["event"] == "after"


def test_after_its_end_it_takes_nothing_and_raises_nothing(tmp_path: Path) -> None:
    """A thread that is late must not open the file anew."""
    with RunLog(tmp_path / "run.log") as log:
        log("begin")
    log("late")
    NoLog()("nothing", at="all")
    assert [line["event"] for line in lines(tmp_path / "run.log")] == ["begin"]
