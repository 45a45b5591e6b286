"""Places for journals in memory, which fail when a test says so."""

from __future__ import annotations

from collections.abc import Callable

from nanobanana_batch.errors import RunStopped
from nanobanana_batch.journals.journal import FarJournal
from nanobanana_batch.journals.slots import Slots


class Memory:
    """A `Place`; several writers may hold the same one."""

    address = "memory"
    pauses_s: tuple[float, ...] = ()

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fails: Callable[[], str] = lambda: ""
        """Says how: `before` the file is there, or `after`; empty: it does not."""
        self.writes_over = False

    def names(self) -> list[str]:
        return list(self.files)

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def create(self, name: str, data: bytes) -> bool:
        how = self.fails()
        if how == "before":
            raise RunStopped("the storage is away.")
        if name in self.files and not self.writes_over:
            return False
        self.files[name] = data
        if how == "after":
            raise RunStopped("the storage does not answer.")
        return True

    @property
    def text(self) -> str:
        """All of it."""
        return b"".join(self.files.values()).decode()


RUN = {"manifest": "cats"}


def writer(place: Memory) -> Slots:
    """One that has taken it over."""
    slots = Slots(place, RUN)
    slots.take_over()
    return slots


def journal(place: Memory) -> FarJournal:
    """The same for a folder."""
    return FarJournal(writer(place))
