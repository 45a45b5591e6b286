"""`payments.jsonl`: what was sent, paid and saved, told beside the state, so that the loss of it is noticed.

It is only appended to, one write for the facts of one commit; what power loss takes of its end is told again
from the state. `state.ledger` says what stands in a line.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from nanobanana_batch.files.disk import Disk, write_atomically
from nanobanana_batch.files.plain import OWN_FILE, open_own

PAYMENTS_NAME = "payments.jsonl"
_PIECE_BYTES = 1 << 16
_LINE_BYTES = 1 << 16
"""No line of ours is longer, and nobody else's costs more."""
_MARK = b'"chain":"'


Told = tuple[int, bytes, int, Path]
"""How many facts the file of a folder tells, the hash over them, how many requests were sent, the folder."""


def last_told(folder: Path) -> Told | None:
    """None where it tells of none."""
    try:
        with os.fdopen(open_own(folder / PAYMENTS_NAME), "rb") as file:
            end = file.seek(0, os.SEEK_END)
            rest = b""
            while end > 0:
                begin = max(0, end - _PIECE_BYTES)
                file.seek(begin)
                piece = file.read(end - begin) + rest
                lines = piece.split(b"\n")
                # The last is empty or torn, and the first one may begin further up.
                rest, end = lines[0][:_LINE_BYTES] + b"\n", begin
                for line in reversed(lines[0 if begin == 0 else 1 : -1]):
                    if _MARK in line and (found := _understood(line)) is not None:
                        return (*found, folder)
    except OSError:
        return None
    return None


def _understood(line: bytes) -> tuple[int, bytes, int] | None:
    try:
        found = json.loads(line)
        return int(found["told"]), bytes.fromhex(found["chain"]), int(found["sent"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def lines(folder: Path) -> Iterator[bytes]:
    """All whole lines.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    with os.fdopen(open_own(folder / PAYMENTS_NAME), "rb") as file:
        while line := file.readline(_LINE_BYTES):
            if line.endswith(b"\n"):
                yield line


class Payments:
    """The file of a folder, for the one who holds its lock; use as a context manager."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._path = folder / PAYMENTS_NAME
        self._disk = disk
        self._fd: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; what was told survives power loss as far as the disk lets it."""
        if self._fd is not None:
            with suppress(OSError):
                self._disk.sync(self._fd)
            self._close()

    def told(self) -> Told | None:
        """As `last_told`."""
        return last_told(self._folder)

    def append(self, text: bytes) -> None:
        """Tell more; a kill leaves whole lines."""
        if text:
            self._disk.write(self._opened(), text)

    def rewrite(self, pieces: Iterable[bytes]) -> None:
        """Tell it all anew, whole or not at all."""
        self._close()
        write_atomically(self._disk, self._path, pieces)
        os.chmod(self._path, OWN_FILE)

    def _opened(self) -> int:
        if self._fd is None:
            try:
                self._fd = self._open()
            except OSError as error:
                if error.errno != errno.EMLINK:
                    raise
                self._part_from_other_names()
                self._fd = self._open()
            self._end_with_a_whole_line(self._fd)
        return self._fd

    def _open(self) -> int:
        return open_own(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def _part_from_other_names(self) -> None:
        """A backup of hard links keeps what it is."""
        copy = self._path.with_name(f".{PAYMENTS_NAME}.new")
        fd = self._disk.create(copy)
        try:
            for line in lines(self._folder):
                self._disk.write(fd, line)
            self._disk.sync(fd)
        finally:
            self._disk.close(fd)
        os.chmod(copy, OWN_FILE)
        self._disk.replace(copy, self._path)

    def _end_with_a_whole_line(self, fd: int) -> None:
        """Half a line is what power loss left of one; its facts are told anew if nobody knows of them."""
        end = os.fstat(fd).st_size
        while end and os.pread(fd, 1, end - 1) != b"\n":
            begin = max(0, end - _PIECE_BYTES)
            end = begin + os.pread(fd, end - begin, begin).rfind(b"\n") + 1
        os.ftruncate(fd, end)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with suppress(OSError):
                os.close(fd)
