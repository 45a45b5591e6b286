"""Which files were read, and what was in them: by that a later process knows that it would read the same.

The hash is of the very bytes that were read, so nothing that happens to a file meanwhile is missed. Neither
size nor time of a file is believed: both can be the same for another content.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_MOST_FILES = 1000
"""Of more of them nothing is remembered: to look at them again is what reading them is."""
_AT_ONCE = 1 << 18

Known = Mapping[str, tuple[str, str]]
"""Absolute paths, each with the file that it led to, links resolved, and the SHA-256 of what was in it."""


class Contents:
    """What is read from files within `noted`."""

    def __init__(self) -> None:
        self._opened: dict[str, str] = {}
        self._whole: dict[str, str] = {}
        self._is_certain = True

    @contextmanager
    def noted(self) -> Iterator[None]:
        """For the length of the block, what this thread reads is noted."""
        before = _NOTING.set(self)
        try:
            yield
        finally:
            _NOTING.reset(before)

    def stream(self, fd: int, path: Path) -> io.BufferedReader:
        """A file that was opened, as a stream; it counts once it was read to its end from its beginning."""
        self._open(str(path))
        return io.BufferedReader(_Noted(fd, str(path), self), _AT_ONCE)

    def take(self, path: str, sha256: str) -> None:
        """A file was read wholly."""
        self._open(path)
        if self._is_certain and self._whole.setdefault(os.path.abspath(path), sha256) != sha256:
            self.leave()  # it changed between two readings

    def leave(self) -> None:
        """Something was read of which it cannot be told whether it is the same."""
        self._is_certain = False
        self._opened.clear()
        self._whole.clear()

    def known(self) -> Known | None:
        """All of it; None where something was not read wholly, or cannot be told."""
        if not self._is_certain or self._opened.keys() != self._whole.keys():
            return None
        return {path: (self._opened[path], sha256) for path, sha256 in self._whole.items()}

    def _open(self, path: str) -> None:
        if not self._is_certain:
            return
        place = os.path.abspath(path)
        led_to = os.path.realpath(path)
        if self._opened.setdefault(place, led_to) != led_to or len(self._opened) > _MOST_FILES:
            self.leave()


_NOTING: ContextVar[Contents | None] = ContextVar("noting", default=None)


def noting() -> Contents | None:
    """Who notes what is read just now; None: nobody."""
    return _NOTING.get()


def read_otherwise() -> None:
    """Tell whoever notes that something else than the content of a file decides, such as a folder's names."""
    if (contents := _NOTING.get()) is not None:
        contents.leave()


def note(path: Path, sha256: str) -> None:
    """Tell whoever notes what was in a file that was read by other means."""
    if (contents := _NOTING.get()) is not None:
        contents.take(str(path), sha256)


def are_the_same(known: Known) -> bool:
    """Whether all these files are there, and have the same content."""
    return all(
        os.path.realpath(path) == led_to and sha256_of(Path(path)) == sha256
        for path, (led_to, sha256) in known.items()
    )


def sha256_of(path: Path) -> str:
    """Of a file's content; empty where there is no plain file that this user may read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return ""
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


class _Noted(io.RawIOBase):
    """Hashes what goes through."""

    def __init__(self, fd: int, path: str, contents: Contents) -> None:
        self._file = io.FileIO(fd)
        self._path = path
        self._contents = contents
        self._begin()

    def _begin(self) -> None:
        self._digest: Any = hashlib.sha256()
        self._at = 0
        self._is_in_order = True

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        if count:
            self._digest.update(memoryview(buffer)[:count])
            self._at += count
        elif len(buffer) and self._is_in_order:
            self._contents.take(self._path, self._digest.hexdigest())
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = self._file.seek(offset, whence)
        if place == 0 and self._at:
            self._begin()
        elif place != self._at:
            self._at, self._is_in_order = place, False
        return place

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()
