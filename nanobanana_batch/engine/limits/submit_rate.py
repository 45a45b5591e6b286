"""How many requests a minute the provider takes, learnt from what it takes and what it tells to slow down.

A 429 is about a rate of requests far more often than about tasks in flight. One alone says little: some
providers answer so at random. So nothing is held back until several in a row are told to slow down, or many
of the latest. Then what passes is what was measured to pass, and from there on the rate returns along a cubic
curve, as that of TCP CUBIC does: fast up to the rate at which it was told, slowly around it, fast beyond.
Losses that stay when clearly less is sent than passed do not come of the rate: they are put up with.

Pure reckoning: every method is told the time, in seconds of any monotonic clock.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

_RECENT = 50
"""Outcomes by which a share is judged while nothing is held back."""
_MANY = 5
"""Of them, told to slow down: it is looked into."""
_IN_A_ROW = 4
"""Told to slow down one after the other: nothing passes just now."""
_FEW, _OF_SO_MANY = 3, 15
"""Losses below the rate that passed, and outcomes, before it is judged whether they come of the rate."""
_SURE = 0.5
"""A larger share of losses comes of the rate in any case."""
_BEARABLE = 0.35
"""A larger one is not put up with, whatever it comes of."""
_FALLS = 2
_SOON_S = 60.0
"""Who was let go and is told to slow down so soon again was let go wrongly."""
_BELOW = 0.97
"""Of the rate that passed: losses there are no sign that it was passed."""
_START, _TEST = 0.9, 0.7
"""Of the rate that passed, after having been told to slow down; and when it is looked into why."""
_SHORTEST_CURVE_S, _CURVE_REQUESTS, _LONGEST_CURVE_S = 20.0, 20.0, 120.0
"""How long the rate takes to come back to where it was: at least some seconds, and some requests."""
_OVER = 0.1
"""Of the rate: how far it is passed when the same time is over once more."""
_FREE_ABOVE = 3.0
"""Times the rate at which it was last told: it does no longer hold."""
_LONG_S = 120.0
"""Nothing passed for so long: that is no window of a rate, and says nothing about one."""
_FIRST_GAP_S, _LONGEST_GAP_S, _GAP_SHARE = 0.5, 60.0, 0.5
"""Between two tries while nothing passes: a share of how long it has been so."""
_LEAST_PER_S = 1 / 60
_SPAN_S = 60.0
_LATEST = 64
"""What passes is measured over so long, or over the latest requests that were taken."""


@dataclass(frozen=True, slots=True)
class _Curve:
    """A rate over time: from a share of the level up to it, level there, and on beyond it."""

    level: float
    """Requests a second."""
    since: float
    start: float
    over_s: float

    def per_s(self, now: float) -> float:
        """The rate at a time."""
        x = (now - self.since) / self.over_s
        bend = (1.0 - self.start) if x < 1.0 else _OVER
        return self.level * (1.0 + bend * (x - 1.0) ** 3)


def _curve(level: float, now: float, start: float = _START) -> _Curve:
    over_s = min(max(_SHORTEST_CURVE_S, _CURVE_REQUESTS / level), _LONGEST_CURVE_S)
    return _Curve(level, now, start, over_s)


def _per_s(taken_at: deque[float], now: float) -> float:
    """How many were taken a second of late."""
    if not taken_at:
        return 1.0
    since = max(now - _SPAN_S, taken_at[0])
    count = sum(1 for at in taken_at if at >= since) - (since == taken_at[0])
    return max(count / max(now - since, 1.0), _LEAST_PER_S)


class SubmitRate:
    """When the next request may be sent, by what became of the earlier ones; all times are of the loop."""

    def __init__(self) -> None:
        self._curve: _Curve | None = None
        self._noise = 0.0
        """The share of losses that does not come of the rate."""
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        """The latest outcomes: taken or not."""
        self._taken_at: deque[float] = deque(maxlen=_LATEST)
        self._taken_at_busy: deque[float] = deque(maxlen=_LATEST)
        """When the latest were taken; also by a clock that stands still while there is nothing to send."""
        self._idle_s = 0.0
        """How long there was nothing to send."""
        self._moved_at: float | None = None
        """When something was last sent or answered."""
        self._few = _FEW
        self._falls = 0
        """How often in a row still less passed when less was sent."""
        self._let_go_at = -math.inf
        self._in_a_row = 0
        self._next_at = -math.inf
        self._sent_at = -math.inf
        self._on_wire = 0
        self._stuck_since: float | None = None
        """Since when nothing passes."""
        self._is_stuck_by_rate = True
        self._changed_at = -math.inf
        self._outcomes = 0
        self._losses = 0
        self._losses_below = 0
        """Since it was last changed; the last one without those in a row."""
        self._is_test = False
        """Less is sent to see whether losses come of the rate."""
        self._stretch_at: float | None = None
        """Since when requests pass, and how many did."""
        self._stretch = 0

    @property
    def is_free(self) -> bool:
        """Whether nothing is held back."""
        return self._curve is None and self._stuck_since is None

    @property
    def is_stuck(self) -> bool:
        """Whether nothing passes just now."""
        return self._stuck_since is not None

    @property
    def passes_per_s(self) -> float:
        """Requests a second that were measured to pass, while some are held back."""
        return self._curve.level if self._curve is not None else math.inf

    @property
    def changed_at(self) -> float:
        """Loop time at which it was last decided anew how many may be sent."""
        return self._changed_at

    def next_at(self, now: float) -> float:
        """Loop time from which the next may be sent; infinite: not before something is known of the last."""
        if self._stuck_since is not None:
            gap = (now if self._on_wire else self._sent_at) - self._stuck_since
            return math.inf if self._on_wire else self._sent_at + self._gap_s(gap)
        return self._next_at if self._curve is not None else -math.inf

    def sent(self, now: float, wanted_at: float) -> None:
        """A request goes out that might have gone out at that time already."""
        if self._moved_at is not None:
            self._idle_s += max(0.0, wanted_at - self._moved_at)
        self._moved_at = now
        self._on_wire += 1
        self._sent_at = now
        self._stretch_at = now if self._stretch_at is None else self._stretch_at
        if self._curve is not None:
            every_s = 1.0 / self._curve.per_s(now)
            self._next_at = max(self._next_at, now - every_s) + every_s

    def ended(self) -> None:
        """A request that went out is not on the wire any more; what became of it comes next, if it tells."""
        self._on_wire -= 1

    def forget(self, now: float) -> None:
        """What held requests back was none of the rate."""
        self._stuck_since, self._in_a_row = None, 0
        self._let_go(now)

    def accepted(self, now: float) -> None:
        """A request was taken."""
        self._note(True, now)
        self._taken_at.append(now)
        self._taken_at_busy.append(now - self._idle_s)
        if self._stuck_since is not None:
            self._passes_again(now, self._stuck_since)
        self._stretch += 1
        if self._curve is not None and self._curve.per_s(now) > _FREE_ABOVE * self._curve.level:
            self._let_go(now)

    def rejected(
        self, now: float, sent_at: float, *, is_of_rate: bool = True, is_waited: bool = False
    ) -> None:
        """A request, sent at that time, was told to slow down; `is_of_rate` unless it is known why else.

        `is_waited`: the provider has said how long to wait, and everybody does.
        """
        self._note(False, now)
        if self._stuck_since is not None:
            return
        if self._in_a_row >= self._too_many_in_a_row():
            self._stuck_since, self._is_stuck_by_rate = now, is_of_rate
            self._doubt(now)
            self._changed(now)
        elif not is_of_rate:
            return
        elif self._curve is None:
            if not is_waited:
                self._look_at_share(now)
        else:
            self._slow_down(now, sent_at, self._curve)

    def task_failed(self, now: float) -> None:
        """A task that was taken has failed since there are too many: as if it had not been taken."""
        if now > self._changed_at + _SHORTEST_CURVE_S:
            self._set(_curve(_per_s(self._taken_at, now), now, _TEST), now)

    # --- what it means ---------------------------------------------------------------------------------

    def _note(self, is_taken: bool, now: float) -> None:
        self._moved_at = now
        self._recent.append(is_taken)
        self._outcomes += 1
        self._losses += not is_taken
        self._in_a_row = 0 if is_taken else self._in_a_row + 1

    def _too_many_in_a_row(self) -> int:
        """So many are no chance, where a share of losses is put up with."""
        return max(_IN_A_ROW, math.ceil(math.log(1e-4) / math.log(self._noise)) if self._noise else 0)

    def _look_at_share(self, now: float) -> None:
        lost = len(self._recent) - sum(self._recent)
        if lost >= _MANY + 2 * self._noise * _RECENT:
            self._look_into(now)

    def _look_into(self, now: float) -> None:
        """Send less than passes for a while: then no losses are left that come of the rate."""
        self._set(_curve(self._passing(now), now, _TEST), now)
        self._is_test = True

    def _slow_down(self, now: float, sent_at: float, curve: _Curve) -> None:
        self._next_at = max(self._next_at, now + 2.0 ** (self._in_a_row - 1) / curve.per_s(now))
        if sent_at <= self._changed_at:
            return  # of the same burst
        is_below = curve.per_s(sent_at) < _BELOW * curve.level
        self._losses_below += self._is_test or (is_below and self._in_a_row == 1)
        if self._losses_below >= self._few and self._outcomes >= _OF_SO_MANY:
            self._judge(now, curve)
        elif not is_below and (not self._is_test or self._losses_below < 2):
            self._cut(now, curve)

    def _judge(self, now: float, curve: _Curve) -> None:
        """Losses although less is sent than passed: are they of the rate?"""
        share = self._losses / self._outcomes
        if share > _SURE and self._falls < _FALLS:
            self._cut(now, curve)
        elif not self._is_test:
            self._look_into(now)
        elif share <= _BEARABLE:
            self._noise, self._let_go_at = share, now
            self._let_go(now)
        else:
            self._set(_curve(curve.level, now), now)

    def _doubt(self, now: float) -> None:
        """Nothing passes so soon after losses were put up with: more of them are needed next time."""
        if now - self._let_go_at < _SOON_S:
            self._few, self._noise = 2 * self._few, 0.0

    def _cut(self, now: float, curve: _Curve) -> None:
        now_per_s = curve.per_s(now)
        level = min(max(self._passing(now), now_per_s / 2), now_per_s)
        self._falls = self._falls + 1 if level < _START * curve.level else 0
        if self._falls >= _FALLS:
            self._look_into(now)
        else:
            self._set(_curve(level, now), now)

    def _passes_again(self, now: float, stuck_since: float) -> None:
        """A window of the provider's has passed: so many as were taken in it are taken in the next."""
        began = self._stretch_at if self._stretch_at is not None else stuck_since
        ended = now if now - stuck_since <= _LONG_S else stuck_since
        level = max((self._stretch + 1) / max(ended - began, 1.0), self._passing(now) / 4)
        self._stuck_since = None
        self._stretch_at, self._stretch = now, 0
        if not self._is_stuck_by_rate:
            self._changed(now)
            return
        self._set(_curve(max(level, _LEAST_PER_S), now), now)
        self._next_at = now + 1.0 / self._curve.per_s(now) if self._curve else now

    def _passing(self, now: float) -> float:
        """Requests a second that were taken of late."""
        return _per_s(self._taken_at_busy, now - self._idle_s)

    # --- what follows ----------------------------------------------------------------------------------

    def _set(self, curve: _Curve, now: float) -> None:
        self._curve = curve
        self._next_at = max(self._next_at, now)
        self._changed(now)

    def _let_go(self, now: float) -> None:
        self._curve = None
        self._recent.clear()
        self._changed(now)

    def _changed(self, now: float) -> None:
        self._changed_at = now
        self._outcomes = self._losses = self._losses_below = 0
        self._is_test = False

    def _gap_s(self, stuck_s: float) -> float:
        return min(max(_FIRST_GAP_S, _GAP_SHARE * stuck_s), _LONGEST_GAP_S)
