"""What is learnt from the tasks that have ended decides when the next ones are read."""

from __future__ import annotations

import random

from nanobanana_batch.engine.limits.task_times import TaskTimes

KIND = ("model-a", "1K")
INTERVAL_S = 3.0


def watched(times: TaskTimes, took_s: float) -> None:
    """A task that is read as it is said to be, all on time."""
    at, after = times.first_look_s(KIND, None, 0.0), 0.0
    while at < took_s:
        after = at
        at += times.interval_s(KIND, at)
    times.ended(KIND, after, at)


def learnt(*took_s: float) -> TaskTimes:
    """Tasks whose ends are known exactly."""
    times = TaskTimes(INTERVAL_S)
    for each in took_s:
        times.ended(KIND, each, each)
    return times


def test_before_anything_is_known_the_first_look_is_after_a_part_of_the_estimate() -> None:
    """Nor is a very long one believed."""
    times = TaskTimes(INTERVAL_S)
    assert 8.0 < times.first_look_s(KIND, 30.0, 0.0) < 12.0
    assert times.first_look_s(KIND, 86400.0, 0.0) == 15.0
    assert times.first_look_s(KIND, None, 0.0) == INTERVAL_S


def test_the_first_look_is_before_most_tasks_have_ended_whatever_the_estimate() -> None:
    """Lognormal times around 40 s, an estimate of ten times that: learnt from reads alone."""
    chance, times = random.Random(1), TaskTimes(INTERVAL_S)
    took = [40.0 * 2.0 ** chance.gauss(0.0, 0.5) for _ in range(200)]
    for each in took:
        watched(times, each)
    first_s = times.first_look_s(KIND, 400.0, 0.0)
    early = sum(each < first_s for each in took) / len(took)
    assert 0.02 < early < 0.2


def test_a_provider_that_becomes_faster_is_looked_at_sooner() -> None:
    """Tasks of a minute, then of ten seconds: all of these are over at the first look, for a while."""
    times = learnt(*[60.0] * 200)
    for _ in range(60):
        watched(times, 10.0)
    assert times.first_look_s(KIND, None, 0.0) < 10.0


def test_a_provider_that_becomes_slower_is_looked_at_later() -> None:
    """Only the latest tasks count."""
    times = learnt(*[10.0] * 200)
    for _ in range(200):
        watched(times, 60.0)
    assert times.first_look_s(KIND, None, 0.0) > 50.0


def test_within_what_is_learnt_tasks_are_read_at_the_providers_interval() -> None:
    """A task of 50 s that may end at any moment; without anything learnt it is read less and less often."""
    assert learnt(*[35.0, 40.0, 45.0, 50.0, 55.0]).interval_s(KIND, 50.0) == INTERVAL_S
    assert TaskTimes(INTERVAL_S).interval_s(KIND, 50.0) == 5.0


def test_beyond_what_is_learnt_tasks_are_read_less_and_less_often() -> None:
    """Much longer than any that has ended: up to a quarter of a minute between two reads."""
    times = learnt(*[10.0] * 10)
    assert times.interval_s(KIND, 100.0) == 10.0
    assert times.interval_s(KIND, 1000.0) == 15.0


def test_no_interval_is_shorter_than_the_providers() -> None:
    """Whatever was learnt."""
    times = learnt(*[0.1] * 10)
    assert times.first_look_s(KIND, 0.1, 0.0) == INTERVAL_S
    assert times.interval_s(KIND, 0.2) == INTERVAL_S


def test_what_is_hardly_known_is_not_learnt() -> None:
    """Reads had to wait for ten minutes: that the task ended in them says nothing."""
    times = learnt(*[20.0] * 10)
    for _ in range(200):
        times.ended(KIND, 15.0, 615.0)
    assert times.first_look_s(KIND, None, 0.0) == 20.0


def test_where_reads_are_late_the_first_look_is_later() -> None:
    """Each read is one that another task has to wait for."""
    times = learnt(*[float(n) for n in range(1, 101)])
    assert times.first_look_s(KIND, None, 6.0) > 2 * times.first_look_s(KIND, None, 0.0)


def test_kinds_do_not_learn_from_each_other_and_are_bounded() -> None:
    """Sizes take their own time; ten thousand models do not fill the memory."""
    times = learnt(*[60.0] * 10)
    assert times.first_look_s(("model-a", "4K"), None, 0.0) == INTERVAL_S
    for n in range(10_000):
        times.ended((f"model-{n}", None), 5.0, 5.0)
    assert times.first_look_s(KIND, None, 0.0) == INTERVAL_S


def test_a_few_tasks_are_no_reason_to_believe_anything_else_than_the_provider() -> None:
    """Four may have been lucky; five are more than an estimate."""
    assert learnt(*[60.0] * 4).first_look_s(KIND, 30.0, 0.0) < 12.0
    assert learnt(*[60.0] * 4).interval_s(KIND, 50.0) == 5.0
    assert learnt(*[60.0] * 5).first_look_s(KIND, 30.0, 0.0) == 60.0


def test_however_late_reads_are_most_tasks_are_not_over_before_the_first_look() -> None:
    """A slot that is held by what is over makes nothing."""
    times = learnt(*[float(n) for n in range(1, 101)])
    assert times.first_look_s(KIND, None, 1e6) == 30.0


def test_of_tasks_that_take_hours_none_is_left_alone_for_more_than_ten_minutes() -> None:
    """The next ones may take minutes."""
    assert learnt(*[7200.0] * 10).first_look_s(KIND, None, 0.0) == 600.0


def test_a_task_is_read_as_often_as_its_kind_is_slow_up_to_twice_the_longest() -> None:
    """Of 100 s a read each four loses two of a hundred on average."""
    times = learnt(*[100.0] * 10)
    assert times.interval_s(KIND, 50.0) == 4.0
    assert times.interval_s(KIND, 199.0) == 4.0
    assert times.interval_s(KIND, 201.0) == 15.0
