"""The short form of the night: a real run through every kind of trouble, judged by the service's ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.campaign.night import TROUBLE, Plan, spend

_ROWS = 120
_MOST_REQUESTS = 2.0
"""Looser than the night's own: in so short a one, a dozen reads by chance are a twentieth of all requests.
They go by the clock, too: where the machine is busy with something else there are more of them."""
_STUCK_AFTER_S = 10.0
"""Nothing but stuck tasks takes so long, even where the machine stands still for some seconds."""


def test_a_bad_night_costs_nothing_twice_and_loses_nothing(tmp_path: Path) -> None:
    """Outages, lost replies, limits, failing and stuck tasks; `make night` does this with 2,000 rows."""
    plan = Plan(
        rows=_ROWS,
        faults=replace(TROUBLE, retry_after_s=0.0, stuck_task=0.02, fail_task=0.03, refuse_task=0.03),
        latency_s=(0.2, 0.6),
        poll_interval_s=0.06,
        outage_s=0.4,
        stuck_after_s=_STUCK_AFTER_S,
        longest_s=300.0,
    )
    calm, bad = spend(tmp_path / "calm", plan.calm), spend(tmp_path / "bad", plan)
    assert calm.statuses == {"completed": _ROWS}
    assert bad.rows == _ROWS
    assert bad.statuses.keys() == {"completed", "refused", "running"}
    assert bad.paid > _ROWS, "no failed task was paid for again"
    assert bad.unanswered, "no reply was lost"
    assert bad.broken(plan, calm, _MOST_REQUESTS) == []
