"""What a run did, one JSON object a line, for the morning after.

A log must never be why a run ends: what cannot be written is counted and left out. Each line is one
write to a file opened for appending, so a kill leaves whole lines; power loss may tear one, and the next
run then begins on a line of its own.

The standard library's `RotatingFileHandler` was tried: it writes through a buffer, so that a full disk leaves
half a line; it goes on behind a torn one in the same line; it follows a link, writes into a backup that is a
hard link of the log, and makes the file readable to all; and a line takes 25 µs before there is any JSON,
where it takes 15 with it here. With these mended, all that remained of it was the renaming.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from nanobanana_batch.files.plain import open_own
from nanobanana_batch.visible import visible

LOG_NAME = "run.log"
_FILE_BYTES = 16 << 20
_FILES = 4
LOG_NAMES = (LOG_NAME, *(f"{LOG_NAME}.{number}" for number in range(1, _FILES)))
_LINE_BYTES = 64 << 10
"""A longer line is written with its texts cut."""
_TEXT_CHARS = 2000
_INTENT = b'"event":"intent"'
"""Of a line that tells that a paid request is about to be sent."""


class Log(Protocol):
    """Takes one event with its fields, and never raises."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Note that this happened; the names of fields that are sizes or times end with their unit."""


class NoLog:
    """Where nobody wants to know."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Forget it."""


NO_LOG: Log = NoLog()


class RunLog:
    """Appends events to a file; use as a context manager, from any thread.

    When the file is full it becomes `run.log.1`, that one `run.log.2`, and so on; the oldest of `files`
    (at least two) goes.
    """

    def __init__(self, path: Path, *, file_bytes: int = _FILE_BYTES, files: int = _FILES) -> None:
        self._path = path
        self._file_bytes = file_bytes
        self._names = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, files))]
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._size_bytes = 0
        self._dropped = 0
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_over = True
            self._close()

    def refusal(self) -> str:
        """Why nothing can be written just now; empty when it can."""
        try:
            with self._lock:
                self._open()
        except OSError as error:
            return str(error.strerror)
        return ""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Write one line: `time`, `event` and the fields."""
        line = _line(event, fields)
        with self._lock:
            if self._is_over:
                return
            try:
                if self._dropped:
                    self._write(_line("lines_dropped", {"lines": self._dropped}))
                    self._dropped = 0
                self._write(line)
            except OSError:
                self._dropped += 1
                self._close()

    def _write(self, line: bytes) -> None:
        fd = self._open()
        if self._size_bytes and self._size_bytes + len(line) > self._file_bytes:
            self._rotate()
            fd = self._open()
        written = os.write(fd, line)
        if written < len(line):
            os.ftruncate(fd, self._size_bytes)  # half a line would be in the way of who reads the rest
            raise OSError("the line did not fit")
        self._size_bytes += written

    def _open(self) -> int:
        """The file, at the beginning of a line: one that power loss tore is completed.

        One that is another file as well (a hard link) becomes `run.log.1` as it is, and the log begins anew.
        """
        if self._fd is None:
            try:
                self._fd = self._opened()
            except OSError as error:
                if error.errno != errno.EMLINK:
                    raise
                self._rotate()
                self._fd = self._opened()
            self._size_bytes = os.fstat(self._fd).st_size
            if self._size_bytes and os.pread(self._fd, 1, self._size_bytes - 1) != b"\n":
                self._size_bytes += os.write(self._fd, b"\n")
        return self._fd

    def _opened(self) -> int:
        return open_own(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def _rotate(self) -> None:
        self._close()
        for newer, older in reversed(list(pairwise(self._names))):
            with suppress(FileNotFoundError):
                os.replace(newer, older)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with suppress(OSError):
                os.close(fd)


def last_intent(folder: Path) -> int | None:
    """The number of the latest attempt that the log of a folder tells of; None where it tells of none."""
    for name in LOG_NAMES:
        try:
            with os.fdopen(open_own(folder / name), "rb") as file:
                text = file.read(_FILE_BYTES + _LINE_BYTES)
        except OSError:
            continue
        if (at := text.rfind(_INTENT)) < 0:
            continue
        with suppress(ValueError, KeyError, TypeError):
            return int(json.loads(text[text.rfind(b"\n", 0, at) + 1 :].split(b"\n", 1)[0])["attempt"])
    return None


def _line(event: str, fields: Mapping[str, object]) -> bytes:
    time = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    head = {"time": time, "event": event}
    try:
        line = _encoded({**head, **fields, **head})
    except Exception:  # whatever a value does when it is asked for its text
        line = b""
    if not line or len(line) > _LINE_BYTES:
        line = _encoded({**head, **{name: _plain(value) for name, value in fields.items()}, **head})
    return line


def _encoded(value: object) -> bytes:
    return visible(_JSON.encode(value)).encode("utf-8", "replace") + b"\n"


def _plain(value: object) -> object:
    """The value if JSON can say it in short, else a text that it can."""
    with suppress(Exception):
        if len(_encoded(value)) <= _TEXT_CHARS:
            return value
    try:
        return _text(value)[:_TEXT_CHARS]
    except Exception:
        return f"<{type(value).__name__}>"


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return str(value)


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_text, separators=(",", ":"))
"""Made once: `json.dumps` makes one for each line."""
