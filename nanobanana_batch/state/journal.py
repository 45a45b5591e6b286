"""A journal beside a database may name any file at all, and SQLite deletes that file once it has rolled back.

The name is for changes of several databases at once: it stands at the end of the journal of each of them
("Super-Journal Pointer" in SQLite's description of its file format). We make no such changes. A journal
without a name only puts pages of its own database back, as a switch to the write-ahead log that was cut off
needs it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""The last bytes of a journal that names another file."""


def journal_of(database: Path) -> Path:
    """Where SQLite keeps what it needs to take back a change."""
    return database.with_name(f"{database.name}-journal")


def has_journal(database: Path) -> bool:
    """Whether there is something that SQLite might take back when it opens the database."""
    try:
        found = journal_of(database).lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return found.st_size > 0 or not stat.S_ISREG(found.st_mode)


def leads_elsewhere(database: Path) -> bool:
    """Whether the journal of a database is no plain file, cannot be read, or names a file to delete.

    Ask before each opening of a database that may be a stranger's.
    """
    if not has_journal(database):
        return False
    try:
        fd = os.open(journal_of(database), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return True
        return os.pread(fd, len(_MAGIC), max(0, found.st_size - len(_MAGIC))) == _MAGIC
    finally:
        os.close(fd)
