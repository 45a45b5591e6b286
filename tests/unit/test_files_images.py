"""A paid image has its final name only when it is checked, synced and nobody else's."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from nanobanana_batch.errors import DiskFailed, ImageRejected
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files import images, renaming
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.images import ImageFile, stem_is_taken
from nanobanana_batch.model import Image

STEPS = ("create", "write", "sync", "close", "place", "sync_folder")


def picture(shade: int = 0, kind: str = "PNG") -> bytes:
    """A small real image."""
    buffer = io.BytesIO()
    Picture.new("RGB", (9, 5), (shade, 20, 30)).save(buffer, kind)
    return buffer.getvalue()


class WatchedDisk(Disk):
    """The real disk, which notes each step and can fail at one."""

    def __init__(self, fail_at: str = "", code: int = errno.EIO) -> None:
        self.steps: list[str] = []
        self.fail_at = fail_at
        self.code = code

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.fail_at:
            raise OSError(self.code, os.strerror(self.code))

    def create(self, path: Path) -> int:
        self._step("create")
        return super().create(path)

    def write(self, fd: int, data: bytes | memoryview) -> None:
        self._step("write")
        super().write(fd, data)

    def sync(self, fd: int) -> None:
        self._step("sync")
        super().sync(fd)

    def close(self, fd: int) -> None:
        super().close(fd)
        self._step("close")

    def replace(self, source: Path, target: Path) -> None:
        self._step("replace")
        super().replace(source, target)

    def place(self, source: Path, target: Path) -> bool:
        self._step("place")
        return super().place(source, target)

    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder")
        super().sync_folder(path)


MOST_PIXELS = 1 << 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An output folder."""
    (tmp_path / IMAGE_FOLDER).mkdir()
    return tmp_path


def saved(folder: Path, data: bytes, stem: str = "cat", disk: Disk | None = None) -> Image:
    """One image saved in pieces of 50 bytes."""
    with ImageFile(disk or Disk(), folder, stem, MOST_PIXELS) as file:
        for at in range(0, len(data), 50):
            file.write(data[at : at + 50])
        return file.finish()


def names(folder: Path) -> list[str]:
    """Everything in the image folder, hidden files too."""
    return sorted(path.name for path in (folder / IMAGE_FOLDER).iterdir())


