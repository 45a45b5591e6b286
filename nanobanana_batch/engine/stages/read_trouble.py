"""What a read of tasks says of the provider: whether it works, and how long nobody is to read anything."""

from __future__ import annotations

from nanobanana_batch.engine.limits.pace import LONGEST_HOLD_S, Gate, outage_pause_s
from nanobanana_batch.engine.parts import Record, Wire
from nanobanana_batch.providers.base import TasksRead
from nanobanana_batch.wording import duration_text

_LONGEST_PAUSE_S = 30.0
"""After reads that failed: they cost nothing, and links are waiting."""


class ReadTrouble:
    """Holds back all reads while they fail, or as long as the provider asks."""

    def __init__(self, wire: Wire, record: Record) -> None:
        self._wire = wire
        self._record = record
        self._pause = Gate()
        """As the provider asks."""
        self._trouble = Gate()
        """Since reads fail."""

    async def over(self) -> None:
        """Return when tasks may be read, or when a person interrupts."""
        if not (self._pause.is_open and self._trouble.is_open):
            await self._wire.stop.unless_hurried(self._is_over)

    async def _is_over(self) -> None:
        await self._pause.passed()
        if self._wire.breaker.is_open:
            await self._wire.outage.life_or(self._trouble.passed)
        else:
            await self._trouble.passed()

    def note(self, read: TasksRead) -> None:
        """Hear of a read."""
        if read.is_reply:
            self._wire.outage.contact()
        if read.reports or read.absent or not read.failure:
            self._wire.outage.worked("read")
        else:
            # Where submits wait for the provider as well, they ask it, and what they learn ends this pause.
            is_asked = self._wire.breaker.is_open and not self._wire.stop.asked
            share, shortest_s = (0.3, 5.0) if is_asked else (0.15, 1.0)
            lasting_s = self._wire.outage.lasting_s("read")
            pause_s = outage_pause_s(
                lasting_s, share=share, shortest_s=shortest_s, longest_s=_LONGEST_PAUSE_S
            )
            self._trouble.hold(min(pause_s, max(self._wire.outage.left_s("read"), 0.0)))
        if not read.failure:
            self._record.tally.all_well("read")
            return
        if not self._is_told_to_wait(read):
            self._record.tally.trouble(
                f"asking how images stand fails: {read.failure}",
                "read",
                gives_up_in_s=self._wire.outage.left_s("read"),
            )
        if read.stop:
            self._wire.stop.ask(
                f"The provider does not say how the images stand that it makes ({read.failure})."
            )
        elif not read.reports and not read.absent and self._wire.outage.failed("read"):
            self._wire.stop.ask(f"The provider cannot be reached ({read.failure}).")

    def _is_told_to_wait(self, read: TasksRead) -> bool:
        """All reads wait, new requests too; not for as long as an absurd wait says, since links die."""
        if not read.retry_after_s:
            return False
        wait_s = self._wire.outage.cut(min(read.retry_after_s, LONGEST_HOLD_S), "read")
        self._pause.hold(wait_s)
        self._wire.gate.hold_briefly(wait_s)
        said = duration_text(wait_s)
        self._record.log(
            "reads_wait", seconds=round(wait_s, 1), asked_s=read.retry_after_s, said=read.failure
        )
        self._record.tally.trouble(
            f"asking how images stand fails: {read.failure}; asked again in {said}", "read"
        )
        return True
