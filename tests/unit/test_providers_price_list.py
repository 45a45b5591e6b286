"""What a price list says is read in every form that was seen; what is not understood is never guessed at."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobanana_batch.errors import NoPriceList
from nanobanana_batch.pricing.tariff import Charge, PriceList, Role
from nanobanana_batch.providers.tasks.price_list import price_list

URL = "https://api.example.com/web/api/models/pricing"
NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
SKU: dict[str, Any] = {
    "sku_id": "1",
    "sku_name": "Nano",
    "model_name": "nano",
    "model_type": "image",
    "billing_rule": "per_image",
    "price_range": {"min_usd": 0.08, "max_usd": 0.1},
}


def read(*entries: object) -> PriceList:
    """A list of these."""
    return price_list(json.dumps({"success": True, "data": entries}).encode(), URL, NOW)


def charge_of(**changes: Any) -> Charge:
    """The only charge of the only entry, which differs in something."""
    (tariff,) = read({**SKU, **changes}).tariffs.values()
    (charge,) = tariff.charges
    return charge


def test_a_list_says_where_and_when_it_was_read() -> None:
    """In seconds, UTC; the most of a range counts."""
    found = read(SKU)
    assert (found.url, found.read_at, found.day) == (URL, "2026-11-26T12:00:00+00:00", "2026-11-26")
    assert found.tariffs["nano"].charges == (Charge(Role.OUTPUT, 0.1),)


@pytest.mark.parametrize(
    ("changes", "usd"),
    [
        ({"price_range": {"min_usd": "0.08", "max_usd": "0.1"}}, 0.1),
        ({"price_range": {"min_usd": 0.08}}, 0.08),
        ({"price_range": {"min_usd": 0.3, "max_usd": 0.1}}, 0.3),
        ({"price_range": {"min_usd": True, "max_usd": "$1,000.5"}}, 1000.5),
        ({"price_range": None, "cny_price": 0.68}, 0.1),
        ({"price_range": {}, "cny_price": "0.68"}, 0.1),
        ({"price_range": [1], "cny_price": 0.68}, 0.1),
        ({"price_range": {"min_usd": -1, "max_usd": "NaN"}, "cny_price": 0.68}, 0.1),
        ({"routing_note": "$0.086-0.094 per image"}, 0.094),
        ({"routing_note": "Transparent Pricing: $0.086-$0.094 per image. Calls prioritize it."}, 0.094),
        ({"routing_note": "$0.086 \u2013 $0.094 per Image"}, 0.094),
        ({"routing_note": "from $.05 per request, or $27 per 1M tokens"}, 0.05),
        ({"routing_note": "$0.02 per image in the morning; $0.2 per image, later"}, 0.2),
        ({"routing_note": "ask us"}, 0.1),
        ({"routing_note": 7}, 0.1),
    ],
)
def test_prices_are_read_in_every_form(changes: dict[str, Any], usd: float) -> None:
    """The note is more exact than the fields, dollars than yuan; text is a number, and nonsense is none."""
    assert charge_of(**changes).usd == pytest.approx(usd)


@pytest.mark.parametrize(
    ("changes", "is_per_image"),
    [
        ({}, True),
        ({"billing_rule": "per_call"}, False),
        ({"billing_rule": "per_request"}, False),
        ({"billing_rule": "per_1k_tokens", "routing_note": "$0.09 per image"}, True),
    ],
)
def test_units_that_can_be_counted(changes: dict[str, Any], is_per_image: bool) -> None:
    """The note corrects the rule."""
    assert charge_of(**changes).is_per_image is is_per_image


@pytest.mark.parametrize(
    ("changes", "unit"),
    [
        ({"billing_rule": "per_1k_tokens"}, "1k tokens"),
        ({"billing_rule": "per_second"}, "second"),
        ({"billing_rule": "per_galaxy\x1b[31m"}, "galaxy 31m"),
        ({"billing_rule": None}, "an unknown unit"),
        ({"billing_rule": 3}, "an unknown unit"),
        ({"routing_note": "$27 per 1M tokens."}, "1M tokens"),
    ],
)
def test_units_that_cannot_be_counted_are_told(changes: dict[str, Any], unit: str) -> None:
    """In the list's words, as far as a screen takes them."""
    found = read(SKU, {**SKU, "model_name": "other", **changes}).tariffs["other"]
    assert (found.charges, found.unpriced) == ((), (unit,))


@pytest.mark.parametrize(
    ("changes", "role"),
    [
        ({"metadata": '{"role": "input_image"}'}, Role.INPUT_IMAGE),
        ({"metadata": {"role": "input_image"}}, Role.INPUT_IMAGE),
        ({"sku_name": "Nano - Input Image"}, Role.INPUT_IMAGE),
        ({"sku_name": "Nano reference images"}, Role.INPUT_IMAGE),
        ({"sku_name": "Nano Web Search"}, Role.SEARCH),
        ({"metadata": '{"role": "output"}', "sku_name": "Input image remover"}, Role.OUTPUT),
        ({"metadata": "{"}, Role.OUTPUT),
        ({"metadata": "[" * 100_000}, Role.OUTPUT),
        ({"sku_name": None}, Role.OUTPUT),
    ],
)
def test_what_is_charged_for(changes: dict[str, Any], role: Role) -> None:
    """By the metadata, an object or a text that holds one, or else by the name."""
    assert charge_of(**changes).role is role


