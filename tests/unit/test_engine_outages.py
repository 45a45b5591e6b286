"""Outages: who was reached once is waited for, and meanwhile little is risked."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path

import anyio

from nanobanana_batch.engine.limits.pace import Outage
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency, NotSent, TasksRead
from tests.unit.beside import stop_now_at, within
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import NEVER_S, PROMPTS, Night, in_virtual_time, night, unknown_row
from tests.unit.watched import Watched
from tests.unit.wire import UNAVAILABLE, slow

DONE, UNKNOWN = RowStatus.COMPLETED, RowStatus.UNKNOWN
HONOURED, IGNORED = Idempotency.HONOURED, Idempotency.IGNORED


def test_one_accepted_request_is_contact_enough_for_a_long_outage(tmp_path: Path) -> None:
    """Who has accepted a request is waited for, not given up after a minute."""
    provider = Watched(down_from=0.3, down_until=600.0)
    it = night(tmp_path, provider, 3, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert it.stop.reason == ""
    assert it.statuses() == [DONE] * 3


def test_a_rate_limit_is_contact_enough_for_a_long_outage(tmp_path: Path) -> None:
    """ "Slow down" is an answer: the address is right."""
    provider = Watched(down_from=0.3, down_until=600.0, on_submit=lambda n: slow(1.0) if n == 0 else None)
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.stop.reason == ""
    assert it.statuses() == [DONE]


def test_reads_are_contact_enough_for_a_long_outage(tmp_path: Path) -> None:
    """A resumed run that has read its task once waits for the provider to come back."""
    provider = Watched(latency_s=300.0)
    night(tmp_path, provider, 1).run(stop_now_at(5.0))
    provider.down_from, provider.down_until = 20.0, 600.0
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.stop.reason == ""
    assert it.statuses() == [DONE]


def test_connections_are_tried_less_and_less_often(tmp_path: Path) -> None:
    """An hour without a provider costs some tens of tries, not thousands."""
    provider = Watched(down_from=0.0)
    it = night(tmp_path, provider, 1, first_contact_s=3600.0)
    it.run(within(NEVER_S))
    assert 30 < len(provider.submitted_at) + len(provider.account_reads) < 400


def test_in_trouble_only_one_request_is_on_the_wire(tmp_path: Path) -> None:
    """After several lost answers in a row each more is a probe: one at a time."""
    provider = Watched(idempotency=IGNORED, lists_tasks=False, submit_s=40.0)
    provider.on_submit = lambda n: UNAVAILABLE
    it = Night(tmp_path, provider, PROMPTS, Settings(submit_concurrency=8, first_contact_s=NEVER_S))
    it.run(within(NEVER_S))
    assert max(provider.at_once[:8]) == 8
    assert max(provider.at_once[16:]) == 1


def test_after_trouble_requests_go_out_together_again(tmp_path: Path) -> None:
    """One good answer ends the caution."""
    provider = Watched(idempotency=IGNORED, lists_tasks=False, submit_s=5.0)
    provider.on_submit = lambda n: UNAVAILABLE if n < 4 else None
    it = night(tmp_path, provider, 30, submit_concurrency=4)
    it.run(within(NEVER_S))
    assert max(provider.at_once[12:]) == 4
    assert it.statuses().count(DONE) == 26


def test_a_repetition_that_reaches_nobody_gives_the_provider_up(tmp_path: Path) -> None:
    """Nothing was reached for ten minutes: say so."""
    it = unknown_row(tmp_path, Watched(idempotency=HONOURED, lists_tasks=False))
    assert isinstance(it.provider, Watched)
    it.provider.down_from, it.settings = 0.0, Settings(resolve_tries=50)
    it.run(within(NEVER_S))
    assert "cannot be reached" in it.stop.reason
    assert it.statuses() == [UNKNOWN]


def test_one_unreadable_task_is_no_outage(tmp_path: Path) -> None:
    """While others are read the provider is there."""

    class Partly(FakeProvider):
        async def read_many(self, task_ids: Collection[str]) -> TasksRead:
            read = await super().read_many(task_ids)
            if anyio.current_time() > 1000 or "task-0" not in task_ids:
                return read
            reports = {id_: report for id_, report in read.reports.items() if id_ != "task-0"}
            return TasksRead(reports, failure="HTTP 500")

    it = night(tmp_path, Partly(latency_s=1500.0), 3, max_outage_s=30.0)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 3


def test_an_outage_is_counted_from_its_beginning() -> None:
    """An answer in between ends it."""

    async def check() -> None:
        outage = Outage(100.0, 10.0)
        assert not outage.failed("submit")
        outage.worked("submit")
        assert not outage.failed("submit")
        await anyio.sleep(60.0)
        assert not outage.failed("submit")
        outage.worked("submit")
        await anyio.sleep(60.0)
        assert not outage.failed("submit")
        await anyio.sleep(99.0)
        assert not outage.failed("submit")
        await anyio.sleep(1.0)
        assert outage.failed("submit")

    in_virtual_time(check)


def test_who_waited_for_the_provider_goes_on_at_the_persons_pace(tmp_path: Path) -> None:
    """No burst of all that failed in an outage: each takes a turn again."""
    provider = FakeProvider()
    provider.on_submit = lambda n: NotSent("refused") if anyio.current_time() < 300.0 else None
    it = night(tmp_path, provider, 12, submits_per_min=12.0)
    it.run()
    made_at = sorted(task.created for task in provider.tasks.values())
    assert len(made_at) == 12
    assert min(later - at for at, later in itertools.pairwise(made_at[1:])) > 4.0
