"""What time it is at the provider, by the `Date` of its replies: one odd reply fools nobody for long."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from nanobanana_batch.providers.their_clock import TheirClock

DAY_S = 86400.0


class Heard:
    """A clock, replies by it, and seconds that go on."""

    def __init__(self) -> None:
        self.steady = 1000.0
        self.clock = TheirClock(lambda: self.steady)

    def hear(self, time: float, **headers: str) -> None:
        """A reply that was made then, a second ago."""
        self.clock.hear({"date": formatdate(time, usegmt=True), **headers})
        self.steady += 1.0

    def tells(self, time: float) -> bool:
        """Whether it is then by the clock, within a few seconds."""
        told = self.clock.time()
        return told is not None and abs(told - time) < 5.0


@pytest.fixture
def heard() -> Heard:
    """Nothing was heard yet."""
    return Heard()


def test_the_first_reply_is_believed_and_its_time_goes_on(heard: Heard) -> None:
    """By seconds that nobody sets."""
    assert heard.clock.time() is None
    heard.hear(1e9)
    assert heard.tells(1e9 + 1)
    heard.steady += 3600
    assert heard.tells(1e9 + 3601)


def test_one_odd_reply_changes_nothing(heard: Heard) -> None:
    """Neither among others, nor now and then."""
    for _ in range(5):
        heard.hear(1e9)
        heard.hear(1e9 + 3 * DAY_S)
        assert heard.tells(1e9)


def test_two_replies_in_a_row_that_agree_are_believed(heard: Heard) -> None:
    """The first of all may have been the odd one."""
    heard.hear(1e9 + 3 * DAY_S)
    heard.hear(1e9)
    assert heard.tells(1e9 + 3 * DAY_S)
    heard.hear(1e9 + 10)
    assert heard.tells(1e9 + 10)


def test_two_odd_replies_that_do_not_agree_are_not_believed(heard: Heard) -> None:
    """Each tells another time."""
    heard.hear(1e9)
    heard.hear(1e9 + DAY_S)
    heard.hear(1e9 + 2 * DAY_S)
    assert heard.tells(1e9)


@pytest.mark.parametrize("age", ["6", "86400", "soon", "-1", ""])
def test_a_reply_of_a_cache_tells_nothing(heard: Heard, age: str) -> None:
    """It is as old as it says, or says nothing that makes sense."""
    heard.hear(1e9 - DAY_S, age=age)
    assert heard.clock.time() is None


def test_a_reply_that_has_just_passed_a_cache_tells_the_time(heard: Heard) -> None:
    """`Age: 0` is what many fronts say of what they did not keep."""
    heard.hear(1e9, age="0")
    assert heard.tells(1e9)


@pytest.mark.parametrize("date", ["", "yesterday", "Wed, 99 Oct 2015 99:99:99 GMT", "1", "0" * 10_000])
def test_a_date_that_makes_no_sense_tells_nothing(heard: Heard, date: str) -> None:
    """As if it were not there."""
    heard.clock.hear({"date": date})
    heard.clock.hear({})
    assert heard.clock.time() is None
