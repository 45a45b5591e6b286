"""What a request of each kind costs: as replies have said, the most of it; before any has, as a list says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nanobanana_batch.model import Request
from nanobanana_batch.state.prices import PriceClass


class KnownPrices:
    """Credits a request, by kind."""

    def __init__(self, listed: Callable[[Request], float | None]) -> None:
        self._listed = listed
        self._known: dict[PriceClass, float] = {}
        self._confirmed: set[PriceClass] = set()
        self._used: dict[PriceClass, float] = {}
        """The most that finished ones of a kind have cost: more than was reserved, for some providers."""

    def of(self, kind: PriceClass, request: Request) -> float | None:
        """What one costs; None: nobody says."""
        known = self._known.get(kind)
        return self._listed(request) if known is None else known

    @property
    def dearest(self) -> float:
        """The most that any reply has named; 0 where none has."""
        return max(self._known.values(), default=0.0)

    @property
    def told(self) -> dict[PriceClass, float]:
        """What replies have said."""
        return {kind: price for kind, price in self._known.items() if kind in self._confirmed}

    def is_confirmed(self, kind: PriceClass) -> bool:
        """Whether a request of this kind was accepted."""
        return kind in self._confirmed

    def confirm(self, kind: PriceClass) -> None:
        """A request of this kind was accepted."""
        self._confirmed.add(kind)

    def start_with(self, prices: Mapping[PriceClass, float]) -> None:
        """What earlier replies have said."""
        self._known.update(prices)
        self._confirmed.update(prices)

    def learn(self, kind: PriceClass, price: float) -> None:
        """A reply has named this price."""
        self._known[kind] = max(price, self._known.get(kind, 0.0))

    def learn_use(self, kind: PriceClass, used: float) -> bool:
        """A finished one has cost this in the end; whether that is more than was known."""
        if used <= self._known.get(kind, 0.0):
            return False
        self._known[kind] = self._used[kind] = used
        return True

    def used(self, kind: PriceClass) -> float:
        """What a finished one has cost beyond what was known before; 0 where none has."""
        return self._used.get(kind, 0.0)
