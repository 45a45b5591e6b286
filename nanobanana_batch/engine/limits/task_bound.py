"""How many tasks the provider takes at once, where that is what it tells to slow down about.

That is believed where its words say so, or where it shows it: nothing passes while as many run, however often
it is asked, and the next request passes when one has ended. Pure reckoning, like `submit_rate`.
"""

from __future__ import annotations

import re

_WORDS = re.compile(
    r"concurren|in[ _-]flight|in[ _-]parallel|simultaneous|at the same time"
    r"|too many (?:\w+ )?(?:running|pending|active|queued|unfinished|ongoing)"
    r"|(?:running|pending|active|queued) tasks",
    re.IGNORECASE,
)
_SHOWN = 6
"""Requests in a row that do not pass while as many run, before the next one that does."""
_STEP_S = 30.0
"""One more is tried after so long, eight more after twice that: few are told to slow down again."""


def is_about_tasks(words: str) -> bool:
    """Whether a 429 speaks of tasks that run at once and not of how often requests come."""
    return _WORDS.search(words) is not None


class TaskBound:
    """How many tasks may run at once; the person's bound, `most`, as long as nothing else is known.

    `now` is loop time in seconds everywhere.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: int | None = None
        """So many the provider has held when it took no more."""
        self._since = 0.0
        self._is_shown = False
        self._is_disproved = False
        self._in_a_row = 0
        self._running = 0
        """How many ran when the first of those in a row did not pass."""

    def at(self, now: float) -> int:
        """How many may run."""
        if self._held is None:
            return self._most
        steps = min((now - self._since) / _STEP_S, 100.0)
        return min(self._most, self._held + int(steps**3))

    def held(self, now: float) -> int | None:
        """So many the provider is known to take at once; None where the person allows no more."""
        return None if self._held is None or self.at(now) >= self._most else self.at(now)

    def accepted(self, now: float, running: int) -> bool:
        """A request passed while so many ran; says whether that has shown what it is about."""
        is_shown = not self._is_disproved and self._in_a_row >= _SHOWN and running < self._running
        self._in_a_row = 0
        if is_shown and not self._is_shown:
            self._is_shown = True
            self._hold(now, self._running)
            return True
        return False

    def rejected(self, now: float, running: int, *, is_said: bool) -> bool:
        """A request did not pass while so many ran; says whether that is about tasks."""
        self._note(running)
        if self._is_shown and self._held is not None and running <= self._held // 2:
            self._is_shown, self._is_disproved, self._held = False, True, None
        if not (is_said or self._is_shown):
            return False
        self._hold(now, running)
        return True

    def _note(self, running: int) -> None:
        if not self._in_a_row:
            self._running = running
        elif running < self._running:
            self._in_a_row, self._running = 0, running  # fewer run, and it still does not pass
        self._running = max(self._running, running)
        self._in_a_row += 1

    def _hold(self, now: float, running: int) -> None:
        self._held, self._since = max(1, running), now
