"""End first runs of a large table at every moment, and see what is left: processes, files, payments.

    python -m tests.campaign.kill_first --kills 60

The table is so large that another process reads it, and its state begins under another name. Each run is
ended with SIGKILL, SIGTERM, SIGINT, or SIGINT and SIGKILL after that: while the table is read, while a state
begins, when that has just got its name, while paid requests go out, or whenever. So many times in folders of
their own, each of which is gone on with to the end; and as many times in one folder, between which the table
is changed. The embedded service's ledger is the judge.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from nanobanana_batch.service.ledger import read_ledger
from nanobanana_batch.service.store import DATABASE_NAME
from tests.process.harness import MODEL, start_cli

SIGNALS = (
    (signal.SIGTERM,),
    (signal.SIGKILL,),
    (signal.SIGKILL,),
    (signal.SIGINT,),
    (signal.SIGINT, signal.SIGKILL),
)
LIMIT = 40
_LARGE_BYTES = 9 << 20
"""Another process reads what is larger than 8 MiB."""
_LOOK_S = 0.004
_ENDS_S, _LEAVES_S, _RUN_S = 120.0, 20.0, 600.0
"""How long a run that is asked to end may take, what belongs to it after that, and a whole run."""
_NEW = ".state.sqlite3.new"


@dataclass
class Table:
    """A large table; each change makes another one of it."""

    path: Path
    rows: int

    def write(self, changes: int = 0) -> None:
        """So many more rows at its end; each is as long as makes the table large."""
        words = "of very many things " * -(-_LARGE_BYTES // (20 * self.rows))
        lines = [f"row-{n},picture {n} {words},{MODEL},1:1,0.5K" for n in range(self.rows + changes)]
        self.path.write_text("\n".join(["id,prompt,model,aspect_ratio,resolution", *lines]) + "\n")
        assert self.path.stat().st_size >= _LARGE_BYTES


@dataclass(frozen=True)
class Folder:
    """Where a run works, with the service that it starts for itself."""

    table: Table
    out: Path

    def start(self, limit: int) -> subprocess.Popen[str]:
        """A run, as a process of its own."""
        numbers = ("--limit", str(limit), "--concurrency", "8", "--no-progress")
        words = ("run", str(self.table.path), "--out", str(self.out), "--provider", "local", *numbers)
        return start_cli(*words, cwd=self.table.path.parent, key=None)

    @property
    def state(self) -> Path:
        """Its state file."""
        return self.out / "state.sqlite3"

    @property
    def service(self) -> Path:
        """The service's own folder."""
        return self.out / ".service"

    def charged(self) -> int:
        """How many requests were paid for, as far as the service has a ledger."""
        path = self.service / DATABASE_NAME
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM ledger WHERE event = 'charged'").fetchone()[0])
        return 0

    def processes(self, session: int) -> dict[int, str]:
        """All that belong to a run of this session, and to the service of this folder, with what they are."""
        found = {}
        for number in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                place = Path("/proc", number)
                state, _, _, its = (place / "stat").read_text().rpartition(") ")[2].split()[:4]
                words = (place / "cmdline").read_bytes().decode("utf-8", "replace")
                if state != "Z" and (int(its) == session or str(self.service) in words):
                    found[int(number)] = words.replace("\0", " ")[-100:]
        return found


Moment = Callable[[Folder, "subprocess.Popen[str]"], None]
"""Waits until it has come, or the run has ended."""


def _until(process: subprocess.Popen[str], has_come: Callable[[], bool]) -> None:
    while process.poll() is None and not has_come():
        time.sleep(_LOOK_S)


def _is_read_apart(pid: int) -> bool:
    with suppress(OSError):
        return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text())
    return False


