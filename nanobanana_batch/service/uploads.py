"""An uploaded file is there until it expires or is deleted; what became of it is remembered after that.

Its bytes stand in the data folder before its row does: a row never lacks its file. A row stays when the file
goes, so that a task that names the file fails instead of asking elsewhere for it.
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import time
from dataclasses import dataclass, fields
from pathlib import Path

from nanobanana_batch.service.envelope import ApiError

SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    file_id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    token TEXT NOT NULL UNIQUE,
    extension TEXT NOT NULL,
    file_name TEXT NOT NULL,
    original_name TEXT NOT NULL,
    upload_path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    uploaded_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    gone INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_by_account ON uploads (account) WHERE gone = 0;
"""
_PATH = re.compile(r"(?:^|/)uploads/([A-Za-z0-9_-]{32})\.[a-z]{3,4}(?:[?#]|$)")


@dataclass(frozen=True, slots=True)
class Upload:
    """A row of the table; `token` is the secret part of the file's public URL."""

    file_id: str
    account: str
    token: str
    extension: str
    file_name: str
    original_name: str
    upload_path: str
    size_bytes: int
    uploaded_at: float
    expires_at: float
    gone: int


@dataclass(frozen=True, slots=True)
class Given:
    """A file that is to be kept, checked already."""

    content: bytes
    extension: str
    file_name: str
    original_name: str
    upload_path: str


_NAMES = ", ".join(field.name for field in fields(Upload))
_MARKS = ", ".join("?" for _ in fields(Upload))


class Uploads:
    """The table `uploads`, on the store's own connection, and the folder of the same name."""

    def __init__(self, db: sqlite3.Connection, data_dir: Path) -> None:
        self._db = db
        self._db.executescript(SCHEMA)
        self._folder = data_dir / "uploads"
        self._folder.mkdir(exist_ok=True)
        self._drop_strays()

    def _drop_strays(self) -> None:
        """Files without a row, whose upload was never answered, and what was about to be deleted."""
        kept = self._db.execute("SELECT token, extension FROM uploads WHERE gone = 0")
        known = {f"{token}.{extension}" for token, extension in kept}
        for path in self._folder.iterdir():
            if path.name not in known:
                path.unlink()

    def path(self, upload: Upload) -> Path:
        return self._folder / f"{upload.token}.{upload.extension}"

    def used(self, account: str) -> int:
        """How many files an account has."""
        query = "SELECT count(*) FROM uploads WHERE account = ? AND gone = 0 AND expires_at > ?"
        return int(self._db.execute(query, (account, time.time())).fetchone()[0])

    def check_room(self, account: str, most: int) -> None:
        if self.used(account) >= most:
            raise ApiError(402, "quota_exceeded", f"The account holds {most} files already.")

    def add(self, account: str, given: Given, most: int, lifetime_s: float) -> Upload:
        self.check_room(account, most)
        now = time.time()
        upload = Upload(
            file_id=f"file-{secrets.token_hex(12)}",
            account=account,
            token=secrets.token_urlsafe(24),
            extension=given.extension,
            file_name=given.file_name,
            original_name=given.original_name,
            upload_path=given.upload_path,
            size_bytes=len(given.content),
            uploaded_at=now,
            expires_at=now + lifetime_s,
            gone=0,
        )
        path = self.path(upload)
        part = path.with_suffix(".part")
        part.write_bytes(given.content)
        os.replace(part, path)
        values = [getattr(upload, field.name) for field in fields(Upload)]
        self._db.execute(f"INSERT INTO uploads ({_NAMES}) VALUES ({_MARKS})", values)
        return upload

    def delete(self, account: str, file_id: str) -> bool:
        """False when the account has no such file."""
        found = self._find("file_id = ? AND account = ?", file_id, account)
        if found is None or is_over(found):
            return False
        self._drop(found)
        return True

    def sweep(self) -> None:
        """Deletes what has expired."""
        query = f"SELECT {_NAMES} FROM uploads WHERE gone = 0 AND expires_at <= ?"
        for row in self._db.execute(query, (time.time(),)).fetchall():
            self._drop(Upload(*row))

    def _drop(self, upload: Upload) -> None:
        self._db.execute("UPDATE uploads SET gone = 1 WHERE file_id = ?", (upload.file_id,))
        self.path(upload).unlink(missing_ok=True)

    def linked(self, token: str) -> Upload | None:
        return self._find("token = ?", token)

    def behind(self, url: str) -> Upload | None:
        """The file that a URL shows, whatever host it names: nobody guesses a token."""
        named = _PATH.search(url)
        return self.linked(named[1]) if named else None

    def _find(self, where: str, *values: str) -> Upload | None:
        row = self._db.execute(f"SELECT {_NAMES} FROM uploads WHERE {where}", values).fetchone()
        return Upload(*row) if row else None


def is_over(upload: Upload) -> bool:
    """Deleted or expired."""
    return bool(upload.gone) or upload.expires_at <= time.time()
