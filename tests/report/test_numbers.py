"""The numbers of a report are those of `status` and `audit`, and each request is told where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

import nanobanana_batch as nb
from nanobanana_batch.files.folder import STATE_NAME, find
from nanobanana_batch.jobs.audit import make_audit
from nanobanana_batch.jobs.outlook import priced_standing
from nanobanana_batch.jobs.report import make_report
from nanobanana_batch.model import TaskMade
from nanobanana_batch.reports.latency import latency
from nanobanana_batch.reports.page import pieces
from nanobanana_batch.reports.value import Report
from nanobanana_batch.state import facts
from nanobanana_batch.state.store import Store
from tests.report.nights import BEGAN, FLASH, PRO, Row, Try, bad_night, make_night
from tests.unit.test_state_migration import old_state


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything has gone wrong once."""
    return bad_night(tmp_path_factory.mktemp("report") / "night")


@pytest.fixture(scope="module")
def report(night: Path) -> Report:
    """What is told of it."""
    return make_report([night])


def test_rows_and_money_are_those_of_status(night: Path, report: Report) -> None:
    """To the last credit."""
    found = priced_standing(find(night))
    told = report.folders[0]
    assert told.counts == found.counts
    assert (told.credits_used, told.credits_reserved) == (found.credits_used, found.credits_reserved)
    assert report.sums.credits_used == found.credits_used > 0
    assert sum(one.credits for one in report.models) == pytest.approx(found.credits_used)
    assert sum(report.credits.values()) == pytest.approx(found.credits_used)
    unknown = ("unknown", "resent", "given_up_unknown")
    assert sum(report.owed[name].credits for name in unknown) == found.credits_unknown > 0
    assert report.owed["running"].credits == found.credits_reserved > 0


def test_requests_and_refunds_are_those_of_audit(night: Path, report: Report) -> None:
    """Each request counts once."""
    totals, sums = make_audit(find(night)).totals, report.sums
    assert (sums.requests, sums.accepted, sums.completed) == (totals.attempts, totals.accepted, totals.saved)
    assert sums.credits_used == totals.credits_used
    assert sums.credits_refunded == totals.credits_refunded == 8.0
    assert sum(one.requests for one in report.models) == totals.attempts
    assert sum(report.images.values()) == sums.images == totals.files


def test_what_a_job_costs_is_shared_to_the_last_millionth(tmp_path: Path) -> None:
    """A report of three rows that were one payment adds up to it."""
    folder = make_night(tmp_path / "job", [Row(f"r{n}", f"fox {n}", ()) for n in range(3)])
    store = Store(folder / STATE_NAME)
    store.apply(
        [facts.Intent(1, 1, 1, "r0", "x@y.z", "me", b"{}", "f", "k", BEGAN, 10.0, kind="job", name="a")]
    )
    store.apply([facts.Joined(row, row, 1, 1, f"r{row - 1}", f"n{row}") for row in (2, 3)])
    store.apply([facts.Accepted(1, TaskMade("job-1", "req", 10.0), BEGAN)])
    store.apply([facts.Answered(1, "answers/1.jsonl", 10.0, BEGAN + 5)])
    store.close()
    found = make_report([folder])
    assert found.owed["running"].requests == 3
    assert found.owed["running"].credits == priced_standing(find(folder)).credits_reserved == 10.0


def test_retries_tell_what_they_cost_and_why_they_were(report: Report) -> None:
    """Two failed requests were refunded, the third made the image."""
    sums = report.sums
    assert (sums.rows_tried_again, sums.further, sums.further_completed) == (1, 2, 1)
    assert sums.further_credits == 4.0
    assert [(one.code, one.requests, one.completed, one.credits) for one in report.again] == [
        ("service_error", 2, 2, 0.0)
    ]


def test_what_never_came_is_told_by_why(report: Report) -> None:
    """And the requests themselves, the oldest first."""
    assert {name: one.requests for name, one in report.owed.items() if one.requests} == {
        "running": 1,
        "unknown": 1,
        "resent": 1,
        "expired": 1,
        "given_up": 1,
    }
    assert [one.id for _, one in report.waiting] == ["never", "silent", "dead", "left"]


