"""Replies and results that hold images: nothing of them is lost on the way to the folder, or in it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.context import Settings
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.errors import StateFailed
from nanobanana_batch.file_names import ANSWERS
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.model import RowStatus
from nanobanana_batch.state.facts import Answered, Fact
from nanobanana_batch.state.store import Store
from tests.unit.fake_provider import FakeProvider
from tests.unit.file_providers import DirectProvider
from tests.unit.night import Night

DONE = RowStatus.COMPLETED


def night(folder: Path, provider: FakeProvider, rows: int, disk: Disk | None = None) -> Night:
    """A run over so many rows."""
    prompts = [f"prompt {n}" for n in range(rows)]
    return Night(folder, provider, prompts, Settings(concurrency=8), disk=disk or Disk())


# --- a reply waits for its file --------------------------------------------------------------------------


@dataclass
class FullForAnswers(Disk):
    """Takes no reply before that time of the loop."""

    until_s: float

    def create(self, path: Path) -> int:
        """There is no room."""
        if path.parent.name == ANSWERS and anyio.current_time() < self.until_s:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path)


def test_a_reply_waits_for_the_disk_for_as_long_as_it_takes(tmp_path: Path) -> None:
    """Hours beyond what a request may take: the images are paid for, and in memory."""
    said: list[str] = []
    it = night(tmp_path, DirectProvider(), 2, FullForAnswers(5 * 3600.0))
    it.on_announce = said.append
    it.run()
    assert (it.statuses(), len(it.provider.tasks)) == ([DONE] * 2, 2)
    assert sum("wait in memory until that works" in text for text in said) == 1
    assert said.count("Replies can be saved again.") == 1


def test_a_second_interrupt_ends_the_wait_for_the_disk(tmp_path: Path) -> None:
    """The first does not; what is left is held as possibly paid."""

    async def interrupts(engine: Run, stop: Stop) -> None:
        await anyio.sleep(1000.0)
        stop.ask("interrupted", interrupted=True)
        await anyio.sleep(1000.0)
        engine.stop_now()

    it = night(tmp_path, DirectProvider(), 1, FullForAnswers(1e9))
    it.run(interrupts)
    assert it.statuses() == [RowStatus.UNKNOWN]
    assert 2000.0 <= it.took_s < 2010.0


def test_a_journal_that_fails_ends_the_wait_for_the_disk(tmp_path: Path) -> None:
    """Nothing can be written down any more."""

    class FullForOne(Disk):
        one = ""

        def create(self, path: Path) -> int:
            if path.parent.name == ANSWERS and path.name == (self.one or path.name):
                self.one = path.name
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().create(path)

    class Failing(Store):
        def apply(self, batch: Sequence[Fact]) -> None:
            if any(isinstance(fact, Answered) for fact in batch):
                raise StateFailed("the state cannot be written")
            super().apply(batch)

    it = night(tmp_path, DirectProvider(), 2, FullForOne())
    it.make_store = Failing
    with pytest.raises(BaseExceptionGroup) as failed:
        it.run()
    assert failed.group_contains(StateFailed, match="cannot be written")