def moments(chance: random.Random, span_s: float) -> Iterator[tuple[str, Moment]]:
    """Each in turn, and some time after it began."""

    def reading(it: Folder, process: subprocess.Popen[str]) -> None:
        _until(process, lambda: _is_read_apart(process.pid))
        time.sleep(chance.choice((0, chance.uniform(0, 0.4 * span_s))))

    def beginning(it: Folder, process: subprocess.Popen[str]) -> None:
        _until(process, (it.out / _NEW).exists)
        time.sleep(chance.uniform(0, 0.2 * span_s))

    def named(it: Folder, process: subprocess.Popen[str]) -> None:
        _until(process, it.state.exists)
        time.sleep(chance.choice((0, chance.uniform(0, 0.1 * span_s))))

    def sending(it: Folder, process: subprocess.Popen[str]) -> None:
        wanted = it.charged() + chance.randint(1, 12)
        _until(process, lambda: it.charged() >= wanted)

    def whenever(it: Folder, process: subprocess.Popen[str]) -> None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0, span_s))

    found = (reading, beginning, named, sending, whenever)
    return itertools.cycle([(moment.__name__, moment) for moment in found])


@dataclass
class Verdict:
    """What was seen after each end, and what the ledger says in the end."""

    kills: int = 0
    ended: int = 0
    """Runs that had ended before."""
    stood: Counter[str] = field(default_factory=Counter)
    """How far runs had come when they were ended."""
    exits: Counter[int] = field(default_factory=Counter)
    leftovers: int = 0
    """Halves of states that a kill has left; the next run has to take them away."""
    paid: int = 0
    paid_twice: int = 0
    lost: int = 0
    held: int = 0
    wrong: list[str] = field(default_factory=list)
    """Everything else that must not be."""

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.paid_twice or self.lost or self.held or self.wrong)


def end(it: Folder, limit: int, moment: Moment, signals: tuple[signal.Signals, ...], seen: Verdict) -> None:
    """Begin a run, end it when the moment has come, and look at what is left."""
    process = it.start(limit)
    moment(it, process)
    stood = _how_far(it, process)
    if process.poll() is None:
        seen.kills += 1
        seen.stood[stood] += 1
    else:
        seen.ended += 1
    for number in signals:
        with suppress(ProcessLookupError):
            process.send_signal(number)
        time.sleep(0.1 * (number != signals[-1]))
    try:
        _, said = process.communicate(timeout=_ENDS_S)
    except subprocess.TimeoutExpired:
        seen.wrong.append(f"{stood}, {signals}: does not end")
        process.kill()
        _, said = process.communicate()
    seen.exits[process.returncode] += 1
    _look(it, process.pid, f"{stood}, {[one.name for one in signals]}, {process.returncode}", seen)
    if "Traceback" in said:
        seen.wrong.append(f"{stood}: {said[-500:]}")
    if (it.out / _NEW).exists():
        seen.leftovers += 1
        if signal.SIGKILL not in signals:
            seen.wrong.append(f"{stood}, {signals}: leaves half a state")


def _how_far(it: Folder, process: subprocess.Popen[str]) -> str:
    if (it.out / _NEW).exists():
        return "state begins"
    if it.charged():
        return "has sent"
    if it.state.exists():
        return "state is named"
    return "reads apart" if _is_read_apart(process.pid) else "nothing there"


def _look(it: Folder, session: int, when: str, seen: Verdict) -> None:
    """No process is left, and a state is whole or not there."""
    until = time.monotonic() + _LEAVES_S
    while (left := it.processes(session)) and time.monotonic() < until:
        time.sleep(0.02)
    seen.wrong += [f"{when}: {words} is left" for words in left.values()]
    if it.state.exists() and (fault := _fault_of(it)):
        seen.wrong.append(f"{when}: {fault}")


def _fault_of(it: Folder) -> str:
    """Of a state, looked at in a copy: whoever opens the file itself folds its log into it."""
    with tempfile.TemporaryDirectory() as name:
        for part in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copy(it.state.with_name(it.state.name + part), name)
        with closing(sqlite3.connect(Path(name, it.state.name))) as db:
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            (rows,) = db.execute("SELECT count(*) FROM rows WHERE position IS NOT NULL").fetchone()
    return "" if verdict == "ok" and rows >= it.table.rows else f"a state of {rows} rows: {verdict}"


