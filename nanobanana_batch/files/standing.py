"""How the file of a saved image stands now: told by its size and time, or else by its bytes.

A file that somebody has changed is not lost: it is never fetched over, and never a reason to pay again.
Only what is not there is missing. What cannot be told is not guessed at.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.files.plain import open_own

MOST_BYTES = 256 << 20
"""So much one command reads to find out about files of another time: half a second's work."""


_PIECE_BYTES = 1 << 18
_OWN_FILE, _OWN_FILE_MODE = 0o170400, stat.S_IFREG | stat.S_IRUSR
"""A plain file that its owner may read: where that is this user, nobody has to be asked."""


class Stands(StrEnum):
    """What has become of a file since it was saved."""

    AS_SAVED = "as saved"
    NOT_LOOKED_AT = "not looked at"
    """It has its size and another time, as in a copied folder, and its bytes were not read."""
    MISSING = "missing"
    CHANGED = "changed"
    UNREADABLE = "unreadable"
    NOT_A_FILE = "not a file"
    """A folder, a link or a pipe stands in its place."""
    KEPT = "kept"
    """It was changed, or replaced, and a repair could not fetch the image anew."""


@dataclass(frozen=True, slots=True)
class Files:
    """How many files of saved images are not, or may not be, as they were saved."""

    missing: int = 0
    changed: int = 0
    unreadable: int = 0
    not_a_file: int = 0
    kept: int = 0
    not_looked_at: int = 0
    first: Mapping[str, str] = field(default_factory=dict)
    """The first of each, by these names."""


class Look:
    """A look at the images of a folder; what it has found is counted.

    `most_bytes`: how much may be read of files of which size and time do not tell. `verify`: all are read.
    """

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES, verify: bool = False) -> None:
        self._folder = f"{folder}/"
        self._bytes_left = math.inf if verify else most_bytes
        self._verify = verify
        self._user = os.geteuid()
        self._buffer = memoryview(bytearray(_PIECE_BYTES))
        self._counts: Counter[Stands] = Counter()
        self._first: dict[Stands, str] = {}
        self.kept: Collection[str] = frozenset()
        """Paths of images that a repair could not fetch anew."""

    def at(self, path: str, size_bytes: int, sha256: str, file_time: float | None) -> Stands:
        """How a file stands of which this was written down when it was saved; `file_time` in Unix seconds."""
        found = self._found(path, size_bytes, sha256, file_time)
        if found in (Stands.CHANGED, Stands.NOT_A_FILE) and path in self.kept:
            found = Stands.KEPT
        if found is not Stands.AS_SAVED:
            self._counts[found] += 1
            self._first.setdefault(found, path)
        return found

    def is_back(self, path: str, size_bytes: int, sha256: str) -> bool:
        """Whether a file that was given up has the very bytes that were saved; this is always read."""
        try:
            if os.lstat(self._folder + path).st_size != size_bytes:
                return False
        except OSError:
            return False
        return self._hashed(path, sha256) is Stands.AS_SAVED

    @property
    def files(self) -> Files:
        """What was found so far."""
        counts = {_field(found): count for found, count in self._counts.items()}
        return Files(**counts, first={_field(found): path for found, path in self._first.items()})

    def _found(self, path: str, size_bytes: int, sha256: str, file_time: float | None) -> Stands:
        try:
            found = os.lstat(self._folder + path)
        except (FileNotFoundError, NotADirectoryError):
            return Stands.MISSING
        except OSError:
            return Stands.UNREADABLE
        is_own_file = found.st_mode & _OWN_FILE == _OWN_FILE_MODE and found.st_uid == self._user
        if not is_own_file and not stat.S_ISREG(found.st_mode):
            return Stands.NOT_A_FILE
        if not is_own_file and not os.access(self._folder + path, os.R_OK):
            return Stands.UNREADABLE
        if found.st_size != size_bytes:
            return Stands.CHANGED
        # Some archives keep whole seconds only.
        if (
            file_time is not None
            and found.st_mtime in (file_time, math.floor(file_time))
            and not self._verify
        ):
            return Stands.AS_SAVED
        if size_bytes > self._bytes_left:
            return Stands.NOT_LOOKED_AT
        self._bytes_left -= size_bytes
        return self._hashed(path, sha256)

    def _hashed(self, path: str, sha256: str) -> Stands:
        try:
            fd = open_own(self._folder + path)
            try:
                digest = self._digest(fd)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return Stands.MISSING
        except OSError:  # the disk cannot read it, or it has become something else just now
            return Stands.UNREADABLE
        return Stands.AS_SAVED if digest == sha256 else Stands.CHANGED

    def _digest(self, fd: int) -> str:
        """Of all its bytes, through one buffer: files are many, and a stream for each costs more."""
        found = hashlib.sha256()
        while count := os.readv(fd, (self._buffer,)):
            found.update(self._buffer[:count])
        return found.hexdigest()


def sentences(files: Files, commands: FolderCommands) -> list[str]:
    """What a person should know of them, and do."""
    repair = commands.repair()
    told = {
        "missing": (
            "Images that are gone: ",
            f"{repair} fetches what the provider still has.",
        ),
        "changed": (
            "Images that were changed since they were saved: ",
            "They are kept as they are, and not paid for again;"
            f" {repair} saves the originals beside them while the provider has them.",
        ),
        "not_a_file": (
            "Images in whose place something else stands, such as a folder or a link: ",
            f"It is left alone; {repair} saves the images beside it while the provider has them.",
        ),
        "kept": (
            "Images that were changed, and could not be fetched anew: ",
            "They are kept as they are, and not paid for again.",
        ),
        "unreadable": (
            "Images that this user may not read: ",
            "Nobody knows whether they are as they were saved: make them readable, then look with"
            f" {commands.status()}.",
        ),
        "not_looked_at": (
            "Images with another date than when they were saved, too many to look at: ",
            f"{commands.status('--verify')} reads each.",
        ),
    }
    return [
        f"{before}{count:,} (first: {files.first[name]}). {then}"
        for name, (before, then) in told.items()
        if (count := getattr(files, name))
    ]


def _field(found: Stands) -> str:
    return found.name.lower()
