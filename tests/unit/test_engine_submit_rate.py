"""What passes is learnt: random 429s cost little, and a limit is kept and used. All in reckoned time."""

from __future__ import annotations

import random
from collections.abc import Callable
from statistics import median

import pytest

from nanobanana_batch.engine.limits.submit_rate import SubmitRate
from nanobanana_batch.engine.limits.task_bound import TaskBound, is_about_tasks
from tests.unit.pace_simulation import (
    AtOnce,
    Crowd,
    FixedWindow,
    Policy,
    Random429,
    SlidingWindow,
    TokenBucket,
)

HOUR_S, LEARNT_S = 3600.0, 600.0
SEEDS = range(3)


def one_second() -> float:
    """How long a task takes."""
    return 1.0


def took_s(policy: Policy, rows: int, seed: int) -> float:
    """So many rows of one second."""
    return Crowd(policy, one_second, seed, rows=rows, words=False).run().ended


@pytest.mark.parametrize("rows", [150, 300])
def test_random_429s_cost_little_time(rows: int) -> None:
    """One request in ten, for no reason: at most half as long again as without them."""
    ratios = [
        took_s(Random429(0.1, random.Random(seed)), rows, seed)
        / took_s(Random429(0.0, random.Random(seed)), rows, seed)
        for seed in range(20)
    ]
    assert max(ratios) <= 1.5
    assert median(ratios) <= 1.15


LIMITS: dict[str, tuple[Callable[[int, bool], Policy], float]] = {
    "60 in a minute of the clock": (lambda seed, tells: FixedWindow(60, tells, seed * 17.0), 60.0),
    "60 in any minute": (lambda seed, tells: SlidingWindow(60, tells), 60.0),
    "a bucket of 60": (lambda seed, tells: TokenBucket(60, 1.0, tells), 60.0),
    "a bucket of 5": (lambda seed, tells: TokenBucket(5, 1.0, tells), 60.0),
    "300 a minute": (lambda seed, tells: TokenBucket(10, 5.0, tells), 300.0),
}


@pytest.mark.parametrize("tells", [False, True], ids=["silent", "retry-after"])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_of_requests_is_kept_and_used(limit: str, tells: bool) -> None:
    """Nine tenths of what is allowed, and a few 429s a minute, once it is learnt."""
    make, per_min = LIMITS[limit]
    for seed in SEEDS:
        told = Crowd(make(seed, tells), lambda: 6.0, seed, rows=10**6, words=False).run(HOUR_S)
        assert told.share_used(LEARNT_S, HOUR_S, per_min) >= 0.9
        assert told.rejected_per_min(LEARNT_S, HOUR_S) <= 5.0
        assert told.rejected_per_min(0, LEARNT_S) <= 15.0


@pytest.mark.parametrize("words", [False, True], ids=["shown", "said"])
def test_a_limit_of_tasks_at_once_is_kept_and_used(words: bool) -> None:
    """Eight at once, by its words or since requests pass when tasks end."""
    for seed in SEEDS:
        told = Crowd(AtOnce(8), lambda: 20.0, seed, rows=10**6, words=words).run(HOUR_S)
        assert told.share_used(LEARNT_S, HOUR_S, 8 * 60 / 20) >= 0.9
        assert told.rejected_per_min(LEARNT_S, HOUR_S) <= 4.0


def test_a_limit_that_is_lifted_is_noticed_soon() -> None:
    """Sixty a minute for half an hour, then none: within five minutes ten times as much passes."""

    class Lifted(SlidingWindow):
        def ask(self, now: float, running: int) -> tuple[bool, float | None]:
            return super().ask(now, running) if now < HOUR_S / 2 else (True, None)

    told = Crowd(Lifted(60, False), one_second, 1, rows=10**6, words=False).run(HOUR_S)
    assert told.share_used(HOUR_S / 2 + 300, HOUR_S, 60.0) >= 10


def test_while_nothing_passes_one_at_a_time_asks_ever_more_seldom() -> None:
    """Three hours of 429s: some two hundred requests, and then all goes on within minutes."""

    class Storm:
        def ask(self, now: float, running: int) -> tuple[bool, float | None]:
            return not 60 < now < 3 * HOUR_S, None

    told = Crowd(Storm(), lambda: 20.0, 1, rows=10**6, words=False).run(3.2 * HOUR_S)
    assert len(told.rejected) < 250
    assert told.share_used(3.1 * HOUR_S, 3.2 * HOUR_S, 180.0) >= 0.9


def test_a_single_429_changes_nothing() -> None:
    """Neither does one now and then."""
    rate = SubmitRate()
    for n in range(200):
        rate.sent(n * 0.1, n * 0.1)
        rate.ended()
        if n % 20 == 7:
            rate.rejected(n * 0.1, n * 0.1)
        else:
            rate.accepted(n * 0.1)
        assert rate.is_free


def test_a_task_that_failed_for_too_many_requests_slows_requests_down() -> None:
    """Once for all that fail together: to less than passed, from where it returns."""
    rate = SubmitRate()
    for n in range(100):
        rate.sent(n * 0.5, n * 0.5)
        rate.ended()
        rate.accepted(n * 0.5)
    for _ in range(5):
        rate.task_failed(50.0)
    assert rate.passes_per_s == pytest.approx(2.0, rel=0.1)
    rate.sent(50.0, 50.0)
    assert rate.next_at(50.0) - 50.0 > 1.2 / 2.0


@pytest.mark.parametrize(
    ("words", "is_so"),
    [
        ("Too many concurrent requests", True),
        ("you have 8 tasks in flight, at most 8 are allowed", True),
        ("Too many running tasks", True),
        ("too many pending image tasks", True),
        ("Rate limit exceeded, retry after 60 seconds", False),
        ("Too many requests", False),
        ("", False),
    ],
)
def test_words_say_whether_tasks_or_requests_are_too_many(words: str, is_so: bool) -> None:
    """Only those that name tasks at once."""
    assert is_about_tasks(words) is is_so


def test_what_was_taken_for_a_limit_of_tasks_is_given_up_when_it_shows_to_be_none() -> None:
    """Requests do not pass although half of the tasks have ended: it was about requests after all."""
    bound = TaskBound(64)
    for _ in range(8):
        assert not bound.rejected(1.0, 20, is_said=False)
    assert bound.accepted(20.0, 19)
    assert bound.at(20.0) == 20
    assert not bound.rejected(30.0, 9, is_said=False)
    assert bound.at(30.0) == 64


def test_more_at_once_are_tried_slowly_and_then_fast() -> None:
    """One more after half a minute, the person's number after some minutes; never fewer than one."""
    bound = TaskBound(64)
    bound.rejected(0.0, 8, is_said=True)
    assert [bound.at(at) for at in (0.0, 29.0, 31.0, 61.0, 300.0)] == [8, 8, 9, 16, 64]
    assert bound.held(300.0) is None
    bound.rejected(300.0, 0, is_said=True)
    assert bound.at(300.0) == 1