def test_failures_are_told_by_code_also_those_that_were_made_good(report: Report) -> None:
    """Each in the bucket in which it ended."""
    told = {(one.code, one.status): one.requests for one in report.failures}
    assert told == {
        ("content_policy_violation", "refused"): 11,
        ("service_error", "failed"): 2,
        ("expired", "expired"): 1,
        ("given_up", "failed"): 1,
        ("invalid_size", "failed"): 1,
    }
    assert all(sum(one.by_bucket.values()) == one.requests for one in report.failures)
    numbers = set(report.timeline.numbers())
    assert all(numbers >= one.by_bucket.keys() for one in report.failures)


def test_latency_is_a_distribution_by_model_and_resolution(report: Report) -> None:
    """Each image counts from when its request was taken; quantiles are times that images took."""
    assert [(one.model, one.resolution, one.images) for one in report.latencies] == [
        (PRO, "2K", 1),
        (FLASH, "1K", 42),
    ]
    flash = next(one for one in report.latencies if one.model == FLASH)
    assert (flash.least_s, flash.quantiles[50], flash.most_s) == (8.0, 11.0, 14.0)
    assert sum(flash.bars(20.0)) == 42


def test_a_clock_that_was_set_back_gives_no_length() -> None:
    """Such images are counted apart, and nothing is made up."""
    found = latency("m", "1K", {-50: 2, 30: 1, 40: 3})
    assert found is not None
    assert (found.images, found.set_back, found.least_s, found.quantiles[50]) == (4, 2, 3.0, 4.0)
    assert latency("m", "1K", {-50: 2}) is None


def test_several_folders_are_one_report(tmp_path: Path) -> None:
    """Sums are the sums of both, and each folder is told by a name of its own."""
    one, other = bad_night(tmp_path / "a" / "out"), bad_night(tmp_path / "b" / "out")
    both, alone = make_report([one, other]), make_report([one])
    assert both.sums.images == 2 * alone.sums.images
    assert both.sums.credits_used == 2 * alone.sums.credits_used
    assert both.latencies[0].images == 2 * alone.latencies[0].images
    assert both.refusals.all.rows == 2 * alone.refusals.all.rows
    assert [folder.name for folder in both.folders] == ["a/out", "b/out"]
    assert make_report([one, one]).rows == alone.rows


def test_a_folder_without_rows_or_log_has_a_report(tmp_path: Path) -> None:
    """Of a run that has not begun, or whose log is gone: it says so, and guesses nothing."""
    empty = make_night(tmp_path / "empty", [])
    assert make_report([empty]).rows == 0
    silent = make_night(tmp_path / "silent", [Row("r")])
    found = make_report([silent])
    assert (found.sums.images, found.periods) == (1, ())
    assert "no run.log" in found.folders[0].log_gap
    assert nb.report(silent, out=tmp_path / "r.html").page == tmp_path / "r.html"


def test_a_folder_that_is_named_twice_is_counted_once(tmp_path: Path) -> None:
    """However it is named; its money would be told twice, else."""
    make_night(tmp_path / "other", [Row("r")])
    night = make_night(tmp_path / "night", [Row("r")])
    (tmp_path / "link").symlink_to(night)
    found = make_report([night, tmp_path / "other", tmp_path / "other/../night", tmp_path / "link"])
    assert [folder.name for folder in found.folders] == ["night", "other"]
    assert found.sums.credits_used == 8.0


def test_placeholders_are_told_as_practice(tmp_path: Path) -> None:
    """A service on this machine has drawn them."""
    practice = make_night(tmp_path / "p", [Row("r", tries=(Try(),))], provider="evolink@127.0.0.1")
    assert make_report([practice]).is_practice
    real = make_night(tmp_path / "q", [Row("r", tries=(Try(),))])
    both = make_report([practice, real])
    assert not both.is_practice
    assert "4 make-believe" in "".join(pieces(both))


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_an_older_state_has_a_report_and_stays_as_it_is(tmp_path: Path, version: int) -> None:
    """Its numbers are those of status, too."""
    state = old_state(tmp_path / STATE_NAME, version)
    before = state.read_bytes()
    found = make_report([tmp_path])
    assert found.sums.credits_used == priced_standing(find(tmp_path)).credits_used
    assert found.sums.requests > 0
    assert state.read_bytes() == before
