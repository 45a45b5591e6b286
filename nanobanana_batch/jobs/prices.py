"""All that is known of a provider's prices on this machine, and reading its public list anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nanobanana_batch.catalog import Catalog, ModelRules
from nanobanana_batch.errors import NoPriceList
from nanobanana_batch.jobs.connection import Connection, price_book
from nanobanana_batch.model import Request
from nanobanana_batch.pricing.book import PriceBook, Source, age_days, listed_prices
from nanobanana_batch.pricing.cache import cache_file, keep, kept_list
from nanobanana_batch.pricing.tariff import PriceList, Tariff
from nanobanana_batch.providers.profile import Profile, catalog_for, load_profile, prices_address

_ANY_IMAGE = ("",)


@dataclass(frozen=True, slots=True)
class PricedModel:
    """What an image of one model costs in one resolution; None where nobody says."""

    model: str
    resolution: str | None
    """None: none can be asked for."""
    credits: float | None
    credits_an_input_image: float
    """What each reference image adds."""
    source: Source | None
    day: str
    """Of which day the price is; empty where that is not told."""


@dataclass(frozen=True, slots=True)
class PriceReport:
    """Prices of one provider."""

    provider: str
    is_free: bool
    """A service on this machine."""
    url: str | None
    """Where its public list is; None: it publishes none."""
    read_at: str | None
    """When the list was read; None where there is none."""
    age_days: int | None
    credits_per_usd: float | None
    prices: tuple[PricedModel, ...]
    """Of the models that the provider's catalogue offers."""
    others: tuple[PricedModel, ...]
    """Of models that only the list knows."""
    unpriced: dict[str, tuple[str, ...]]
    """Models that the list charges for in units that nobody can count beforehand, with these."""
    warnings: tuple[str, ...]


def price_report(connection: Connection) -> PriceReport:
    """What is known without asking anybody.

    Raises:
        ProfileError: there is no such provider, or an address cannot be used.
    """
    profile = load_profile(connection.provider)
    address = prices_address(profile, connection.base_url)
    book, catalog = price_book(profile, connection.base_url), catalog_for(profile)
    found = kept_list(cache_file(profile.name, address.url), address.url)[0] if address else None
    prices = tuple(_catalogued(book, catalog, profile.dialect))
    tariffs = found.tariffs if found else {}
    return PriceReport(
        provider=profile.name,
        is_free=connection.is_embedded(profile) and not profile.prices,
        url=address.url if address else None,
        read_at=found.read_at if found else None,
        age_days=age_days(found.day) if found else None,
        credits_per_usd=profile.credits_per_usd,
        prices=prices,
        others=tuple(_others(found, catalog, profile)) if found else (),
        unpriced={name: tariff.unpriced for name, tariff in tariffs.items() if not _makes_images(tariff)},
        warnings=tuple(book.warnings(*{price.source for price in prices if price.source})),
    )


def refresh(connection: Connection, deadline_s: float | None = None) -> PriceList:
    """Read the provider's public list now and keep it; no key is needed or sent.

    Raises:
        ProfileError: there is no such provider, or an address cannot be used.
        NoPriceList: there is none, it cannot be read in that time, or not be kept; the one before stays.
    """
    import anyio

    from nanobanana_batch.providers.tasks.price_list import DEADLINE_S, read_price_list

    profile = load_profile(connection.provider)
    address = prices_address(profile, connection.base_url)
    if address is None:
        raise _no_list(profile)
    found = anyio.run(read_price_list, address, DEADLINE_S if deadline_s is None else deadline_s)
    keep(found, cache_file(profile.name, address.url))
    return found


def _no_list(profile: Profile) -> NoPriceList:
    if profile.prices_url is not None:
        return NoPriceList(
            f"The price list of {profile.name} is in dollars.",
            hint="Its profile has to give credits_per_usd.",
        )
    return NoPriceList(
        f"{profile.name} publishes no price list.",
        hint="A profile may give prices (docs/providers.md), and a run with --pilot shows what rows cost.",
    )


def _makes_images(tariff: Tariff) -> bool:
    return tariff.credits(None, 0, searches=False, credits_per_usd=1.0) is not None


def _catalogued(book: PriceBook, catalog: Catalog, dialect: str) -> Iterator[PricedModel]:
    for rules in catalog.models(dialect):
        for size in _sizes(rules, catalog):
            yield _priced(book, rules.name, size)


def _sizes(rules: ModelRules, catalog: Catalog) -> list[str | None]:
    """The resolutions of a model, each once however it may be called."""
    requests = (Request(rules.name, "", resolution=size) for size in rules.resolutions)
    sizes = dict.fromkeys(catalog.normalised(request, rules.dialect).resolution for request in requests)
    return list(sizes) or [None]


def _others(found: PriceList, catalog: Catalog, profile: Profile) -> Iterator[PricedModel]:
    """What only the list knows; each may be sent with --allow-unknown-model."""
    assert profile.credits_per_usd is not None
    known = {
        name.casefold() for rules in catalog.models(profile.dialect) for name in (rules.name, *rules.aliases)
    }
    of_list = listed_prices(found, catalog, profile.dialect, profile.credits_per_usd)
    book = PriceBook(of_list=of_list, list_day=found.day)
    for name, tariff in found.tariffs.items():
        if name.casefold() not in known and _makes_images(tariff):
            for size in tariff.sizes or (None,):
                yield _priced(book, name, size)


def _priced(book: PriceBook, model: str, size: str | None) -> PricedModel:
    quote = book.quote(Request(model, "", resolution=size))
    with_image = book.quote(Request(model, "", resolution=size, images=_ANY_IMAGE))
    if quote is None or with_image is None:
        return PricedModel(model, size, None, 0.0, None, "")
    more = with_image.credits - quote.credits
    return PricedModel(model, size, quote.credits, more, quote.source, book.day(quote.source))
