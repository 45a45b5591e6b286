"""After sustained failure nothing is submitted until something free has worked, then one at a time.

A submit that gets no answer may cost a row; a question about the account costs nothing. So while the
provider is down it is asked that, or a read shows that it is up, and then the next submit goes out at once.
Pauses are a share of how long the outage has lasted: a short one is over soon, a long one costs few
requests. A daily quota is waited for in the same place: after its reset one request goes first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from nanobanana_batch.engine.limits.gate import SubmitGate
from nanobanana_batch.engine.limits.pace import Outage, outage_pause_s
from nanobanana_batch.engine.limits.quota import DailyQuota
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.files.log import Log
from nanobanana_batch.providers.base import Provider
from nanobanana_batch.wording import duration_text

TRIP = 3
"""Submits in a row without a usable answer."""
_PROBE_SHARE, _PROBE_SHORTEST_S, _PROBE_LONGEST_S = 0.15, 2.0, 60.0
_TRIAL_SHARE, _TRIAL_SHORTEST_S, _TRIAL_LONGEST_S = 0.2, 3.0, 900.0
"""After a submit that failed although the provider seemed up, where each may cost a row."""


class Breaker:
    """Between everyone who submits and the provider."""

    def __init__(
        self,
        provider: Provider,
        gate: SubmitGate,
        outage: Outage,
        quota: DailyQuota,
        stop: Stop,
        tally: Tally,
        log: Log,
    ) -> None:
        self._provider = provider
        self._gate = gate
        self._outage = outage
        self._quota = quota
        self._stop = stop
        self._tally = tally
        self._log = log
        self._failures = 0
        self._reason = ""
        self._one = anyio.Lock()
        self._is_probed = False
        """It was a free question that failed last, and not a submit."""
        self._may_cost = False
        """The submit that failed last may have been paid."""

    @property
    def is_open(self) -> bool:
        """Whether submits are held back."""
        return self._is_tripped or self._quota.is_used_up

    @property
    def trouble(self) -> str:
        """Why they are; empty while they are not."""
        if self._is_tripped:
            return f"the provider {self._reason}"
        return "the daily quota is used up" if self._quota.is_used_up else ""

    @property
    def failures(self) -> int:
        """Submits in a row without a usable answer."""
        return self._failures

    def worked(self) -> None:
        """A submit was answered as it should."""
        self._close()
        self._outage.worked("submit")
        self._gate.worked()
        self._tally.all_well()

    def busy(self, reason: str) -> None:
        """A submit was told to slow down: nothing is wrong, but this cannot go on for ever either."""
        self._close()
        self._reason = f"only asks to slow down ({reason})"
        self._outage.contact()
        self._give_up_after_too_long()

    def failed(self, reason: str, *, is_reached: bool = True, may_cost: bool = True) -> None:
        """A submit got no usable answer, or could not even be sent.

        `may_cost` is False where it is known that nothing was made; what was not sent costs nothing either.
        """
        self._failures += 1
        self._is_probed, self._may_cost = False, is_reached and may_cost
        self._reason = f"{'gives no usable answers' if is_reached else 'cannot be reached'} ({reason})"
        self._give_up_after_too_long()
        if self._failures == TRIP:
            self._log("breaker_open", reason=reason)
        if self._is_tripped:
            left_s = self._outage.left_s("submit")
            self._tally.trouble(
                f"trying again for up to {duration_text(left_s)}: the provider {self._reason}",
                gives_up_in_s=left_s,
            )

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[bool]:
        """For one submit: at once while all is well, else alone and after the provider has shown life.

        True when it is alone: the one trial that may be made while the breaker is open. Once a trial has
        worked, all who waited for it go at once.
        """
        async with AsyncExitStack() as alone:
            if self.is_open:
                await alone.enter_async_context(self._one)
            is_trial = self.is_open
            if is_trial:
                await self._shown_life()
            else:
                await alone.aclose()
            yield is_trial

    async def _shown_life(self) -> None:
        await self._quota.over()
        while self._is_tripped and not self._stop.asked and not await self._is_up():
            pass

    @property
    def _is_tripped(self) -> bool:
        return self._failures >= TRIP

    def _close(self) -> None:
        if self._is_tripped:
            self._log("breaker_closed", failures=self._failures)
        self._failures = 0
        self._quota.there_again()

    async def _is_up(self) -> bool:
        if await self._pause():
            return True
        await self._gate.passed(self._stop)
        if self._stop.asked:
            return False
        account = await self._provider.read_account()
        self._log("probe", is_up=account.is_up, failure=account.failure)
        if account.is_reply:
            self._outage.contact()
        if account.is_up:
            self._outage.shows_life()
            return True
        self._failures += 1
        self._is_probed = True
        self._give_up_after_too_long()
        if account.retry_after_s:
            self._gate.hold(account.retry_after_s, account.failure)
        return False

    async def _pause(self) -> bool:
        """Whether a read has worked meanwhile: as good as a free question that is answered."""
        if self._may_cost and not self._is_probed:
            share, shortest_s, longest_s = _TRIAL_SHARE, _TRIAL_SHORTEST_S, _TRIAL_LONGEST_S
        else:
            share, shortest_s, longest_s = _PROBE_SHARE, _PROBE_SHORTEST_S, _PROBE_LONGEST_S
        lasting_s = self._outage.lasting_s("submit")
        pause_s = outage_pause_s(lasting_s, share=share, shortest_s=shortest_s, longest_s=longest_s)
        pause_s = self._outage.cut(pause_s, "submit")
        self._tally.tries_again("submit", pause_s, self._outage.left_s("submit"))
        if self._is_probed:
            return await self._outage.life_or(lambda: self._stop.sleep(pause_s))
        await self._stop.sleep(pause_s)
        return False

    def _give_up_after_too_long(self) -> None:
        if self._outage.failed("submit"):
            self._stop.ask(
                f"The provider {self._reason}, for too long now; look at its status page and at --base-url,"
                " and run again later."
            )
