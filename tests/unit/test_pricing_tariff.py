"""What a request costs by a list is the dearest reading of it, and nothing where the list does not say."""

from __future__ import annotations

import pytest

from nanobanana_batch.pricing.tariff import Charge, Role, Tariff, size_name

NOTE = Charge(Role.OUTPUT, 0.10)


def credits(
    *charges: Charge, resolution: str | None = "2K", images: int = 0, searches: bool = False
) -> float | None:
    """Of one request, at 100 credits for a dollar."""
    found = Tariff(charges).credits(resolution, images, searches=searches, credits_per_usd=100.0)
    return None if found is None else round(found, 9)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("4k", "4K"),
        ("0.5K", "0.5K"),
        (" 2 K", "2K"),
        ("512", "0.5K"),
        ("512px", "0.5K"),
        ("1024", "1K"),
        ("high", "high"),
    ],
)
def test_a_resolution_has_one_name(given: str, name: str) -> None:
    """Lists and manifests spell it as they like."""
    assert size_name(given) == name


@pytest.mark.parametrize(
    ("resolution", "price"),
    [("0.5K", 10.0), ("512", 10.0), ("1K", 10.0), ("2K", 10.0), ("4K", 14.0), (None, 14.0)],
)
def test_an_entry_of_its_own_goes_before_the_general_one(resolution: str | None, price: float) -> None:
    """`4K Output` beside an entry that names no resolution; where nobody knows which comes, the dearest."""
    assert credits(NOTE, Charge(Role.OUTPUT, 0.14, sizes=("4K",)), resolution=resolution) == price


@pytest.mark.parametrize(("resolution", "price"), [("0.5K", 4.0), ("1K", 4.0), ("2K", 9.0), ("8K", 9.0)])
def test_without_a_general_entry_the_next_larger_one_counts(resolution: str, price: float) -> None:
    """A smaller image costs no more; of what is larger than all, the dearest is taken."""
    sized = [Charge(Role.OUTPUT, usd, sizes=(size,)) for usd, size in ((0.04, "1K"), (0.09, "4K"))]
    assert credits(*sized, resolution=resolution) == price


@pytest.mark.parametrize(
    ("resolution", "price"),
    [("0.5K", 10.0), ("1K", 10.0), ("2K", 15.0), ("4K", 15.0), ("8K", 15.0), ("odd", 15.0), (None, 15.0)],
)
def test_a_factor_goes_with_the_resolution(resolution: str | None, price: float) -> None:
    """Below the smallest that is named it is the price itself, between two the larger one's."""
    by_size = Charge(Role.OUTPUT, 0.10, factors={"1K": 1.0, "4K": 1.5})
    assert credits(by_size, resolution=resolution) == price


def test_of_two_entries_for_one_thing_the_dearer_counts() -> None:
    """A limit rests on it."""
    assert credits(Charge(Role.OUTPUT, 0.12), NOTE) == 12.0


def test_reference_images_cost_each() -> None:
    """By the image, or once where the entry is for a request; none of them, nothing."""
    each, once = Charge(Role.INPUT_IMAGE, 0.01), Charge(Role.INPUT_IMAGE, 0.01, is_per_image=False)
    assert [credits(NOTE, each, images=n) for n in (0, 1, 3)] == [10.0, 11.0, 13.0]
    assert [credits(NOTE, once, images=n) for n in (0, 1, 3)] == [10.0, 11.0, 11.0]


def test_a_search_costs_where_it_is_asked_for() -> None:
    """Else it is not done."""
    search = Charge(Role.SEARCH, 0.02, is_per_image=False)
    assert [credits(NOTE, search, searches=asked) for asked in (False, True)] == [10.0, 12.0]


def test_the_least_charge_is_charged() -> None:
    """However small the price."""
    assert credits(Charge(Role.OUTPUT, 0.01, least_credits=3.0)) == 3.0
    assert credits(Charge(Role.OUTPUT, 0.10, least_credits=3.0)) == 10.0


def test_a_model_without_an_image_price_has_none() -> None:
    """Tokens cannot be counted beforehand, and a reference image alone is no image."""
    assert credits() is None
    assert credits(Charge(Role.INPUT_IMAGE, 0.01), images=2) is None


def test_resolutions_of_a_tariff_come_by_size() -> None:
    """Those that have a price of their own."""
    tariff = Tariff(
        (Charge(Role.OUTPUT, 1.0, sizes=("4K",)), Charge(Role.OUTPUT, 1.0, factors={"0.5K": 1.0, "2K": 1.0}))
    )
    assert tariff.sizes == ("0.5K", "2K", "4K")
