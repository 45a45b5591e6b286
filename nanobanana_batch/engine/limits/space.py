"""Nothing is paid for that would not fit on the disk, or while what is paid for cannot be had.

Free space is compared with what is in flight. How large an image will be is not known before it is there.
Until the first one a generous guess is used, then twice the largest seen.
"""

from __future__ import annotations

import math
from contextlib import ExitStack

import anyio

from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.owed import Owed
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.files.disk import Disk, as_disk_failure
from nanobanana_batch.files.folder import Folder

RESERVE_BYTES = 64 << 20
"""Kept free for the state, results.csv and the log."""
_FIRST_GUESS_BYTES = 8 << 20
_LOOK_AGAIN_S = 1.0
_LOOK_AT_TROUBLE_S = 5.0
_HOLDS_FOR_S = 0.1
"""So long what was found free counts, less what was saved since: to ask for each row takes longer than it."""


class Space:
    """Free space on the disks of one output folder."""

    def __init__(self, disk: Disk, folder: Folder, slots: Slots, stop: Stop, owed: Owed) -> None:
        self._disk = disk
        self._places = {folder.path, folder.state_folder}
        self._slots = slots
        self._stop = stop
        self._owed = owed
        self._largest_bytes = 0
        self._waiting: list[ExitStack] = []
        self._free_bytes = 0
        self._found_until = -math.inf

    def seen(self, size_bytes: int) -> None:
        """An image of this size was saved."""
        self._largest_bytes = max(self._largest_bytes, size_bytes)
        self._free_bytes -= size_bytes

    def hand_over(self) -> None:
        """A row that has its slot waits, for someone to submit it and for space: it is not in flight.

        `enough_for_one_more` is to be asked for it, and ends that.
        """
        waiting = ExitStack()
        waiting.enter_context(self._slots.waiting())
        self._waiting.append(waiting)

    async def enough_for_one_more(self) -> bool:
        """Wait until one more may be owed, and there is room for all that is in flight and that one.

        False, and a wish to stop, if there never will be. What is in flight may turn out smaller than
        expected, so it is waited for; when only those who wait here are left, nothing will change any more.
        """
        try:
            while not self._stop.asked:
                if not self._owed.lets_pay():
                    await self._stop.sleep(_LOOK_AT_TROUBLE_S)
                    continue
                in_flight = self._slots.taken - len(self._waiting)
                if self._has_room(RESERVE_BYTES + (in_flight + 1) * self._expected_bytes()):
                    return True
                if not in_flight:
                    left = self._free_bytes >> 20
                    self._stop.ask(f"The disk has only {left} MiB left, too little for an image.")
                await self._stop.sleep(_LOOK_AGAIN_S)
        finally:
            self._waiting.pop().close()
        return False

    def _has_room(self, bytes_: int) -> bool:
        """By what was found last, as long as that is young and enough; else by a new look."""
        now = anyio.current_time()
        if now >= self._found_until or self._free_bytes < bytes_:
            self._free_bytes, self._found_until = self._looked(), now + _HOLDS_FOR_S
        return self._free_bytes >= bytes_

    def _looked(self) -> int:
        try:
            return min(self._disk.free_bytes(place) for place in self._places)
        except OSError as error:
            self._stop.ask(str(as_disk_failure(error, "looking for free space")))
            return 0

    def _expected_bytes(self) -> int:
        return 2 * self._largest_bytes if self._largest_bytes else _FIRST_GUESS_BYTES
