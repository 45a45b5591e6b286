"""The first SIGINT, SIGTERM or SIGHUP ends submitting and collects what is paid for; the second stops now.

Two steps, since a person who interrupts an overnight run rarely means to leave paid images behind. A
SIGHUP is never the second: a terminal that is closed sends it twice, by the shell and by the kernel, and
some service managers send it right after SIGTERM.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from anyio.abc import TaskStatus

from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def listen(
    run: Run, stop: Stop, tally: Tally, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Turn signals into the wish to stop, until cancelled; those that are ignored (`nohup`, `&`) stay so."""
    with _as_before() as heard, anyio.open_signal_receiver(*heard) as signals:
        task_status.started()
        asked = False
        async for number in signals:
            if not asked:
                asked = True
                stop.ask("Interrupted.", interrupted=True)
                tally.interrupted(
                    "Stopping: nothing more is submitted, what is paid for is being collected."
                    " Interrupt again to stop at once."
                )
            elif number != signal.SIGHUP:
                run.stop_now()


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
