"""Space: no image is paid for that may not fit, on neither disk."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.limits.space import RESERVE_BYTES, Space
from nanobanana_batch.engine.owed import Owed
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.trouble import Patience
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder
from nanobanana_batch.files.log import NO_LOG
from nanobanana_batch.model import RowStatus
from tests.unit.beside import within
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import PROMPTS, Night, in_virtual_time

DONE = RowStatus.COMPLETED


class TwoDisks(Disk):
    """Free bytes by place."""

    def __init__(self, **free: int) -> None:
        self.free = free

    def free_bytes(self, path: Path) -> int:
        return self.free[path.name]


def space_on(disk: Disk, slots: Slots, stop: Stop, tmp_path: Path) -> Space:
    """The space of a folder whose state stands on another disk."""
    owed = Owed(
        Patience(60.0, 60.0, 60.0, 9),
        slots,
        stop,
        Tally(),
        NO_LOG,
        FolderCommands(tmp_path),
        anyio.current_time,
    )
    return Space(disk, Folder(tmp_path / "images", tmp_path / "state"), slots, stop, owed)


@pytest.mark.parametrize("full", ["images", "state"])
def test_either_disk_can_be_the_full_one(tmp_path: Path, full: str) -> None:
    """Neither an image nor the record of it may be what does not fit."""

    async def check() -> None:
        stop, slots = Stop(), Slots(4, Tally())
        disk = TwoDisks(**{"images": 1 << 40, "state": 1 << 40, full: 1 << 20})
        space = space_on(disk, slots, stop, tmp_path)
        await slots.take()
        space.hand_over()
        assert not await space.enough_for_one_more()
        assert "1 MiB" in stop.reason

    in_virtual_time(check)


@pytest.mark.parametrize(("largest", "enough"), [(100, False), (50, True)])
def test_twice_the_largest_image_seen_has_to_fit(tmp_path: Path, largest: int, enough: bool) -> None:
    """A small image after a large one does not make the next one small; the reserve stays free."""

    async def check() -> None:
        stop, slots = Stop(), Slots(4, Tally())
        space = space_on(TwoDisks(images=RESERVE_BYTES + (120 << 20), state=1 << 40), slots, stop, tmp_path)
        space.seen(largest << 20)
        space.seen(1)
        await slots.take()
        space.hand_over()
        assert await space.enough_for_one_more() is enough

    in_virtual_time(check)


def test_the_reserve_is_not_for_images(tmp_path: Path) -> None:
    """The state, results.csv and the log have to be written too."""

    async def check() -> None:
        stop, slots = Stop(), Slots(4, Tally())
        space = space_on(TwoDisks(images=RESERVE_BYTES + 10, state=1 << 40), slots, stop, tmp_path)
        await slots.take()
        space.hand_over()
        assert not await space.enough_for_one_more()

    in_virtual_time(check)


def test_several_who_wait_for_space_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """When only they are left nothing will change any more."""

    async def check() -> None:
        stop, slots = Stop(), Slots(4, Tally())
        space = space_on(TwoDisks(images=1, state=1 << 40), slots, stop, tmp_path)
        for _ in range(2):
            await slots.take()
            space.hand_over()
        async with anyio.create_task_group() as group:
            group.start_soon(space.enough_for_one_more)
            group.start_soon(space.enough_for_one_more)
        assert stop.asked

    in_virtual_time(check)


def test_who_waits_for_space_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    """An image that turns out small makes room; nobody is stopped meanwhile."""

    async def check() -> None:
        stop, slots, found = Stop(), Slots(4, Tally()), []
        space = space_on(TwoDisks(images=RESERVE_BYTES + (8 << 20), state=1 << 40), slots, stop, tmp_path)
        await slots.take()
        await slots.take()
        space.hand_over()

        async def ask() -> None:
            found.append(await space.enough_for_one_more())

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.sleep(30.0)
            assert (found, stop.asked) == ([], False)
            space.seen(1000)
            slots.give_back()
        assert found == [True]

    in_virtual_time(check)


def test_small_images_let_more_be_in_flight(tmp_path: Path) -> None:
    """Once one was saved, its size and no longer a guess says what fits."""

    class Small(Disk):
        def free_bytes(self, path: Path) -> int:
            return RESERVE_BYTES + (8 << 20)

    it = Night(tmp_path, FakeProvider(), PROMPTS, disk=Small())
    it.run(within(120))
    assert it.statuses() == [DONE] * 30


class CountedDisk(TwoDisks):
    """How often it was asked for what is free."""

    asked = 0

    def free_bytes(self, path: Path) -> int:
        """The same, counted."""
        self.asked += 1
        return super().free_bytes(path)


def test_rows_that_go_out_together_ask_the_disk_once(tmp_path: Path) -> None:
    """It is asked again a moment later, since others write too."""

    async def check() -> None:
        slots, disk = Slots(200, Tally()), CountedDisk(images=1 << 40, state=1 << 40)
        space = space_on(disk, slots, Stop(), tmp_path)
        for _ in range(100):
            await slots.take()
            space.hand_over()
            assert await space.enough_for_one_more()
        assert disk.asked == 2
        disk.free["images"] = 1
        await anyio.sleep(0.2)
        await slots.take()
        space.hand_over()
        with anyio.move_on_after(0.5):
            assert not await space.enough_for_one_more()
        assert disk.asked > 2

    in_virtual_time(check)


def test_what_was_saved_since_the_disk_was_asked_is_not_free(tmp_path: Path) -> None:
    """Where by that it does not fit, the disk decides, which is asked anew at once."""

    async def check() -> None:
        stop, slots = Stop(), Slots(4, Tally())
        disk = CountedDisk(images=RESERVE_BYTES + (20 << 20), state=1 << 40)
        space = space_on(disk, slots, stop, tmp_path)
        await slots.take()
        space.hand_over()
        assert await space.enough_for_one_more()
        slots.give_back()
        disk.free["images"] -= 8 << 20
        space.seen(8 << 20)
        await slots.take()
        space.hand_over()
        assert not await space.enough_for_one_more()
        assert (disk.asked, "76 MiB" in stop.reason) == (4, True)

    in_virtual_time(check)
