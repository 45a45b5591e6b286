"""Who sends a request waits here for its turn and tells what became of it; people hear of it, rarely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.limits.submit_rate import SubmitRate
from nanobanana_batch.engine.limits.task_bound import is_about_tasks
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.files.log import Log

_LOOK_S = 1.0
_LASTS_S = 20.0
"""Held back for so long it is worth a line on the screen."""
_SELDOM_S = 600.0
"""Between two such lines, unless much has changed."""
_MUCH = 2.0


class SubmitPace:
    """Submits as often as the provider takes them, and while as many tasks run as it takes at once."""

    def __init__(self, slots: Slots, tally: Tally, log: Log) -> None:
        self._slots = slots
        self._tally = tally
        self._log = log
        self._rate = SubmitRate()
        self._line = anyio.Lock(fast_acquire=True)  # where nobody waits there is no turn to wait for
        self._news = anyio.Event()
        self.accepted_so_far = 0
        """Requests that were taken in this run."""
        self._on_wire = 0
        self._refused_at = 0
        """How many tasks ran when a request was last refused for their number."""
        self._logged: tuple[float, int, bool] = (-math.inf, slots.bound, False)
        self._slow_since: float | None = None
        self._said = ""
        self._said_at = -math.inf
        self._said_per_s = math.inf

    @property
    def bound(self) -> int:
        """How many tasks may run at once."""
        return self._slots.bound

    @property
    def held_to_per_min(self) -> float | None:
        """New requests a minute that are known to pass; None while nobody asks to slow down."""
        if self._rate.is_stuck:
            return 0.0
        return None if self._rate.is_free else 60.0 * self._rate.passes_per_s

    async def turn(self, is_void: Callable[[], bool], *, is_repeat: bool = False) -> None:
        """Return when one more request may go out, in turn, or when nobody wants that any more.

        `is_repeat`: it has no slot, and its task may run already, so it waits for others only where the
        provider itself takes no more at once.
        """
        async with self._line:
            while not is_void() and (wait_s := self._wait_s(is_repeat)) > 0:
                with anyio.move_on_after(min(wait_s, _LOOK_S)):
                    await self._news.wait()

    @contextmanager
    def one(self, wanted_at: float) -> Iterator[None]:
        """For a request that goes out now, and might have done so at that loop time already."""
        self._rate.sent(anyio.current_time(), wanted_at)
        self._on_wire += 1
        try:
            yield
        finally:
            self._on_wire -= 1
            self._rate.ended()
            self._tell_waiting()

    def accepted(self) -> None:
        """A request was taken: what the provider takes is at least this."""
        now = anyio.current_time()
        self.accepted_so_far += 1
        self._rate.accepted(now)
        if self._slots.provider.accepted(now, self._slots.running):
            self._rate.forget(now)
        self._note(now)

    def rejected(self, words: str, sent_at: float, *, is_waited: bool) -> None:
        """A request, sent at a loop time, was told to slow down in these words, and for how long or not."""
        now = anyio.current_time()
        is_said = is_about_tasks(words)
        running = self._slots.running
        is_of_tasks = self._slots.provider.rejected(now, running, is_said=is_said)
        self._refused_at = running if is_of_tasks else 0
        self._rate.rejected(now, sent_at, is_of_rate=not is_of_tasks, is_waited=is_waited)
        self._note(now)

    def rate_limited_task(self) -> None:
        """A task failed since there were too many requests: its request was taken in vain."""
        now = anyio.current_time()
        self._rate.task_failed(now)
        self._note(now)

    def _wait_s(self, is_repeat: bool) -> float:
        running, now = self._slots.running + self._on_wire, anyio.current_time()
        is_bound = not is_repeat or self._slots.provider.held(now) is not None
        if is_bound and running >= self._slots.bound:
            return _LOOK_S
        if running < self._refused_at:
            return 0.0  # one has ended since
        return self._rate.next_at(now) - now

    def _tell_waiting(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def _note(self, now: float) -> None:
        rate, bound = self._rate, self._slots.bound
        state = (rate.changed_at, bound, rate.is_stuck)
        if state != self._logged:
            self._logged = state
            per_min = None if rate.is_free else round(60 * rate.passes_per_s, 1)
            self._log("pace", per_min=per_min, is_stuck=rate.is_stuck, in_flight_at_most=bound)
        self._show(now)

    # --- what people are told ----------------------------------------------------------------------------

    def _show(self, now: float) -> None:
        """What is allowed now: always in the line of progress, and once as a line of its own."""
        self._tally.allowed = self._allowed()
        if not self._tally.allowed:
            self._slow_since = None
            if self._said:
                self._said, self._said_per_s = "", math.inf
                self._tally.announce("The provider takes new requests as they come again.")
            return
        self._slow_since = now if self._slow_since is None else self._slow_since
        if now - self._slow_since >= _LASTS_S and (self._is_new(now)):
            self._said, self._said_at, self._said_per_s = self._tally.allowed, now, self._per_s()
            self._tally.announce(f"The provider asks to slow down: {self._tally.allowed}.")

    def _is_new(self, now: float) -> bool:
        ratio = self._per_s() / self._said_per_s if self._said else math.inf
        return ratio > _MUCH or ratio < 1 / _MUCH or now - self._said_at > _SELDOM_S

    def _per_s(self) -> float:
        return 1e-9 if self._rate.is_stuck else min(self._rate.passes_per_s, 1e9)

    def _allowed(self) -> str:
        if self._rate.is_stuck:
            return "no new requests now, one is tried now and then"
        if not self._rate.is_free:
            return f"now about {60 * self._rate.passes_per_s:.0f} new requests a minute"
        bound = self._slots.provider.held(anyio.current_time())
        return f"now at most {bound} images at once" if bound is not None else ""
