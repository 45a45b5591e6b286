"""A database may have come with somebody's folder: it is used only if this program could have made it.

What it says becomes paths that are written and deleted. And a journal beside it may make SQLite delete any
file, by naming it as the journal of several databases, which none of ours ever is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from nanobanana_batch.service.contract import MIME_TYPES
from nanobanana_batch.service.data_folder import open_own
from nanobanana_batch.service.options import ServiceError

_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")
"""How a rollback journal ends that names a file of other journals (SQLite's file format, 3)."""
_EXTENSIONS = ", ".join(f"'{extension}'" for extension in MIME_TYPES)
_NO_NAME = "(typeof({0}) != 'text' OR {0} GLOB '*[^A-Za-z0-9_-]*' OR length(CAST({0} AS BLOB)) > 100)"
_HIDDEN = "length(CAST({0} AS BLOB)) != length({0})"
"""After a zero byte nothing is looked at by others."""
_LEADS_AWAY = {
    table: " OR ".join(
        [_NO_NAME.format(name), _HIDDEN.format(name), f"coalesce(extension, '') NOT IN ({_EXTENSIONS})"]
    )
    for table, name in (("tasks", "id"), ("uploads", "token"))
}


def refuse_foreign_journal(database: Path) -> None:
    """Before the database is opened: SQLite heeds a journal then.

    Raises:
        ServiceError: it names other journals.
    """
    try:
        fd = open_own(database.with_name(f"{database.name}-journal"), os.O_RDONLY)
    except FileNotFoundError:
        return
    with os.fdopen(fd, "rb") as journal:
        size = journal.seek(0, os.SEEK_END)
        journal.seek(max(0, size - len(_NAMES_ANOTHER)))
        if journal.read() == _NAMES_ANOTHER:
            raise _foreign(database)


def refuse_foreign_schema(db: sqlite3.Connection, database: Path, schema: Iterable[str]) -> None:
    """Raises ServiceError where there is anything but what the scripts make; some of it may be missing."""
    db.execute("PRAGMA trusted_schema = OFF")
    with closing(sqlite3.connect(":memory:")) as made:
        for script in schema:
            made.executescript(script)
        if not _parts(db) <= _parts(made):
            raise _foreign(database)


def refuse_ways_out(db: sqlite3.Connection, database: Path) -> None:
    """Raises ServiceError where a name that becomes a path is none of ours."""
    for table, leads_away in _LEADS_AWAY.items():
        if db.execute(f"SELECT 1 FROM {table} WHERE {leads_away} LIMIT 1").fetchone():
            raise _foreign(database)


def _parts(db: sqlite3.Connection) -> set[tuple[str, ...]]:
    found = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return {tuple(" ".join(str(part).split()) for part in parts) for parts in found}


def _foreign(database: Path) -> ServiceError:
    return ServiceError(f"{database} is damaged or a stranger's: remove its folder, or use another one")
