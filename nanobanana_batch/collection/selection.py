"""Which pictures are meant: `--only` by status and verdict, `--where` by whatever is known of them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from nanobanana_batch.collection.columns import FIXED, OF_CHECK, Cell, cell, column_of
from nanobanana_batch.collection.entries import Entry, Picture
from nanobanana_batch.errors import UsageError
from nanobanana_batch.model import RowStatus
from nanobanana_batch.wording import closest, shown

_KINDS = ("accepted", "rejected", "rated", "unrated")
ONLY = (*(status.value for status in RowStatus), *_KINDS)
"""What `--only` can name."""
_CONDITION = re.compile(r"\s*(?P<name>[^=!<>~]+?)\s*(?P<sign>!=|>=|<=|=|>|<|~)\s*(?P<value>.*)", re.DOTALL)
_ORDERED: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that has to hold."""

    name: str
    sign: str
    values: tuple[str, ...]

    def holds(self, found: Cell) -> bool:
        """Whether it does for what is known under the name."""
        text = "" if found is None else f"{found:.10g}" if isinstance(found, float) else str(found)
        if self.sign == "=":
            return text in self.values
        if self.sign == "!=":
            return text not in self.values
        if self.sign == "~":
            return any(value.casefold() in text.casefold() for value in self.values)
        number = _number(text)
        return number is not None and _ORDERED[self.sign](number, float(self.values[0]))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which pictures of which rows; the empty one takes all."""

    only: frozenset[str] = frozenset()
    where: tuple[Condition, ...] = ()

    def takes(self, entry: Entry, picture: Picture | None) -> bool:
        """Whether it wants this picture of this row, or, without one, this row."""
        return self._is_of_kind(entry, picture) and all(
            condition.holds(cell(entry, picture, condition.name)) for condition in self.where
        )

    def _is_of_kind(self, entry: Entry, picture: Picture | None) -> bool:
        if not self.only:
            return True
        judgement = picture.judgement if picture else None
        kinds = {
            entry.status.value,
            "rated" if judgement else "unrated",
            *((judgement.verdict.value,) if judgement and judgement.verdict else ()),
        }
        return not kinds.isdisjoint(self.only)


def read_selection(
    only: Iterable[str], where: Iterable[str], variables: Sequence[str], checks: Sequence[str] = ()
) -> Selection:
    """What a person said: `--only accepted`, `--where 'style=ink,photo'`, `--where 'rating>=4'`.

    Commas separate values; one inside of a value is written `\\,`. `~` looks for a part of a text.

    Raises:
        UsageError: it is none, or names what nobody knows.
    """
    kinds = frozenset(only)
    for kind in kinds - set(ONLY):
        raise UsageError(f"--only {kind}: it has to be one of {', '.join(ONLY)}.")
    names = (*FIXED, *map(column_of, variables), *(f"{OF_CHECK}{name}" for name in checks))
    return Selection(kinds, tuple(_condition(text, names) for text in where))


def _condition(text: str, names: Sequence[str]) -> Condition:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--where {shown(text)} is no condition.",
            hint="For example style=ink, style!=ink,photo, rating>=4, or prompt~cat.",
        )
    name, sign, value = found["name"], found["sign"], found["value"]
    if name not in names:
        near = closest(name, names)
        raise UsageError(
            f"--where {shown(text)}: nothing is called {shown(name)} there.",
            hint=f"Did you mean {near}?" if near else f"There are {', '.join(names)}.",
        )
    if sign in _ORDERED and _number(value) is None:
        raise UsageError(f"--where {shown(text)}: {sign} wants a number.")
    values = (value,) if sign in _ORDERED else _values(value)
    return Condition(name, sign, values)


def _values(text: str) -> tuple[str, ...]:
    return tuple(part.replace("\\,", ",") for part in re.split(r"(?<!\\),", text))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
