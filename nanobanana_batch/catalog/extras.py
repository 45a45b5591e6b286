"""Settings of a model's own beside our fields: what each may be, and what its text becomes on the wire.

They are data of a profile, so that a model with a `seed` or an `n` needs no code. Nothing is guessed: a text
that is not surely of the setting's kind is none of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nanobanana_batch.model import ExtraValue

KINDS = {
    "text": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "url": "a public URL",
}
"""What a setting may be, and how that is said."""
TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")

_INTEGER = re.compile(r"([+-]?[0-9]{1,30})(?:\.0+)?")
"""Tables that were written by pandas have 7.0 for 7 where another cell of the column is empty."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_COUNTS_IMAGES = frozenset({"n", "num_images"})
_FEW = 16
"""A whole number of so few values chooses something; one of more, such as a seed, only varies it."""


@dataclass(frozen=True, slots=True)
class Extra:
    """One setting of one model."""

    name: str
    """In manifests."""
    field: str
    """What the model calls it; dots nest."""
    kind: str = "text"
    allowed: tuple[ExtraValue, ...] = ()
    """Nothing else, if not empty."""
    min: float | None = None
    max: float | None = None
    """Both included; in whatever the setting counts. None: no bound."""
    default: ExtraValue | None = None
    """What the model takes where nothing is given; it is told, and never sent."""
    images: bool = False
    """It says how many images the task makes."""
    priced: bool | None = None
    """Whether the price may depend on it; None: as its values tell."""

    @property
    def words(self) -> tuple[str, ...]:
        """The values that it may have, where they are listed."""
        return tuple(map(shown_value, self.allowed))

    @property
    def said(self) -> str:
        """What it may be, for a person."""
        if self.allowed:
            return " ".join(self.words)
        low, high = (None if bound is None else shown_value(bound) for bound in (self.min, self.max))
        bounds = {
            (True, True): f" from {low} to {high}",
            (True, False): f", at least {low}",
            (False, True): f", at most {high}",
        }
        return KINDS[self.kind] + bounds.get((low is not None, high is not None), "")

    @property
    def said_in_full(self) -> str:
        """The same with what the model calls it, and takes by itself."""
        told = [self.said, f"sent as {self.field}" if self.field != self.name else ""]
        if self.default is not None:
            told.append(f"{shown_value(self.default)} if not given")
        return "; ".join(filter(None, told))

    @property
    def counts_images(self) -> bool:
        """Whether a task makes as many images as it says: by its name on the wire, if nobody says so."""
        return self.images or (self.kind == "integer" and self.field.rpartition(".")[2] in _COUNTS_IMAGES)

    @property
    def decides_price(self) -> bool:
        """Whether requests that differ in it are taken to cost differently."""
        if self.priced is not None:
            return self.priced
        is_short_range = (
            self.kind == "integer"
            and self.min is not None
            and self.max is not None
            and self.max - self.min < _FEW
        )
        return bool(self.allowed) or self.kind in ("boolean", "url") or is_short_range

    def read(self, text: str) -> ExtraValue | None:
        """The value that a text of a manifest means; None where it is not allowed."""
        value = typed(self.kind, text)
        if value is None or (self.allowed and value not in self.allowed):
            return None
        return value if isinstance(value, str) or self._is_within(value) else None

    def priced_as(self, value: ExtraValue) -> ExtraValue:
        """What of a value the price may depend on: of an address that there is one."""
        return True if self.kind == "url" else value

    def _is_within(self, value: float) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


def typed(kind: str, text: str) -> ExtraValue | None:
    """A text as what it means for this kind; None where it means nothing."""
    if kind == "integer":
        found = _INTEGER.fullmatch(text)
        return int(found[1]) if found else None
    if kind == "number":
        return _number(text)
    if kind == "boolean":
        word = text.casefold()
        return word in TRUE if word in TRUE or word in FALSE else None
    return text


def _number(text: str) -> int | float | None:
    """One number has one spelling, whole ones without a point, so that 7 and 7.0 are one row."""
    whole = typed("integer", text)
    if isinstance(whole, int):
        return whole
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def kind_of(texts: Sequence[str]) -> str:
    """What these texts are together, as YAML would read them without quotes."""
    for kind in ("integer", "number"):
        if all(typed(kind, text) is not None for text in texts):
            return kind
    return "boolean" if all(text.casefold() in ("true", "false") for text in texts) else "text"


def shown_value(value: ExtraValue) -> str:
    """A value as a person writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Wire:
    """How one of our fields is written for a model."""

    names: tuple[str, ...]
    """All names on the wire that it may set; dots nest."""
    values: Mapping[str, Mapping[str, ExtraValue]] | None = None
    """Our value -> what is sent for it, by name; None: the value itself, under the only name."""

    @property
    def said(self) -> str:
        """How it is written, for a person."""
        if self.values is None:
            return self.names[0]
        parts = {
            value: " ".join(f"{name}={shown_value(sent)}" for name, sent in written.items()) or "nothing"
            for value, written in self.values.items()
        }
        return ", ".join(f"{text} for {value}" for value, text in parts.items())

    def written(self, value: object) -> Mapping[str, object]:
        """What is sent for a value, by name on the wire.

        Raises:
            KeyError: the table does not know it.
        """
        if self.values is None:
            return {self.names[0]: value}
        return self.values[shown_value(value) if isinstance(value, bool) else str(value)]
