"""Where a run's work is done, and how it is stopped: in the main thread, beside a loop, by cancellation."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import anyio
import pytest

from nanobanana_batch.api import watching
from nanobanana_batch.api.driving import Interrupted, drive, drive_async
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.signals import Interrupts
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.errors import StateFailed
from nanobanana_batch.jobs.outcome import Outcome
from nanobanana_batch.live.snapshot import Live
from nanobanana_batch.model import RowStatus

OUTCOME = Outcome(
    Path("out"),
    Path("out/results.csv"),
    1,
    {RowStatus.COMPLETED: 1},
    0.0,
    0.0,
    0,
    0,
    {},
    True,
    "",
    False,
)
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@dataclass
class Work:
    """A run that goes on until it is asked to stop, or asked twice, and collects before it ends."""

    times: int = 1
    """How often it is to be asked."""
    on_start: Callable[[], None] = lambda: None
    on_first: Callable[[], None] = lambda: None
    error: Exception | None = None
    began: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    heard: list[str] = field(default_factory=list)
    thread: threading.Thread | None = None

    def __call__(self, tally: Tally, interrupts: Interrupts) -> Outcome:
        self.thread = threading.current_thread()
        anyio.run(self._go, tally, interrupts)
        self.heard.append("collected")
        if self.error:
            raise self.error
        return OUTCOME

    async def _go(self, tally: Tally, interrupts: Interrupts) -> None:
        stop, now = Stop(), anyio.Event()

        class Stub:
            def stop_now(self) -> None:
                now.set()

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                await group.start(interrupts.listen, cast("Run", Stub()), stop, tally)
                self.began.set()
                self.on_start()
                if self.times:
                    await stop.sleep(60)
                    self.heard.append("stop")
                    self.asked.set()
                    self.on_first()
                if self.times > 1:
                    await now.wait()
                    self.heard.append("now")
                group.cancel_scope.cancel()


def interrupt() -> None:
    """As Ctrl-C does: the main thread is who hears it."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


# --- in the main thread ------------------------------------------------------------------------------


def test_where_no_loop_runs_the_main_thread_does_the_work() -> None:
    """As the command line; what comes of it is returned."""
    work = Work(times=0)
    assert drive(work, progress=False) is OUTCOME
    assert work.thread is threading.main_thread()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_loop_over_manifests_too(number: signal.Signals) -> None:
    """It is collected what was paid for, then the interrupt goes on; how the run ended goes with it."""
    before = signal.getsignal(number)
    work = Work(on_start=lambda: signal.raise_signal(number))
    with pytest.raises(KeyboardInterrupt) as told:
        drive(work, progress=False)
    assert isinstance(told.value, Interrupted)
    assert told.value.outcome is OUTCOME
    assert work.heard == ["stop", "collected"]
    assert signal.getsignal(number) is before


def test_another_thread_hears_no_signals() -> None:
    """It does the work in one of its own, and waits."""
    work, ended = Work(times=0), list[Outcome]()
    caller = threading.Thread(target=lambda: ended.append(drive(work, progress=False)))
    caller.start()
    caller.join()
    assert ended == [OUTCOME]
    assert work.thread not in (caller, threading.main_thread())


# --- beside a loop, as in a notebook -----------------------------------------------------------------


