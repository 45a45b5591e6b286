"""When to send: waiting times grow with failures, are spread at random, and hold for the whole provider.

All times are monotonic seconds of the event loop; no decision rests on the wall clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from typing import Literal

import anyio

from nanobanana_batch.engine.work import Stop, no_longer_than

LONGEST_HOLD_S = 900.0
"""More than this is only believed by who asks for something new: finished images have links that die."""
_LOOK_AGAIN_S = 1.0
"""Who waits for a turn sees within so long that the pace is another one."""


def backoff_s(failures: int, *, first_s: float = 0.5, longest_s: float = 60.0) -> float:
    """A waiting time after the given number of failures in a row, full jitter (0 to the doubled bound)."""
    bound = min(longest_s, first_s * 2.0 ** min(failures, 30))
    return random.uniform(0.0, bound)


class Gate:
    """Holds back whoever passes here until a moment; later holds only lengthen."""

    def __init__(self) -> None:
        self._open_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether everybody may pass."""
        return self._open_at <= anyio.current_time()

    @property
    def left_s(self) -> float:
        """How long it stays closed."""
        return max(0.0, self._open_at - anyio.current_time())

    def hold(self, seconds: float) -> None:
        """Let nobody pass for so many seconds from now on."""
        self._open_at = max(self._open_at, anyio.current_time() + seconds)

    async def passed(self, stop: Stop | None = None) -> None:
        """Return when the gate is open, or when someone asks to stop."""
        while (wait := self._open_at - anyio.current_time()) > 0:
            if stop is None:
                await anyio.sleep(wait)
            elif stop.asked:
                return
            else:
                await stop.sleep(wait)


class Rate:
    """At most so many a second, evenly spaced."""

    def __init__(self, per_s: float = math.inf) -> None:
        self._every_s = 1.0 / per_s
        self._next = 0.0
        self._turn = anyio.Lock(fast_acquire=True)

    def share(self, per_s: float) -> None:
        """So many a second from now on; who waits for a turn at a slower pace has it sooner."""
        if per_s > 0.0:
            self._every_s = 1.0 / per_s
            self._next = min(self._next, anyio.current_time() + self._every_s)

    def charge(self, count: float) -> None:
        """So many more were sent than `passed` was asked for."""
        self._next = max(self._next, anyio.current_time()) + count * self._every_s

    async def passed(self, stop: Stop | None = None) -> None:
        """Return when it is one's turn, or when someone asks to stop."""
        async with self._turn:
            while (wait_s := self._next - anyio.current_time()) > 0.0:
                wait_s = min(wait_s, _LOOK_AGAIN_S)  # the pace may be another one by then
                if stop is None:
                    await anyio.sleep(wait_s)
                elif stop.asked:
                    break
                else:
                    await stop.sleep(wait_s)
            self._next = max(self._next, anyio.current_time()) + self._every_s


def outage_pause_s(lasting_s: float, *, share: float, shortest_s: float, longest_s: float) -> float:
    """Between two tries in an outage: a share of how long it has lasted, so that little is added to it."""
    bound = min(max(share * lasting_s, shortest_s), longest_s)
    return random.uniform(bound / 2, bound)


class RetryBudget:
    """Keeps repetitions that fail a small part of the traffic: each new request earns a share of one.

    One that was accepted gives back what it cost: who answers is not overloaded by them. Not for those that
    were told to slow down: they were not paid, and have a pace of their own. `at_first` repetitions are in
    hand at the beginning, and more are never saved up; without any, one may go in `one_each_s` seconds.
    """

    def __init__(
        self,
        share: float = 0.2,
        at_first: float = 10.0,
        one_each_s: float = 10.0,
        *,
        is_needless: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_needless = is_needless
        self._share = share
        self._most = at_first
        self._one_each_s = one_each_s
        self._earned = at_first
        self._since = 0.0

    def earn(self) -> None:
        """A request was sent for the first time."""
        self._earned = min(self._most, self._earned + self._share)

    def worked(self) -> None:
        """A repetition was accepted."""
        self._earned = min(self._most, self._earned + 1.0)

    async def spend(self, stop: Stop) -> None:
        """Return when one repetition may be sent; one each few seconds always may.

        At once where something else lets requests pass one by one.
        """
        while not stop.asked and not self._is_needless():
            self._drip()
            if self._earned >= 1.0:
                self._earned -= 1.0
                return
            await stop.sleep((1.0 - self._earned) * self._one_each_s + 0.001)

    def _drip(self) -> None:
        now = anyio.current_time()
        if self._since:
            self._earned = min(self._most, self._earned + (now - self._since) / self._one_each_s)
        self._since = now


Asking = Literal["submit", "read", "upload"]


class Outage:
    """How long each way of asking has failed. Who never answered is given up sooner: a wrong address."""

    def __init__(self, longest_s: float, first_contact_s: float) -> None:
        self.longest_s = longest_s
        """How long to wait for a provider that has answered."""
        self._first_contact_s = min(first_contact_s, longest_s)
        self._since: dict[Asking, float] = {}
        self._has_contact = False
        self._life = anyio.Event()
        self.has_worked = False
        """In this run."""
        self.is_given_up = False

    def another(self) -> Outage:
        """As patient as this one, for what may fail by itself."""
        return Outage(self.longest_s, self._first_contact_s)

    def contact(self) -> None:
        """Something answered at the provider's address, be it with an error."""
        self._has_contact = True

    def worked(self, asking: Asking) -> None:
        """The provider has done what it was asked."""
        self._has_contact = self.has_worked = True
        self._since.pop(asking, None)
        self.shows_life()

    def shows_life(self) -> None:
        """A free question was answered: whoever waits for the provider need not wait longer."""
        self._life.set()
        self._life = anyio.Event()

    async def life_or(self, wait: Callable[[], Awaitable[object]]) -> bool:
        """Wait for something, but no longer than until something works; says whether it did."""
        return await no_longer_than(self._life, wait)

    def lasting_s(self, asking: Asking) -> float:
        """How long this way of asking has failed."""
        now = anyio.current_time()
        return now - self._since.get(asking, now)

    def failed(self, asking: Asking) -> bool:
        """The provider did not; says whether to give up."""
        self._since.setdefault(asking, anyio.current_time())
        self.is_given_up = self.is_given_up or self.left_s(asking) <= 0
        return self.left_s(asking) <= 0

    def cut(self, pause_s: float, asking: Asking) -> float:
        """A pause, in seconds, that does not go on beyond the time at which it is given up."""
        left_s = self.left_s(asking)
        return min(pause_s, left_s) if left_s > 0 else pause_s

    def left_s(self, asking: Asking) -> float:
        """Until this way of asking is given up."""
        longest_s = self.longest_s if self._has_contact else self._first_contact_s
        return longest_s - self.lasting_s(asking)
