"""The state file itself: how it is made, opened to write and to read, and refused where it is damaged."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.state.opening import refuse_foreign_journal, refuse_other_names, unusable
from nanobanana_batch.state.schema import VERSION, bring_up_to_date, refuse_foreign_tables
from nanobanana_batch.state.soundness import refuse_unsound
from nanobanana_batch.state.taking import WITHOUT_LOG, Taken, begin_with

_HEADER_BYTES = 100
KEEP_IT = "Nothing more was sent. Check the disk; keep the file, it knows what was paid for."
_NONE_YET = "Nothing was sent, and there is no state yet: look at the disk, and begin again."
_LOOK_THERE = "Look what else works on this folder, and begin again."
_LOG_BYTES = 1 << 26
"""To which the write-ahead log shrinks again after a large manifest was taken."""


@contextmanager
def as_state_failure(path: Path, hint: str = KEEP_IT) -> Iterator[None]:
    """What SQLite or the disk says in the block is told of the state file.

    Raises:
        StateFailed: they have said something.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StateFailed(f"The state file {path} cannot be used: {error}.", hint=hint) from error
    except UnicodeDecodeError as error:
        raise unusable(path, error, hint) from error


def create(path: Path, first: Taken | None) -> None:
    """Make the file whole under another name first, so that an empty one is known to be damaged.

    As long as it has no name nobody reads it, so that the rows of its first manifest are written there once,
    and not into a log before that. It is synced by a descriptor that was there before anything was written:
    a disk may tell a later one nothing of what it could not keep.

    Raises:
        StateFailed: it cannot be made, there is a state meanwhile, or somebody else has made that file anew.
    """
    new = path.with_name(f".{path.name}.new")
    with as_state_failure(path, _NONE_YET):
        _delete(new)
        made = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _fill(new, first)
            os.fsync(made)
            if os.path.lexists(path) or not _is(new, made):
                text = f"Somebody else has made {path} just now; nothing was sent."
                raise StateFailed(text, hint=_LOOK_THERE)
            os.replace(new, path)
        except BaseException:
            if _is(new, made):
                _delete(new)  # the disk may be full of it
            raise
        finally:
            os.close(made)


def _fill(new: Path, first: Taken | None) -> None:
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        for setting in WITHOUT_LOG:
            db.execute(f"PRAGMA {setting}")
        bring_up_to_date(db)
    if first is not None:
        begin_with(first, new)


def _is(path: Path, descriptor: int) -> bool:
    """Whether a name is still that of a file that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _delete(new: Path) -> None:
    for part in ("", "-journal", "-wal", "-shm"):
        new.with_name(f"{new.name}{part}").unlink(missing_ok=True)


def connect(path: Path, *, is_checked_later: bool) -> tuple[sqlite3.Connection, bool]:
    """A connection that writes, and whether all that is in the file was looked at.

    Raises:
        StateFailed: it is empty, damaged, a stranger's, or of a newer program.
    """
    if path.stat().st_size < _HEADER_BYTES:  # SQLite takes a file of 0 or 1 byte for a new one
        raise StateFailed(
            f"The state file {path} is empty: it was damaged.",
            hint="It knew what was paid for: bring it back, or give another folder with --out.",
        )
    refuse_other_names(path)
    refuse_foreign_journal(path)
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    try:
        # First: what looks for damage carries out the checks of the tables.
        is_checked = refuse_foreign_tables(db) < VERSION or not is_checked_later
        if is_checked:
            refuse_damage(db, path)
            bring_up_to_date(db)
            refuse_unsound(db)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        db.close()
        raise
    return db, is_checked


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Another one, which writes nothing."""
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    db.execute("PRAGMA query_only = ON")
    return db


def refuse_damage(db: sqlite3.Connection, path: Path) -> None:
    """A page that is missing could hide what was paid for.

    Raises:
        StateFailed: one is.
    """
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StateFailed(
            f"The state file {path} is damaged ({verdict}); nothing was sent.",
            hint="Bring back a good copy: it knows what was paid for.",
        )
