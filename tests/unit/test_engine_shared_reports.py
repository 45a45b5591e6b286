"""What a shard says of itself while it waits: others are told to try, or are kept from money, by that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency
from nanobanana_batch.sharing.values import Grant, Report
from tests.unit.fake_provider import FakeProvider, script
from tests.unit.night import Night
from tests.unit.test_engine_shared import run_together

HELD, FREE = Grant(concurrency=4), Grant(concurrency=4, may_send=True)


@dataclass
class Scripted:
    """Grants what a test says at a time, and keeps what it is told."""

    grant: Callable[[float], Grant]
    shard: int = 1
    reports: list[tuple[float, Report]] = field(default_factory=list)

    async def exchange(self, report: Report) -> Grant:
        """At once."""
        now = anyio.current_time()
        self.reports.append((now, report))
        return self.grant(now)

    def between(self, since_s: float, until_s: float) -> list[Report]:
        """What it was told from then to then; something was."""
        found = [report for at, report in self.reports if since_s < at < until_s]
        assert found
        return found


def ran(folder: Path, provider: FakeProvider, rows: int, link: Scripted) -> Night:
    """One run to its end."""
    it = Night(folder, provider, [f"p{n}" for n in range(rows)], Settings(concurrency=4))
    run_together([it], [link])  # type: ignore[list-item]
    return it


def test_a_shard_whose_rows_all_have_slots_can_try_as_long_as_one_is_not_sent(tmp_path: Path) -> None:
    """It waits to send; then its task runs, and by what it sends nobody finds out anything."""
    link = Scripted(lambda now: HELD if now < 10.0 else FREE)
    ran(tmp_path, FakeProvider(latency_s=60.0), 1, link)
    waiting = link.between(3.0, 9.0)
    assert {(each.rows_left, each.unsent, each.could_try) for each in waiting} == {(0, 1, True)}
    assert {(each.unsent, each.could_try) for each in link.between(20.0, 50.0)} == {(0, False)}


def test_a_shard_that_is_to_stop_cannot_try(tmp_path: Path) -> None:
    """What it has on the wire is not answered yet, and nothing comes after it."""
    link = Scripted(lambda now: FREE if now < 5.0 else Grant(concurrency=4, stop="enough"))
    ran(tmp_path, FakeProvider(submit_s=20.0), 2, link)
    assert {each.could_try for each in link.between(3.0, 5.0)} == {True}
    assert {(each.unsent, each.could_try) for each in link.between(7.0, 19.0)} == {(2, False)}


def test_what_may_have_been_paid_and_may_be_sent_again_is_told_as_unsent(tmp_path: Path) -> None:
    """Nobody may take it for settled: its credits are not free for others."""
    provider = FakeProvider(
        Idempotency.IGNORED, lists_tasks=False, latency_s=60.0, on_submit=script({0: "lost"})
    )
    link = Scripted(lambda now: FREE)
    it = ran(tmp_path, provider, 2, link)
    assert sorted(it.statuses()) == sorted([RowStatus.COMPLETED, RowStatus.UNKNOWN])
    assert {each.unsent for each in link.between(20.0, 50.0)} == {1}


def test_a_task_that_is_found_needs_no_share_of_what_may_be_in_flight(tmp_path: Path) -> None:
    """It is paid for, and runs: its image is collected although this shard was left no slot meanwhile."""
    provider = FakeProvider(Idempotency.HONOURED, submit_s=5.0, on_submit=script({0: "lost"}))
    late = Grant(may_send=True, stop="it has waited for a slot long enough")
    one, none = Grant(concurrency=1, may_send=True), Grant(concurrency=0, may_send=True)
    link = Scripted(lambda now: late if now > 500.0 else none if provider.submits else one)
    it = ran(tmp_path, provider, 1, link)
    assert it.statuses() == [RowStatus.COMPLETED]
    assert link.reports[-1][0] < 500.0
