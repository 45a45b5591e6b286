"""An estimate says how much, and how well that is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from nanobanana_batch.cli.plan_text import cost_text
from nanobanana_batch.estimates import Cost, Prices, Seen, duration, seen_by
from nanobanana_batch.model import Image, Request
from nanobanana_batch.pricing.book import PriceBook
from nanobanana_batch.pricing.earlier import Kind, Paid
from nanobanana_batch.state import facts
from nanobanana_batch.state.prices import PriceClass, price_class
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.store import Store
from tests.unit.test_state_store import FACTS, drafts, intent, take


def kind(model: str, resolution: str | None = None, images: int = 0) -> PriceClass:
    """Of a request."""
    return price_class(Request(model, "", resolution=resolution, images=("https://x/a.png",) * images))


def written(request: Request) -> float | None:
    """A profile that knows one model in one resolution."""
    return 3.0 if (request.model, request.resolution) == ("known", "1K") else None


def listed(request: Request) -> float | None:
    """A price list that knows the model in all of them, and charges for reference images."""
    return 5.0 + len(request.images) if request.model == "known" else None


BOOK = PriceBook(written, "2026-11-21", listed, "2026-11-25", credits_per_usd=68.0)


def test_replies_go_before_the_profile_and_the_profile_before_the_list() -> None:
    """Each row is counted under what its price comes from; those without one are not guessed at."""
    seen = Seen({kind("known", "2K"): 4.0, kind("seen"): 0.0}, spent=10.0)
    rows = Counter(
        {
            kind("known", "2K"): 2,
            kind("seen"): 3,
            kind("known", "1K"): 4,
            kind("known", images=2): 6,
            kind("nobody"): 5,
        }
    )
    cost = Prices(seen, BOOK).cost(rows)
    assert cost == Cost(
        credits=2 * 4.0 + 4 * 3.0 + 6 * 7.0,
        by_replies=5,
        by_profile=4,
        by_list=6,
        by_earlier=0,
        unpriced=5,
        profile_day="2026-11-21",
        list_day="2026-11-25",
        earlier_day="",
        spent=10.0,
        credits_per_usd=68.0,
    )
    assert Prices(seen, BOOK).of(kind("nobody")) is None


def test_a_price_holds_for_its_kind_only() -> None:
    """An edit with an image may cost more."""
    prices = Prices(Seen({kind("m", images=1): 9.0}), PriceBook())
    assert (prices.of(kind("m", images=1)), prices.of(kind("m"))) == (9.0, None)


def test_what_was_paid_elsewhere_fills_what_nobody_says() -> None:
    """The profile and the list go before it; the oldest of its days is told."""
    earlier: dict[Kind, Paid] = {
        kind("nobody"): Paid(3.0, "2026-11-20"),
        kind("nobody", "4K"): Paid(9.0, "2026-10-01"),
        kind("known", "1K"): Paid(99.0, "2026-01-01"),
    }
    prices = Prices(Seen(), replace(BOOK, earlier=earlier))
    assert prices.of(kind("known", "1K")) == BOOK.price(Request("known", "", resolution="1K"))
    cost = prices.cost(Counter({kind("nobody"): 2, kind("nobody", "4K"): 1, kind("else"): 1}))
    assert (cost.credits, cost.by_earlier, cost.unpriced) == (15.0, 3, 1)
    assert cost.earlier_day == "2026-10-01"
    assert "as you paid in another folder on 2026-10-01" in cost_text(cost)


def test_what_was_spent_counts_towards_the_limit() -> None:
    """The limit is one of the folder, not of one run."""
    cost = Cost(30.0, 1, 0, 0, 0, 0, "", "", "", spent=10.0, credits_per_usd=None)
    assert not cost.is_over(40.0)
    assert cost.is_over(39.5)


@pytest.mark.parametrize(
    ("rows", "row_s", "per_min", "seconds"),
    [
        (640, 30.0, None, 300.0),
        (1, 30.0, None, 30.0),
        (640, None, None, None),
        (61, None, 60.0, 60.0),
        (601, 30.0, 60.0, 630.0),
        (640, 30.0, 6000.0, 300.0),
        (0, None, None, 0.0),
    ],
)
def test_time_is_the_slower_of_slots_and_rate(
    rows: int, row_s: float | None, per_min: float | None, seconds: float | None
) -> None:
    """64 at once; without anything seen there is no time but what the rate asks for."""
    assert duration(rows, row_s, 64, per_min).seconds == seconds


def test_a_folder_tells_what_it_has_spent_and_how_long_rows_took(tmp_path: Path) -> None:
    """The median of its images, from the request on; open and doubtful requests count as spent."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, drafts("0", "1", "2", "3"))
    for row, saved_at in ((1, 11.0), (2, 31.0), (3, 901.0)):
        store.apply([intent(row, attempt=row), FACTS["Accepted"](row), FACTS["Ready"](row)])
        store.apply([facts.Saved(row, Image(f"images/{row}.png", "image/png", 1, 1, 1, str(row)), saved_at)])
    store.apply([intent(4, attempt=4, credits_expected=2.5), FACTS["Unanswered"](4)])
    store.close()
    with open_reader(path) as reader:
        seen = seen_by(reader)
    assert (seen.spent, seen.row_s, seen.prices) == (3 * 3.0 + 2.5, 30.0, {kind("model-a"): 4.0})