async def drive_here(work: Work) -> Outcome:
    """Blocks the loop, as a cell does; KeyboardInterrupt is raised as in a kernel."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return drive(work, progress=False)
    finally:
        signal.signal(signal.SIGINT, before)


@BACKENDS
def test_beside_a_loop_the_work_has_a_thread_of_its_own(backend: str) -> None:
    """And a loop of its own."""
    work = Work(times=0)
    assert anyio.run(drive_here, work, backend=backend) is OUTCOME
    assert work.thread is not threading.main_thread()


def test_a_callback_of_a_loop_is_beside_it_too() -> None:
    """No task runs there, but the loop does: a timer, a button."""
    work, ended = Work(times=0), list[Outcome]()
    loop = asyncio.new_event_loop()
    loop.call_soon(lambda: ended.append(drive(work, progress=False)))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert ended == [OUTCOME]
    assert work.thread is not threading.main_thread()


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_in_a_notebook_collects_and_a_second_stops_now(times: int) -> None:
    """Then it is raised, with how the run ended."""
    work = Work(times, on_start=interrupt, on_first=interrupt if times > 1 else lambda: None)
    with pytest.raises(Interrupted) as told:
        anyio.run(drive_here, work)
    assert told.value.outcome is OUTCOME
    assert work.heard == ["stop", *["now"] * (times > 1), "collected"]


def test_an_interrupt_before_anything_is_sent_ends_at_the_next_row() -> None:
    """There is nothing to collect, and no outcome."""
    waits = threading.Event()

    def job(tally: Tally, interrupts: Interrupts) -> Outcome:
        interrupt()
        while not waits.wait(0.01):
            interrupts.raise_if_came()
        return OUTCOME

    async def cell() -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            drive(job, progress=False)
        finally:
            signal.signal(signal.SIGINT, before)

    with pytest.raises(KeyboardInterrupt) as told:
        anyio.run(cell)
    assert not isinstance(told.value, Interrupted)


def test_an_error_of_the_run_is_raised_where_it_is_waited_for() -> None:
    """As it is."""
    with pytest.raises(StateFailed, match="gone"):
        anyio.run(drive_here, Work(0, error=StateFailed("gone")))


# --- awaited -----------------------------------------------------------------------------------------


@BACKENDS
def test_the_loop_goes_on_while_a_run_is_awaited(backend: str) -> None:
    """Another task has its turns: it is that one that lets the run end."""
    may_end = threading.Event()
    work = Work(0, on_start=lambda: print(may_end.wait(60)))

    async def both() -> None:
        async with anyio.create_task_group() as group:

            async def other() -> None:
                await anyio.to_thread.run_sync(work.began.wait)
                may_end.set()

            group.start_soon(other)
            assert await drive_async(work, progress=False) is OUTCOME

    anyio.run(both, backend=backend)


@BACKENDS
def test_a_cancellation_waits_until_what_is_paid_for_is_collected(backend: str) -> None:
    """And is passed on then."""
    work, after = Work(), list[str]()

    async def cancelled() -> None:
        async with anyio.create_task_group() as group:

            async def other() -> None:
                await anyio.to_thread.run_sync(work.began.wait)
                group.cancel_scope.cancel()

            group.start_soon(other)
            try:
                await drive_async(work, progress=False)
            except anyio.get_cancelled_exc_class():
                after.extend(work.heard)
                raise
            after.append("not cancelled")

    anyio.run(cancelled, backend=backend)
    assert after == ["stop", "collected"]


def test_a_function_that_is_told_may_wait_for_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last look comes when the run has ended, and the loop is free then, too."""
    monkeypatch.setattr(watching, "_LAST_LOOK_S", 60)

    async def main() -> int:
        loop, looks = asyncio.get_running_loop(), list[Live]()

        async def put(live: Live) -> None:
            looks.append(live)

        def look(live: Live) -> None:
            asyncio.run_coroutine_threadsafe(put(live), loop).result(30)

        assert await drive_async(Work(times=0), look) is OUTCOME
        return len(looks)

    assert asyncio.run(main()) >= 1


def test_a_second_cancellation_stops_now() -> None:
    """Of asyncio's own, which knows such."""

    async def twice() -> None:
        work = Work(2)
        task = asyncio.create_task(drive_async(work, progress=False))
        await asyncio.to_thread(work.began.wait)
        task.cancel()
        await asyncio.to_thread(work.asked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.heard == ["stop", "now", "collected"]

    asyncio.run(twice())


def test_a_time_limit_of_asyncio_holds() -> None:
    """It is told as such when the run has collected."""

    async def limited() -> None:
        loop = asyncio.get_running_loop()
        work = Work()

        async def at_once() -> None:
            async with asyncio.timeout(None) as limit:
                work.on_start = lambda: print(loop.call_soon_threadsafe(limit.reschedule, 0.0))
                await drive_async(work, progress=False)

        with pytest.raises(TimeoutError):
            await at_once()
        assert work.heard == ["stop", "collected"]

    asyncio.run(limited())


@BACKENDS
def test_what_went_wrong_is_not_lost_in_a_cancellation(backend: str) -> None:
    """It may be that the state has failed."""
    work = Work(error=StateFailed("gone"))

    async def cancelled() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def other() -> None:
                    await anyio.to_thread.run_sync(work.began.wait)
                    scope.cancel()

                group.start_soon(other)
                await drive_async(work, progress=False)

    with pytest.raises(ExceptionGroup) as told:
        anyio.run(cancelled, backend=backend)
    assert told.group_contains(StateFailed, match="gone")


def test_a_cancellation_before_anything_is_sent_is_one() -> None:
    """There is nothing to wait for."""
    began, waits = threading.Event(), threading.Event()

    def job(tally: Tally, interrupts: Interrupts) -> Outcome:
        began.set()
        while not waits.wait(0.01):
            interrupts.raise_if_came()
        return OUTCOME

    async def cancelled() -> None:
        task = asyncio.create_task(drive_async(job, progress=False))
        await asyncio.to_thread(began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
