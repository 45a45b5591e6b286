"""Turns: who is due is read in order and in company, and each task has one turn only."""

from __future__ import annotations

import math

import anyio
import pytest

from nanobanana_batch.engine.stages.turns import Turns
from nanobanana_batch.engine.work import Work
from tests.unit.night import in_virtual_time


def work(n: int) -> Work:
    """Some task."""
    return Work(
        attempt=n,
        row=n,
        number=1,
        id=f"row-{n}",
        model="m",
        resolution=None,
        stem="s",
        body=b"",
        idempotency_key=f"key-{n}",
        intended_at=0.0,
    )


def test_those_of_one_moment_are_taken_together_and_no_more_than_asked_for() -> None:
    """The first due in front."""

    async def check() -> None:
        turns, now = Turns(), anyio.current_time()
        for n in range(5):
            turns.put(work(n), now + 10.0 - (n == 4))
        await turns.come(3, 0.0)
        assert [one.attempt for one in turns.take(3)] == [4]
        await turns.come(3, 0.0)
        assert anyio.current_time() == pytest.approx(now + 10.0)
        assert [one.attempt for one in turns.take(3)] == [0, 1, 2]
        assert [one.attempt for one in turns.take(3)] == [3]
        assert turns.take(3) == []

    in_virtual_time(check)


def test_another_turn_takes_the_place_of_the_last() -> None:
    """Sooner or later; it is taken once."""

    async def check() -> None:
        turns, now, one, other = Turns(), anyio.current_time(), work(1), work(2)
        turns.put(one, now + 50.0)
        turns.put(other, now + 5.0)
        turns.put(one, now + 1.0)
        turns.put(other, now + 60.0)
        assert sorted(each.attempt for each in turns.waiting()) == [1, 2]
        for attempt, after_s in ((1, 1.0), (2, 60.0)):
            await turns.come(9, 0.0)
            assert anyio.current_time() == pytest.approx(now + after_s)
            assert [each.attempt for each in turns.take(9)] == [attempt]
        assert list(turns.waiting()) == []

    in_virtual_time(check)


def test_who_waits_hears_of_an_earlier_turn() -> None:
    """Also where there was none at all."""

    async def check() -> None:
        turns, now = Turns(), anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(turns.come, 9, 0.0)
            await anyio.sleep(3.0)
            turns.put(work(1), now + 100.0)
            await anyio.sleep(3.0)
            turns.put(work(2), now + 7.0)
        assert anyio.current_time() == pytest.approx(now + 7.0)

    in_virtual_time(check)


def test_few_wait_for_those_who_are_due_next_to_them() -> None:
    """As long as the next read would have to wait in any case; a full read goes at once."""

    async def check() -> None:
        turns, now = Turns(), anyio.current_time()
        for n, at in enumerate((1.0, 1.05, 1.09, 1.2)):
            turns.put(work(n), now + at)
        await turns.come(2, 0.1)
        assert anyio.current_time() == pytest.approx(now + 1.05)
        assert [one.attempt for one in turns.take(2)] == [0, 1]
        await turns.come(2, 0.0)
        assert anyio.current_time() == pytest.approx(now + 1.09)

    in_virtual_time(check)


def test_how_late_reads_are_is_known() -> None:
    """On time: not at all; each a minute late: that."""

    async def check() -> None:
        turns = Turns()
        for late_s in (0.0, 60.0):
            for n in range(100):
                turns.put(work(n), anyio.current_time() - late_s)
                turns.take(1)
            assert math.isclose(turns.late_s, late_s, abs_tol=0.01)

    in_virtual_time(check)
