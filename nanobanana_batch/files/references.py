"""A local reference image is looked at before it counts as one, and again before it leaves the machine.

It is opened once and read from that opening, so that what is checked and hashed is one and the same file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.errors import ImageRejected
from nanobanana_batch.files.contents import note
from nanobanana_batch.files.formats import Format, identify
from nanobanana_batch.files.plain import reading

_REMEMBERED = 10_000

Stamp = tuple[int, ...]
"""Changes whenever someone writes to the file, or puts another one in its place."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a local file is."""

    sha256: str
    size_bytes: int
    media_type: str
    stamp: Stamp
    is_animated: bool = False


def read_reference(path: Path, limit_bytes: int) -> Reference:
    """Read and check a file.

    Raises:
        ImageRejected: it is missing, unreadable, no file, too large, or not one whole PNG, JPEG or WebP.
    """
    try:
        # A pipe or a device must not hold up whoever asks.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            _refuse_at_sight(found, limit_bytes)
            data = file.read(found.st_size + 1)
    except (OSError, ValueError) as error:
        raise _as_rejected(error) from error
    if len(data) != found.st_size:
        raise ImageRejected("it is being written to")
    sha256, kind = hashlib.sha256(data).hexdigest(), _format(data)
    return Reference(sha256, len(data), kind.media_type, _stamp(found), kind.is_animated)


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of the image in a file.

    Raises:
        OSError, ImageRejected: it cannot be read, or is none.
    """
    with reading(path) as file:
        found = _format(file.read())
    return found.width, found.height


def stamp_of(path: Path) -> Stamp | None:
    """The file's stamp now; None if it is gone."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


class References:
    """Local files, each read once for as long as it stays as it is."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Stamp], Reference | str] = {}

    def look(self, path: Path, limit_bytes: int) -> Reference:
        """As `read_reference`, from memory where possible.

        Raises:
            ImageRejected: as there.
        """
        try:
            found = path.stat()
        except (OSError, ValueError) as error:
            raise _as_rejected(error) from error
        _refuse_at_sight(found, limit_bytes)
        key = (str(path), _stamp(found))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[key] = _read_or_reason(path, limit_bytes)
            if isinstance(known, Reference):
                note(path, known.sha256)
        if isinstance(known, str):
            raise ImageRejected(known)
        return known


def _read_or_reason(path: Path, limit_bytes: int) -> Reference | str:
    try:
        return read_reference(path, limit_bytes)
    except ImageRejected as error:
        return error.message


def _refuse_at_sight(found: os.stat_result, limit_bytes: int) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise ImageRejected("it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise ImageRejected("it is no regular file")
    if found.st_size > limit_bytes:
        raise ImageRejected(f"it has {found.st_size:,} bytes; at most {limit_bytes:,} are allowed")


def _format(data: bytes) -> Format:
    if data[:4] == b"GIF8":
        raise ImageRejected("it is a GIF; save it as PNG, JPEG or WebP")
    try:
        return identify(memoryview(data))
    except ImageRejected as error:
        raise ImageRejected(error.message.replace("the body", "it")) from error


def _stamp(found: os.stat_result) -> Stamp:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _as_rejected(error: OSError | ValueError) -> ImageRejected:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ImageRejected("there is no such file")
    if isinstance(error, IsADirectoryError):
        return ImageRejected("it is a folder")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "no such name is possible"
    return ImageRejected(f"it cannot be read ({reason})")
