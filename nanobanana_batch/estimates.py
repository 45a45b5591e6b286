"""What rows that are not made yet will cost and how long they will take, and how well that is known.

A price is the most that this folder's own replies named for such a request, as `--max-credits` counts it,
or else the price book's, or else what this user has paid in other folders; where nobody says, the estimate
says so instead of guessing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from nanobanana_batch.model import Request
from nanobanana_batch.pricing.book import PriceBook, Source
from nanobanana_batch.pricing.earlier import Paid
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
class Cost:
    """What some rows will cost; each row is counted under where its price comes from."""

    credits: float
    """Of the rows whose price is known."""
    by_replies: int
    by_profile: int
    by_list: int
    by_earlier: int
    unpriced: int
    profile_day: str
    """Of which day the profile's prices are; empty where it does not say."""
    list_day: str
    """When the price list was read; empty where there is none."""
    earlier_day: str
    """When such requests were paid in another folder, the oldest of those days; empty where none counts."""
    spent: float
    """What the folder has cost before, in credits."""
    credits_per_usd: float | None
    """None: what a credit costs is not known."""

    @property
    def rows(self) -> int:
        """How many rows these are."""
        return self.by_replies + self.by_profile + self.by_list + self.by_earlier + self.unpriced

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where prices came from apart from the folder itself."""
        counts = {Source.PROFILE: self.by_profile, Source.LIST: self.by_list}
        return tuple(source for source, count in counts.items() if count)

    def is_over(self, limit: float) -> bool:
        """Whether a folder would cost more than so many credits, as far as is known."""
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
    """What requests of each kind cost, in credits."""

    def __init__(self, seen: Seen, book: PriceBook) -> None:
        self._seen = seen
        self._book = book

    def of(self, kind: PriceClass) -> float | None:
        """Credits for one request; None where nobody says."""
        return self._priced(kind)[0]

    def _priced(self, kind: PriceClass) -> tuple[float | None, Source | Paid | None]:
        """And who says so: a source, what was paid before, or None for the folder's own replies."""
        known = self._seen.prices.get(kind)
        if known is not None:
            return known, None
        if quote := self._book.quote(_request(kind)):
            return quote.credits, quote.source
        paid = self._book.earlier.get(kind)
        return (None, None) if paid is None else (paid.credits, paid)

    def cost(self, rows: Counter[PriceClass]) -> Cost:
        """For all of them."""
        counts: Counter[str] = Counter()
        credits, days = 0.0, set()
        for kind, count in rows.items():
            price, source = self._priced(kind)
            if isinstance(source, Paid):
                counts["earlier"] += count
                days.add(source.day)
            else:
                counts["unpriced" if price is None else source or "replies"] += count
            credits += count * (price or 0.0)
        return Cost(
            credits=credits,
            by_replies=counts["replies"],
            by_profile=counts[Source.PROFILE],
            by_list=counts[Source.LIST],
            by_earlier=counts["earlier"],
            unpriced=counts["unpriced"],
            profile_day=self._book.profile_day,
            list_day=self._book.list_day,
            earlier_day=min(days, default=""),
            spent=self._seen.spent,
            credits_per_usd=self._book.credits_per_usd,
        )


def _request(kind: PriceClass) -> Request:
    """One of this kind."""
    return Request(
        kind.model,
        "",
        resolution=kind.resolution,
        images=("",) * kind.images,
        web_search=kind.web_search,
        image_search=kind.image_search,
        thinking_level=kind.thinking_level,
    )


def duration(rows: int, row_s: float | None, concurrency: int, submits_per_min: float | None) -> Duration:
    """With so many at once, and no more than so many new ones a minute."""
    seconds = None if row_s is None else row_s * max(1.0, rows / concurrency)
    if submits_per_min is not None:
        seconds = max(seconds or 0.0, (row_s or 0.0) + 60.0 * (rows - 1) / submits_per_min)
    return Duration(seconds if rows else 0.0, row_s, concurrency, submits_per_min)
