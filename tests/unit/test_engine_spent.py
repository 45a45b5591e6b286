"""Who watches a run is told of the credits that the folder has used, whenever a provider names them.

That they are those of the state is held in each run of `night`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.beside import stop_now_at
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import night
from tests.unit.wire import failed


@dataclass
class _Names(FakeProvider):
    """Says what a task costs when it takes it, in the end, or never."""

    at_first: float | None = None
    in_the_end: float | None = None

    def reserved(self, task: FakeTask) -> float | None:
        return self.at_first

    def used(self, task: FakeTask) -> float | None:
        return self.in_the_end


@pytest.mark.parametrize(
    ("at_first", "in_the_end", "each"),
    [(3.0, None, 3.0), (None, 2.0, 2.0), (3.0, 2.0, 2.0), (None, None, 0.0)],
    ids=["when it is taken", "in the end", "both", "never"],
)
def test_the_last_word_on_a_price_is_told(
    tmp_path: Path, at_first: float | None, in_the_end: float | None, each: float
) -> None:
    """A task that failed is refunded."""
    provider = _Names(at_first=at_first, in_the_end=in_the_end)
    provider.on_read = lambda n, task: failed(task.id) if task.id == "task-0" else None
    it = night(tmp_path, provider, 3)
    it.run()
    assert (it.tally.completed, it.tally.credits) == (2, 2 * each)


def test_a_price_of_an_earlier_run_is_told_when_its_image_is_there(tmp_path: Path) -> None:
    """It was named before that run was stopped, and is not named again."""
    it = night(tmp_path, _Names(at_first=3.0), 3)
    it.run(stop_now_at(10.0))
    assert (it.tally.completed, it.tally.credits) == (0, 0.0)
    it.run()
    assert (it.tally.completed, it.tally.credits) == (3, 9.0)


@pytest.mark.parametrize("in_the_end", [5.0, None], ids=["at another price", "at the same price"])
def test_what_had_expired_and_comes_after_all_is_counted_once(
    tmp_path: Path, in_the_end: float | None
) -> None:
    """It was counted as it expired, and the price that is named with its image is the last word."""
    provider = _Names(at_first=3.0)
    provider.on_read = lambda n, task: {"id": task.id, "status": "expired"}
    it = night(tmp_path, provider, 2)
    it.run()
    assert (it.tally.expired, it.tally.credits) == (2, 6.0)
    provider.on_read, provider.in_the_end = lambda n, task: None, in_the_end
    for task in provider.tasks.values():
        task.done_at = 0.0
    it.run()
    assert (it.tally.completed, it.tally.credits) == (2, 2 * (in_the_end or 3.0))
