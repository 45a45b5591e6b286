"""What a provider's public list says of each model, and what a request costs by it.

A list leaves things open: a range of prices, sizes that it does not name, two entries for one thing. The
dearest reading is taken, since a limit of credits rests on it. What a provider reserves for a request is
what counts in the end.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_SIZE = re.compile(r"(\d{1,3}(?:\.\d{1,3})?) ?k")
_PIXELS = re.compile(r"(\d{3,5}) ?(?:px)?")
_PIXELS_OF_1K = 1024


class Role(StrEnum):
    """What is charged for."""

    OUTPUT = "output"
    """The image that is made."""
    INPUT_IMAGE = "input_image"
    """A reference image."""
    SEARCH = "search"
    """A search that the model may do."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One entry of a list."""

    role: Role
    usd: float
    """At most, where a range is told."""
    is_per_image: bool = True
    """False: once a request."""
    sizes: tuple[str, ...] = ()
    """The resolutions that it is for, as `size_name` writes them; none: whatever has no entry of its own."""
    factors: Mapping[str, float] = field(default_factory=dict)
    """By resolution, what the price is multiplied with."""
    least_credits: float = 0.0
    """A request is never charged less."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """All that a list says of one model."""

    charges: tuple[Charge, ...]
    unpriced: tuple[str, ...] = ()
    """Units that are charged for and that nobody can count beforehand, such as `1M tokens`."""

    def credits(
        self, resolution: str | None, images: int, *, searches: bool, credits_per_usd: float
    ) -> float | None:
        """What a request costs at most, in credits; None where the list does not price an image.

        `resolution` is None where nobody knows which one will come; `images` counts reference images.
        """
        outputs = _of_size(self._with(Role.OUTPUT), resolution)
        if not outputs:
            return None
        inputs, search = self._with(Role.INPUT_IMAGE), self._with(Role.SEARCH)
        usd = max((charge.usd * (images if charge.is_per_image else 1) for charge in inputs), default=0.0)
        total = usd * credits_per_usd if images else 0.0
        if searches:
            total += max((charge.usd * credits_per_usd for charge in search), default=0.0)
        return total + max(
            max(charge.usd * _factor(charge.factors, resolution) * credits_per_usd, charge.least_credits)
            for charge in outputs
        )

    @property
    def sizes(self) -> tuple[str, ...]:
        """The resolutions that have a price of their own, the smallest first."""
        outputs = self._with(Role.OUTPUT)
        named = {size for charge in outputs for size in (*charge.sizes, *charge.factors)}
        return tuple(sorted(named, key=lambda size: (_number(size) or 0.0, size)))

    def _with(self, role: Role) -> list[Charge]:
        return [charge for charge in self.charges if charge.role is role]


@dataclass(frozen=True, slots=True)
class PriceList:
    """A list as it was read."""

    url: str
    read_at: str
    """ISO 8601, UTC."""
    tariffs: Mapping[str, Tariff]
    """By the name that the provider gives to a model; no two differ in capitals only."""

    @property
    def day(self) -> str:
        """The day on which it was read."""
        return self.read_at[:10]


def size_name(text: str) -> str:
    """One spelling for a resolution: `4K` for `4k`, `0.5K` for `512`; other words as they are."""
    word = text.strip().casefold()
    if found := _SIZE.fullmatch(word):
        return f"{float(found[1]):g}K"
    if found := _PIXELS.fullmatch(word):
        return f"{int(found[1]) / _PIXELS_OF_1K:g}K"
    return text.strip()


def _of_size(charges: Collection[Charge], resolution: str | None) -> list[Charge]:
    """Those that may be meant for a resolution."""
    if resolution is None:
        return list(charges)
    general = [charge for charge in charges if not charge.sizes]
    size = size_name(resolution)
    named = {one for charge in charges for one in charge.sizes}
    if general and size not in named:
        return general
    meant = _meant(named, size)
    return [charge for charge in charges if meant.intersection(charge.sizes)]


def _factor(factors: Mapping[str, float], resolution: str | None) -> float:
    if not factors:
        return 1.0
    if resolution is None:
        return max(1.0, *factors.values())
    size = size_name(resolution)
    number, numbers = _number(size), [_number(one) for one in factors]
    if size not in factors and number and all(one and number < one for one in numbers):
        return 1.0  # the price itself is that of the smallest
    return max(factors[one] for one in _meant(factors, size))


def _meant(sizes: Collection[str], size: str) -> set[str]:
    """The size itself, else the next larger one, else any of them."""
    if size in sizes:
        return {size}
    number = _number(size)
    larger = {one: found for one in sizes if number and (found := _number(one)) and found > number}
    return {min(larger, key=lambda one: larger[one])} if larger else set(sizes)


def _number(size: str) -> float | None:
    found = _SIZE.fullmatch(size.casefold())
    return float(found[1]) if found else None
