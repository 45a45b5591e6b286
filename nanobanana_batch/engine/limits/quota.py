"""A daily quota that is used up: submits wait until it resets, or the run stops, as the person asks.

Reads and downloads go on. What waits is a request that was rejected: nothing was made, nothing is owed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import anyio

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.files.log import Log
from nanobanana_batch.providers.base import Rejected
from nanobanana_batch.wording import duration_text, time_text

_LATE_S = 5.0
"""After the reset by our reckoning: clocks differ."""
_LOOK_S = 30.0
"""How often the clock on the wall is looked at: a machine that slept has a loop clock that stood still."""
_TRIES = 4
"""So often a quota that should be there again is asked about soon, before a further day is believed."""
_TRY_S = 60.0
_ABOUT = "quota"


class OnDailyQuota(StrEnum):
    """What to do when a daily quota is used up."""

    WAIT = "wait"
    STOP = "stop"


class DailyQuota:
    """Whether the provider's quota of a day is used up, and until when."""

    def __init__(
        self,
        wish: OnDailyQuota,
        longest_s: float,
        stop: Stop,
        tally: Tally,
        log: Log,
        now: Callable[[], float],
    ) -> None:
        self._wish = wish
        self._longest_s = longest_s
        self._stop = stop
        self._tally = tally
        self._log = log
        self._now = now
        self._since: float | None = None
        self._until = 0.0
        self._until_by_wall = 0.0
        self._tries = 0
        """How often it was asked after a reset, in vain."""

    @property
    def is_used_up(self) -> bool:
        """Whether it is, as far as is known: after a reset until a request shows that it is not."""
        return self._since is not None

    def used_up(self, outcome: Rejected) -> None:
        """A request was rejected for it: wait, or stop where that is asked for or cannot help."""
        said = f"{outcome.code}: {outcome.message}".rstrip(": .")
        resets_in_s, now = outcome.resets_in_s, anyio.current_time()
        if self.is_used_up and self._left_s() > 0:
            return  # of the same time: several requests were on the wire
        if self.is_used_up and self._tries < _TRIES:
            resets_in_s = min(
                _TRY_S * 2**self._tries, self._longest_s if resets_in_s is None else resets_in_s
            )
            self._tries += 1
        since = now if self._since is None else self._since
        if self._wish is OnDailyQuota.STOP or not self._is_bearable(resets_in_s, now - since):
            self._stop.ask(_stop_sentence(said, self._when(resets_in_s)))
            return
        self._wait(since, resets_in_s or 0.0, said)

    def there_again(self) -> None:
        """A request was judged otherwise, after the reset: before it, it was on the wire already."""
        if self.is_used_up and self._left_s() <= 0:
            self._since, self._tries = None, 0
            self._log("daily_quota", is_used_up=False)
            self._tally.all_well(_ABOUT, "The daily quota is there again.")

    async def over(self) -> None:
        """Return when it should be there again, or when someone asks to stop."""
        while self.is_used_up and not self._stop.asked and (left_s := self._left_s()) > 0:
            await self._stop.sleep(min(left_s, _LOOK_S))

    def _wait(self, since: float, resets_in_s: float, said: str) -> None:
        self._since = since
        self._until = anyio.current_time() + resets_in_s + _LATE_S
        self._until_by_wall = self._now() + resets_in_s + _LATE_S
        self._log("daily_quota", is_used_up=True, resets_in_s=round(resets_in_s), said=said)
        when = self._when(resets_in_s)
        self._tally.trouble(
            f"Waiting for the daily quota, which is used up ({said}); it resets {when}.",
            _ABOUT,
            ends_in_s=resets_in_s + _LATE_S,
        )

    def _left_s(self) -> float:
        """By either clock: who asks too early is told so, and asked to wait anew."""
        return min(self._until - anyio.current_time(), self._until_by_wall - self._now())

    def _is_bearable(self, resets_in_s: float | None, waited_s: float) -> bool:
        return resets_in_s is not None and waited_s + resets_in_s <= self._longest_s + _LATE_S * _TRIES

    def _when(self, resets_in_s: float | None) -> str:
        at = time_text(self._now(), resets_in_s) if resets_in_s is not None else ""
        return f"at {at} (in {duration_text(resets_in_s or 0.0)})" if at else ""


def _stop_sentence(said: str, when: str) -> str:
    if not when:
        return (
            f"The daily quota is used up ({said}), and the provider does not say until when, or nothing that"
            " makes sense; run again later."
        )
    return f"The daily quota is used up ({said}); it resets {when}, run again then."
