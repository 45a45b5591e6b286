"""An uploaded file is there until it expires or is deleted; what became of it is remembered after that.

Its bytes stand in the data folder before its row does: a row never lacks its file. A row stays when the file
goes, so that a task that names the file fails instead of asking elsewhere for it.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from nanobanana_batch.service import data_folder
from nanobanana_batch.service.contract import ApiError

_PATH = re.compile(r"(?:^|/)uploads/([A-Za-z0-9_-]{32})\.[a-z]{3,4}(?:[?#]|$)")


@dataclass(frozen=True, slots=True)
class Upload:
    """A row of the table; `token` is the secret part of the file's public URL, times are Unix seconds."""

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
    gone: int = 0

    @property
    def name(self) -> str:
        """In its folder, and at the end of its URL."""
        return f"{self.token}.{self.extension}"

    @property
    def is_over(self) -> bool:
        """Deleted or expired."""
        return bool(self.gone) or self.expires_at <= time.time()


_COLUMNS = ", ".join(field.name for field in fields(Upload))
_MARKS = ", ".join("?" for _ in fields(Upload))


class Uploads:
    """The table `uploads`, on the store's own connection, and the folder of the same name."""

    def __init__(self, db: sqlite3.Connection, data_dir: Path) -> None:
        """Clears away files without a row, whose upload was never answered, and what was to be deleted."""
        self._db = db
        self._folder = data_folder.Folder(data_dir, data_folder.UPLOADS)
        kept = self._db.execute("SELECT token, extension FROM uploads WHERE gone = 0")
        self._folder.keep_only(f"{token}.{extension}" for token, extension in kept)

    def path(self, upload: Upload) -> Path:
        """Where its bytes are, or were."""
        return self._folder.path / upload.name

    def read(self, upload: Upload) -> bytes | None:
        """None for what is over."""
        return None if upload.is_over else self._folder.read(upload.name)

    def used(self, account: str) -> int:
        """How many files an account has."""
        query = "SELECT count(*) FROM uploads WHERE account = ? AND gone = 0 AND expires_at > ?"
        return int(self._db.execute(query, (account, time.time())).fetchone()[0])

    def check_room(self, account: str, most: int) -> None:
        """Raises ApiError: 402 for an account that has as many files as it may."""
        if self.used(account) >= most:
            raise ApiError(402, "quota_exceeded", f"The account holds {most} files already.")

    def add(
        self, account: str, content: bytes, extension: str, names: tuple[str, str, str], lifetime_s: float
    ) -> Upload:
        """Keeps a file; `names` are its name, its original name and its path, as its owner calls them."""
        file_id, token, now = f"file-{secrets.token_hex(12)}", secrets.token_urlsafe(24), time.time()
        upload = Upload(file_id, account, token, extension, *names, len(content), now, now + lifetime_s)
        self._folder.write(upload.name, content)
        self._db.execute(f"INSERT INTO uploads ({_COLUMNS}) VALUES ({_MARKS})", astuple(upload))
        return upload

    def delete(self, account: str, file_id: str) -> bool:
        """False when the account has no such file."""
        found = self._find("file_id = ? AND account = ?", file_id, account)
        if not found or found[0].is_over:
            return False
        self._drop(found[0])
        return True

    def sweep(self) -> None:
        """Deletes what has expired."""
        for upload in self._find("gone = 0 AND expires_at <= ?", time.time()):
            self._drop(upload)

    def _drop(self, upload: Upload) -> None:
        self._db.execute("UPDATE uploads SET gone = 1 WHERE file_id = ?", (upload.file_id,))
        self._folder.delete(upload.name)

    def linked(self, token: str) -> Upload | None:
        """The file whose URL has this token, whether it is over or not."""
        return next(iter(self._find("token = ?", token)), None)

    def behind(self, url: str) -> Upload | None:
        """The file that a URL shows, whatever host it names: nobody guesses a token."""
        named = _PATH.search(url)
        return self.linked(named[1]) if named else None

    def _find(self, where: str, *values: object) -> list[Upload]:
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM uploads WHERE {where}", values)
        return [Upload(*row) for row in rows.fetchall()]
