"""What each command takes of memory and CPU over the folder of a large run that has ended.

    python -m benchmarks.memory [--rows N] [--folder DIR] [--only NAME] [--json FILE]

The folder is made by `benchmarks.finished`; each command is a process of its own, and what the system says of
it when it ends is told: the most memory it has had at once, and CPU in itself and the kernel.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.finished import drafts_as_table, finished_folder

MOST_MIB = 120.0
"""What no command may need, however many rows there are."""
AUDIT_CPU_S = 8.0
"""At most, at 200,000 rows; more of them may take as much more."""
_ROWS_OF_TARGET = 200_000
_CLI = "import sys; from nanobanana_batch.cli import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Taken:
    """What one command took."""

    name: str
    rows: int
    peak_mib: float
    cpu_s: float
    wall_s: float
    exit_code: int

    @property
    def is_within(self) -> bool:
        """Whether it keeps what is promised of it."""
        has_time = self.name != "audit" or self.cpu_s <= AUDIT_CPU_S * max(1, self.rows / _ROWS_OF_TARGET)
        return self.exit_code in (0, 1) and self.peak_mib <= MOST_MIB and has_time


def measure(rows: int, folder: Path, only: Sequence[str] = ()) -> Iterator[Taken]:
    """Each command over so many rows, one after the other; `folder` is made where it is not there yet.

    Raises:
        OSError: there is no room.
    """
    finished_folder(folder, rows)
    table = folder.with_name(f"{folder.name}.csv")
    drafts_as_table(table, rows)
    beside = folder.with_name(f"{folder.name}-made")
    for name, words in _commands(folder, table, beside):
        if not only or name in only:
            yield _taken(name, rows, words)
            shutil.rmtree(beside, ignore_errors=True)


def _commands(folder: Path, table: Path, beside: Path) -> Iterator[tuple[str, list[str]]]:
    at, provider = [str(folder)], ["--provider", "evolink"]
    yield "plan", ["plan", str(table), *provider, "--out", str(folder)]
    yield "status", ["status", *at]
    yield "status --verify", ["status", *at, "--verify"]
    yield "results", ["results", *at]
    yield "report", ["report", *at]
    yield "audit", ["audit", *at]
    yield "audit --rebuild", ["audit", *at, "--rebuild"]
    yield "doctor", ["doctor", *at]
    for kind in ("csv", "jsonl", "parquet", "imagefolder"):
        yield f"export {kind}", ["export", *at, "--format", kind, "--out", str(beside)]
    yield "gallery", ["gallery", *at, "--out", str(beside)]
    yield "check", ["check", *at, "--quiet"]


def _taken(name: str, rows: int, words: Sequence[str]) -> Taken:
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.execv(sys.executable, [sys.executable, "-c", _CLI, *words])
    _, status, used = os.wait4(pid, 0)
    return Taken(
        name,
        rows,
        round(used.ru_maxrss / 1024, 1),
        round(used.ru_utime + used.ru_stime, 2),
        round(time.monotonic() - began, 2),
        os.waitstatus_to_exitcode(status),
    )
