"""Each price says who says it and how old it is; money is told beside credits and nothing rests on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.model import Request
from nanobanana_batch.pricing.book import PriceBook, Quote, Source, age_days, listed_prices
from nanobanana_batch.pricing.tariff import Charge, PriceList, Role, Tariff

FLASH = "gemini-3.1-flash-image-preview"


def day(ago: int) -> str:
    """So many days ago."""
    return (datetime.now(UTC).date() - timedelta(days=ago)).isoformat()


def a_list(**usd: float) -> PriceList:
    """By model, an underscore for each dash."""
    tariffs = {name.replace("_", "-"): Tariff((Charge(Role.OUTPUT, price),)) for name, price in usd.items()}
    return PriceList("https://x.example/pricing", "2026-11-26T00:00:00+00:00", tariffs)


def test_what_a_person_wrote_goes_before_the_list() -> None:
    """A price of zero is a price."""
    book = PriceBook(lambda request: 0.0 if request.resolution else None, of_list=lambda request: 5.0)
    assert book.quote(Request("m", "", resolution="1K")) == Quote(0.0, Source.PROFILE)
    assert book.quote(Request("m", "")) == Quote(5.0, Source.LIST)
    assert (PriceBook().quote(Request("m", "")), PriceBook().price(Request("m", ""))) == (None, None)


@pytest.mark.parametrize("name", ["nano_banana_beta", "NANO_BANANA_Beta", "gemini_2.5_flash_image"])
def test_a_model_is_found_under_each_of_its_names(name: str) -> None:
    """The list may know it by an alias, and write it otherwise."""
    price = listed_prices(a_list(**{name: 0.5}), load_catalog(), "evolink", 68.0)
    assert price(Request("nano-banana-beta", "")) == 34.0
    assert price(Request("gemini-2.5-flash-image", "")) == 34.0


def test_its_own_name_goes_before_an_alias() -> None:
    """It is the name that is sent."""
    both = a_list(nano_banana_beta=0.5, **{"gemini-2.5-flash-image": 0.1})
    assert listed_prices(both, load_catalog(), "evolink", 68.0)(Request("nano-banana-beta", "")) == 34.0


def test_without_a_resolution_the_default_of_the_model_counts() -> None:
    """2K by the catalogue; a model that it does not know may give any, so the dearest counts."""
    by_size = Tariff((Charge(Role.OUTPUT, 1.0, factors={"1K": 1.0, "2K": 2.0, "4K": 3.0}),))
    found = PriceList("u", "2026-11-26T00:00:00+00:00", {FLASH: by_size, "new": by_size})
    price = listed_prices(found, load_catalog(), "evolink", 1.0)
    assert price(Request(FLASH, "")) == 2.0
    assert price(Request(FLASH, "", resolution="4K")) == 3.0
    assert price(Request("new", "")) == 3.0
    assert price(Request("nobody", "")) is None


@pytest.mark.parametrize(
    ("ago", "said"), [(0, ""), (30, ""), (31, "31 days ago"), (-1, ""), (-9, "still to come")]
)
def test_old_prices_are_told_where_they_are_used(ago: int, said: str) -> None:
    """With what to do; prices that nothing rests on are left alone."""
    book = PriceBook(profile_day=day(ago), list_day=day(ago))
    for source, do in ((Source.PROFILE, "whether they still hold"), (Source.LIST, "prices --refresh")):
        warnings = list(book.warnings(source))
        assert len(warnings) == bool(said)
        assert all(said in warning and do in warning for warning in warnings)
    assert list(book.warnings()) == []


def test_a_list_that_cannot_be_used_is_told_and_a_day_that_is_none_is_not() -> None:
    """A profile need not say of which day its prices are."""
    assert list(PriceBook(note="damaged").warnings()) == ["damaged"]
    assert list(PriceBook().warnings(Source.PROFILE, Source.LIST)) == []
    assert (age_days("yesterday"), age_days(day(3))) == (None, 3)
