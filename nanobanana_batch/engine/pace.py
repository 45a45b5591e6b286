"""When to send: waiting times grow with failures, are spread at random, and hold for the whole provider.

All times are monotonic seconds of the event loop; no decision rests on the wall clock.
"""

from __future__ import annotations

import random

import anyio

from nanobanana_batch.engine.work import Stop


def backoff_s(failures: int, *, first_s: float = 0.5, longest_s: float = 60.0) -> float:
    """A waiting time after the given number of failures in a row, full jitter (0 to the doubled bound)."""
    bound = min(longest_s, first_s * 2.0 ** min(failures, 30))
    return random.uniform(0.0, bound)


LONGEST_HOLD_S = 900.0
"""More than this nobody is believed: finished images have links that die."""


class Gate:
    """Holds back every request to the provider until a moment; later holds only lengthen."""

    def __init__(self) -> None:
        self._open_at = 0.0

    def hold(self, seconds: float) -> None:
        """Let nobody pass for this long from now on."""
        self._open_at = max(self._open_at, anyio.current_time() + min(seconds, LONGEST_HOLD_S))

    async def passed(self, stop: Stop | None = None) -> None:
        """Return when the gate is open, or when someone asks to stop."""
        while (wait := self._open_at - anyio.current_time()) > 0:
            if stop is None:
                await anyio.sleep(wait)
            elif stop.asked:
                return
            else:
                await stop.sleep(wait)


class Outage:
    """How long nothing has worked. Who never worked is given up sooner: the address is likely wrong."""

    def __init__(self, longest_s: float, first_contact_s: float) -> None:
        self._longest_s = longest_s
        self._first_contact_s = first_contact_s
        self._since: float | None = None
        self._worked = False

    def worked(self) -> None:
        """The provider has answered."""
        self._worked = True
        self._since = None

    def failed(self) -> bool:
        """The provider could not be reached; says whether to give up."""
        now = anyio.current_time()
        self._since = now if self._since is None else self._since
        return now - self._since >= (self._longest_s if self._worked else self._first_contact_s)
