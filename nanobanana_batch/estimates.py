"""What rows that are not made yet will cost and how long they will take, and how well that is known.

A price is the most that this folder's own replies named for such a request, as `--max-credits` counts it,
or else the price book's; where neither says, the estimate says so instead of guessing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from nanobanana_batch.model import Request
from nanobanana_batch.pricing.book import PriceBook, Source
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
    unpriced: int
    profile_day: str
    """Of which day the profile's prices are; empty where it does not say."""
    list_day: str
    """When the price list was read; empty where there is none."""
    spent: float
    """What the folder has cost before, in credits."""
    credits_per_usd: float | None
    """None: what a credit costs is not known."""

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
        known = self._seen.prices.get(kind)
        return self._book.price(_request(kind)) if known is None else known

    def cost(self, rows: Counter[PriceClass]) -> Cost:
        """For all of them."""
        counts: Counter[Source | None] = Counter()
        credits, by_replies = 0.0, 0
        for kind, count in rows.items():
            known = self._seen.prices.get(kind)
            quote = self._book.quote(_request(kind)) if known is None else None
            if known is not None:
                by_replies += count
            else:
                counts[quote.source if quote else None] += count
            credits += count * (known if known is not None else quote.credits if quote else 0.0)
        return Cost(
            credits=credits,
            by_replies=by_replies,
            by_profile=counts[Source.PROFILE],
            by_list=counts[Source.LIST],
            unpriced=counts[None],
            profile_day=self._book.profile_day,
            list_day=self._book.list_day,
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
