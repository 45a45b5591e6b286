"""The short form of `make between`: a few sequences in which all that people do between runs occurs."""

from __future__ import annotations

from tests.campaign.between import Task, line, spend
from tests.campaign.hands.deeds import DEEDS
from tests.campaign.hands.sequence import Plan

_SEEDS = (2, 3, 4)


def test_whatever_people_do_between_runs_nothing_is_paid_twice_lost_or_mixed_up() -> None:
    """Kills, edits, lost states, copies, clocks: with what the program advises all is well in the end."""
    verdicts = spend([Task(Plan(seed)) for seed in _SEEDS], jobs=2)
    assert [line(verdict) for verdict in verdicts if verdict.faults] == []
    done = {name for verdict in verdicts for name in verdict.deeds}
    assert done == {deed.__name__ for deed in DEEDS}
