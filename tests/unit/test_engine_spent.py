"""Who watches a run is told of the credits that the folder has used, whenever a provider names them.

That they are those of the state is held in each run of `night`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nanobanana_batch.engine.spent import Spent
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.model import Kind, TaskMade
from nanobanana_batch.state import facts
from nanobanana_batch.state.lifecycle import NOT_TOLD
from nanobanana_batch.state.open_attempts import OpenAttempt
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
    provider.on_lines = lambda lines: lines[1:2]  # neither of its first row nor of its last
    it = night(tmp_path, provider, 3)
    if stopped:
        it.run(stop_now_at(10.0))
        assert (len(provider.tasks), it.tally.completed) == (1, 0)
    it.run()
    assert (it.tally.completed, it.tally.failed, it.tally.credits) == (1, 2, 9.0)


def _open(attempt: int, **known: object) -> OpenAttempt:
    """A row of a job whose request has the number 1, as an earlier run has left it."""
    own = {"row": attempt, "number": 1, "id": f"row-{attempt}", "stem": "s", "idempotency_key": "k"}
    rest = {"model": "m", "resolution": None, "body": b"", "intended_at": 0.0}
    how: dict[str, object] = {"kind": Kind.JOB, **own, **rest, **known}
    return OpenAttempt(attempt=attempt, request=1, **how)  # type: ignore[arg-type]


def _failed(attempt: int) -> facts.Failed:
    return facts.Failed(attempt, "failed", "it says nothing", False, False, 1.0)


_ASKED = facts.Intent(1, 1, 1, "s", "p", "me", b"", "f", "k", 0.0, kind=Kind.JOB)
_JOINED = facts.Joined(2, 2, 1, 1, "s", "n")


@pytest.mark.parametrize("is_known", [False, True], ids=["of this run", "of an earlier one"])
def test_each_row_of_a_job_is_told_with_its_part_when_it_has_ended(is_known: bool) -> None:
    """What an answer bills is paid whatever becomes of the rows; what was said before that is overridden."""
    tally = Tally()
    spent = Spent(tally)
    for attempt in (1, 2):
        if is_known:
            spent.resume(_open(attempt))
        else:
            spent.note(_ASKED if attempt == 1 else _JOINED)
    spent.note(facts.Accepted(1, TaskMade("t", None, 10.0, None), 0.0))
    spent.note(facts.Answered(1, "r", 6.0, 1.0))
    spent.note(facts.Answered(1, "r", 6.0, 1.0))  # once more: its file was lost
    told = [tally.credits]
    for fact in (_failed(2), facts.GivenUp(1, 1.0)):
        spent.note(fact)
        told.append(tally.credits)
    assert told == [0.0, 3.0, 6.0]


@pytest.mark.parametrize(("is_billed", "paid"), [(False, 0.0), (True, 3.0)])
def test_what_an_earlier_answer_has_billed_stays_paid_where_its_row_fails(
    is_billed: bool, paid: float
) -> None:
    """A price that was only named before is refunded."""
    tally = Tally()
    spent = Spent(tally)
    spent.resume(_open(2, credits=3.0, is_billed=is_billed))
    spent.note(_failed(2))
    assert tally.credits == paid


def test_a_job_that_is_rejected_has_cost_nothing() -> None:
    """None of its rows has, whatever comes after that."""
    tally = Tally()
    spent = Spent(tally)
    for fact in (_ASKED, _JOINED, facts.Rejected(1, "no", "no", False, "", 1.0)):
        spent.note(fact)
    assert (tally.credits, spent._costs) == (0.0, {})


@pytest.mark.parametrize("is_known", [False, True], ids=["of this run", "of an earlier one"])
def test_a_task_that_failed_is_refunded_whatever_its_code(is_known: bool) -> None:
    """Only a file may say nothing of a row: what a provider calls so is its own word."""
    tally = Tally()
    spent = Spent(tally)
    if is_known:
        spent.resume(_open(1, kind=Kind.TASK, credits=10.0))
    else:
        spent.note(replace(_ASKED, kind=Kind.TASK))
        spent.note(facts.Accepted(1, TaskMade("t", None, 10.0, None), 0.0))
    spent.note(replace(_failed(1), code=NOT_TOLD))
    assert tally.credits == 0.0
