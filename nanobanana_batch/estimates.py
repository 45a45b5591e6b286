"""What rows that are not made yet will cost and how long they will take, and how well that is known.

A price is the most that this folder's own replies named for such a request, as `--max-credits` counts it,
or else the price list's; where neither says, the estimate says so instead of guessing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nanobanana_batch.model import Request
from nanobanana_batch.state.prices import PriceClass
from nanobanana_batch.state.reader import Reader

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Seen:
    """What an output folder has shown so far."""

    prices: Mapping[PriceClass, float] = field(default_factory=dict)
    """By its replies."""
    spent: float = 0.0
    """Credits used and reserved, and those of requests without an answer."""
    row_s: float | None = None
    """From a row's request to its image, the median."""


def seen_by(reader: Reader) -> Seen:
    """What the state of a folder knows."""
    credits = reader.credits()
    return Seen(reader.prices(), credits.used + credits.reserved + credits.unknown, reader.latency_s())


@dataclass(frozen=True, slots=True)
class PriceList:
    """What a profile says that requests cost, and of which day that is."""

    price: Callable[[Request], float | None]
    as_of: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What some rows will cost; each row is counted under where its price comes from."""

    credits: float
    """Of the rows whose price is known."""
    by_replies: int
    by_list: int
    unpriced: int
    prices_as_of: str
    """The day of the price list; empty where it does not say."""
    spent: float
    """What the folder has cost before."""

    def is_over(self, limit: float) -> bool:
        """Whether a folder would cost more than this, as far as is known."""
        return self.spent + self.credits > limit + _ROUNDING


@dataclass(frozen=True, slots=True)
class Duration:
    """How long some rows will take."""

    seconds: float | None
    """None: nothing has shown it yet."""
    row_s: float | None
    """What one row took."""
    concurrency: int
    submits_per_min: float | None


class Prices:
    """What requests of each kind cost."""

    def __init__(self, seen: Seen, listed: PriceList) -> None:
        self._seen = seen
        self._listed = listed

    def of(self, kind: PriceClass) -> float | None:
        """For one request; None where nobody says."""
        known = self._seen.prices.get(kind)
        return self._by_list(kind) if known is None else known

    def cost(self, rows: Counter[PriceClass]) -> Cost:
        """For all of them."""
        by_replies = sum(count for kind, count in rows.items() if kind in self._seen.prices)
        prices = {kind: self.of(kind) for kind in rows}
        unpriced = sum(count for kind, count in rows.items() if prices[kind] is None)
        return Cost(
            credits=sum((prices[kind] or 0.0) * count for kind, count in rows.items()),
            by_replies=by_replies,
            by_list=rows.total() - by_replies - unpriced,
            unpriced=unpriced,
            prices_as_of=self._listed.as_of,
            spent=self._seen.spent,
        )

    def _by_list(self, kind: PriceClass) -> float | None:
        return self._listed.price(Request(kind.model, "", resolution=kind.resolution))


def duration(rows: int, row_s: float | None, concurrency: int, submits_per_min: float | None) -> Duration:
    """With so many at once, and no more than so many new ones a minute."""
    seconds = None if row_s is None else row_s * max(1.0, rows / concurrency)
    if submits_per_min is not None:
        seconds = max(seconds or 0.0, (row_s or 0.0) + 60.0 * (rows - 1) / submits_per_min)
    return Duration(seconds if rows else 0.0, row_s, concurrency, submits_per_min)
