"""A paid image gets its final name only after it was checked, hashed and synced; it never takes another's.

bytes -> `.part` file in the same folder -> structure checked -> SHA-256 -> sync -> name -> folder synced
"""

from __future__ import annotations

import hashlib
import mmap
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from nanobanana_batch.errors import ImageRejected, SameImage
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.disk import Disk, as_disk_failure, same_content
from nanobanana_batch.files.formats import Format, identify
from nanobanana_batch.files.shared_sync import SharedSync
from nanobanana_batch.model import Image

EXTENSIONS = ("png", "jpg", "webp")
MAX_IMAGE_BYTES = 256 * 1024 * 1024
"""More than any 16-megapixel image of the contract needs; what is larger is not one."""

_BYTES_A_PIXEL = 8
"""Four channels of 16 bits, not compressed at all."""
_BYTES_BESIDE = 16 << 20
"""For profiles, previews and texts."""


def stem_is_taken(folder: Path, stem: str) -> bool:
    """Whether a file of the image folder already has this name with any of our extensions."""
    path = os.path.join(folder, IMAGE_FOLDER, stem)
    return any(os.path.lexists(f"{path}.{extension}") for extension in EXTENSIONS)


def names_of_images(disk: Disk, folder: Path) -> SharedSync:
    """By which the names of all images of an output folder are synced."""
    return SharedSync(disk, folder / IMAGE_FOLDER)


class ImageFile:
    """One image on its way to disk. Blocking: call it in a thread, once per file or per MiB.

    `most_pixels`: what has more is not what was asked for, but something that takes a viewer's memory.
    `but_not`: hashes of images that are files already, and not to be saved in the place of this one. Used as
    a context manager it leaves no temporary file behind, whatever happens.
    """

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        stem: str,
        most_pixels: int,
        but_not: frozenset[str] = frozenset(),
    ) -> None:
        self._disk = disk
        self._but_not = but_not
        self._most_pixels = most_pixels
        self._folder = folder / IMAGE_FOLDER
        self._stem = stem
        self._temporary = self._folder / f".{stem}.part"
        self._fd: int | None = None
        self._hash = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            # A disk that fails here as well must not hide what is already being raised.
            with suppress(OSError):
                self._disk.close(fd)
            with suppress(OSError):
                self._disk.remove(self._temporary)

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            ImageRejected: the body is larger than any image of the contract.
            DiskFailed: the disk is full or refuses.
        """
        self._count(data)
        self._append(data)

    def finish(self, last: bytes = b"", names: SharedSync | None = None) -> Image:
        """Append the last bytes, check, sync and name the file, and sync the name.

        `names`: by which names in the folder are synced together with those of other threads.

        Raises:
            SameImage: it is one of those that it is not to be; nothing is kept.
            ImageRejected: it is not one whole image; nothing is kept.
            DiskFailed: the disk is full or refuses; nothing is kept, or what the next try takes for its own.
        """
        found = self._named(last)
        try:
            if names is None:
                self._disk.sync_folder(self._folder)
            else:
                names.sync()
        except OSError as error:
            raise as_disk_failure(error, f"saving {self._stem}") from error
        return found

    def _named(self, last: bytes) -> Image:
        """As `finish`, but for the name: until the folder is synced power loss can take that."""
        if self._fd is None:  # it came in one piece: what is no image does not even touch the disk
            self._count(last)
            found = self._accepted(last)
            self._append(last)
        else:
            if last:
                self.write(last)
            found = self._accepted(None)
        try:
            path = self._name(found.extension)
        except OSError as error:
            raise as_disk_failure(error, f"saving {self._stem}") from error
        return Image(
            path=f"{IMAGE_FOLDER}/{path.name}",
            media_type=found.media_type,
            width=found.width,
            height=found.height,
            size_bytes=self._size,
            sha256=self._hash.hexdigest(),
            file_time=_time_of(path),
        )

    def _count(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_IMAGE_BYTES:
            raise ImageRejected(f"the body is larger than {MAX_IMAGE_BYTES} bytes")
        self._hash.update(data)

    def _append(self, data: bytes) -> None:
        try:
            if self._fd is None:
                self._fd = self._disk.create(self._temporary)
            self._disk.write(self._fd, data)
        except OSError as error:
            raise as_disk_failure(error, f"saving {self._stem}") from error

    def _accepted(self, whole: bytes | None) -> Format:
        """What it is; `whole`: all of its bytes, where they are not in the file yet."""
        found = self._check() if whole is None else identify(memoryview(whole))
        self._refuse_monster(found)
        if self._hash.hexdigest() in self._but_not:
            raise SameImage("it is the very image that another one of this row is")
        return found

    def _check(self) -> Format:
        assert self._fd is not None
        if not self._size:
            raise ImageRejected("the body is empty")
        try:
            with mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                return _identify_mapped(view)
        except OSError as error:
            raise as_disk_failure(error, f"checking {self._stem}") from error

    def _refuse_monster(self, found: Format) -> None:
        """What would take a viewer's memory, or is mostly something else than a picture."""
        pixels, size = found.width * found.height, f"{found.width} x {found.height}"
        if pixels > self._most_pixels:
            raise ImageRejected(f"it has {size} pixels, far more than was asked for")
        if self._size > _BYTES_A_PIXEL * pixels + _BYTES_BESIDE:
            raise ImageRejected(f"it has {self._size:,} bytes for {size} pixels: most of it is no picture")

    def _name(self, extension: str) -> Path:
        assert self._fd is not None
        self._disk.sync(self._fd)
        fd, self._fd = self._fd, None  # a close that fails has closed all the same
        try:
            self._disk.close(fd)
            target, is_moved = self._place(extension)
        except BaseException:
            self._disk.remove(self._temporary)
            raise
        if not is_moved:
            self._disk.remove(self._temporary)
        return target

    def _place(self, extension: str) -> tuple[Path, bool]:
        """Never over another file: the same bytes are ours from before a crash, others get a neighbour.

        With it: whether the name was given to the file just now.
        """
        number = 1
        while True:
            suffix = "" if number == 1 else f"~{number}"
            target = self._folder / f"{self._stem}{suffix}.{extension}"
            if self._disk.place(self._temporary, target):
                return target, True
            if same_content(self._temporary, target):
                return target, False
            number += 1


def _time_of(path: Path) -> float | None:
    """As the file system has it: its clock may be another than ours."""
    try:
        found = os.lstat(path).st_mtime
    except OSError:
        return None
    return found if found >= 0 else None


def _identify_mapped(view: memoryview) -> Format:
    """As `identify`; an error is raised anew, since its traceback would keep the file mapped."""
    reason = ""
    try:
        return identify(view)
    except ImageRejected as error:
        reason = error.message
    raise ImageRejected(reason)
