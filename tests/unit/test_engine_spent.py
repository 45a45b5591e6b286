"""Who watches a run is told of the credits that the folder has used, whenever a provider names them.

That they are those of the state is held in each run of `night`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.beside import stop_now_at
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.file_providers import JobProvider
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


class _NamesForAll(JobProvider):
    """Says what a job costs when it takes it, and not again."""

    def reserved(self, task: FakeTask) -> float | None:
        return 9.0

    def used(self, task: FakeTask) -> float | None:
        return None


@pytest.mark.parametrize("stopped", [False, True], ids=["in one run", "in two"])
def test_a_row_of_which_the_results_of_its_job_say_nothing_is_told_as_paid(
    tmp_path: Path, stopped: bool
) -> None:
    """Its part was paid with the job, also if an earlier run has sent that."""
    provider = _NamesForAll()
    provider.on_lines = lambda lines: lines[1:]
    it = night(tmp_path, provider, 3)
    if stopped:
        it.run(stop_now_at(10.0))
        assert (len(provider.tasks), it.tally.completed) == (1, 0)
    it.run()
    assert (it.tally.completed, it.tally.failed, it.tally.credits) == (2, 1, 9.0)
