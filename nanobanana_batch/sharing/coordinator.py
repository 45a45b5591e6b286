"""Divides one person's limits among shards, by what each could use. Pure: no clock of its own, no waiting.

What a shard was granted counts until it has said that it obeys less, so that all of them together are within
the limits at every moment, also when a grant is lost on its way. Tasks in flight and requests a minute of a
shard that is gone are free at once, or after `Limits.silent_s`. Its credits are not: what it may have paid
counts as paid until another process has read its state, and says what that is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nanobanana_batch.sharing.values import Grant, Limits, Prices, Report
from nanobanana_batch.wording import amount

_ROUNDING = 1e-6
_WINDOW_S = 10.0
"""What was taken in so long says how much passes just now."""
_KEPT_S = 75.0
_ENOUGH = 5.0
"""Requests that a share is long enough for to see whether it is used."""
_GROWS_PER_S = 0.02
"""By this share of what passed when some shard was last told to slow down, all may send more again."""
_FREE_AT = 2.0
"""So many times that, and nobody is told to slow down: nothing is held back any more."""
_LEAST_PER_MIN = 6.0
"""Of each shard, while all are held back: else nobody would notice that more passes."""
_NOTHING_PER_MIN = 0.1
"""Less than this is what sums of parts leave over, and none of the rate: a turn at that pace never comes."""
_NOTHING_SHARE = 0.1
"""Of an equal share: where a person allows so little that this is less, it is what nothing is."""
_MUCH_SLOWER = 0.9
_NEAR_ITS_SHARE = 0.7
_SPARE = 1.3
"""A shard that uses less of its share of the rate is left so much more than it uses."""
_SENT_IN_S = 2.0
"""Who has few rows left wants no more of the rate than sends them in so long."""
_AT_REST_PER_MIN = 6.0
"""For what a shard may want to send that has nothing to send."""
_AHEAD_S, _AHEAD = 3.0, 8
"""Where a rate bounds all, a shard wants slots for what is in flight, for so many seconds more, and some."""
_ABSENT_S = 5.0
"""No shard at all is heard for so long: then it is this process that was stopped, or cut off."""
_STALE_S = 60.0
"""A shard that is in trouble so long after another one has come out of it is in a new one."""


@dataclass(slots=True)
class _Known:
    """One shard, and what it may use until it says otherwise."""

    report: Report
    at: float
    credits: float
    concurrency: int
    per_min: float
    is_gone: bool = False
    troubled_since: float | None = None
    is_held: bool = True
    """It has been told to send nothing: what it used of its share says nothing."""
    is_slower: bool = False
    """It has just been told to slow down, or once more."""
    taken: deque[tuple[float, int]] = field(default_factory=deque)
    """When, and how many requests were taken by then."""
    wanted_per_min: float = math.inf
    """What it could use of the rate, by its last report."""
    wanted_tasks: float = 0.0
    """What it could have in flight soon, by its last report."""

    @property
    def could_use_more(self) -> bool:
        """Whether it waits for credits."""
        return self.report.could_use > self.credits - self.report.committed + _ROUNDING

    def may_pass_per_min(self, now: float) -> float:
        """Requests a minute that the provider takes from it, by what it has learnt, or by what was taken."""
        held = self.report.held_to_per_min
        return self.per_min_of_late(now) if held is None else held

    def per_min_of_late(self, now: float, window_s: float = _WINDOW_S) -> float:
        """Requests a minute that were taken from it in so long."""
        earlier = (each for each in reversed(self.taken) if each[0] <= now - window_s)
        since, before = next(earlier, self.taken[0])
        return 60.0 * (self.taken[-1][1] - before) / max(now - since, 1.0)


class Coordinator:
    """Answers each report with a grant; times are seconds of any clock that is not set."""

    def __init__(self, limits: Limits, leases: Mapping[int, float] | None = None) -> None:
        """`leases`: what shards may have paid by the word of an earlier coordinator, see `leases`."""
        self._limits = limits
        self._unheard = dict(leases or {})
        self._shards: dict[int, _Known] = {}
        self._earlier: set[str] = set()
        """Processes in whose place another one works now."""
        self._first: int | None = None
        """The shard that finds out a price."""
        self._prices: Prices = {}
        self._slowed: tuple[float, float] | None = None
        """Requests a minute that passed when some shard was last told to slow down, and when that was."""
        self._recovered_at = -math.inf
        self._heard_at = math.inf
        self._active: list[_Known] = []
        self._stop = ""
        self._needs_change = False
        self._was_priced = False

    @property
    def leases(self) -> dict[int, float]:
        """Credits that each shard has paid or may pay before it asks again: keep them for who comes after."""
        return {**self._unheard, **{shard: known.credits for shard, known in self._shards.items()}}

    @property
    def stop_reason(self) -> str:
        """Why all have been told to stop; empty where they have not."""
        return self._stop

    def stop(self, reason: str) -> None:
        """Nobody sends anything new from their next report on."""
        self._stop = self._stop or reason

    def gone(self, shard: int) -> None:
        """No process works on a shard any more, and none will; what it may have paid counts on."""
        if known := self._shards.get(shard):
            known.is_gone = True
            known.concurrency, known.per_min = 0, 0.0

    def exchange(self, report: Report, now: float) -> Grant:
        """What a shard may do from now on that stands as it says."""
        if report.incarnation in self._earlier:
            why = "another process works on this shard"
            return Grant(credits=self._nothing_more(report), why=why, stop=why)
        known = self._heard(report, now)
        grant = self._granted(known, now)
        known.is_held = not grant.may_send
        return grant

    def _granted(self, known: _Known, now: float) -> Grant:
        report = known.report
        self._note_active(now)
        self._note_stop(known)
        self._note_trouble(known, now)
        self._note_slower(known, now)
        self._was_priced = self._was_priced or self._refuse_too_dear()
        if self._stop or (missing := self._missing):
            why = self._stop or f"{missing} of {self._limits.shards} shards are not ready yet"
            return Grant(
                self._concurrency_of(known, now),
                credits=self._nothing_more(report),
                why=why,
                stop=self._stop,
                needs_change=self._needs_change,
            )
        credits, is_all = self._credits_of(known, now)
        per_min = self._per_min_of(known, now)
        why = self._why_not(known, now)
        if per_min == 0.0:
            why = why or "its share of the rate is not free yet"
        return Grant(
            self._concurrency_of(known, now),
            per_min,
            credits,
            is_all,
            may_send=not why,
            why=why,
            hold_s=self._hold_s(known, now),
            prices=self._news_of_prices(report),
        )

    # --- what is known -----------------------------------------------------------------------------------

    def _heard(self, report: Report, now: float) -> _Known:
        known = self._shards.get(report.shard)
        if known is None or known.report.incarnation != report.incarnation:
            if known is not None:
                self._earlier.add(known.report.incarnation)
            # It has read the state: what an earlier process may have paid is among what it names.
            known = self._shards[report.shard] = _Known(report, now, 0.0, 0, 0.0)
            self._unheard.pop(report.shard, None)
        known.is_slower = _is_slower(known.report.held_to_per_min, report.held_to_per_min)
        known.report, known.at, known.is_gone = report, now, False
        known.credits = report.committed if report.is_finished else max(report.cap, report.committed)
        known.concurrency = max(report.concurrency, report.in_flight)
        known.per_min = report.per_min or 0.0
        if known.is_held or report.trouble:
            known.taken.clear()
        known.taken.append((now, report.accepted))
        while len(known.taken) > 1 and known.taken[1][0] <= now - _KEPT_S:
            known.taken.popleft()
        known.wanted_per_min = self._wanted_per_min(known, now)
        known.wanted_tasks = self._wanted_tasks(report)
        for kind, price in report.prices.items():
            self._prices[kind] = max(price, self._prices.get(kind, 0.0))
        return known

    def _note_stop(self, known: _Known) -> None:
        if known.report.stopped and not self._stop:
            self._stop = f"{known.report.stopped} (told by shard {known.report.shard})"

    def _note_trouble(self, known: _Known, now: float) -> None:
        if known.report.trouble:
            known.troubled_since = now if known.troubled_since is None else known.troubled_since
        elif known.troubled_since is not None:
            known.troubled_since, self._recovered_at = None, now

    def _note_slower(self, known: _Known, now: float) -> None:
        """One is told to slow down: all together send no more than what passed, and more again after that."""
        if known.is_slower:
            self._slowed = sum(each.per_min_of_late(now) for each in self._active), now
        if self._slowed and now - self._slowed[1] >= (_FREE_AT - 1.0) / _GROWS_PER_S:
            is_anyone = any(each.report.held_to_per_min is not None for each in self._active)
            self._slowed = self._slowed if is_anyone else None

    def _note_active(self, now: float) -> None:
        """Which are at work, as far as is known; while this process itself was stopped nobody was silent."""
        if (missed_s := now - self._heard_at) > _ABSENT_S:
            for known in self._shards.values():
                known.at = min(known.at + missed_s, now)
        self._heard_at = now
        self._active = [
            known
            for known in self._shards.values()
            if not known.is_gone and not known.report.is_finished and now - known.at <= self._limits.silent_s
        ]

    def _others(self, known: _Known) -> Iterable[_Known]:
        return (each for each in self._active if each is not known)

    @property
    def _missing(self) -> int:
        """Shards that have to say how they stand before anybody sends."""
        return self._limits.shards - len(self._shards) if self._limits.waits_for_all else 0

    def _refuse_too_dear(self) -> bool:
        """Where all that is to be made is known to cost more than may be spent, nothing is begun."""
        if self._missing or not self._limits.waits_for_all:
            return False
        reports = [known.report for known in self._shards.values()]
        committed = sum(report.committed for report in reports)
        total = sum(report.committed if report.estimated is None else report.estimated for report in reports)
        if total > max(self._limits.most_credits, committed) + _ROUNDING:
            self._needs_change = not self._stop
            self.stop(
                f"--max-credits {amount(self._limits.most_credits)} is not enough: all shards together are"
                f" estimated at {amount(total)} credits. Nothing new is paid for: give a higher limit, or"
                " make a part of the rows with --limit or --pilot."
            )
        return True

    # --- what it means -----------------------------------------------------------------------------------

    def _why_not(self, known: _Known, now: float) -> str:
        """While one is in trouble the others wait, and that one tries; who was in it longest does.

        Who has nothing to send, or is to end, would never find out that it is over: nobody waits for it.
        Who finds out a price sends as well: until that is known nobody else gets credits to try with.
        """
        troubled = [
            each
            for each in self._active
            if each.troubled_since is not None
            and each.report.could_try
            and (each.troubled_since > self._recovered_at or now - self._recovered_at > _STALE_S)
        ]
        if not troubled:
            return ""
        tries = min(troubled, key=lambda each: (each.troubled_since or 0.0, each.report.shard))
        if tries is known or self._first == known.report.shard:
            return ""
        return f"shard {tries.report.shard} tries: {tries.report.trouble}"

    def _hold_s(self, known: _Known, now: float) -> float:
        holds = (each.at + each.report.hold_s - now for each in self._others(known))
        return max(0.0, *holds, 0.0)

    def _concurrency_of(self, known: _Known, now: float) -> int:
        if known.report.is_finished:
            known.concurrency = 0
            return 0
        # A slot that is taken stays taken: those who come later would wait until tasks of the first end.
        wanted = [*(each.wanted_tasks for each in self._active), *[math.inf] * self._missing]
        of_all = self._limits.concurrency
        fair = min(_share(of_all, wanted, known.wanted_tasks, lends_spare=True), known.report.wanted)
        fair = int(fair + _ROUNDING)
        free = self._limits.concurrency - sum(each.concurrency for each in self._others(known))
        granted = max(0, min(max(fair, 1), free))
        known.concurrency = max(known.concurrency, granted)
        return granted

    def _per_min_of(self, known: _Known, now: float) -> float | None:
        """Its share of what the person allows and of what the provider takes; 0: nothing just now."""
        senders = self._active
        if known.report.is_finished:
            return 0.0
        share: float | None = None
        if (total := self._limits.per_min) is not None:
            wanted = [each.wanted_per_min for each in senders]
            free = total - sum(each.per_min for each in senders if each is not known)
            share = min(_share(total, wanted, known.wanted_per_min, lends_spare=True), free)
            nothing = min(_NOTHING_PER_MIN, _NOTHING_SHARE * total / len(self._shards))
            share = share if share >= nothing else 0.0
            known.per_min = max(known.per_min, share)
        if self._slowed is None:
            return share
        wanted = [_or_all(each.report.held_to_per_min) for each in senders]
        of_all = _share(self._passing_of_all(now), wanted, _or_all(known.report.held_to_per_min))
        of_all = max(of_all, _LEAST_PER_MIN)
        return of_all if share is None else min(share, of_all)

    def _wanted_tasks(self, report: Report) -> float:
        """Where a rate bounds all, more slots than that are of no use to it, and may be to others."""
        if self._limits.per_min is None:
            return report.wanted
        soon = (report.per_min or 0.0) / 60.0 * _AHEAD_S + _AHEAD
        return min(report.wanted, report.in_flight + soon)

    def _wanted_per_min(self, known: _Known, now: float) -> float:
        """What it could use of the rate."""
        least = (self._limits.per_min or 0.0) / (4 * max(len(self._shards), 1))
        to_send = known.report.rows_left + known.report.unsent
        most = max(60.0 * to_send / _SENT_IN_S, min(_AT_REST_PER_MIN, least))
        return min(max(self._used_per_min(known, now), least), most)

    def _used_per_min(self, known: _Known, now: float) -> float:
        """What it has used and a little more; all, unless it has not come near its share of late."""
        share = known.report.per_min or 0.0
        window_s = max(_WINDOW_S, 60.0 * _ENOUGH / max(share, _ROUNDING))
        if now - known.taken[0][0] < window_s:
            return math.inf
        used = known.per_min_of_late(now, window_s)
        if used >= _NEAR_ITS_SHARE * share:
            return math.inf
        return _SPARE * used

    def _passing_of_all(self, now: float) -> float:
        """No less than what shards have found out themselves."""
        assert self._slowed is not None
        per_min, since = self._slowed
        found = sum(each.may_pass_per_min(now) for each in self._active)
        return max(per_min * (1.0 + _GROWS_PER_S * (now - since)), found)

    # --- credits -----------------------------------------------------------------------------------------

    def _nothing_more(self, report: Report) -> float | None:
        return None if self._limits.max_credits is None else max(report.cap, report.committed)

    def _credits_of(self, known: _Known, now: float) -> tuple[float | None, bool]:
        """What its folder may cost, and whether that is all that it will get.

        A shard never holds much more than it could use soon, and gives back what is too little for it.
        """
        if self._limits.max_credits is None:
            return None, False
        report, others = known.report, list(self._others(known))
        elsewhere = sum(credits for shard, credits in self.leases.items() if shard != report.shard)
        room = max(0.0, self._limits.most_credits - elsewhere - report.committed)
        may_have = not report.is_finished and self._may_find_out(known, now)
        least = self._dearest if report.next_price is None else report.next_price or _ROUNDING
        holding = [each.report.shard for each in others if each.credits > each.report.committed + _ROUNDING]
        if not may_have or self._first in holding:
            given = 0.0  # nobody knows what is left once that one has its answer
        elif report.is_first or report.next_price is None:
            given = room if report.is_first or report.could_use else 0.0  # it may cost all of that
        else:
            waiting = sum(each.could_use_more for each in others)
            given = min(report.could_use, room, max(room / (1 + waiting), least))
        given = given if given > _ROUNDING and given >= least - _ROUNDING else 0.0
        cap = report.committed + given
        known.credits = max(known.credits, cap)
        comes_back = any(each.report.refundable or each.credits > each.report.committed for each in others)
        return cap, bool(may_have and report.could_use and not given and not comes_back)

    @property
    def _dearest(self) -> float:
        """What a request of unknown price may cost at least, as each shard takes it."""
        return max(self._prices.values(), default=_ROUNDING)

    def _may_find_out(self, known: _Known, now: float) -> bool:
        """One at a time finds out what a kind of request costs: nobody knows what several would add to."""
        report = known.report
        if not (report.is_first or (report.could_use and report.next_price is None)):
            if self._first == report.shard:
                self._first = None
            return True
        if self._first not in [each.report.shard for each in self._others(known)]:
            self._first = report.shard
        return self._first == report.shard

    def _news_of_prices(self, report: Report) -> Prices:
        return {
            kind: price for kind, price in self._prices.items() if price > report.prices.get(kind, -math.inf)
        }


def _is_slower(before: float | None, now: float | None) -> bool:
    return now is not None and (before is None or now < _MUCH_SLOWER * before)


def _or_all(wanted: float | None) -> float:
    return math.inf if wanted is None else wanted


def _share(total: float, wanted: Iterable[float], own: float, *, lends_spare: bool = False) -> float:
    """Equal shares for all; what somebody does not want is the others'. `own` is one of `wanted`.

    `lends_spare`: what nobody asks for is given to those who ask for anything, since they may want more soon.
    """
    left, by_size = total, sorted(wanted)
    for place, each in enumerate(by_size):
        level = left / (len(by_size) - place)
        if each >= level:
            return min(own, level)
        left -= each
    return own + left / sum(1 for each in by_size if each) if lends_spare and own else own
