"""What `tests/unit/test_manifest_apart.py` does in a process of its own: who forks has no other thread."""

from __future__ import annotations

import csv
import io
import os
import random
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from nanobanana_batch.errors import BadSurroundings, UsageError
from nanobanana_batch.files.contents import Contents
from nanobanana_batch.jobs.order import Order, expanded, open_ordered
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.manifest.rows import apart
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state.roster import Roster

COLUMNS = ("model", "aspect_ratio", "resolution", "mood", "text", "images", "variants")
RARE = ("images", "variants")
"""With them rows are looked at one by one."""
VALUES = {
    "model": ("nano-banana-beta", "nano-banana-beta", "gemini-3.1-flash-image-preview", "no such", ""),
    "aspect_ratio": ("", "1:1", "1:7"),
    "resolution": ("", "2K", "2K", "9K"),
    "mood": ("calm", "", " ", "über"),
    "text": ("two\nlines", 'a "sign"', "a,b", ""),
    "images": ("", "https://x.org/1.png"),
    "variants": ("", "2", "none"),
}
PROMPTS = ("", " ", "a {mood} cat", "a __cat__", "x" * 20_001, "two\nlines", "\u3164", "{")
IDS = ("", "a", "A", "con", "a.", "n" * 121, "ﬁ")
LINES = (
    b"a,b",
    b"a,b,c,d,e,f,g,h,i,j",
    b'"open',
    b'x"y',
    b",,",
    b"",
    b"\x01",
    b"caf\xe9,caf\xe9",
    b"r, \r",
    b"short",
)
FORKS: list[int] = []


def may_fork() -> None:
    """However small the table, and wherever this runs; each fork is counted."""
    forked: Callable[..., Any] = apart._forked

    def counted(work: Callable[[int], None]) -> Any:
        pid, stream = forked(work)
        FORKS.append(pid)
        return pid, stream

    vars(apart).update(_WORTH_BYTES=0, _forked=counted)
    os.sched_getaffinity = lambda _: {0, 1}


def random_table(draw: random.Random) -> bytes:
    """Some rows, nearly all of them sound, in a file as people have them."""
    names = ["id", "prompt", *(name for name in COLUMNS if draw.random() < (0.05 if name in RARE else 0.4))]
    often = draw.choice((0, 0.002, 0.02, 0.5))
    lines = [written(names)]
    for number in range(draw.choice((0, 1, 5, 999, 1000, 1001, 2500))):
        cells = [f"r{number}", f"picture {number}", *("" for _ in names[2:])]
        for at, name in enumerate(names[2:], 2):
            cells[at] = draw.choice(VALUES[name] if draw.random() < often else VALUES[name][:2])
        if draw.random() < often:
            cells[1] = draw.choice(PROMPTS)
        if draw.random() < often:
            cells[0] = draw.choice(IDS)
        lines.append(written(cells) if draw.random() >= often else draw.choice(LINES) + b"\n")
    text = b"".join(lines)
    if draw.random() < 0.1:
        text = text.decode("utf-8", "replace").encode("utf-16")
    elif draw.random() < 0.1:
        text = text.replace(b"\n", b"\r\n")
    return draw.choice((b"", b"", b"\xef\xbb\xbf")) + (text if draw.random() < 0.97 else b"")


