"""Makes images files, several by one way to a thread: those that come while others are being saved.

Each is written, checked and synced for itself, then all of them are named and the names synced once; so
who saves many at a time pays for few ways to a thread and few syncs of the folder.
"""

from __future__ import annotations

import anyio

from nanobanana_batch.engine.journal import Blocking
from nanobanana_batch.files.images import ImageFile, finish_together
from nanobanana_batch.model import Image

_GROUPS_AT_ONCE = 4
"""A disk that takes long for a sync takes no longer for some of them at once."""
_WORTH_A_GROUP = 8
"""So many are saved beside others; fewer wait for those, so that a way to a thread is for several."""


class _Entry:
    __slots__ = ("file", "found", "is_taken", "last", "turn")

    def __init__(self, file: ImageFile, last: bytes) -> None:
        self.file = file
        self.last = last
        self.turn = anyio.Event()
        self.is_taken = False
        self.found: Image | BaseException | None = None


class Saver:
    """Finishes images in groups. Who has handed one in waits for it: what is whole is not cancelled."""

    def __init__(self, blocking: Blocking) -> None:
        self._blocking = blocking
        self._waiting: list[_Entry] = []
        self._groups = 0

    async def finish(self, file: ImageFile, last: bytes) -> Image:
        """As `ImageFile.finish`.

        Raises:
            SameImage, ImageRejected, DiskFailed: as there.
        """
        entry = _Entry(file, last)
        self._waiting.append(entry)
        with anyio.CancelScope(shield=True):
            while entry.found is None:
                if entry.is_taken or not self._may_begin():
                    await entry.turn.wait()
                    entry.turn = anyio.Event()
                else:
                    await self._save_group()
        found = entry.found
        assert found is not None
        if isinstance(found, BaseException):
            raise found
        return found

    def _may_begin(self) -> bool:
        if not self._groups:
            return True
        return self._groups < _GROUPS_AT_ONCE and len(self._waiting) >= _WORTH_A_GROUP

    async def _save_group(self) -> None:
        """All that wait; then it is the turn of the first of those that have come meanwhile."""
        group, self._waiting = self._waiting, []
        for entry in group:
            entry.is_taken = True
        self._groups += 1
        found: list[Image | BaseException]
        try:
            found = [*await self._blocking(lambda: finish_together([(one.file, one.last) for one in group]))]
        except BaseException as error:
            found = [error] * len(group)  # nobody is left waiting, whatever it was
        self._groups -= 1
        for entry, image in zip(group, found, strict=True):
            entry.found = image
            entry.turn.set()
        if self._waiting:
            self._waiting[0].turn.set()
