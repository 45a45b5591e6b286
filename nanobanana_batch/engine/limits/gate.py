"""How long the provider asks who pays for something new to wait: obeyed, told, and no longer than an outage.

Reads of what is paid for and downloads do not wait here: links die while somebody waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

from nanobanana_batch.engine.limits.pace import LONGEST_HOLD_S, Gate, Outage
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.files.log import Log
from nanobanana_batch.providers.base import Rejected, SubmitOutcome, Unknown
from nanobanana_batch.wording import duration_text, time_text

_LASTS_S = 20.0
"""A shorter wait is over before anybody has read of it."""
_SELDOM_S = 600.0
"""Between two lines about waits, unless one is much longer than the last that was told."""
_MUCH = 2.0
_ABOUT = "wait"
_LOOK_S = 1.0
"""How often who waits for something else than a moment looks whether somebody asks to stop."""


class SubmitGate:
    """Holds back new requests, what is asked about them, and uploads, for as long as a reply asks to."""

    def __init__(
        self,
        outage: Outage,
        stop: Stop,
        tally: Tally,
        log: Log,
        now: Callable[[], float],
    ) -> None:
        self._gate = Gate()
        self._outage = outage
        self._stop = stop
        self._tally = tally
        self._log = log
        self._now = now
        self._written = 0
        """Replies that ask to wait and are being written down: they count from now on, not from then."""
        self._is_paused = False
        self._until_s = math.inf
        self._news = anyio.Event()
        self._told_at = -math.inf
        self._told_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether everybody may pass."""
        return self._gate.is_open and not self._is_shut

    @property
    def left_s(self) -> float:
        """For how long the provider asks to wait from now on."""
        return self._gate.left_s

    @property
    def _is_shut(self) -> bool:
        """Asked whenever something is sent: who was stopped, and goes on, sees that it is late."""
        return bool(self._written or self._is_paused or anyio.current_time() >= self._until_s)

    def pause(self, is_paused: bool, *, until_s: float = math.inf) -> None:
        """Let nobody pass until somebody says otherwise, who decides for several runs.

        From the loop time `until_s` on nobody passes in any case, unless it is said anew.
        """
        was_shut = self._is_shut
        self._is_paused, self._until_s = is_paused, until_s
        if was_shut != self._is_shut:
            self._tell_waiting()

    def _tell_waiting(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    @contextmanager
    def heard(self, outcome: SubmitOutcome) -> Iterator[None]:
        """For as long as an answer is being written down; if it asks to wait, nobody passes meanwhile."""
        asks = isinstance(outcome, Rejected | Unknown) and bool(outcome.retry_after_s)
        self._written += asks
        try:
            yield
        finally:
            self._written -= asks
            self._tell_waiting()

    def hold(self, seconds: float, words: str = "") -> None:
        """A reply, in these words, asks to wait so many seconds; the run stops where it would not."""
        # While it is closed all who are told have asked before: they are told of the same wait.
        is_open = self._gate.is_open
        if seconds > (self._outage.left_s("submit") if is_open else self._outage.longest_s):
            self._stop.ask(self._too_long(seconds, words))
            return
        self._gate.hold(seconds)
        if seconds >= _LASTS_S:
            self._tell(seconds, words)

    def hold_briefly(self, seconds: float) -> None:
        """Others were told to wait so many seconds, who read, or ask for one model: no reason to stop."""
        self._gate.hold(min(seconds, LONGEST_HOLD_S))

    async def passed(self, stop: Stop | None = None) -> None:
        """Return when the gate is open, or when someone asks to stop."""
        await self._gate.passed(stop)
        while self._is_shut and not (stop is not None and stop.asked):
            with anyio.move_on_after(_LOOK_S):
                await self._news.wait()
            await self._gate.passed(stop)

    def worked(self) -> None:
        """A request was answered as it should: the wait is over, unless it was on the wire before that."""
        if self.is_open:
            self._tally.all_well(_ABOUT, "The provider takes new requests again.")

    def _tell(self, seconds: float, words: str) -> None:
        now, until = anyio.current_time(), time_text(self._now(), seconds)
        self._log("asked_to_wait", seconds=round(seconds), until=until, said=words)
        is_news = now - self._told_at > _SELDOM_S or seconds > _MUCH * self._told_s
        if is_news:
            self._told_at, self._told_s = now, seconds
            self._tally.trouble(
                f"The provider asks to wait {duration_text(seconds)}{_in(words)}; new requests wait"
                f" {f'until {until}' if until else 'for so long'}, what is paid for is collected.",
                _ABOUT,
                is_news=True,
                ends_in_s=seconds,
            )

    def _too_long(self, seconds: float, words: str) -> str:
        at = time_text(self._now(), seconds)
        length = duration_text(seconds) if at else "for over a month"
        return (
            f"The provider asks to wait {length} before new requests{_in(words)}, and --max-outage ends"
            f" sooner; run again {f'after {at}' if at else 'later'}."
        )


def _in(words: str) -> str:
    said = words.rstrip(": .")
    return f" ({said})" if said else ""
