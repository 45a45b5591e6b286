"""Providers that take so many requests and no more, and a crowd that sends to them: all in reckoned time.

Plain events on a heap, without an event loop: hours take a second, and every figure comes of a seed.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from nanobanana_batch.engine.limits.submit_rate import SubmitRate
from nanobanana_batch.engine.limits.task_bound import TaskBound

_WIRE_S = (0.05, 0.2)
_PAUSE_S = 0.2


class Policy(Protocol):
    """Whether a provider takes a request."""

    def ask(self, now: float, running: int) -> tuple[bool, float | None]:
        """Taken or not, and how long to wait where it says so."""


@dataclass
class Random429:
    """Some are told to slow down for no reason."""

    share: float
    dice: random.Random

    def ask(self, now: float, running: int) -> tuple[bool, float | None]:
        """By chance."""
        return self.dice.random() >= self.share, None


@dataclass
class AtOnce:
    """So many tasks at once."""

    most: int

    def ask(self, now: float, running: int) -> tuple[bool, float | None]:
        """While fewer run."""
        return running < self.most, None


@dataclass
class FixedWindow:
    """So many in each minute of the clock."""

    most: int
    tells: bool
    phase_s: float = 0.0
    window: int = -1
    count: int = 0

    def ask(self, now: float, running: int) -> tuple[bool, float | None]:
        """While fewer came in this minute."""
        at = now + self.phase_s
        if at // 60 != self.window:
            self.window, self.count = int(at // 60), 0
        self.count += 1
        return self.count <= self.most, (60 - at % 60) if self.tells else None


@dataclass
class SlidingWindow:
    """So many within any minute."""

    most: int
    tells: bool
    taken: list[float] = field(default_factory=list)

    def ask(self, now: float, running: int) -> tuple[bool, float | None]:
        """While fewer came in the minute before."""
        self.taken = [at for at in self.taken if at > now - 60]
        if len(self.taken) < self.most:
            self.taken.append(now)
            return True, None
        return False, (self.taken[0] + 60 - now) if self.tells else None


@dataclass
class TokenBucket:
    """So many a second, and so many more that were not used."""

    size: float
    per_s: float
    tells: bool
    tokens: float = math.inf
    at: float = 0.0

    def ask(self, now: float, running: int) -> tuple[bool, float | None]:
        """For one token each."""
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.per_s)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return True, None
        return False, (1 - self.tokens) / self.per_s if self.tells else None


@dataclass
class Told:
    """What came of it."""

    taken: list[float] = field(default_factory=list)
    rejected: list[float] = field(default_factory=list)
    ended: float = 0.0
    """When the last task was known to have ended."""

    def share_used(self, after_s: float, until_s: float, per_min: float) -> float:
        """Of what is allowed, in that time."""
        return self._per_min(self.taken, after_s, until_s) / per_min

    def rejected_per_min(self, after_s: float, until_s: float) -> float:
        """In that time."""
        return self._per_min(self.rejected, after_s, until_s)

    @staticmethod
    def _per_min(times: list[float], after_s: float, until_s: float) -> float:
        return sum(1 for at in times if after_s < at <= until_s) / ((until_s - after_s) / 60)


class Crowd:
    """Eight that send, 64 slots, tasks that take their time, and reads that see their end a little later."""

    def __init__(
        self, policy: Policy, task_s: Callable[[], float], seed: int, *, rows: int, words: bool
    ) -> None:
        self._policy = policy
        self._task_s = task_s
        self._dice = random.Random(seed)
        self._left = rows
        self._says_why = words
        self._rate = SubmitRate()
        self._bound = TaskBound(64)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._waiting: list[float] = []
        self._idle = 0
        self._slots = self._running = self._known = self._wire = self._refused_at = 0
        self._gate = 0.0
        self.told = Told()

    def run(self, until_s: float = math.inf) -> Told:
        """Until nothing is left, or it is that time."""
        for _ in range(8):
            self._at(0.0, self._start)
        while self._events and self._events[0][0] <= until_s:
            at, _, event = heapq.heappop(self._events)
            event(at)
        return self.told

    def _at(self, when: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _start(self, now: float) -> None:
        if self._left and self._slots < 64:
            self._left, self._slots = self._left - 1, self._slots + 1
            self._turn(now, now)
        else:
            self._idle += 1

    def _turn(self, now: float, wanted_at: float) -> None:
        running = self._known + self._wire
        if running >= self._bound.at(now):
            self._waiting.append(wanted_at)
            return
        at = max(self._gate, -math.inf if running < self._refused_at else self._rate.next_at(now))
        if at == math.inf:
            self._waiting.append(wanted_at)
        elif at > now:
            self._at(at, lambda then: self._turn(then, wanted_at))
        else:
            self._rate.sent(now, wanted_at)
            self._wire += 1
            self._at(now + self._dice.uniform(*_WIRE_S), lambda then: self._outcome(then, now))

    def _outcome(self, now: float, sent_at: float) -> None:
        is_taken, wait_s = self._policy.ask(now, self._running)
        self._wire -= 1
        self._rate.ended()
        if is_taken:
            self._taken(now)
        else:
            self._rejected(now, sent_at, wait_s)
        self._wake(now)

    def _taken(self, now: float) -> None:
        self.told.taken.append(now)
        self._rate.accepted(now)
        if self._bound.accepted(now, self._known):
            self._rate.forget(now)
        self._running, self._known = self._running + 1, self._known + 1
        self._at(now + self._task_s(), self._task_ended)
        self._start(now)

    def _rejected(self, now: float, sent_at: float, wait_s: float | None) -> None:
        self.told.rejected.append(now)
        self._gate = max(self._gate, now + (wait_s or 0.0))
        is_of_tasks = self._bound.rejected(now, self._known, is_said=self._says_why)
        self._refused_at = self._known if is_of_tasks else 0
        self._rate.rejected(now, sent_at, is_of_rate=not is_of_tasks, is_waited=wait_s is not None)
        again_at = now + self._dice.uniform(0, _PAUSE_S)
        self._at(again_at, lambda then: self._turn(then, then))

    def _task_ended(self, now: float) -> None:
        self._running -= 1
        self._at(now + self._dice.uniform(0.3, 2.5), self._end_is_known)

    def _end_is_known(self, now: float) -> None:
        self.told.ended = now
        self._known, self._slots = self._known - 1, self._slots - 1
        if self._idle:
            self._idle -= 1
            self._at(now, self._start)
        self._wake(now)

    def _wake(self, now: float) -> None:
        waiting, self._waiting = self._waiting, []
        for wanted_at in waiting:
            self._at(now, lambda then, wanted_at=wanted_at: self._turn(then, wanted_at))  # type: ignore[misc]
