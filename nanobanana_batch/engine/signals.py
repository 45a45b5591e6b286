"""Somebody asks a run to stop: once ends submitting and collects what is paid for, twice stops now.

Two steps, since a person who interrupts an overnight run rarely means to leave paid images behind. Where it
comes from is the caller's business: SIGINT, SIGTERM and SIGHUP of this process, or another of its threads.
A SIGHUP is never the second: a terminal that is closed sends it twice, by the shell and by the kernel, and
some service managers send it right after SIGTERM.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import anyio
from anyio.abc import TaskStatus

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_S = 0.1
"""How often it is looked whether another thread has asked."""


class Stoppable(Protocol):
    """What is asked a second time."""

    def stop_now(self) -> None:
        """Leave everything where it is."""


class Interrupts(Protocol):
    """Where the wish to stop one run comes from."""

    @property
    def came(self) -> bool:
        """Whether anybody has asked while the run was at work, or before."""

    def raise_if_came(self) -> None:
        """Called again and again before anything is sent.

        Raises:
            KeyboardInterrupt: somebody has asked; nothing was sent.
        """

    async def listen(
        self,
        run: Stoppable,
        stop: Stop,
        tally: Tally,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Hand each wish to the run while it is at work, until cancelled."""


class _Wish:
    """What it means to a run that it is asked to stop, and asked again."""

    def __init__(self, run: Stoppable, stop: Stop, tally: Tally) -> None:
        self._run, self._stop, self._tally = run, stop, tally
        self._was_asked = False

    def came(self, *, may_be_second: bool = True) -> None:
        """Somebody asks."""
        if not self._was_asked:
            self._was_asked = True
            self._stop.ask("Interrupted.", interrupted=True)
            self._tally.interrupted(
                "Stopping: nothing more is submitted, what is paid for is being collected."
                " Interrupt again to stop at once."
            )
        elif may_be_second:
            self._run.stop_now()


class Signals:
    """Those of this process, from its main thread; those that are ignored (`nohup`, `&`) stay so."""

    def __init__(self) -> None:
        self.came = False

    def raise_if_came(self) -> None:
        """Nothing to do: before the work, Python raises where it is."""

    async def listen(
        self,
        run: Stoppable,
        stop: Stop,
        tally: Tally,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Turn signals into the wish to stop, until cancelled."""
        wish = _Wish(run, stop, tally)
        with _as_before() as heard, anyio.open_signal_receiver(*heard) as signals:
            task_status.started()
            async for number in signals:
                self.came = True
                wish.came(may_be_second=number != signal.SIGHUP)


class FromThread:
    """Asked for by another thread of this process, in which the run itself hears no signal."""

    def __init__(self) -> None:
        self._times = 0

    @property
    def came(self) -> bool:
        """Whether it was asked for."""
        return self._times > 0

    def ask(self) -> None:
        """Ask once, or once more; one thread does."""
        self._times += 1

    def raise_if_came(self) -> None:
        """End what has sent nothing yet.

        Raises:
            KeyboardInterrupt: it was asked for.
        """
        if self.came:
            raise KeyboardInterrupt

    async def listen(
        self,
        run: Stoppable,
        stop: Stop,
        tally: Tally,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Look for it, until cancelled."""
        wish, heard = _Wish(run, stop, tally), 0

        def look() -> None:
            nonlocal heard
            while heard < self._times:
                heard += 1
                wish.came()

        look()
        task_status.started()
        while True:
            await anyio.sleep(_LOOK_S)
            look()


@contextmanager
def _as_before() -> Iterator[list[signal.Signals]]:
    """Which of them are heard; afterwards they do what they did: the event loop would leave the default."""
    before = {number: signal.getsignal(number) for number in _HEARD}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        yield heard
    finally:
        for number in heard:
            signal.signal(number, before[number])
