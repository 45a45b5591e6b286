"""The one process that divides the person's limits among all shards, and hears how far each is.

It lives as long as the driver. Where it dies alone Ray starts it again: what it knew comes back from the
shards, each of which says once a second what it may do by its last grant. Until those that it has not
heard send nothing any more by what the one before has granted, it grants nothing new.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from nanobanana_batch.jobs.procs.counts import Counts, by_our_clock
from nanobanana_batch.ray_runner.values import Look
from nanobanana_batch.sharing.coordinator import Coordinator
from nanobanana_batch.sharing.link import EVERY_S, PAUSES_AFTER_S
from nanobanana_batch.sharing.values import Grant, Limits, Report

_SETTLES_S = PAUSES_AFTER_S + EVERY_S
"""By then a shard that this one has not heard sends nothing any more by what the one before has granted."""
_MOST_SAID = 1000
_GATHERING = "who shares the limits was started again, and hears from all first"


class Limiter:
    """What runs in the actor; one call at a time."""

    def __init__(
        self,
        limits: Limits,
        *,
        is_restarted: bool,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._now, self._wall = now, wall
        self._coordinator = Coordinator(limits)
        self._settled_at = now() + _SETTLES_S if is_restarted else now()
        self._incarnation = secrets.token_hex(8)
        self._counts: dict[int, Counts] = {}
        self._said: list[tuple[int, str]] = []
        self._key = ""

    def exchange(self, report: str, counts: Counts, said: list[str]) -> str:
        """A shard says how it stands; the answer is its grant. Both as JSON."""
        told = Report.from_json(report)
        self._counts[told.shard] = by_our_clock(counts, self._wall())
        self._said = [*self._said, *((told.shard, text) for text in said)][-_MOST_SAID:]
        grant = self._coordinator.exchange(told, self._now())
        return (grant if self._now() >= self._settled_at else _as_before(told, grant)).as_json()

    def ended(self, shard: int, counts: Counts, committed: float) -> None:
        """A shard has ended before this one knew of it: what its folder may have cost counts."""
        self._counts[shard] = counts
        last = Report(shard, f"ended-{self._incarnation}", committed=committed, is_finished=True)
        self._coordinator.exchange(last, self._now())

    def look(self) -> Look:
        """What is known; what was said is told once."""
        said, self._said = tuple(self._said), []
        return Look(self._incarnation, dict(self._counts), said, bool(self._key), self._coordinator.leases)

    def stop(self, reason: str) -> None:
        """Nobody sends anything new."""
        self._coordinator.stop(reason)

    def take_key(self, key: str) -> None:
        """The provider's key, for shards whose machine has none; it is in no task and in no log."""
        self._key = key

    def key(self) -> str:
        """Empty: the driver has not said it yet."""
        return self._key


def _as_before(report: Report, grant: Grant) -> Grant:
    """What it has already, and nothing goes out with it."""
    return replace(
        grant,
        concurrency=report.concurrency,
        per_min=report.per_min,
        credits=None if grant.credits is None else max(report.cap, report.committed),
        is_all=False,
        may_send=False,
        why=_GATHERING,
    )
