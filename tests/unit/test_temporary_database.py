"""Where temporary files have no room, that is told, and what to do; it is no fault of the program."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from nanobanana_batch.errors import DiskFailed
from nanobanana_batch.files.temporary_database import TemporaryDatabase, temporary_database


def full() -> TemporaryDatabase:
    """One that SQLite itself lets grow by a few pages only."""
    made = temporary_database()
    made.execute("CREATE TABLE names (name TEXT)")
    made.execute("PRAGMA max_page_count = 3")
    return made


def test_a_full_disk_is_told_with_where_to_find_room() -> None:
    """By each way of writing."""
    much = "x" * 100_000
    with closing(full()) as database, pytest.raises(DiskFailed, match="full") as told:
        database.execute("INSERT INTO names VALUES (?)", (much,))
    assert "TMPDIR" in (told.value.hint or "")
    with closing(full()) as database, pytest.raises(DiskFailed, match="full"):
        database.executemany("INSERT INTO names VALUES (?)", [(much,)])
    with closing(full()) as database, pytest.raises(DiskFailed, match="full"):
        database.executescript(f"INSERT INTO names VALUES ('{much}')")


def test_a_fault_of_the_program_stays_one() -> None:
    """Nobody is sent to free some space for it."""
    with closing(temporary_database()) as database:
        database.execute("CREATE TABLE names (name TEXT UNIQUE)")
        database.execute("INSERT INTO names VALUES ('a')")
        with pytest.raises(sqlite3.IntegrityError):
            database.execute("INSERT INTO names VALUES ('a')")
        with pytest.raises(sqlite3.ProgrammingError):
            database.execute("INSERT INTO names VALUES (?)", ())
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            database.execute("INSERT INTO others VALUES ('a')")
