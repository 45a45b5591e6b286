"""How long tasks take, learnt from those that have ended: when to look first, how often then, and how long.

A read shows only that a task has ended since the one before; so of each the middle between the two is kept.
Who looks first too late for many sees these as taking half as long, and looks sooner at the next ones. Of
each kind the latest count, so that what is learnt follows a provider that becomes faster or slower.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_KEPT = 128
"""Latest tasks of a kind."""
_ENOUGH = 5
"""So many tell more than the provider's estimate."""
_MOST_KINDS = 256
"""The one that was met first is forgotten when there are more."""
_EARLY = 0.1
"""Share of tasks that may end before the first look; where reads are late, more in proportion, but not"""
_MOST_EARLY = 0.3
_SHARE_OF_ESTIMATE = 0.33
"""Of the provider's estimate, until the first look; it may be much too long."""
_LONGEST_UNLEARNT_S, _LONGEST_LEARNT_S = 15.0, 600.0
"""Until the first look."""
_SHARE_OF_MEDIAN = 0.04
"""A task is read so often that what is lost is half of this, if the provider allows it."""
_SHARE_OF_AGE = 0.1
"""The same for what takes longer than anything that is known."""
_LONGEST_INTERVAL_S = 15.0
_BEYOND = 2.0
"""So many times the longest task that is known is still within what is."""

TaskKind = tuple[str, str | None]
"""Model and resolution."""


@dataclass(slots=True)
class _Known:
    """Of one kind; times in seconds."""

    took: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    ordered: list[float] = field(default_factory=list)
    """The same by size, as far as that was asked for since the last one ended; empty: it was not."""

    def at(self, share: float) -> float:
        """What so large a share of tasks take at most."""
        self.ordered = self.ordered or sorted(self.took)
        return self.ordered[int(share * (len(self.ordered) - 1))]


class TaskTimes:
    """What the tasks of a run took, by kind. `interval_s`: the shortest that the provider asks for."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._kinds: dict[TaskKind, _Known] = {}

    def ended(self, kind: TaskKind, after_s: float, before_s: float) -> None:
        """A task of that kind took more than `after_s` and at most `before_s`.

        `after_s` 0: it was over at the first look. What is not known by half says nothing.
        """
        if after_s and before_s - after_s > before_s / 2:
            return
        known = self._kinds.get(kind)
        if known is None:
            if len(self._kinds) >= _MOST_KINDS:
                del self._kinds[next(iter(self._kinds))]
            known = self._kinds[kind] = _Known()
        known.took.append((after_s + before_s) / 2)
        known.ordered.clear()

    def first_look_s(self, kind: TaskKind, estimated_s: float | None, late_s: float) -> float:
        """How long after a task was made to read it first; `late_s`: so much later it will be read."""
        known = self._learnt(kind)
        if known is None:
            wait_s, longest_s = (estimated_s or 0.0) * _SHARE_OF_ESTIMATE, _LONGEST_UNLEARNT_S
        else:
            share = _EARLY * (self._interval_s + late_s) / self._interval_s
            wait_s, longest_s = known.at(min(share, _MOST_EARLY)), _LONGEST_LEARNT_S
        return max(min(wait_s, longest_s), self._interval_s)

    def interval_s(self, kind: TaskKind, age_s: float) -> float:
        """How long after a read to read a task again that has worked for so long."""
        known = self._learnt(kind)
        if known is None or age_s > _BEYOND * known.at(1.0):
            wait_s = _SHARE_OF_AGE * age_s
        else:
            wait_s = _SHARE_OF_MEDIAN * known.at(0.5)
        return max(min(wait_s, _LONGEST_INTERVAL_S), self._interval_s)

    def _learnt(self, kind: TaskKind) -> _Known | None:
        known = self._kinds.get(kind)
        return known if known is not None and len(known.took) >= _ENOUGH else None
