"""The short form of the strict night: the judge is a provider that was written from the contract alone."""

from __future__ import annotations

from pathlib import Path

from tests.campaign.strict_night import TROUBLE, Plan, spend

_ROWS = 60
_MOST_REQUESTS = 1.6
"""Looser than the night's own: in so short a one, a dozen reads by chance are a tenth of all requests."""
_CLOSE_READS = 8
"""Reads of a task are 120 ms apart here: a provider that a busy machine stops for 24 ms sees closer ones.
At three quarters of the interval two hundred are."""
_TROUBLE = {**TROUBLE, "lost_after": 0.04, "rate_5xx_after": 0.04, "refuse_task": 0.05, "undecided_s": 0.1}


def test_a_bad_night_at_an_independent_provider_keeps_every_promise(tmp_path: Path) -> None:
    """429, 5xx before and after the task was made, lost replies, HTML, cut downloads, refusals, outages."""
    plan = Plan(
        rows=_ROWS,
        time_scale=0.04,
        outage_s=0.5,
        concurrency=16,
        longest_s=120.0,
        close_reads=_CLOSE_READS,
        faults=tuple({**_TROUBLE, "retry_after_share": 0.2}.items()),
    )
    quiet, bad = spend(tmp_path / "quiet", plan.quiet), spend(tmp_path / "bad", plan)
    assert quiet.statuses == {"completed": _ROWS}
    assert quiet.broken(plan, quiet, 1.0) == []
    assert bad.statuses.keys() == {"completed", "refused"}
    assert bad.unanswered, "no reply was lost"
    assert bad.broken(plan, quiet, _MOST_REQUESTS) == []