def written(cells: list[str]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


def observed(
    path: Path, defaults: dict[str, str], *, by_another: bool, is_counted: bool
) -> tuple[object, ...]:
    """The rows that a manifest gives, as they are kept, and all that is said and remembered of them."""
    contents = Contents()
    with contents.noted():
        try:
            manifest = open_ordered(Order(path, defaults=defaults, allow_unknown_model=True))
        except UsageError as error:
            return (str(error),)
        if is_counted:
            manifest.count()  # what that has found is not told once more
        log = manifest.problem_log()
        with Roster(derive_id, fold_id) as roster:
            roster.add_all(manifest.light_drafts(log, apart=by_another), log)
            rows, sums = list(roster.columns()), (roster.kinds(), roster.repeated(), len(roster))
            told = log.total, list(log), str(log.as_error()), manifest.warnings
            return rows, roster.digest, sums, told, contents.known()


def same(folder: Path) -> None:
    """Random tables, read by this process and by another one."""
    draw = random.Random(int(sys.argv[2]))
    table, seen = folder / "t.csv", [0, 0, 0]
    for number in range(50):
        table.write_bytes(random_table(draw))
        defaults = draw.choice(({"model": "nano-banana-beta"}, {"model": "no such", "resolution": "2K"}))
        apart._PIPE_BYTES = draw.choice((4096, 1 << 20))
        before, is_counted = len(FORKS), draw.random() < 0.3
        here = observed(table, defaults, by_another=False, is_counted=is_counted)
        assert len(FORKS) == before
        assert observed(table, defaults, by_another=True, is_counted=is_counted) == here, number
        if len(FORKS) > before:
            rows, _, _, told, known = here
            assert known, number
            seen = [n + bool(each) for n, each in zip(seen, (rows, told[0], told[3]), strict=True)]  # type: ignore[index]
    assert min(seen) >= 10, seen  # else nothing was held against anything


def large(folder: Path, rows: int = 30_000) -> Path:
    """More than any pipe holds."""
    path = folder / "rows.csv"
    with path.open("w") as file:
        file.write("id,prompt\n")
        file.writelines(f"r{number},{'a picture of many words ' * 8}{number}\n" for number in range(rows))
    return path


def order(folder: Path, rows: int = 30_000) -> Order:
    return Order(large(folder, rows), defaults={"model": "nano-banana-beta"})


def refused(folder: Path, at_each: Callable[[], None] = lambda: None) -> str:
    """What is said where the other process was ended; there are no rows then."""
    try:
        with expanded(open_ordered(order(folder)), at_each, apart=True) as roster:
            raise AssertionError(f"{len(roster)} rows")
    except BadSurroundings as error:
        return str(error)


def gone(pid: int) -> bool:
    """Whether a process of ours has ended and was waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def killed(folder: Path) -> None:
    """In the midst of its work."""
    said = refused(folder, lambda: os.kill(FORKS[0], signal.SIGKILL) if not gone(FORKS[0]) else None)
    assert "rows.csv was ended" in said
    assert gone(FORKS[0])


Say = Callable[[apart._Teller, list[apart.Said]], None]


def says(saying: Callable[[Say, apart._Teller, list[apart.Said]], None]) -> None:
    """From now on the other process says something in this way, of which the first word is the usual one."""
    as_ever: Say = apart._Teller._say
    apart._Teller._say = lambda self, said: saying(as_ever, self, said)  # type: ignore[method-assign]


def killed_last(folder: Path) -> None:
    """When it has said all rows, and not that these are all."""

    def until_the_end(say: Say, self: apart._Teller, said: list[apart.Said]) -> None:
        if said[0][0] == apart._END:
            os.kill(os.getpid(), signal.SIGKILL)
        say(self, said)

    says(until_the_end)
    assert "was ended before it had read all" in refused(folder)


def cut_short(folder: Path) -> None:
    """In the midst of what it says last: a number of bytes is announced that never come."""

    def in_part(say: Say, self: apart._Teller, said: list[apart.Said]) -> None:
        if said[0][0] == apart._END:
            self._stream.write((1000).to_bytes(4, "big") + b"x" * 900)
            self._stream.flush()
            os._exit(0)
        say(self, said)

    says(in_part)
    assert "was ended before it had read all" in refused(folder)


def miscounted(folder: Path) -> None:
    """A group of rows that went missing on the way."""

    def but_one(say: Say, self: apart._Teller, said: list[apart.Said]) -> None:
        if self._rows != 5000 or said[0][0] == apart._END:
            say(self, said)

    says(but_one)
    assert "was ended before it had read all" in refused(folder)


def failed(folder: Path) -> None:
    """By a fault of ours, which is told with the place where it is."""

    def raises(self: apart._Teller) -> None:
        raise ZeroDivisionError("a fault of ours")

    apart._Teller._read = raises  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match=r"(?s)in raises.*ZeroDivisionError: a fault of ours"):
        refused(folder)
    assert gone(FORKS[0])


def left_alone(folder: Path) -> None:
    """Its reader does not go on while the pipe is full, and then ends."""
    drafts = open_ordered(order(folder)).light_drafts(ProblemLog(), apart=True)
    next(drafts)
    pidfd = os.pidfd_open(FORKS[0])
    assert not select.select([pidfd], [], [], 0)[0]  # it waits for its reader
    drafts.close()
    assert gone(FORKS[0])


def descriptors(folder: Path) -> None:
    """It holds nothing open that is ours: neither a lock nor the other end of somebody's pipe."""
    for _ in range(9):
        os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
        os.pipe()
    drafts = open_ordered(order(folder)).light_drafts(ProblemLog(), apart=True)
    next(drafts)
    where = Path(f"/proc/{FORKS[0]}/fd")
    held = {int(each.name): os.readlink(each) for each in where.iterdir()}
    assert held.pop(3).startswith("pipe:")
    assert {held.pop(number) for number in range(3)} == {os.devnull}
    assert set(held.values()) <= {os.devnull, str(folder / "rows.csv")}
    drafts.close()


def signals(folder: Path) -> None:
    """Ctrl-C and a terminal that closes reach both; who reads decides."""
    drafts = open_ordered(order(folder)).light_drafts(ProblemLog(), apart=True)
    next(drafts)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(FORKS[0], number)
    assert sum(1 for _ in drafts) == 29


def command(folder: Path) -> None:
    """A plan that stays where its first rows are; says which process reads for it."""
    from nanobanana_batch import cli

    def stay(self: Roster, drafts: object) -> None:
        print(FORKS[0], flush=True)
        select.select([], [], [])

    Roster._add_plain = stay  # type: ignore[method-assign]
    os.chdir(folder)
    sys.argv[1:] = ["plan", str(large(folder)), "--defaults", "model=nano-banana-beta"]
    cli.main()


def not_apart(folder: Path) -> None:
    """With another thread alive, with one core, without room for a process, a small table: as ever."""
    wanted = order(folder, 3000)

    def rows() -> int:
        with expanded(open_ordered(wanted), apart=True) as roster:
            return len(roster)

    assert (rows(), len(FORKS)) == (3000, 1)
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert (rows(), len(FORKS)) == (3000, 1)
    end.set()
    thread.join()
    os.sched_getaffinity = lambda _: {0}
    assert (rows(), len(FORKS)) == (3000, 1)
    os.sched_getaffinity = lambda _: {0, 1}
    apart._WORTH_BYTES = 1 << 30
    assert (rows(), len(FORKS)) == (3000, 1)
    apart._WORTH_BYTES = 0

    def no_room() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    fork, os.fork = os.fork, no_room
    open_before = len(os.listdir("/proc/self/fd"))
    assert (rows(), len(FORKS)) == (3000, 1)
    assert len(os.listdir("/proc/self/fd")) == open_before
    os.fork = fork
    assert (rows(), len(FORKS)) == (3000, 2)


def main() -> None:
    may_fork()
    with TemporaryDirectory() as folder:
        globals()[sys.argv[1]](Path(folder))
    print("held")


if __name__ == "__main__":
    main()