def judge(it: Folder, limit: int, seen: Verdict) -> None:
    """Run to the end, and compare what is there with what was paid."""
    process = it.start(limit)
    _, said = process.communicate(timeout=_RUN_S)
    if process.returncode != 0:
        seen.wrong.append(f"the last run ends with {process.returncode}: {said[-500:]}")
        return
    _look(it, process.pid, "the last run", seen)
    tasks = [task for task in read_ledger(it.service).tasks if task.state not in ("failed", "cancelled")]
    bodies = Counter(hashlib.sha256(task.body).hexdigest() for task in tasks)
    with (it.out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    made = [row for row in rows if row["status"] == "completed"]
    seen.paid += len(tasks)
    seen.paid_twice += sum(count - 1 for count in bodies.values())
    seen.held += sum(row["status"] == "unknown" for row in rows)
    seen.lost += len({task.id for task in tasks} - {row["task_id"] for row in made})
    seen.lost += sum(_sha256(it.out / row["image"]) != row["sha256"] for row in made)
    seen.wrong += _unlike(it, limit, rows, len(made))


def _sha256(image: Path) -> str:
    return hashlib.sha256(image.read_bytes()).hexdigest() if image.is_file() else ""


def _unlike(it: Folder, limit: int, rows: list[dict[str, str]], made: int) -> Iterator[str]:
    with it.table.path.open(newline="") as file:
        wanted = [row["id"] for row in csv.DictReader(file)]
    if [row["id"] for row in rows] != wanted:
        yield f"results.csv has {len(rows)} rows, or others, of {len(wanted)}"
    if made != limit or any(row["status"] != "completed" for row in rows[:limit]):
        yield f"{made} of {limit} rows are completed"
    known = {".run.lock", ".service", "images", "payments.jsonl", "results.csv", "run.log", "state.sqlite3"}
    if others := set(os.listdir(it.out)) - known:
        yield f"left in the folder: {sorted(others)}"


def afresh(folder: Path, table: Table, kills: int, span_s: float, seed: int) -> Verdict:
    """A folder for each end, and a run to the end in it."""
    chance, seen = random.Random(seed), Verdict()
    when, how = moments(chance, span_s), itertools.cycle(SIGNALS)
    table.write()
    for number in range(kills):
        # Not both in step: each moment meets each signal.
        moment, signals = next(when)[1], next(how) if number % 5 else (next(how), next(how))[1]
        it = Folder(table, folder / f"out-{number}")
        end(it, LIMIT, moment, signals, seen)
        judge(it, LIMIT, seen)
        shutil.rmtree(it.out)
    return seen


def again(folder: Path, table: Table, kills: int, span_s: float, seed: int) -> Verdict:
    """One folder for all, whose table grows by a row every other time, and more of which is to be made."""
    chance, seen = random.Random(seed), Verdict()
    it = Folder(table, folder / "out")
    when, how = moments(chance, span_s), itertools.cycle(SIGNALS)
    for number in range(kills):
        table.write(number // 2)
        moment, signals = next(when)[1], next(how) if number % 5 else (next(how), next(how))[1]
        end(it, LIMIT + 4 * number, moment, signals, seen)
    judge(it, LIMIT + 4 * kills, seen)
    return seen


def main() -> None:
    """Print what came of it; fail where something is paid twice, lost, held or left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument(
        "--span", type=float, default=8.0, help="seconds in which a run does most of its work"
    )
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    is_well = True
    with tempfile.TemporaryDirectory() as name:
        os.environ["TMPDIR"] = str(Path(name, "temporary"))
        Path(name, "temporary").mkdir()
        for kind in (afresh, again):
            folder = Path(name) / kind.__name__
            folder.mkdir()
            seen = kind(folder, Table(folder / "large.csv", given.rows), given.kills, given.span, given.seed)
            print(f"{kind.__name__}: {seen}", flush=True)
            is_well = is_well and seen.is_well
        if left := os.listdir(Path(name, "temporary")):
            print(f"temporary files are left: {left}")
            is_well = False
    sys.exit(not is_well)


if __name__ == "__main__":
    main()
