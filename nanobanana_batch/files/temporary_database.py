"""A private database of one command, which SQLite keeps where temporary files are and deletes itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nanobanana_batch.errors import DiskFailed

_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
_PRIMARY = 0xFF
"""Of an extended result code."""


class TemporaryDatabase(sqlite3.Connection):
    """What does not fit into its few megabytes of memory lies in a file without a name, without a journal.

    Each statement raises `DiskFailed` where there is no room: that is no fault of who counts in it.
    """

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """As the base class."""
        with _told():
            return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        """As the base class."""
        with _told():
            return super().executemany(sql, parameters)

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        """As the base class."""
        with _told():
            return super().executescript(sql_script)


def temporary_database(*, check_same_thread: bool = True) -> TemporaryDatabase:
    """A new one, empty, without transactions that nobody begins.

    `check_same_thread`: whether only the thread that made it may use it.
    """
    made = sqlite3.connect(
        "", isolation_level=None, check_same_thread=check_same_thread, factory=TemporaryDatabase
    )
    made.execute("PRAGMA journal_mode = OFF")
    return made


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY not in _NO_ROOM:
            raise
        raise DiskFailed(
            f"What this command counts with cannot be kept in a temporary file: {error}.",
            hint="Free some space there, or set TMPDIR to a folder on another disk, and begin again.",
        ) from error
