"""Stopping: the first wish ends what is new, the second what waits, and the first reason is told."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import cast

import anyio
import pytest

from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import OnUnknown
from nanobanana_batch.engine.signals import FromThread, Signals
from nanobanana_batch.engine.stages.answers import stop_sentence
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency, Rejected, Unknown
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.tasks.replies import read_submit_reply
from tests.unit.beside import stop_at, stop_now_at, within
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import night, unknown_row
from tests.unit.watched import Watched
from tests.unit.wire import NO_CREDITS, PAGE, error, reply, unavailable

DONE, UNKNOWN, RUNNING = RowStatus.COMPLETED, RowStatus.UNKNOWN, RowStatus.RUNNING
HONOURED, UNPROVEN, IGNORED = Idempotency.HONOURED, Idempotency.UNPROVEN, Idempotency.IGNORED


def test_a_hard_stop_never_gives_a_request_more_time_than_it_had(tmp_path: Path) -> None:
    """A grace at the end only shortens."""
    it = night(tmp_path, FakeProvider(submit_s=5000.0), 1, paid_grace_s=2.0, hard_stop_grace_s=30.0)
    it.run(stop_now_at(1.0))
    assert it.took_s < 5


@pytest.mark.parametrize("trust", [HONOURED, UNPROVEN])
def test_a_wish_to_stop_ends_asking_about_unknown_requests(tmp_path: Path, trust: Idempotency) -> None:
    """Nothing is repeated or asked for once someone wants to stop, although the gate is passed at once."""
    provider = Watched(idempotency=trust, lists_tasks=False)
    provider.on_submit = lambda n: unavailable(300.0)
    it = night(tmp_path, provider, 1)
    it.run(stop_at(10.0))
    assert it.took_s < 60
    assert (provider.submits, it.statuses()) == (1, [UNKNOWN])


def test_a_hard_stop_still_records_the_answer_to_a_repeated_request(tmp_path: Path) -> None:
    """The answer arrives within the grace: the task is known from then on."""
    it = unknown_row(tmp_path, FakeProvider(idempotency=HONOURED, lists_tasks=False))
    it.provider.submit_s = 1.0
    it.run(stop_now_at(0.5))
    assert it.statuses() == [RUNNING]


def test_a_wish_to_stop_ends_waiting_for_resubmission(tmp_path: Path) -> None:
    """What is held is not sent again after someone asked to stop."""
    provider = FakeProvider(idempotency=IGNORED, lists_tasks=False)
    provider.on_submit = lambda n: Unknown("reset") if n == 0 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1, on_unknown=OnUnknown.RESUBMIT)
    it.run(stop_at(5.0))
    assert provider.submits == 2
    assert it.statuses() == [UNKNOWN, DONE]


def test_a_link_that_fails_while_the_run_is_ending_is_tried_three_times(tmp_path: Path) -> None:
    """Who interrupts does not wait for an image host that is down."""
    provider = FakeProvider(on_link=lambda n, task: LinkFailed("HTTP 503"))
    it = night(tmp_path, provider, 1)
    it.run(stop_at(5.0))
    assert provider.links == 3
    assert it.statuses() == [RowStatus.READY]


def test_reads_that_are_refused_for_good_end_the_run(tmp_path: Path) -> None:
    """The key was withdrawn while tasks run: the run says so at once, and they stay collectable."""
    withdrawn = reply(401, error("unauthorized", "withdrawn"))
    it = night(tmp_path, FakeProvider(on_batch=lambda n: withdrawn), 3)
    it.run(within(300))
    assert "does not say how the images stand" in it.stop.reason
    assert it.statuses() == [RUNNING] * 3


def test_the_first_reason_to_stop_is_the_one_that_is_told() -> None:
    """What came of stopping does not hide why."""
    stop = Stop()
    stop.ask("No credits.")
    stop.ask("Interrupted.", interrupted=True)
    assert (stop.reason, stop.interrupted) == ("No credits.", False)


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (reply(401, error("unauthorized", "no")), "API key"),
        (reply(401, PAGE), "API key"),
        (reply(404, PAGE), "--base-url"),
        (reply(405, PAGE), "--base-url"),
        (NO_CREDITS, "top up"),
    ],
)
def test_the_reason_for_stopping_says_what_to_do(answer: Reply, advice: str) -> None:
    """Nobody is sent to buy credits for a wrong key."""
    outcome = read_submit_reply(answer)
    assert isinstance(outcome, Rejected)
    assert advice in stop_sentence(outcome)


def test_the_second_signal_stops_at_once() -> None:
    """The first only ends submitting."""
    stop, stopped = Stop(), anyio.Event()

    class Stub:
        def stop_now(self) -> None:
            stopped.set()

    async def check() -> None:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(Signals().listen, cast("Run", Stub()), stop, Tally())
                await anyio.wait_all_tasks_blocked()
                signal.raise_signal(signal.SIGINT)
                await stop.sleep(30)
                assert (stop.interrupted, stopped.is_set()) == (True, False)
                signal.raise_signal(signal.SIGINT)
                await stopped.wait()
                group.cancel_scope.cancel()

    anyio.run(check)


def test_another_thread_may_ask_and_ask_again() -> None:
    """Before the run listens, and while it does; what is not at work yet is ended at the next look."""
    interrupts, stop, stopped = FromThread(), Stop(), anyio.Event()
    interrupts.raise_if_came()

    class Stub:
        def stop_now(self) -> None:
            stopped.set()

    async def check() -> None:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                await group.start(interrupts.listen, cast("Run", Stub()), stop, Tally())
                assert (stop.interrupted, stopped.is_set()) == (True, False)
                await anyio.to_thread.run_sync(interrupts.ask)
                await stopped.wait()
                group.cancel_scope.cancel()

    interrupts.ask()
    with pytest.raises(KeyboardInterrupt):
        interrupts.raise_if_came()
    anyio.run(check)
