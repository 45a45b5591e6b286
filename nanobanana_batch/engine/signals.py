"""The first SIGINT or SIGTERM ends submitting and collects what is paid for; the second stops now.

Two steps, since a person who interrupts an overnight run rarely means to leave paid images behind.
"""

from __future__ import annotations

import signal

import anyio

from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.work import Stop, Tally


async def listen(run: Run, stop: Stop, tally: Tally) -> None:
    """Turn signals into the wish to stop, until cancelled."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        asked = False
        async for _ in signals:
            if asked:
                run.stop_now()
                continue
            asked = True
            stop.ask("Interrupted.", interrupted=True)
            tally.announce(
                "Stopping: nothing more is submitted, what is paid for is being collected."
                " Interrupt again to stop at once."
            )
