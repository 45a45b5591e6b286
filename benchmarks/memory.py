"""What each command takes of memory and CPU over the folder of a large run that has ended.

    python -m benchmarks.memory [--rows N] [--folder DIR] [--only NAME] [--json FILE]

The folder is made by `benchmarks.finished`; each command is a process of its own, and what the system says of
it when it ends is told: the most memory it has had at once (never less than the 40 MiB of this benchmark,
by which it was started), and CPU in itself and the kernel.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.finished import finished_folder, write_manifest
from benchmarks.process import PRODUCT, carried_out
from nanobanana_batch.files.folder import CHECKS_NAME, GALLERY_FOLDER, STATE_NAME

MOST_MIB = 114.0
"""What no command may need, however many rows there are: 120 MB."""
AUDIT_CPU_S = 8.0
"""At most, at 200,000 rows; more of them may take as much more."""
_ROWS_OF_TARGET = 200_000


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
    table = write_manifest(folder.with_name(f"{folder.name}.csv"), rows)
    beside = folder.with_name(f"{folder.name}-made")
    for name, words in _commands(folder, table, beside).items():
        if not only or name in only:
            with _without_state(folder) if "--rebuild" in words else nullcontext():
                yield _taken(name, rows, words)
            _clear(folder, beside)


OF_STATE = ("plan", "status", "results", "report", "audit", "audit --rebuild")
"""Commands that look at what is known of a row."""
OF_IMAGES = (
    "status --verify",
    *(f"export {kind}" for kind in ("csv", "jsonl", "parquet", "imagefolder", "webdataset")),
    "gallery",
    "check",
)
"""Commands that look at each image, and take minutes for as many of them."""


def _commands(folder: Path, table: Path, beside: Path) -> dict[str, list[str]]:
    exports = ("csv", "jsonl", "parquet", "imagefolder", "webdataset")
    plan = ["plan", str(table), "--provider", "evolink", "--out", str(folder)]
    of_folder = ("status", "status --verify", "results", "report", "audit")
    return {
        "plan": plan,
        **{name: [*name.split()[:1], str(folder), *name.split()[1:]] for name in of_folder},
        **{
            f"export {kind}": ["export", str(folder), "--format", kind, "--out", str(beside)]
            for kind in exports
        },
        "gallery": ["gallery", str(folder)],
        "check": ["check", str(folder), "--quiet"],
        # The state is made anew of payments.jsonl, as after its loss.
        "audit --rebuild": ["audit", str(folder), "--rebuild"],
    }


@contextmanager
def _without_state(folder: Path) -> Iterator[None]:
    """As after its loss; then it is brought back."""
    state, away = folder / STATE_NAME, folder.with_name(f"{folder.name}-{STATE_NAME}")
    state.replace(away)
    try:
        yield
    finally:
        away.replace(state)


def _clear(folder: Path, beside: Path) -> None:
    """What the next command would find of this one."""
    for made in (beside, folder / GALLERY_FOLDER):
        shutil.rmtree(made, ignore_errors=True)
    for file in (beside, folder / CHECKS_NAME):
        with suppress(OSError):
            file.unlink()


def _taken(name: str, rows: int, words: Sequence[str]) -> Taken:
    ended = carried_out([sys.executable, *PRODUCT, *words])
    return Taken(
        name, rows, round(ended.peak_mib, 1), round(ended.cpu_s, 2), round(ended.seconds, 2), ended.exit_code
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="keep it here; one that is there is not made again")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this command")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also as JSON, to this file")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as name:
        for one in measure(given.rows, given.folder or Path(name) / "finished", given.only or ()):
            found.append(one)
            print(
                f"{one.name:<18} {one.rows:,} rows: {one.peak_mib:6.1f} MiB of {MOST_MIB:.0f},"
                f" CPU {one.cpu_s:6.2f} s, wall {one.wall_s:6.2f} s, exit {one.exit_code}"
                f"  {'ok' if one.is_within else 'MISSED'}",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
