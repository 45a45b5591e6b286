"""Replies and results that hold images, kept as they came until each of their images is a file.

What is paid for stands on the disk before anyone writes down that it is there: after a kill between the two
it is found by the request's key.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from nanobanana_batch.file_names import ANSWERS, is_answer_path
from nanobanana_batch.files.disk import Disk, as_disk_failure

_UNFINISHED = ".part"


def answer_of(folder: Path, idempotency_key: str) -> str | None:
    """Its path in the output folder, with `/`, if it is there and whole."""
    path = _path(idempotency_key)
    return path if (folder / path).is_file() else None


class AnswerFile:
    """One answer on its way to disk; it has its name only when it is whole and synced.

    Blocking: call it in a thread. Used as a context manager it leaves nothing of itself behind but that.
    """

    def __init__(self, disk: Disk, folder: Path, idempotency_key: str) -> None:
        self._disk = disk
        self._path = _path(idempotency_key)
        self._target = folder / self._path
        self._temporary = self._target.with_name(f".{self._target.name}{_UNFINISHED}")
        self._fd: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            if self._fd is not None:
                self._disk.close(self._fd)
            self._disk.remove(self._temporary)

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            DiskFailed: the disk is full or refuses.
        """
        try:
            if self._fd is None:
                place = self._target.parent
                if not place.is_dir():
                    place.mkdir(mode=0o700)
                    self._disk.sync_folder(place.parent)
                self._disk.remove(self._temporary)
                self._fd = self._disk.create(self._temporary)
            self._disk.write(self._fd, data)
        except OSError as error:
            raise as_disk_failure(error, f"writing {self._path}") from error

    def finish(self) -> str:
        """Sync it, name it, and return its path in the output folder, with `/`.

        Raises:
            DiskFailed: the disk is full or refuses.
        """
        self.write(b"")
        assert self._fd is not None
        try:
            self._disk.sync(self._fd)
            fd, self._fd = self._fd, None
            self._disk.close(fd)
            self._disk.replace(self._temporary, self._target)
            self._disk.sync_folder(self._target.parent)
        except OSError as error:
            raise as_disk_failure(error, f"writing {self._path}") from error
        return self._path


def keep_answer(disk: Disk, folder: Path, idempotency_key: str, answer: bytes) -> str:
    """Write a whole answer, and return its path in the output folder, with `/`.

    Raises:
        DiskFailed: the disk is full or refuses.
    """
    with AnswerFile(disk, folder, idempotency_key) as file:
        file.write(answer)
        return file.finish()


def forget_answer(disk: Disk, folder: Path, path: str) -> None:
    """All of its images are files, or will never be: it is needed no more."""
    with suppress(OSError):
        disk.remove(folder / path)


def forget_others(disk: Disk, folder: Path, awaited: Collection[str]) -> None:
    """Let go what no request of these keys needs: a run was killed before it did."""
    place = folder / ANSWERS
    for path in place.iterdir() if place.is_dir() else ():
        of = path.name.removeprefix(".").removesuffix(_UNFINISHED)  # nobody writes any just now
        if (of not in awaited or path.name != of) and is_answer_path(f"{ANSWERS}/{of}"):
            forget_answer(disk, folder, f"{ANSWERS}/{path.name}")


def _path(idempotency_key: str) -> str:
    return f"{ANSWERS}/{idempotency_key}"
