"""What runs beside a night: a wish to stop at a moment, or a bound on how long it may take."""

from __future__ import annotations

import anyio

from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.work import Stop
from tests.unit.night import NEVER_S, Beside

HOUR_S = 3600.0


def within(seconds: float) -> Beside:
    """Fails a run that takes longer, also one that waits for ever."""

    async def watch(engine: Run, stop: Stop) -> None:
        await anyio.sleep(seconds)
        raise TimeoutError(f"the run did not end within {seconds:g} s")

    return watch


def stop_now_at(seconds: float) -> Beside:
    """A second wish to stop at a moment."""

    async def stop_now(engine: Run, stop: Stop) -> None:
        await anyio.sleep(seconds)
        engine.stop_now()
        await within(NEVER_S)(engine, stop)

    return stop_now


def stop_at(seconds: float) -> Beside:
    """A first wish to stop at a moment."""

    async def interrupt(engine: Run, stop: Stop) -> None:
        await anyio.sleep(seconds)
        stop.ask("Interrupted.", interrupted=True)
        await within(NEVER_S)(engine, stop)

    return interrupt


def interrupted_at(seconds: float) -> Beside:
    """Ask to stop after so long, and tear the run down two days later if it still goes on."""

    async def beside(engine: Run, stop: Stop) -> None:
        await anyio.sleep(seconds)
        stop.ask("Interrupted.", interrupted=True)
        await anyio.sleep(48 * HOUR_S)
        engine.stop_now()

    return beside
