"""Images that are saved by several threads: each synced by itself, their names together."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.stages.download import finished
from nanobanana_batch.engine.threads import in_thread
from nanobanana_batch.errors import DiskFailed
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.images import ImageFile
from nanobanana_batch.files.shared_sync import SharedSync
from nanobanana_batch.model import Image
from tests.unit.test_files_images import MOST_PIXELS, picture

MANY = 12


class SlowDisk(Disk):
    """Its first sync of a folder lasts until it is let go; knows which names power loss leaves."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self.named: set[str] = set()
        self.safe: set[str] = set()
        self.syncs = 0

    def place(self, source: Path, target: Path) -> bool:
        """Note the name, too."""
        done = super().place(source, target)
        self.named.add(target.name)
        return done

    def sync_folder(self, path: Path) -> None:
        """What was named before it began is safe afterwards."""
        before = set(self.named)
        self.syncs += 1
        self.has_begun.set()
        self.may_end.wait()
        self.safe |= before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An output folder."""
    (tmp_path / IMAGE_FOLDER).mkdir()
    return tmp_path


def saved(disk: Disk, folder: Path, number: int, names: SharedSync) -> Image:
    """One picture of its own."""
    with ImageFile(disk, folder, f"p{number}", MOST_PIXELS) as file:
        return file.finish(picture(number), names)


def test_who_names_while_a_sync_runs_waits_for_the_next_and_all_share_it(folder: Path) -> None:
    """The sync that runs began too early for them; one more is enough for all of them."""
    disk = SlowDisk()
    names = SharedSync(disk, folder / IMAGE_FOLDER)
    with ThreadPoolExecutor(MANY) as threads:
        first = threads.submit(saved, disk, folder, 0, names)
        disk.has_begun.wait()
        others = [threads.submit(saved, disk, folder, number, names) for number in range(1, MANY)]
        while names._asked < MANY:
            pass
        assert not any(each.done() for each in (first, *others))
        disk.may_end.set()
        found = [each.result() for each in (first, *others)]
    assert disk.syncs == 2
    assert disk.safe == {Path(each.path).name for each in found} == {f"p{n}.png" for n in range(MANY)}


def test_no_image_is_told_of_before_its_name_is_safe(folder: Path) -> None:
    """However threads come in between each other."""
    disk = SlowDisk()
    disk.may_end.set()
    names = SharedSync(disk, folder / IMAGE_FOLDER)

    def is_safe(number: int) -> bool:
        return Path(saved(disk, folder, number, names).path).name in disk.safe

    with ThreadPoolExecutor(MANY) as threads:
        assert all(threads.map(is_safe, range(5 * MANY)))


def test_names_that_cannot_be_synced_are_nobodys(folder: Path) -> None:
    """None of them counts as saved; the next try finds its own file and takes it."""

    class Refusing(Disk):
        is_ill = True

        def sync_folder(self, path: Path) -> None:
            if self.is_ill:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().sync_folder(path)

    disk = Refusing()
    names = SharedSync(disk, folder / IMAGE_FOLDER)
    with ThreadPoolExecutor(MANY) as threads:
        tries = [threads.submit(saved, disk, folder, number, names) for number in range(MANY)]
        assert {type(each.exception()) for each in tries} == {DiskFailed}
        disk.is_ill = False
        again = [threads.submit(saved, disk, folder, number, names) for number in range(MANY)]
        assert all(isinstance(each.result(), Image) for each in again)
    assert {path.name for path in (folder / IMAGE_FOLDER).iterdir()} == {f"p{n}.png" for n in range(MANY)}


def test_who_is_cancelled_has_its_image_saved(folder: Path) -> None:
    """It came whole; and the descriptor is not closed under the thread that writes to it."""
    disk = Disk()
    names = SharedSync(disk, folder / IMAGE_FOLDER)
    found: list[Image] = []

    async def check() -> None:
        with anyio.CancelScope() as scope, ImageFile(disk, folder, "p", MOST_PIXELS) as file:
            scope.cancel()
            found.append(await finished(in_thread, file, picture(), names))

    anyio.run(check)
    assert [each.path for each in found] == [f"{IMAGE_FOLDER}/p.png"]
