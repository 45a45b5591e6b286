"""What a run says never ends it: its streams may be closed, full, broken, stuck, or of any encoding.

- standard error only tells people. What cannot be written there is left out, without a word.
- standard output is what was asked for. What cannot be written there fails the command, in one sentence.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar

from nanobanana_batch.errors import OutputFailed

_ESCAPES = "nanobanana-escapes"
_MOST_AT_ONCE = 4096
"""What a pipe that is ready takes for sure without making the writer wait (PIPE_BUF)."""
_PATIENCE_S = 1.0


def secure() -> bool:
    """Make the streams of this process fit for work, if they are its own; says whether they are.

    Call it before anything else is opened.

    Where one is closed, the next file that is opened would take its number, and whatever is printed would
    go into that file: into the state, for one.
    """
    _occupy()
    codecs.register_error(_ESCAPES, _escaped)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it lives as long as the process
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Asked(1), sys.stdout)
    is_own = sys.stderr is None or sys.stderr is sys.__stderr__
    if is_own:
        sys.stderr = _text(_Told(2), sys.stderr)
    return is_own


def quiet_libraries() -> None:
    """What libraries log, links and all, goes to standard error where nobody else listens: now somebody does.

    Call it before anything of theirs is carried out.
    """
    import logging  # a page of help needs none of it

    logging.getLogger().addHandler(logging.NullHandler())


@contextmanager
def impatient() -> Iterator[None]:
    """For the length of the work: a terminal that is held, or a pipe that nobody reads, holds up nothing.

    What such a stream does not take within a second is left out, until it takes something again.
    """
    _Told.patience_s = _PATIENCE_S
    try:
        yield
    finally:
        _Told.patience_s = None


def _occupy() -> None:
    """To read from a standard input that was closed, or write to such an output, still fails."""
    for fd, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free, which is this one


class _Stream(io.RawIOBase):
    """A descriptor, written to without the interpreter's own buffers and complaints at its end."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self.name = f"<{fd}>"

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True


class _Told(_Stream):
    """Standard error."""

    patience_s: ClassVar[float | None] = None
    """How long a write may wait for a stream that takes nothing; None: as long as it takes."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._is_stuck = False

    def write(self, data: bytes) -> int:  # type: ignore[override]
        view = memoryview(data).cast("B")
        rest = view
        with suppress(OSError):
            while rest and self._is_ready():
                rest = rest[os.write(self._fd, rest[:_MOST_AT_ONCE]) :]
        return len(view)

    def _is_ready(self) -> bool:
        if self.patience_s is None:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        self._is_stuck = not poll.poll(0 if self._is_stuck else self.patience_s * 1000)
        return not self._is_stuck


class _Asked(_Stream):
    """Standard output."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._has_failed = False

    def write(self, data: bytes) -> int:  # type: ignore[override]
        view = memoryview(data).cast("B")
        if self._has_failed:
            return len(view)  # said already; what is still buffered is flushed at the end
        try:
            return self._written(view)
        except OSError as error:
            self._has_failed = True
            raise OutputFailed(_why(error), is_unread=error.errno == errno.EPIPE) from error

    def _written(self, view: memoryview) -> int:
        while True:
            try:
                return os.write(self._fd, view)
            except BlockingIOError:  # whoever shares the stream has made it so
                time.sleep(0.01)


def _why(error: OSError) -> str:
    if error.errno == errno.EBADF:
        return "Standard output is closed, so what was asked for cannot be written there."
    return f"Standard output cannot be written to: {error.strerror}."


def _text(raw: _Stream, before: object) -> io.TextIOWrapper:
    """As the interpreter has it; characters that the encoding does not know are written as JSON would."""
    encoding = getattr(before, "encoding", None) or "utf-8"
    is_live = isinstance(raw, _Told) or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, _ESCAPES, line_buffering=is_live)


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """`\\u00e9` for what an encoding cannot say; a byte of a file's name that was no text stays that byte."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    if all("\udc80" <= char <= "\udcff" for char in text):
        return text.encode("ascii", "surrogateescape"), error.end
    units = text.encode("utf-16-be", "surrogatepass")
    pairs = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    return "".join(f"\\u{pair}" for pair in pairs), error.end
