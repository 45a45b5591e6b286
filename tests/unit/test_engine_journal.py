"""The journal: nobody acts on what was not written, and nothing that was handed in is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from nanobanana_batch.engine.journal import Journal, in_place
from nanobanana_batch.errors import StateFailed
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.store import Store
from tests.unit.night import in_virtual_time

T = TypeVar("T")


class Broken(Store):
    """A store whose disk is gone."""

    def apply(self, batch: Sequence[Fact]) -> None:
        raise StateFailed("the disk is gone")


def test_everything_that_was_handed_in_is_written_before_the_journal_ends(tmp_path: Path) -> None:
    """Closing it loses no fact."""

    async def check() -> None:
        with closing(Store(tmp_path / "state.sqlite3")) as store:
            journal = Journal(store, in_place)
            async with anyio.create_task_group() as group:
                group.start_soon(journal.record)
                await anyio.sleep(1.0)
                journal.close()
                group.start_soon(journal.run)

    in_virtual_time(check)


def test_after_one_failed_commit_no_fact_is_taken_any_more(tmp_path: Path) -> None:
    """Nobody acts on what was not written, neither those who waited nor those who come later."""
    failed: list[str] = []

    async def check() -> None:
        journal = Journal(Broken(tmp_path / "state.sqlite3"), in_place)

        async def record(name: str) -> None:
            with pytest.raises(StateFailed):
                await journal.record()
            failed.append(name)

        with pytest.RaisesGroup(StateFailed):
            async with anyio.create_task_group() as group:
                with anyio.fail_after(60, shield=True):
                    async with anyio.create_task_group() as asking:
                        asking.start_soon(record, "one")
                        asking.start_soon(record, "two")
                        group.start_soon(journal.run)
                    await record("later")

    in_virtual_time(check)
    assert sorted(failed) == ["later", "one", "two"]


def test_a_fact_that_comes_while_a_commit_fails_fails_too(tmp_path: Path) -> None:
    """Nobody waits for ever for a journal that has ended."""
    failed: list[bool] = []

    async def slowly(call: Callable[[], T]) -> T:
        await anyio.sleep(10.0)
        return call()

    async def check() -> None:
        journal = Journal(Broken(tmp_path / "state.sqlite3"), slowly)

        async def record(after_s: float) -> None:
            with anyio.fail_after(60, shield=True):
                await anyio.sleep(after_s)
                with pytest.raises(StateFailed):
                    await journal.record()
            failed.append(True)

        with pytest.RaisesGroup(StateFailed):
            async with anyio.create_task_group() as group:
                group.start_soon(record, 0.0)
                group.start_soon(record, 5.0)
                await anyio.sleep(1.0)
                group.start_soon(journal.run)

    in_virtual_time(check)
    assert failed == [True, True]
