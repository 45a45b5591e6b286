"""The data folder is the service's own: made for its owner alone, and nothing in it leads elsewhere.

It may have come with an output folder from somebody else: a link in it would be written through, and what
its database says becomes paths that are written and deleted. It is used only if we could have made it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import IO

from nanobanana_batch.service.contract import MIME_TYPES
from nanobanana_batch.service.options import ServiceError

IMAGES, UPLOADS = "images", "uploads"
_FOLDERS = (IMAGES, UPLOADS)
_PART = ".part"
_JOURNAL_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")
"""How a rollback journal ends that names a file of other journals (SQLite's file format, 3)."""
_EXTENSIONS = ", ".join(f"'{extension}'" for extension in MIME_TYPES)
_LEADS_AWAY = (  # after a zero byte nothing is looked at by others
    "SELECT 1 FROM {table} WHERE typeof({name}) != 'text' OR {name} GLOB '*[^A-Za-z0-9_-]*'"
    " OR length(CAST({name} AS BLOB)) > 100 OR length(CAST({name} AS BLOB)) != length({name})"
    " OR coalesce(extension, '') NOT IN (" + _EXTENSIONS + ") LIMIT 1"
)


def make(data_dir: Path) -> None:
    """Raises ServiceError where it cannot be made, or holds what no service has put there."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_links(data_dir)
    except OSError as exc:
        raise ServiceError(f"cannot use the data folder {data_dir}: {exc.strerror}") from exc


def _refuse_links(data_dir: Path) -> None:
    for folder in (data_dir, *(data_dir / name for name in _FOLDERS)):
        if not os.path.lexists(folder):
            continue
        is_top = folder == data_dir
        with os.scandir(folder) as entries:
            for entry in entries:
                _refuse_foreign(entry, is_folder=is_top and entry.name in _FOLDERS, is_written=is_top)


def _refuse_foreign(entry: os.DirEntry[str], *, is_folder: bool, is_written: bool) -> None:
    """`is_written`: in its place, so that another name of the same file would be written through as well."""
    found = entry.stat(follow_symlinks=False)
    if not (stat.S_ISDIR if is_folder else stat.S_ISREG)(found.st_mode):
        wanted = "folder" if is_folder else "file"
        raise ServiceError(f"{entry.path} is no {wanted} of the service's; remove it, or use another folder")
    if is_written and not is_folder and found.st_nlink > 1:
        raise ServiceError(f"{entry.path} has another name somewhere else; put a copy in its place")


def open_own(path: str | Path, flags: int) -> int:
    """A descriptor, for the owner alone, and never through a link. Raises OSError."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def open_log(path: Path) -> IO[bytes]:
    """A file to append to. Raises OSError."""
    return open(path, "ab", opener=open_own)


class Folder:
    """Files that are whole or not there: written beside their names, then renamed."""

    def __init__(self, data_dir: Path, name: str) -> None:
        self.path = data_dir / name
        self.path.mkdir(exist_ok=True)

    def keep_only(self, names: Iterable[str] | None = None) -> None:
        """Deletes what is half written, and all that is not named if names are given."""
        known = None if names is None else set(names)
        for path in self.path.iterdir():
            if path.suffix == _PART or (known is not None and path.name not in known):
                path.unlink()

    def write(self, name: str, content: bytes) -> None:
        """Raises OSError."""
        part = self.path / f"{name}{_PART}"
        part.write_bytes(content)
        os.replace(part, self.path / name)

    def read(self, name: str) -> bytes | None:
        """None for a file that is gone."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """Nothing happens where there is none."""
        (self.path / name).unlink(missing_ok=True)


def refuse_foreign_journal(database: Path) -> None:
    """Before the database is opened: SQLite heeds a journal then, and would delete the file that it names.

    Raises:
        ServiceError: it names other journals, as it does for several databases at once, which ours never is.
    """
    try:
        fd = open_own(database.with_name(f"{database.name}-journal"), os.O_RDONLY)
    except FileNotFoundError:
        return
    with os.fdopen(fd, "rb") as journal:
        size = journal.seek(0, os.SEEK_END)
        journal.seek(max(0, size - len(_JOURNAL_NAMES_ANOTHER)))
        if journal.read() == _JOURNAL_NAMES_ANOTHER:
            raise _foreign(database)


def refuse_foreign_schema(db: sqlite3.Connection, database: Path, schema: str) -> None:
    """Raises ServiceError where there is anything but what the script makes; some of it may be missing."""
    db.execute("PRAGMA trusted_schema = OFF")
    with closing(sqlite3.connect(":memory:")) as made:
        made.executescript(schema)
        if not _parts(db) <= _parts(made):
            raise _foreign(database)


def refuse_ways_out(db: sqlite3.Connection, database: Path) -> None:
    """Raises ServiceError where a name that becomes a path is none of ours."""
    for table, name in (("tasks", "id"), ("uploads", "token")):
        if db.execute(_LEADS_AWAY.format(table=table, name=name)).fetchone():
            raise _foreign(database)


def _parts(db: sqlite3.Connection) -> set[tuple[str, ...]]:
    found = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return {tuple(" ".join(str(part).split()) for part in parts) for parts in found}


def _foreign(database: Path) -> ServiceError:
    return ServiceError(f"{database} is damaged or a stranger's: remove its folder, or use another one")
