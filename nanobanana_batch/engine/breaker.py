"""After sustained failure nothing is submitted until something free has worked, then one at a time.

A submit that gets no answer may cost a row; a question about the account costs nothing. So while the
provider is down it is asked that, with growing pauses, and only its answer lets the next submit through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from nanobanana_batch.engine.pace import Gate, Outage, backoff_s, duration_text
from nanobanana_batch.engine.work import Stop, Tally
from nanobanana_batch.files.log import Log
from nanobanana_batch.providers.base import Provider

TRIP = 3
"""Submits in a row without a usable answer."""
_PROBE_PAUSE_S = 60.0
_TRIAL_PAUSE_S = 300.0
"""The longest pause after a submit that failed although the provider seemed up: each may cost a row."""


class Breaker:
    """Between everyone who submits and the provider."""

    def __init__(
        self, provider: Provider, gate: Gate, outage: Outage, stop: Stop, tally: Tally, log: Log
    ) -> None:
        self._provider = provider
        self._gate = gate
        self._outage = outage
        self._stop = stop
        self._tally = tally
        self._log = log
        self._failures = 0
        self._reason = ""
        self._one = anyio.Lock()
        self._longest_pause_s = _PROBE_PAUSE_S

    @property
    def is_open(self) -> bool:
        """Whether submits are held back."""
        return self._failures >= TRIP

    @property
    def failures(self) -> int:
        """Submits in a row without a usable answer."""
        return self._failures

    def worked(self) -> None:
        """A submit was answered as it should."""
        if self.is_open:
            self._log("breaker_closed", failures=self._failures)
        self._failures = 0
        self._outage.worked("submit")
        self._tally.all_well()

    def busy(self, reason: str) -> None:
        """A submit was told to slow down: nothing is wrong, but this cannot go on for ever either."""
        self._reason = f"only asks to slow down ({reason})"
        self._outage.contact()
        self._give_up_after_too_long()

    def failed(self, reason: str, *, is_reached: bool = True) -> None:
        """A submit got no usable answer, or could not even be sent."""
        self._failures += 1
        self._longest_pause_s = _TRIAL_PAUSE_S if is_reached else _PROBE_PAUSE_S
        self._reason = f"{'gives no usable answers' if is_reached else 'cannot be reached'} ({reason})"
        self._give_up_after_too_long()
        if self._failures == TRIP:
            self._log("breaker_open", reason=reason)
        if self.is_open:
            left = duration_text(self._outage.left_s("submit"))
            self._tally.trouble(f"trying again for up to {left}: the provider {self._reason}")

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[bool]:
        """For one submit: at once while all is well, else alone and after the provider has shown life.

        True when it is alone: the one trial that may be made while the breaker is open.
        """
        if not self.is_open:
            yield False
            return
        async with self._one:
            while self.is_open and not self._stop.asked and not await self._is_up():
                pass
            yield True

    async def _is_up(self) -> bool:
        pause_s = backoff_s(self._failures - TRIP + 1, longest_s=self._longest_pause_s)
        await self._stop.sleep(self._outage.cut(pause_s, "submit"))
        await self._gate.passed(self._stop)
        if self._stop.asked:
            return False
        account = await self._provider.read_account()
        self._log("probe", is_up=account.is_up, failure=account.failure)
        if account.is_up:
            return True
        self._failures += 1
        self._longest_pause_s = _PROBE_PAUSE_S
        if account.retry_after_s:
            self._gate.hold(account.retry_after_s)
        self._give_up_after_too_long()
        return False

    def _give_up_after_too_long(self) -> None:
        if self._outage.failed("submit"):
            self._stop.ask(
                f"The provider {self._reason}, for too long now; look at its status page and at --base-url,"
                " and run again later."
            )
