"""The few file operations that promises rest on, as one object that a test can replace.

Power loss forgets whatever was not synced: a file's bytes until `sync`, a name until `sync_folder`.
Everything that must survive goes through here, so that a model of such a disk can stand in for it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

from nanobanana_batch.errors import DiskFailed
from nanobanana_batch.files.plain import open_own
from nanobanana_batch.files.renaming import rename_unless_taken

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
_TEMPORARY = re.compile(r"\.(.+)\.(\d+)\.part")
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


def as_disk_failure(error: OSError, doing: str) -> DiskFailed:
    """The error that stops a run, from what the operating system said."""
    if error.errno == errno.EILSEQ:
        return DiskFailed(
            f"In this locale no file can have that name ({doing}).",
            hint="Set PYTHONUTF8=1, or a UTF-8 locale such as LC_ALL=C.UTF-8, and run it again.",
        )
    if error.errno in _NO_SPACE:
        return DiskFailed(
            f"The disk is full ({doing}).", hint="Free some space and run the same command again."
        )
    return DiskFailed(
        f"The disk refused to write: {error.strerror} ({doing}).", hint="See to it, then run again."
    )


def as_temporary_failure(error: OSError, doing: str) -> DiskFailed:
    """The same of a temporary file, with where that is: often on another disk than what a person looks at."""
    with suppress(OSError):  # there may be no such place at all
        doing = f"{doing} in a temporary file in {gettempdir()}"
    hint = "Free some space there, or set TMPDIR to a folder on another disk, and begin again."
    return DiskFailed(as_disk_failure(error, doing).message, hint=hint)


class Disk:
    """The real file system; each method is one step whose loss or order matters."""

    def make_folder(self, path: Path, mode: int = 0o777) -> None:
        """Create a folder and its parents, each name synced into the folder above it."""
        if path.is_dir():
            return
        self.make_folder(path.parent)
        with suppress(FileExistsError):
            path.mkdir(mode)
        self.sync_folder(path.parent)

    def create(self, path: Path) -> int:
        """Open a new, empty file for writing.

        An old one of that name is removed, not emptied: after a kill between the two steps of
        `place` it is the finished file under a second name.
        """
        try:
            os.fsencode(path)
        except UnicodeEncodeError as error:
            raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ)) from error
        try:
            return os.open(path, _NEW_FILE, 0o666)
        except FileExistsError:
            self.remove(path)
            return os.open(path, _NEW_FILE, 0o666)

    def write(self, fd: int, data: bytes | memoryview) -> None:
        """Write all of `data`; a short write is continued."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def sync(self, fd: int) -> None:
        """Make the file's bytes survive power loss."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Close without syncing."""
        os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        """Give `source` the name `target`, replacing what had it."""
        os.replace(source, target)

    def place(self, source: Path, target: Path) -> bool:
        """Give `source` the name `target` unless something has it already; says whether it did."""
        try:
            if rename_unless_taken(source, target):
                return True
            os.link(source, target)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            if os.path.lexists(target):
                return False
            os.rename(source, target)
            return True
        os.unlink(source)
        return True

    def remove(self, path: Path) -> None:
        """Remove a file if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(path)

    def free_bytes(self, path: Path) -> int:
        """Bytes that may still be written where an existing path stands."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder survive power loss."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_atomically(disk: Disk, path: Path, chunks: Iterable[bytes]) -> None:
    """Write a whole file so that readers see the old one or the new one, also after power loss.

    The temporary file stands in the same folder, since a rename is atomic only within one file system.
    An unchanged file is left alone with its time stamp: Make looks at that.

    Raises:
        DiskFailed: the disk is full or refuses; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        fd = disk.create(temporary)
        try:
            for chunk in chunks:
                disk.write(fd, chunk)
            disk.sync(fd)
        finally:
            disk.close(fd)
        if same_content(temporary, path):
            disk.remove(temporary)
            return
        disk.replace(temporary, path)
        disk.sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            disk.remove(temporary)
        if isinstance(error, OSError):
            raise as_disk_failure(error, f"writing {path.name}") from error
        raise


def remove_left(folder: Path, names: Collection[str]) -> None:
    """Remove what is left of these files where `write_atomically` was killed.

    Not of a process that lives, or whose number another one has by now; nor where nothing can be removed.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            found = _TEMPORARY.fullmatch(path.name)
            if found and found[1] in names and not _is_alive(int(found[2])):
                with suppress(OSError):
                    path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True


def same_content(one: Path, other: Path) -> bool:
    """Whether both are plain files that hold the same bytes; read in pieces."""
    try:
        with os.fdopen(open_own(one), "rb") as a, os.fdopen(open_own(other), "rb") as b:
            if os.fstat(a.fileno()).st_size != os.fstat(b.fileno()).st_size:
                return False
            while piece := a.read(1 << 20):
                if piece != b.read(1 << 20):
                    return False
        return True
    except OSError:
        return False
