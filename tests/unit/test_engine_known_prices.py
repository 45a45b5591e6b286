"""What a request costs is the most that is known of its kind: a limit has to hold where prices differ."""

from __future__ import annotations

from nanobanana_batch.engine.limits.known_prices import KnownPrices
from nanobanana_batch.model import Request
from nanobanana_batch.state.prices import price_class

REQUEST = Request("nano-banana-beta", "a cat")
KIND = price_class(REQUEST)


def test_a_list_counts_until_a_reply_has_named_a_price() -> None:
    """And it is not what replies have said, nor the dearest of that."""
    prices = KnownPrices(lambda request: 9.0)
    assert (prices.of(KIND, REQUEST), prices.dearest, prices.told) == (9.0, 0.0, {})
    prices.learn(KIND, 4.0)
    assert (prices.of(KIND, REQUEST), prices.dearest) == (4.0, 4.0)
    assert prices.told == {}  # nobody has accepted one yet
    prices.confirm(KIND)
    assert (prices.is_confirmed(KIND), prices.told) == (True, {KIND: 4.0})


def test_a_cheaper_reply_makes_nothing_cheaper() -> None:
    """The next may cost what the dearest did."""
    prices = KnownPrices(lambda request: None)
    prices.start_with({KIND: 6.0})
    prices.learn(KIND, 4.0)
    assert (prices.of(KIND, REQUEST), prices.told) == (6.0, {KIND: 6.0})


def test_what_one_has_cost_in_the_end_counts_for_its_kind_where_it_is_more() -> None:
    """Some providers reserve less than they take."""
    prices = KnownPrices(lambda request: None)
    prices.learn(KIND, 4.0)
    assert (prices.learn_use(KIND, 4.0), prices.used(KIND)) == (False, 0.0)
    assert prices.learn_use(KIND, 7.0)
    assert (prices.of(KIND, REQUEST), prices.used(KIND), prices.dearest) == (7.0, 7.0, 7.0)
    assert not prices.learn_use(KIND, 5.0)
    assert prices.used(KIND) == 7.0