@pytest.mark.parametrize(("kind", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_an_image_is_saved_byte_for_byte_under_its_real_type(folder: Path, kind: str, extension: str) -> None:
    """The facts about it are those of the bytes."""
    data = picture(kind=kind)
    image = saved(folder, data)
    assert image == Image(
        path=f"images/cat.{extension}",
        media_type=f"image/{kind.lower()}",
        width=9,
        height=5,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        file_time=(folder / image.path).stat().st_mtime,
    )
    assert (folder / image.path).read_bytes() == data
    assert names(folder) == [f"cat.{extension}"]


def test_bytes_are_synced_before_the_name_and_the_name_before_the_end(folder: Path) -> None:
    """Any other order could leave a name without bytes after power loss."""
    disk = WatchedDisk()
    saved(folder, picture(), disk=disk)
    writes = disk.steps.count("write")
    assert writes > 1
    assert disk.steps == ["create", *["write"] * writes, "sync", "close", "place", "sync_folder"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("step", STEPS)
def test_a_failing_disk_stops_the_run_and_leaves_no_half_file(folder: Path, step: str, code: int) -> None:
    """Whichever step fails, and however: one error, no temporary file, no open descriptor."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DiskFailed, match="full" if code != errno.EIO else "refused"):
        saved(folder, picture(), disk=WatchedDisk(step, code))
    assert names(folder) == (["cat.png"] if step == "sync_folder" else [])
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_image_whose_name_was_not_synced_is_taken_over_by_the_next_try(folder: Path) -> None:
    """It is not stored twice under a neighbour's name."""
    with pytest.raises(DiskFailed):
        saved(folder, picture(), disk=WatchedDisk("sync_folder"))
    assert saved(folder, picture()).path == "images/cat.png"
    assert names(folder) == ["cat.png"]


def test_the_same_bytes_from_before_a_crash_are_adopted(folder: Path) -> None:
    """A run that died between naming and recording finds its own file."""
    first, second = saved(folder, picture()), saved(folder, picture())
    assert first == second
    assert names(folder) == ["cat.png"]


def test_another_file_is_never_overwritten(folder: Path) -> None:
    """Who has the name keeps it, byte for byte; the image gets the next free one."""
    (folder / IMAGE_FOLDER / "cat.png").write_bytes(b"somebody's work")
    (folder / IMAGE_FOLDER / "cat~2.png").write_bytes(b"more of it")
    image = saved(folder, picture(1))
    assert image.path == "images/cat~3.png"
    assert (folder / IMAGE_FOLDER / "cat.png").read_bytes() == b"somebody's work"
    assert (folder / IMAGE_FOLDER / "cat~2.png").read_bytes() == b"more of it"
    assert (folder / image.path).read_bytes() == picture(1)


def test_another_file_of_the_same_length_is_never_overwritten(folder: Path) -> None:
    """Equal sizes are not equal bytes."""
    other = bytearray(picture())
    other[-1] ^= 1
    (folder / IMAGE_FOLDER / "cat.png").write_bytes(other)
    assert saved(folder, picture()).path == "images/cat~2.png"
    assert (folder / IMAGE_FOLDER / "cat.png").read_bytes() == other


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_without_hard_links_nothing_is_overwritten_either(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """exFAT and some network mounts have none."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(renaming, "_renameat2", lambda: None)
    (folder / IMAGE_FOLDER / "cat.png").write_bytes(b"somebody's work")
    image = saved(folder, picture())
    assert image.path == "images/cat~2.png"
    assert (folder / IMAGE_FOLDER / "cat.png").read_bytes() == b"somebody's work"
    assert names(folder) == ["cat.png", "cat~2.png"]


def test_a_dangling_link_of_that_name_is_not_followed(folder: Path) -> None:
    """A name that leads nowhere is still taken."""
    (folder / IMAGE_FOLDER / "cat.png").symlink_to(folder / "nowhere")
    assert stem_is_taken(folder, "cat")
    assert saved(folder, picture()).path == "images/cat~2.png"
    assert not (folder / "nowhere").exists()


@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_a_stem_is_taken_under_any_extension(folder: Path, extension: str) -> None:
    """Two rows are never told apart by .png and .jpg alone."""
    assert not stem_is_taken(folder, "cat")
    (folder / IMAGE_FOLDER / f"cat.{extension}").touch()
    assert stem_is_taken(folder, "cat")
    assert not stem_is_taken(folder, "ca")


@pytest.mark.parametrize("body", [b"<html>502</html>", picture()[:-1], b'{"error": 1}'])
def test_a_rejected_body_leaves_nothing(folder: Path, body: bytes) -> None:
    """No file, temporary or not."""
    with pytest.raises(ImageRejected):
        saved(folder, body)
    assert names(folder) == []


@pytest.mark.parametrize("write", [lambda file: None, lambda file: file.write(b"")])
def test_an_empty_body_is_rejected(folder: Path, write: Callable[[ImageFile], Any]) -> None:
    """Nothing written is no image, and no crash of mmap."""
    with ImageFile(Disk(), folder, "cat", MOST_PIXELS) as file:
        write(file)
        with pytest.raises(ImageRejected, match="empty"):
            file.finish()
    assert names(folder) == []


def test_an_exception_in_between_leaves_nothing(folder: Path) -> None:
    """A cut connection or a cancelled task does not litter."""
    before = len(os.listdir("/proc/self/fd"))

    def interrupted() -> None:
        with ImageFile(Disk(), folder, "cat", MOST_PIXELS) as file:
            file.write(picture()[:20])
            assert names(folder) == [".cat.part"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(folder) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_left_over_part_of_a_killed_run_does_not_get_into_the_image(folder: Path) -> None:
    """A longer old temporary file is emptied first."""
    (folder / IMAGE_FOLDER / ".cat.part").write_bytes(b"x" * 100_000)
    image = saved(folder, picture())
    assert (folder / image.path).read_bytes() == picture()
    assert names(folder) == ["cat.png"]


def test_a_body_larger_than_any_image_is_rejected_before_it_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endless reply does not fill the disk; one byte less is taken."""
    data = picture()
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", len(data))
    assert saved(folder, data).size_bytes == len(data)
    disk = WatchedDisk()
    with pytest.raises(ImageRejected, match="larger"):
        saved(folder, data + b"\0", "dog", disk)
    assert disk.steps.count("write") == len(data) // 50
    assert names(folder) == ["cat.png"]


def test_an_image_in_one_piece_is_saved_by_one_call(folder: Path) -> None:
    """A small image needs one call."""
    with ImageFile(Disk(), folder, "cat", MOST_PIXELS) as file:
        image = file.finish(picture())
    assert (folder / image.path).read_bytes() == picture()
