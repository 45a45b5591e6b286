"""A file that is kept for the person who runs this, beside all projects: private, whole or not there.

It is written beside its name first, so that a reader sees a whole one, and that a link in its place is
replaced and never followed.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from nanobanana_batch.errors import NoPriceList
from nanobanana_batch.user_folders import user_folder


def user_file(variable: str, below_home: str, name: str) -> Path | None:
    """Where it is, by an XDG variable or else below HOME; None where this user has no such place."""
    folder = user_folder(variable, below_home)
    return None if folder is None else folder / name


def replace_whole(file: Path, data: bytes) -> None:
    """Put it in the place of the one before.

    Raises:
        OSError: there is no place for it; the one before stays.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(".part", ".", file.parent)  # readable by this user only
    try:
        with open(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def own_text(file: Path, most_bytes: int) -> str:
    """The content of an ordinary file of this user's; nothing else is waited for or believed.

    Raises:
        OSError: it cannot be read.
        NoPriceList: it is something else, somebody else's, or too large.
    """
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise NoPriceList("it is no file")
        if found.st_uid not in (os.geteuid(), 0):
            raise NoPriceList("it belongs to another user")
        data = stream.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise NoPriceList(f"it is larger than {most_bytes >> 20} MiB")
    return data.decode("utf-8")
