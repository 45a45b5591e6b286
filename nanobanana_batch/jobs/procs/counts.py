"""What people see of a shard, told to another process, and what they see of all shards together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nanobanana_batch.engine.tally import Hold

if TYPE_CHECKING:
    from nanobanana_batch.engine.tally import Tally

_SUMS = (
    "total",
    "completed",
    "failed",
    "refused",
    "expired",
    "unknown",
    "in_flight",
    "in_flight_allowed",
    "images",
    "credits",
    "collects_of",
)
_ANY = ("is_going", "is_stopping")
_FIRST = ("provider", "allowed", "credits_per_usd")
_LATEST = ("last_image_at", "last_sent_at")
_LATENCIES = 64
_MOMENTS = ("last_image_at", "last_sent_at")
_MOMENTS_OF_HOLDS = ("since", "until", "next_try", "gives_up")
_APART_S = 2.0
Counts = Mapping[str, Any]


def counts_of(tally: Tally) -> dict[str, Any]:
    """What is told of one shard; plain values."""
    told = {name: getattr(tally, name) for name in (*_SUMS, *_ANY, *_FIRST, *_LATEST)}
    return {
        **told,
        "at": tally.now(),
        "credits_projected": tally.credits_projected,
        "waited_s": dict(tally.waited_s),
        "latencies_s": list(tally.latencies_s)[-_LATENCIES:],
        "holds": [asdict(hold) for hold in tally.holds],
    }


def by_our_clock(counts: Counts, now: float) -> Counts:
    """What another machine has told just now, with its moments by the clock of this one (Unix seconds)."""
    ahead_s = counts["at"] - now
    if abs(ahead_s) < _APART_S:
        return counts
    holds = [_moved(hold, _MOMENTS_OF_HOLDS, ahead_s) for hold in counts["holds"]]
    return {**_moved(counts, _MOMENTS, ahead_s), "holds": holds}


def _moved(told: Counts, names: tuple[str, ...], ahead_s: float) -> dict[str, Any]:
    return {**told, **{name: told[name] - ahead_s for name in names if told[name] is not None}}


def show_together(tally: Tally, shards: Collection[Counts]) -> None:
    """Sums, and of what is no number what the first of them says."""
    for name in _SUMS:
        setattr(tally, name, sum(counts[name] for counts in shards))
    for name in _ANY:
        setattr(tally, name, any(counts[name] for counts in shards))
    for name in _FIRST:
        setattr(tally, name, next((counts[name] for counts in shards if counts[name]), getattr(tally, name)))
    tally.last_image_at = _latest(counts["last_image_at"] for counts in shards)
    projected = [counts["credits_projected"] for counts in shards]
    tally.credits_projected = None if None in projected else sum(projected)
    tally.latencies_s.clear()
    tally.latencies_s.extend(sorted(each for counts in shards for each in counts["latencies_s"]))
    for about in {about for counts in shards for about in counts["waited_s"]}:
        tally.waited_s[about] = max(counts["waited_s"].get(about, 0.0) for counts in shards)
    holds = [Hold(**hold) for counts in shards for hold in counts["holds"]]
    tally.stand_for(holds, _latest(counts["last_sent_at"] for counts in shards))


def _latest(moments: Any) -> float | None:
    return max((at for at in moments if at is not None), default=None)
