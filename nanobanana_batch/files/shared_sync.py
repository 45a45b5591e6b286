"""Syncs a folder once for all threads that ask for it at the same time.

Files are synced each by its own thread: a disk takes hardly longer for sixteen of them than for one. The
folder in which they all got their names need not be synced sixteen times.
"""

from __future__ import annotations

import threading
from pathlib import Path

from nanobanana_batch.files.disk import Disk


class SharedSync:
    """Makes the names in one folder survive power loss; from any thread."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self._counting = threading.Lock()
        self._syncing = threading.Lock()
        self._asked = 0
        self._synced = 0
        """Of those that asked, so many have their names synced."""

    def sync(self) -> None:
        """Return when a sync has ended that began after this was called; blocks.

        Raises:
            OSError: the disk refuses. Whoever else asked tries for himself.
        """
        with self._counting:
            self._asked += 1
            turn = self._asked
        with self._syncing:
            if self._synced >= turn:
                return
            asked = self._asked  # one that asks from now on may have given its name too late for this sync
            self._disk.sync_folder(self._folder)
            self._synced = asked
