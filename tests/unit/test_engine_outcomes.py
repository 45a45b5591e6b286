"""`--max-failures`: so many rows end badly that going on makes no sense; the run stops and says why."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.limits.outcomes import MaxFailures, Outcomes, read_max_failures
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.files.log import NO_LOG
from nanobanana_batch.model import RowStatus
from tests.unit.beside import interrupted_at
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import Night, in_virtual_time
from tests.unit.wire import BAD_REQUEST, Task, error, failed, reply

PROMPTS = [f"a picture of the number {n}" for n in range(80)]
DONE, FAILED, PENDING = RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.PENDING
DAY_S = 86400.0
FAILS = failed("", "invalid_parameters")
REFUSES = failed("", "content_filter")
AGAIN = failed("", "service_error")


def stopped_after(rule: MaxFailures, ends: Iterable[str]) -> tuple[int, str]:
    """How many rows had ended when the run was asked to stop, and why; "." is completed, "r" refused."""
    found: list[tuple[int, str]] = []

    async def test() -> None:
        stop = Stop()
        these = Outcomes(rule, stop, Tally(), NO_LOG)
        for number, end in enumerate(ends, start=1):
            if end == ".":
                these.completed()
            else:
                these.failed(f"code_{end}", "why", refused=end == "r")
            if stop.asked:
                found.append((number, stop.reason))
                return

    in_virtual_time(test)
    return found[0] if found else (0, "")


@pytest.mark.parametrize(
    ("ends", "after"),
    [
        ("aaaaaaa", 5),
        ("aaaa.aaaa.aaaa", 0),
        ("aaaabaaaab" * 2, 0),
        ("aaaaraaaar" * 2, 0),
        ("r" * 25, 0),
        ("r" * 26, 26),
        ("." * 100 + "aaaaa", 105),
        ("ab" * 12 + "a." + "ab" * 12, 27),
        ("." * 25 + "ab" * 12 + "a", 0),
        ("." * 24 + "ab" * 13, 50),
        ("." * 25 + "ab" * 13, 0),
        ("a", 0),
    ],
)
def test_without_a_rule_a_run_of_failures_or_a_bad_beginning_ends_it(ends: str, after: int) -> None:
    """Five rows in a row with one code, or over half of the first fifty; a refusal is about its own row."""
    assert stopped_after(MaxFailures(), ends)[0] == after


@pytest.mark.parametrize(
    ("text", "ends", "after"),
    [
        ("3", "a.b.c", 5),
        ("3", "a.b." * 1, 0),
        ("1", "..a", 3),
        ("10", "aaaaaaaaa", 0),
        ("10%", "aaaaaaaaa", 0),
        ("10%", "." * 45 + "ababa", 0),
        ("10%", "." * 44 + "ababab", 50),
        ("10%", "." * 90 + "ab" * 5 + "a", 101),
        ("0%", "." * 49 + "a", 50),
        ("100%", "a" * 200, 0),
        ("50%", "a" * 200, 50),
    ],
)
def test_a_given_rule_is_the_only_one(text: str, ends: str, after: int) -> None:
    """A number of rows, or a share of those that ended, judged from the fiftieth on."""
    number, reason = stopped_after(read_max_failures(text), ends)
    assert number == after
    assert ("--max-failures" in reason) == bool(after)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "101%", "%", "ten", "1e3", "5 %", "٣"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    """Neither a positive whole number nor a share up to 100 %."""
    with pytest.raises(ValueError, match="neither a number of rows"):
        read_max_failures(text)


def night(folder: Path, provider: FakeProvider, count: int = 40, **settings: object) -> Night:
    """A run with four tasks in flight."""
    return Night(folder, provider, PROMPTS[:count], Settings(concurrency=4, **settings))  # type: ignore[arg-type]


def reporting(report: Task, *, all_but: int = 0) -> FakeProvider:
    """Tasks end so when their time is over, but for the first ones."""

    def end(n: int, task: FakeTask) -> Task | None:
        is_over = anyio.current_time() >= task.done_at and int(task.id[5:]) >= all_but
        return {**report, "id": task.id} if is_over else None

    return FakeProvider(on_read=end)


def test_rows_that_all_fail_alike_end_the_run_early(tmp_path: Path) -> None:
    """The sentence names code and message; what was in flight is collected; the rest was not paid for."""
    provider = reporting(FAILS, all_but=3)
    it = night(tmp_path, provider)
    it.run(interrupted_at(DAY_S))
    assert "5 rows in a row failed alike" in it.stop.reason
    assert "invalid_parameters: no" in it.stop.reason
    assert it.statuses().count(DONE) == 3
    assert 5 <= it.statuses().count(FAILED) <= 9
    assert RowStatus.RUNNING not in it.statuses()
    assert len(provider.tasks) <= 12


def test_rejected_requests_count_as_failed_rows(tmp_path: Path) -> None:
    """A manifest that no request of passes: five are asked about, not forty."""
    provider = FakeProvider(on_submit=lambda n: BAD_REQUEST)
    it = night(tmp_path, provider, submit_concurrency=1)
    it.run(interrupted_at(DAY_S))
    assert provider.submits == 5
    assert it.statuses().count(PENDING) == 35


def test_refusals_do_not_end_a_run(tmp_path: Path) -> None:
    """Twenty refused rows in a row are twenty prompts to look at."""
    it = night(tmp_path, reporting(REFUSES, all_but=20))
    it.run(interrupted_at(DAY_S))
    assert it.stop.reason == ""
    assert it.statuses().count(RowStatus.REFUSED) == 20


def test_a_task_that_gets_another_attempt_is_no_failed_row(tmp_path: Path) -> None:
    """The first ten tasks fail in a passing way, alike: their rows complete, and nothing stops."""

    def first_ten(n: int, task: FakeTask) -> Task | None:
        is_over = anyio.current_time() >= task.done_at and int(task.id[5:]) < 10
        return {**AGAIN, "id": task.id} if is_over else None

    it = night(tmp_path, FakeProvider(on_read=first_ten), max_failures=MaxFailures(count=1))
    it.run(interrupted_at(DAY_S))
    assert it.stop.reason == ""
    assert it.statuses() == [DONE] * 40


def test_a_count_is_of_one_run(tmp_path: Path) -> None:
    """The next run begins to count anew: the person has looked."""
    it = night(tmp_path, reporting(FAILS, all_but=3), max_failures=MaxFailures(count=5))
    failed = []
    for _ in range(2):
        it.run(interrupted_at(DAY_S))
        assert "--max-failures" in it.stop.reason
        failed.append(it.statuses().count(FAILED))
    assert failed[1] >= failed[0] + 5


def test_a_model_that_may_not_be_used_is_told_once(tmp_path: Path) -> None:
    """Every row gets the same answer; one line says so."""
    no = reply(403, error("model_access_denied", "ask for access"))
    it = night(tmp_path, FakeProvider(on_submit=lambda n: no), 4)
    said: list[str] = []

    async def listen(engine: object, stop: object) -> None:
        it.tally.announce = said.append

    it.run(listen)
    assert [text for text in said if "model_access_denied" in text] == [
        "model-a: model_access_denied: ask for access"
    ]
