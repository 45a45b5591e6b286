"""What requests cost before a folder's own replies say it: by the profile, else by the provider's list.

Each price says where it is from and of which day, since both age.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from nanobanana_batch.model import Request

if TYPE_CHECKING:
    from nanobanana_batch.catalog import Catalog
    from nanobanana_batch.pricing.earlier import Kind, Paid
    from nanobanana_batch.pricing.tariff import PriceList

OLD_DAYS = 30
REFRESH = "`nanobanana-batch prices --refresh`"


class Source(StrEnum):
    """Who says what a request costs."""

    PROFILE = "profile"
    LIST = "price list"


@dataclass(frozen=True, slots=True)
class Quote:
    """What a request costs, in credits, and who says so."""

    credits: float
    source: Source


def _nobody_says(request: Request) -> float | None:
    return None


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices that are known without asking anybody."""

    of_profile: Callable[[Request], float | None] = _nobody_says
    profile_day: str = ""
    """Of which day the profile's prices are; empty where it does not say."""
    of_list: Callable[[Request], float | None] = _nobody_says
    list_day: str = ""
    """When the list was read; empty where there is none."""
    credits_per_usd: float | None = None
    """None: what a credit costs is not known."""
    earlier: Mapping[Kind, Paid] = field(default_factory=dict)
    """What this user has paid in other folders; for estimates only, and only where nobody else says."""
    note: str = ""
    """Why a list that is there is not used."""

    def quote(self, request: Request) -> Quote | None:
        """For one request; None where nobody says. What a person wrote goes before the list."""
        for source, price in ((Source.PROFILE, self.of_profile), (Source.LIST, self.of_list)):
            credits = price(request)
            if credits is not None:
                return Quote(credits, source)
        return None

    def price(self, request: Request) -> float | None:
        """Its credits alone."""
        quote = self.quote(request)
        return None if quote is None else quote.credits

    def day(self, source: Source) -> str:
        """Of which day its prices are."""
        return self.profile_day if source is Source.PROFILE else self.list_day

    def warnings(self, *used: Source) -> Iterator[str]:
        """What a person should know before relying on prices of these sources."""
        if self.note:
            yield self.note
        if Source.PROFILE in used and (age := age_fault(self.profile_day)):
            yield f"the profile's prices are of {self.profile_day}, {age}: look whether they still hold"
        if Source.LIST in used and (age := age_fault(self.list_day)):
            yield f"the price list is of {self.list_day}, {age}: {REFRESH} reads it anew"


def listed_prices(
    prices: PriceList, catalog: Catalog, dialect: str, credits_per_usd: float
) -> Callable[[Request], float | None]:
    """What requests cost by a list, whichever of its names a model has there."""
    tariffs = {name.casefold(): tariff for name, tariff in prices.tariffs.items()}

    def price(request: Request) -> float | None:
        rules = catalog.rules(request.model, dialect)
        names = (request.model,) if rules is None else (rules.name, *rules.aliases)
        found = next((name.casefold() for name in names if name.casefold() in tariffs), None)
        if found is None:
            return None
        return tariffs[found].credits(
            request.resolution or (rules.default_resolution if rules else None),
            len(request.images),
            searches=bool(request.web_search or request.image_search),
            credits_per_usd=credits_per_usd,
        )

    return price


def age_days(day: str) -> int | None:
    """How many days ago that was, by UTC; None for what is no day."""
    try:
        return (datetime.now(UTC).date() - date.fromisoformat(day)).days
    except ValueError:
        return None


def age_fault(day: str) -> str:
    """Why prices of a day may not hold any more; empty where they may."""
    days = age_days(day)
    if days is None or -1 <= days <= OLD_DAYS:
        return ""
    return f"{days} days ago" if days > 0 else "a day that is still to come (is the clock right?)"
