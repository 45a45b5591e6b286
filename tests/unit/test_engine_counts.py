"""What people see of a run's rows is what the state says, also when a run is stopped between two attempts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency, Unknown
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.scope import Scope
from tests.unit.beside import interrupted_at, stop_now_at, within
from tests.unit.fake_provider import FakeProvider, script
from tests.unit.night import NEVER_S, Night, night
from tests.unit.wire import BAD_REQUEST, FORBIDDEN, NO_CREDITS, failed

DONE, FAILED = RowStatus.COMPLETED, RowStatus.FAILED
HONOURED, IGNORED = Idempotency.HONOURED, Idempotency.IGNORED

PROMPTS = [f"a picture of {n}" for n in range(6)]


def shown(it: Night) -> bool:
    """Whether the tally is the state's, for the rows that the run was about."""
    with open_reader(it.folder / STATE_NAME) as reader:
        counts = reader.counts(it.settings.scope)
    tally = it.tally
    told = {
        RowStatus.COMPLETED: tally.completed,
        RowStatus.FAILED: tally.failed,
        RowStatus.REFUSED: tally.refused,
        RowStatus.EXPIRED: tally.expired,
        RowStatus.UNKNOWN: tally.unknown,
    }
    is_same = all(counts[status] == count for status, count in told.items())
    return is_same and (tally.total, tally.in_flight) == (sum(counts.values()), 0)


def test_a_row_between_two_attempts_counts_as_what_it_is(tmp_path: Path) -> None:
    """Its task has failed, and 402 comes before the next one; then it is made."""
    provider = FakeProvider(on_submit=lambda n: NO_CREDITS if n >= 6 else None)
    provider.on_read = lambda n, task: failed(task.id, "service_error") if int(task.id[5:]) < 3 else None
    it = Night(tmp_path, provider, PROMPTS)
    it.run()
    assert it.tally.completed == 3
    assert shown(it)
    provider.on_submit = lambda n: None
    it.run()
    assert (it.tally.completed, it.tally.failed) == (6, 0)
    assert shown(it)


def test_a_retry_that_is_stopped_leaves_no_gap(tmp_path: Path) -> None:
    """Of six failed rows two are sent again before the credits are used up."""
    provider = FakeProvider(on_submit=lambda n: BAD_REQUEST)
    it = Night(tmp_path, provider, PROMPTS, Settings(submit_concurrency=1))
    it.run()
    it.settings = Settings(submit_concurrency=1, new_rows=False, retried=frozenset({Phase.REJECTED}))
    provider.on_submit = lambda n: NO_CREDITS if provider.tasks and len(provider.tasks) >= 2 else None
    it.run()
    assert it.tally.completed == 2
    assert shown(it)


def test_held_rows_that_could_not_be_sent_again_are_still_unknown(tmp_path: Path) -> None:
    """A person had said so, and the account has no credits left."""
    provider = FakeProvider(remembers_keys=False, lists_tasks=False, on_submit=lambda n: Unknown("cut"))
    it = Night(tmp_path, provider, PROMPTS[:2])
    it.run(interrupted_at(600.0))
    assert shown(it)
    it.settings = Settings(on_unknown=OnUnknown.RESUBMIT)
    provider.on_submit = lambda n: NO_CREDITS
    it.run()
    assert it.tally.unknown > 0
    assert shown(it)


def test_what_is_collected_for_other_rows_is_not_counted(tmp_path: Path) -> None:
    """All were paid for; the next run is about two of them."""
    it = Night(tmp_path, FakeProvider(latency_s=60.0), PROMPTS)
    it.run(stop_now_at(20.0))
    it.settings = Settings(scope=Scope(before=2))
    it.run()
    assert (it.tally.completed, it.tally.total) == (2, 2)
    assert shown(it)


@pytest.mark.parametrize("answer", [FORBIDDEN, NO_CREDITS], ids=["403", "402"])
def test_a_no_to_a_resubmitted_request_counts_as_unknown_for_who_watches(
    tmp_path: Path, answer: Reply
) -> None:
    """The row is in doubt, so it is not shown as failed."""
    provider = FakeProvider(idempotency=IGNORED, lists_tasks=False, on_submit=lambda n: Unknown("reset"))
    it = night(tmp_path, provider, 1)
    it.run()
    provider.on_submit = lambda n: answer
    it.settings = Settings(on_unknown=OnUnknown.RESUBMIT)
    it.run()
    assert (it.tally.failed, it.tally.unknown > 0) == (0, True)


def test_a_rejected_row_counts_as_failed_for_who_watches(tmp_path: Path) -> None:
    """The progress bar reaches its end."""
    it = night(tmp_path, FakeProvider(on_submit=lambda n: BAD_REQUEST if n == 0 else None), 3)
    it.run()
    assert (it.tally.failed, it.tally.completed) == (1, 2)


def test_who_watches_sees_credits_and_failures(tmp_path: Path) -> None:
    """As the provider tells them."""
    provider = FakeProvider()
    provider.on_read = lambda n, task: failed(task.id) if task.id == "task-0" else None
    it = night(tmp_path, provider, 3)
    it.run()
    assert (it.tally.completed, it.tally.failed, it.tally.credits, it.tally.in_flight) == (2, 1, 4.0, 0)


def test_who_watches_sees_no_doubt_that_is_settled(tmp_path: Path) -> None:
    """A request that was found is not shown as unknown any more, nor is one that was judged."""
    provider = FakeProvider(idempotency=HONOURED, lists_tasks=False)
    provider.on_submit = script({0: "lost", 2: Unknown("reset"), 3: BAD_REQUEST})
    it = night(tmp_path, provider, 2, concurrency=1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE, FAILED]
    assert (it.tally.unknown, it.tally.failed, it.tally.completed) == (0, 1, 1)
