"""Only plain files are opened: no link that leads elsewhere, no pipe that never ends, no device.

A folder from somebody else may hold a link in the place of a file that we write, such as a `run.log`
that is really a start-up file of the shell. What we make ourselves is for its owner alone: prompts, and
what was paid for them, are nobody else's.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path

from nanobanana_batch.errors import FolderRefused
from nanobanana_batch.files.contents import noting

OWN_FILE, OWN_FOLDER = 0o600, 0o700
_IN_THE_WAY = "Move it away; it is no folder, so no image of a run is in it."
_LEADS_AWAY = (
    "Whoever made this folder may have wanted that another file is written to: look where it leads, then"
    " remove it, or use another folder."
)
_SECOND_NAME = "it is the same file as another one (a hard link)"


def open_own(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a file that is our own: what bears its name is no link and a regular file.

    Where `flags` make the file, nobody else may read it. For writing it has no second name, either: that
    may be a person's own file, and both are the same.

    Raises:
        OSError: it is something else, or cannot be opened; `EMLINK`: it has a second name.
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, OWN_FILE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link", str(path)) from error
        raise
    _regular(fd, path)
    if flags & (os.O_WRONLY | os.O_RDWR) and os.fstat(fd).st_nlink > 1:
        os.close(fd)
        raise OSError(errno.EMLINK, _SECOND_NAME, str(path))
    return fd


def open_input(path: Path) -> int:
    """A descriptor of a file that a person names, wherever a link leads; a pipe or a device is none.

    Raises:
        OSError: it is something else, or cannot be opened.
    """
    return _regular(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), path)


def reading(path: Path) -> BufferedReader:
    """As `open_input`, as a stream; whoever notes what is read is told of it."""
    contents = noting()
    return os.fdopen(open_input(path), "rb") if contents is None else contents.stream(open_input(path), path)


def refuse_foreign(folder: Path, files: Iterable[str], folders: Iterable[str] = ()) -> None:
    """Look at all names in a folder that we read and write.

    Raises:
        FolderRefused: one is a link, a pipe, a socket, a device, or a file where a folder belongs.
    """
    for names, is_right, wanted in ((files, _is_harmless, "file"), (folders, stat.S_ISDIR, "folder")):
        for name in names:
            mode = _mode(folder / name)
            if mode is not None and not is_right(mode):
                raise FolderRefused(
                    f"{folder / name} is {_kind(mode)}, and not a {wanted} of a run; nothing in {folder}"
                    " was read or written.",
                    hint=_IN_THE_WAY if stat.S_ISREG(mode) else _LEADS_AWAY,
                )


def refuse_second_names(folder: Path, files: Iterable[str]) -> None:
    """Look at names in a folder that are written in place: what is written to a file is in all its names.

    Raises:
        FolderRefused: one of them is the same file as another one.
    """
    for name in files:
        try:
            found = (folder / name).lstat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            raise second_name(folder / name)


def second_name(path: Path) -> FolderRefused:
    """The error for a file that must be written in place, and is a person's other file as well."""
    return FolderRefused(
        f"{path} is the same file as another one (a hard link), to which all would be written, too;"
        " nothing was written.",
        hint="A backup made with `cp -al` does that: while no run is going on, give the folder that you work"
        f" on a file of its own with cp -p {path.name} {path.name}.new && mv {path.name}.new {path.name}"
        " there. If it is a stranger's, do not use it.",
    )


def _is_harmless(mode: int) -> bool:
    """A folder in the place of a file takes nothing, and whoever wants the file says so."""
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _mode(path: Path) -> int | None:
    """None where there is nothing, or nobody may look: then nobody will write there, either."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return None


def _regular(fd: int, path: Path | str) -> int:
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, f"it is {_kind(mode)}", str(path))


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFDIR: "a folder",
        stat.S_IFREG: "a file",
    }
    return kinds.get(stat.S_IFMT(mode), "no file")
