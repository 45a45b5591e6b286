"""Looks at a run's tally now and then, and says how it stands, how fast it is and when it should be done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from nanobanana_batch.engine.tally import Hold, Tally
from nanobanana_batch.live.snapshot import Live, State

_WINDOW_S = 60.0
_WINDOW_ROWS = 3.0
"""A window is as long as so many rows take, at least: images come in waves of the concurrency."""
_FEWEST = 5
"""Rows that have to end before their pace says more than how long one takes."""
_SLOW_SHARE = 0.9
"""The last row of all takes as long as this share of rows take at most."""
STATE_OF_HOLD = {
    "quota": State.WAITING,
    "wait": State.WAITING,
    "submit": State.DOWN,
    "read": State.DOWN,
    "unclear": State.DOWN,
    "fetch": State.BLOCKED,
    "keep": State.BLOCKED,
}
"""By what does not work (`Hold.about`)."""
_FIRST_TOLD = ("keep", "quota", "wait", "submit", "read", "unclear", "fetch")
"""Where several things hold a run up, the one that decides how long."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A moment of a run: seconds for which nothing has held it up, and what had come of it by then."""

    active_s: float
    ended: int
    images: int


_Of = Callable[[_Mark], int]


class Watch:
    """Makes a `Live` of a tally at each `look`; call it about once a second."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._began_at = tally.now()
        self._credits_at_first: tuple[float, int] | None = None
        """When the work began: credits used, and rows completed."""
        self._looked_at = self._began_at
        self._active_s = 0.0
        self._marks: deque[_Mark] = deque()

    def look(self) -> Live:
        """How the run stands now."""
        tally, now = self._tally, self._tally.now()
        holds = tally.holds
        hold = _decisive(holds)
        self._mark(now, is_held=hold is not None and hold.about != "fetch")
        done_at, not_said = self._done_at(now, hold)
        return Live(
            at=now,
            state=self._state(hold),
            rows=tally.total,
            completed=tally.completed,
            failed=tally.failed,
            refused=tally.refused,
            expired=tally.expired,
            unknown=tally.unknown,
            in_flight=tally.in_flight,
            in_flight_allowed=tally.in_flight_allowed,
            images=tally.images,
            began_at=self._began_at,
            images_per_s=self._per_s(lambda mark: mark.images),
            last_image_at=tally.last_image_at,
            done_at=done_at,
            not_said=not_said,
            about=hold.about if hold else "",
            held_since=hold.since if hold else None,
            held_until=hold.until if hold else None,
            next_try_at=hold.next_try if hold else None,
            gives_up_at=hold.gives_up if hold else None,
            reason=hold.text if hold else "",
            slowed=tally.allowed,
            interrupted=tally.is_stopping,
            collects_of=tally.collects_of,
            credits_used=tally.credits,
            credits_cap=tally.credits_cap,
            credits_projected=self._projected,
            credits_per_usd=tally.credits_per_usd,
            provider=tally.provider,
            troubles=tuple(tally.troubles),
        )

    @property
    def _projected(self) -> float | None:
        """What the folder will have cost: by known prices, or else by what this run's rows have cost."""
        tally = self._tally
        if tally.credits_projected is not None or not tally.is_going or tally.is_stopping:
            return tally.credits_projected
        if self._credits_at_first is None:
            self._credits_at_first = (tally.credits, tally.completed)
        credits, completed = self._credits_at_first
        if tally.completed <= completed or tally.credits <= credits:
            return None
        return tally.credits + (self._left + tally.unknown) * (tally.credits - credits) / (
            tally.completed - completed
        )

    @property
    def _ended(self) -> int:
        return self._tally.completed + self._tally.not_completed

    @property
    def _left(self) -> int:
        """Rows that may still end in this run."""
        return max(self._tally.total - self._ended - self._tally.unknown, 0)

    def _state(self, hold: Hold | None) -> State:
        tally = self._tally
        if tally.is_stopping or (tally.in_flight and self._left <= tally.in_flight):
            return State.COLLECTING if hold is None else STATE_OF_HOLD[hold.about]
        if hold is not None:
            return STATE_OF_HOLD[hold.about]
        return State.SENDING if tally.is_going else State.STARTING

    # --- how fast, and until when ------------------------------------------------------------------------

    def _mark(self, now: float, *, is_held: bool) -> None:
        """Time in which the run was held up says nothing about its pace."""
        passed_s, self._looked_at = max(now - self._looked_at, 0.0), now
        if not is_held and self._tally.is_going:
            self._active_s += passed_s
        self._marks.append(_Mark(self._active_s, self._ended, self._tally.images))
        window_s = max(_WINDOW_S, _WINDOW_ROWS * median(self._latencies or [0.0]))
        while len(self._marks) > 2 and self._marks[1].active_s <= self._active_s - window_s:
            self._marks.popleft()

    @property
    def _latencies(self) -> Sequence[float]:
        return tuple(self._tally.latencies_s)

    def _per_s(self, of: _Of) -> float | None:
        first, last = self._marks[0], self._marks[-1]
        if of(last) - of(first) < 1 or last.active_s <= first.active_s:
            return None
        return (of(last) - of(first)) / (last.active_s - first.active_s)

    def _done_at(self, now: float, hold: Hold | None) -> tuple[float | None, str]:
        """When all rows should have ended, or why nobody can say."""
        tally, latencies = self._tally, self._latencies
        left = min(self._left, tally.in_flight) if tally.is_stopping else self._left
        if not left or not tally.is_going:
            return None, ""
        if hold is not None and hold.until is None:
            return None, "not known while this lasts"
        if not latencies:
            return None, "known once the first image is there"
        starts_at = max(now, hold.until or now) if hold is not None else now
        in_flight = min(tally.in_flight, left)
        slow_s = sorted(latencies)[int(_SLOW_SHARE * (len(latencies) - 1))]
        if left <= in_flight:  # the tail: nothing is sent any more, the last ones are waited for
            due = (tally.last_sent_at or now) + slow_s
            return (max(due, starts_at), "") if due > now else (None, "the last ones take longer than most")
        typical_s = max(median(latencies), 1e-3)
        allowed = max(min(tally.in_flight_allowed, left), 1)
        per_s = self._rows_per_s() or allowed / typical_s
        return starts_at + (left - in_flight) / per_s + slow_s, ""

    def _rows_per_s(self) -> float | None:
        if self._marks[-1].ended - self._marks[0].ended < _FEWEST:
            return None
        return self._per_s(lambda mark: mark.ended)


def _decisive(holds: Sequence[Hold]) -> Hold | None:
    """The one that people are to be told of first."""
    by_rank = sorted(holds, key=lambda hold: _FIRST_TOLD.index(hold.about))
    return by_rank[0] if by_rank else None
