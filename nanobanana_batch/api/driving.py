"""Where the work of a run is done, and how it is asked to stop.

In the main thread, where no event loop runs, as on the command line: SIGINT, SIGTERM and SIGHUP ask it to
stop. Elsewhere (a notebook, a server, another thread) in a thread of its own that hears no signals: there
KeyboardInterrupt, or the cancellation of the task that waits for it, asks. Once: what is paid for is
collected. Twice: it stops now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanobanana_batch.api.watching import Progress
    from nanobanana_batch.engine.signals import FromThread, Interrupts
    from nanobanana_batch.engine.tally import Tally
    from nanobanana_batch.jobs.outcome import Outcome
    from nanobanana_batch.live.hooks import Hooks

    Job = Callable[[Tally, Interrupts], Outcome]

_LOOK_S = 0.05


class Interrupted(KeyboardInterrupt):
    """A run was interrupted: it sends nothing more, and has collected what was paid for.

    It is a KeyboardInterrupt, so that a loop over several manifests ends as well. `outcome` is how that run
    ended; the same call goes on with it.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"interrupted; the same call goes on in {outcome.folder}")
        self.outcome = outcome


def drive(job: Job, progress: Progress, hooks: Hooks | None = None) -> Outcome:
    """Do the work and wait for it; `hooks` are told how it goes.

    Raises:
        Interrupted: a person has asked to stop while it was going on.
        KeyboardInterrupt: the same before anything was sent.
    """
    from nanobanana_batch.api.watching import watched
    from nanobanana_batch.engine.signals import FromThread, Signals

    interrupts: Signals | FromThread
    with watched(progress) as tally:
        if threading.current_thread() is threading.main_thread() and not _is_in_a_loop():
            interrupts = Signals()
            outcome = _done(job, tally, interrupts, hooks)
        else:
            interrupts = FromThread()
            work = _Work(lambda: _done(job, tally, interrupts, hooks))
            outcome = _waited_for(work, interrupts)
    if interrupts.came:
        raise Interrupted(outcome)
    return outcome


def _waited_for(work: _Work, interrupts: FromThread) -> Outcome:
    while not work.is_over:
        try:
            work.begin()
            work.wait()
        except KeyboardInterrupt:
            interrupts.ask()
    return work.outcome()


async def drive_async(job: Job, progress: Progress, hooks: Hooks | None = None) -> Outcome:
    """Do the work, and let the event loop go on meanwhile; any loop that anyio knows.

    A cancellation is passed on once what is paid for is collected. A second one, where the loop knows such
    (asyncio does), stops the work now.
    """
    import anyio

    from nanobanana_batch.api.watching import watched
    from nanobanana_batch.engine.signals import FromThread

    interrupts, asked_by = FromThread(), list[BaseException]()
    cancelled = anyio.get_cancelled_exc_class()

    def do(tally: Tally | None) -> Outcome:
        if tally is not None:
            return _done(job, tally, interrupts, hooks)
        with watched(progress) as own:
            return _done(job, own, interrupts, hooks)

    # The caller's function may wait for the loop, which therefore does not wait for it.
    is_function = callable(progress) and not isinstance(progress, AbstractContextManager)
    with nullcontext() if is_function else watched(progress) as tally:
        work = _Work(lambda: do(tally))
        while not work.is_over:
            try:
                work.begin()
                with anyio.CancelScope(shield=interrupts.came):
                    await anyio.sleep(_LOOK_S)
            except (cancelled, KeyboardInterrupt) as error:
                asked_by.append(error)
                interrupts.ask()
    if not asked_by:
        return work.outcome()
    if isinstance(work.error, Exception):  # more than that somebody did not want to wait
        raise work.error
    raise asked_by[0]


def _done(job: Job, tally: Tally, interrupts: Interrupts, hooks: Hooks | None) -> Outcome:
    from nanobanana_batch.jobs.told import told

    if hooks is None:
        return job(tally, interrupts)
    return told(hooks, tally, lambda: job(tally, interrupts))


class _Work:
    """A job in a thread that is waited for when the program ends: it may have paid for something.

    An interrupt may come between any two steps of who waits. So nothing is held there that the work needs:
    Python's own events and futures would be left locked.
    """

    def __init__(self, do: Callable[[], Outcome]) -> None:
        self.is_over = False
        self.error: BaseException | None = None
        self._do = do
        self._outcome: Outcome | None = None
        self._claim, self._end = threading.Lock(), threading.Lock()
        self._end.acquire()

    def begin(self) -> None:
        """Begin it, unless it has begun: the interrupt may have come in the middle of that."""
        if not self._claim.locked():
            threading.Thread(target=self._work, name="nanobanana-batch").start()

    def wait(self) -> None:
        """Return when it is over."""
        with self._end:
            pass

    def outcome(self) -> Outcome:
        """What came of it; raises what it has raised."""
        if self._outcome is None:
            raise self.error or RuntimeError("it is not over")
        return self._outcome

    def _work(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._outcome = self._do()
        except BaseException as error:
            self.error = error
        finally:
            self.is_over = True
            self._end.release()


def _is_in_a_loop() -> bool:
    """Also in a callback of asyncio, where no task runs that could be known by its library."""
    import asyncio

    import sniffio

    with suppress(sniffio.AsyncLibraryNotFoundError):
        return bool(sniffio.current_async_library())
    with suppress(RuntimeError):
        return bool(asyncio.get_running_loop())
    return False
