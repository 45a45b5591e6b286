"""Where the files of an export are written, while it is built: each is there whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nanobanana_batch.exports.options import Link
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.samples import read_picture
from nanobanana_batch.files.disk import Disk, as_disk_failure
from nanobanana_batch.files.standing import Stands


class Place:
    """A folder that is being filled; of formats of one file, that in which the file is built as `name`."""

    def __init__(
        self,
        folder: Path,
        name: str,
        disk: Disk,
        change: Callable[[bytes, Sample], bytes] = lambda data, sample: data,
    ) -> None:
        self._change = change
        self.folder = folder
        self.name = name
        """What the export is called in the end, without its folders."""
        self._disk = disk
        self._folders: set[str] = set()
        """Of which it is known that they are there: few, whatever the number of files."""
        self.is_counting = False
        """Nothing is written: what is there cannot be read back."""
        self.copied_instead = 0
        """Pictures that could not be linked, and were copied."""

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """A new file of the export, whole and synced when the block ends; `name` may have folders, with `/`.

        Raises:
            DiskFailed: the disk is full or refuses.
        """
        path = self._path(name)
        growing = path.with_name(f".{path.name}.part")
        with self._failing(name):
            fd = self._disk.create(growing)
            with os.fdopen(fd, "wb", buffering=1 << 20) as file:
                yield file
                file.flush()
                self._disk.sync(file.fileno())
            self._disk.replace(growing, path)

    def put(self, name: str, data: bytes) -> None:
        """A small or middling file of the export, from its bytes; one that is there already stays.

        Raises:
            DiskFailed: the disk is full or refuses.
        """
        path = self._path(name)
        growing = path.with_name(f".{path.name}.part")
        with self._failing(name):
            if _is_of(path, data):
                return
            fd = self._disk.create(growing)
            try:
                self._disk.write(fd, data)
            finally:
                self._disk.close(fd)
            self._disk.replace(growing, path)

    def picture(self, name: str, sample: Sample, link: Link | None = None) -> None:
        """The file of a picture, under this name; its bytes are compared with those that were saved.

        Raises:
            LeftOut: the file is not as it was saved, or cannot be read.
            DiskFailed: the disk is full or refuses.
        """
        if link is None or link is Link.COPY:
            self.put(name, self._change(read_picture(sample.picture), sample))
            return
        if sample.picture.stands is not Stands.AS_SAVED:  # its time does not tell
            read_picture(sample.picture)
        if not self._linked(name, sample, link):
            self.put(name, self._change(read_picture(sample.picture), sample))

    def _linked(self, name: str, sample: Sample, link: Link) -> bool:
        path = self._path(name)
        try:
            try:
                _link(sample, path, link)
            except FileExistsError:  # a build that was killed has left it
                with self._failing(name):
                    self._disk.remove(path)
                _link(sample, path, link)
        except OSError:  # another file system, or one without links
            self.copied_instead += 1
            return False
        return True

    def _path(self, name: str) -> Path:
        path = self.folder / name
        folder, _, _ = name.rpartition("/")
        if folder not in self._folders:
            with self._failing(name):
                path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(folder)
        return path

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise as_disk_failure(error, f"writing {name}") from error


def _link(sample: Sample, path: Path, link: Link) -> None:
    if link is Link.SYMLINK:
        os.symlink(sample.picture.file.resolve(), path)
    else:
        os.link(sample.picture.file, path, follow_symlinks=False)


def _is_of(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False