@pytest.mark.parametrize(
    "changes", [{"sku_name": "Nano cached input"}, {"metadata": '{"role": "input_video"}'}]
)
def test_what_no_request_of_ours_has_is_left_out(changes: dict[str, Any]) -> None:
    """It is not taken for an image."""
    assert read(SKU, {**SKU, "model_name": "other", **changes}).tariffs["other"].charges == ()


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("Nano 2 - 4K Output", ("4K",)),
        ("Nano 1k/2k", ("1K", "2K")),
        ("Nano 512px", ("0.5K",)),
        ("Nano 0.5K", ("0.5K",)),
        ("Nano 2", ()),
        ("Nano-4kids", ()),
        ("nano-v1.512", ()),
    ],
)
def test_resolutions_of_an_entry_stand_in_its_name(name: str, sizes: tuple[str, ...]) -> None:
    """As the provider writes them there."""
    assert charge_of(sku_name=name).sizes == sizes


@pytest.mark.parametrize(
    "changes",
    [
        {"resolution_multipliers": {"1k": 1, "4k": "1.5", "8k": -1, "x": None}},
        {"metadata": {"resolution_multipliers": {"1K": 1, "4K": 1.5, "4k": 1.2}}},
        {"metadata": '{"resolution_multipliers": {"1024": 1, "4096": 1.5}}', "resolution_multipliers": {}},
    ],
)
def test_factors_stand_at_the_top_or_in_the_metadata(changes: dict[str, Any]) -> None:
    """Of two spellings of one resolution the dearer counts; what is no factor is left out."""
    assert charge_of(**changes).factors == {"1K": 1.0, "4K": 1.5}


def test_the_least_charge_is_in_ten_thousandths_of_a_credit() -> None:
    """By the provider's own client."""
    assert charge_of(min_charge_uc=25_000).least_credits == 2.5
    assert charge_of(min_charge_uc="no").least_credits == 0.0


def test_models_that_make_no_images_are_left_out_and_unknown_ones_kept() -> None:
    """Who says nothing of the kind may make images; names in other capitals are one model."""
    found = read(
        SKU,
        {**SKU, "model_name": "NANO", "sku_name": "4K"},
        {**SKU, "model_name": "clip", "model_type": "video"},
        {**SKU, "model_name": "new-one", "model_type": None},
    )
    assert {name: len(tariff.charges) for name, tariff in found.tariffs.items()} == {"nano": 2, "new-one": 1}


@pytest.mark.parametrize("name", [None, "", 7, " nano", "a\x1b[2Jb", "x" * 201, "\ud800"])
def test_entries_without_a_usable_name_are_left_out(name: object) -> None:
    """A name goes onto a screen."""
    assert set(read(SKU, {**SKU, "model_name": name}, "x", None).tariffs) == {"nano"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"1" * 5000, "not JSON"),
        (b"{}", "not a list of prices"),
        (b"null", "not a list of prices"),
        (b'{"data": {"a": 1}}', "not a list of prices"),
        (b"[]", "no price of an image"),
        (b'{"success": false, "data": [{"model_name": "x"}]}', "no price of an image"),
    ],
)
def test_what_is_no_price_list_is_refused_in_a_sentence(body: bytes, said: str) -> None:
    """It says where, and that nothing is lost."""
    with pytest.raises(NoPriceList, match=said) as caught:
        price_list(body, URL, NOW)
    assert URL in str(caught.value)
    assert "What was known before stays" in str(caught.value)


def test_a_list_without_an_envelope_and_with_a_byte_order_mark_is_one() -> None:
    """Other servers, other habits."""
    body = b"\xef\xbb\xbf" + json.dumps([SKU]).encode()
    assert set(price_list(body, URL, NOW).tariffs) == {"nano"}


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        **{name: ANYTHING | st.just(value) for name, value in SKU.items()},
        "metadata": ANYTHING | ANYTHING.map(json.dumps),
        "resolution_multipliers": ANYTHING | st.dictionaries(st.sampled_from(["1k", "4K", "512"]), SCALARS),
        "price_range": ANYTHING | st.dictionaries(st.sampled_from(["min_usd", "max_usd"]), SCALARS),
        "routing_note": ANYTHING | st.from_regex(r"\$[\d,.]{1,9}(-\$?[\d,.]{1,9})? per [a-z ]{1,9}"),
        "cny_price": ANYTHING,
        "min_charge_uc": ANYTHING,
    },
)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.lists(ENTRY | ANYTHING, max_size=6) | ANYTHING)
def test_no_list_of_any_shape_does_more_than_be_refused(data: object) -> None:
    """And what is made of it has amounts that can be counted with."""
    try:
        found = price_list(json.dumps({"data": data}).encode(), URL, NOW)
    except NoPriceList:
        return
    for tariff in found.tariffs.values():
        for resolution in ("1K", "512", "odd", None):
            credits = tariff.credits(resolution, 2, searches=True, credits_per_usd=68.0)
            assert credits is None or 0.0 <= credits < float("inf")
        assert all(size.isprintable() for size in tariff.sizes)
        assert all(unit.isprintable() for unit in tariff.unpriced)
