"""Images that arrive together are saved together; what goes wrong with one is its own affair."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from nanobanana_batch.engine.stages.saving import Saver
from nanobanana_batch.errors import DiskFailed, ImageRejected
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.images import ImageFile
from nanobanana_batch.model import Image
from tests.unit.night import in_virtual_time
from tests.unit.test_files_images import MOST_PIXELS, WatchedDisk, picture

T = TypeVar("T")
MANY = 12


class SlowThread:
    """A second for each way to it; knows how many there were."""

    def __init__(self) -> None:
        self.ways = 0

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        return self._carried_out(call)

    async def _carried_out(self, call: Callable[[], T]) -> T:
        self.ways += 1
        await anyio.sleep(1.0)
        return call()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An output folder."""
    (tmp_path / IMAGE_FOLDER).mkdir()
    return tmp_path


class Savings:
    """Several images that come one after the other, without waiting for each other."""

    def __init__(self, folder: Path, disk: Disk, thread: Callable[..., Awaitable[object]]) -> None:
        self.folder = folder
        self.disk = disk
        self.saver = Saver(thread)  # type: ignore[arg-type]
        self.found: dict[str, Image | BaseException] = {}

    async def save(self, stem: str, data: bytes) -> None:
        """One of them; what becomes of it is kept."""
        try:
            with ImageFile(self.disk, self.folder, stem, MOST_PIXELS) as file:
                self.found[stem] = await self.saver.finish(file, data)
        except BaseException as error:
            self.found[stem] = error
            if not isinstance(error, Exception):
                raise

    async def save_all(self, bodies: dict[str, bytes]) -> None:
        """All of them."""
        async with anyio.create_task_group() as group:
            for stem, data in bodies.items():
                group.start_soon(self.save, stem, data)


def bodies(count: int = MANY) -> dict[str, bytes]:
    """As many pictures, each of its own."""
    return {f"p{number}": picture(number) for number in range(count)}


def names(folder: Path) -> set[str]:
    """Everything in the image folder, hidden files too."""
    return {path.name for path in (folder / IMAGE_FOLDER).iterdir()}


def test_what_comes_while_others_are_saved_goes_together(folder: Path) -> None:
    """Few ways to a thread, one sync of the folder for each; every image is there and synced by itself."""
    disk, thread = WatchedDisk(), SlowThread()
    it = Savings(folder, disk, thread)
    in_virtual_time(lambda: it.save_all(bodies()))
    assert names(folder) == {f"{stem}.png" for stem in bodies()}
    assert all(isinstance(each, Image) for each in it.found.values())
    assert thread.ways == disk.steps.count("sync_folder") < MANY
    assert disk.steps.count("sync") == disk.steps.count("place") == MANY


@pytest.mark.parametrize(("count", "ways", "seconds"), [(8, 2, 2.0), (9, 2, 1.0), (40, 5, 2.0)])
def test_few_wait_for_those_that_are_being_saved_and_many_do_not(
    folder: Path, count: int, ways: int, seconds: float
) -> None:
    """A way to a thread is for several; but a slow disk saves several groups at once where many wait."""
    thread = SlowThread()
    it = Savings(folder, Disk(), thread)

    async def timed() -> float:
        began_at = anyio.current_time()
        await it.save_all(bodies(count))
        return anyio.current_time() - began_at

    took: list[float] = []

    async def check() -> None:
        took.append(await timed())

    in_virtual_time(check)
    assert thread.ways == ways
    assert took == pytest.approx([seconds], abs=0.1)
    assert len(names(folder)) == count


def test_names_are_synced_behind_the_last_of_them(folder: Path) -> None:
    """An image that was named after the sync would be said to be there, and could vanish."""
    disk = WatchedDisk()
    it = Savings(folder, disk, SlowThread())
    in_virtual_time(lambda: it.save_all(bodies()))
    for at, step in enumerate(disk.steps):
        if step == "place":
            assert "sync_folder" in disk.steps[at:]
    assert disk.steps[-1] == "sync_folder"


def test_what_is_no_image_is_refused_and_the_others_are_saved(folder: Path) -> None:
    """Whoever comes first, or in the middle."""
    it = Savings(folder, Disk(), SlowThread())
    wrong = {f"p{number}": b"<html>sign in</html>" for number in (0, 5, 11)}
    in_virtual_time(lambda: it.save_all({**bodies(), **wrong}))
    assert {stem for stem, each in it.found.items() if isinstance(each, ImageRejected)} == set(wrong)
    assert names(folder) == {f"{stem}.png" for stem in bodies() if stem not in wrong}


def test_a_disk_that_refuses_one_refuses_one(folder: Path) -> None:
    """The others of its group are on disk, and said to be."""

    class RefusesOne(Disk):
        def create(self, path: Path) -> int:
            if path.name == ".p7.part":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().create(path)

    it = Savings(folder, RefusesOne(), SlowThread())
    in_virtual_time(lambda: it.save_all(bodies()))
    assert [stem for stem, each in it.found.items() if isinstance(each, DiskFailed)] == ["p7"]
    assert len(names(folder)) == MANY - 1


def test_names_that_cannot_be_synced_are_nobodys(folder: Path) -> None:
    """None of the group counts as saved; the next try finds its own file and takes it."""
    it = Savings(folder, WatchedDisk("sync_folder"), SlowThread())
    in_virtual_time(lambda: it.save_all(bodies()))
    assert all(isinstance(each, DiskFailed) for each in it.found.values())
    it.disk = Disk()
    in_virtual_time(lambda: it.save_all(bodies()))
    assert all(isinstance(each, Image) for each in it.found.values())
    assert names(folder) == {f"{stem}.png" for stem in bodies()}


def test_who_is_cancelled_has_its_image_saved(folder: Path) -> None:
    """It came whole; and the descriptor is not closed under the thread that writes to it."""
    it = Savings(folder, Disk(), SlowThread())

    async def interrupted() -> None:
        with anyio.move_on_after(0.5):
            await it.save_all(bodies())

    in_virtual_time(interrupted)
    assert all(isinstance(each, Image) for each in it.found.values())
    assert names(folder) == {f"{stem}.png" for stem in bodies()}


class PowerCut(BaseException):
    """Nothing that anybody expects."""


def test_nobody_waits_for_a_group_that_came_to_nothing(folder: Path) -> None:
    """Whatever ended it ends all of them, and who came meanwhile has its turn."""

    class Cutting(WatchedDisk):
        def sync(self, fd: int) -> None:
            raise PowerCut

    it = Savings(folder, Cutting(), SlowThread())

    async def cut() -> None:
        with pytest.raises(BaseExceptionGroup):
            await it.save_all(bodies())

    in_virtual_time(cut)
    assert {type(each) for each in it.found.values()} == {PowerCut}
    assert len(it.found) == MANY
