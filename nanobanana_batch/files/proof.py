"""Before anything is paid for, each place of a run shows that it keeps what is written to it.

By a real file: neither permissions nor free space tell of a disk that is read-only, over its quota, or
has something else where a folder belongs.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from nanobanana_batch.errors import BadSurroundings, UsageError
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import RESULTS_NAME, Folder

_CONTENT = b"This file shows that a run can write here.\n"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def prove_writable(folder: Folder, disk: Disk) -> None:
    """Write, sync, name and remove a file wherever a run writes. Hold the folder's lock.

    Raises:
        UsageError: one of these places does not take it; nothing was sent.
    """
    for place in dict.fromkeys((folder.path, folder.path / IMAGE_FOLDER, folder.state_folder)):
        try:
            _write(place, disk)
        except OSError as error:
            raise _refused(place, error, is_new=not os.path.lexists(folder.state)) from error
    if (folder.path / RESULTS_NAME).is_dir():
        raise UsageError(f"{folder.path / RESULTS_NAME} is a folder, where the results belong.")


def refuse_unspeakable(names: Iterable[str]) -> None:
    """Whether this process can give files all these names; in most locales it can give them any.

    Raises:
        BadSurroundings: the locale's encoding does not know one of them; nothing was sent.
    """
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("_", "-") == "utf-8":
        return
    for name in names:
        try:
            os.fsencode(name)
        except UnicodeEncodeError as error:
            raise BadSurroundings(
                f"In this locale no file can have the name {name!r} (its encoding is {encoding});"
                " nothing was sent.",
                hint="Set PYTHONUTF8=1, or a UTF-8 locale such as LC_ALL=C.UTF-8.",
            ) from error


def _write(place: Path, disk: Disk) -> None:
    temporary = place / f".write-test.{os.getpid()}.part"
    named = place / f".write-test.{os.getpid()}"
    try:
        fd = disk.create(temporary)
        try:
            disk.write(fd, _CONTENT)
            disk.sync(fd)
        finally:
            disk.close(fd)
        disk.replace(temporary, named)
        disk.remove(named)
        disk.sync_folder(place)
    finally:
        for path in (temporary, named):
            with suppress(OSError):
                disk.remove(path)


def _refused(place: Path, error: OSError, *, is_new: bool) -> UsageError:
    """Another folder is no way out for one that knows what was paid for: there it would be paid for again."""
    hint = "Free some space" if error.errno in _FULL else "Make it writable for this user"
    hint += ", or give another folder with --out." if is_new else "."
    return UsageError(f"{place} cannot be written to ({error.strerror}); nothing was sent.", hint=hint)
