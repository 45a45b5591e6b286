"""Which pictures are meant: `--only` by status and verdict, `--where` by whatever is known of them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nanobanana_batch.collection.columns import FIXED, OF_CHECK, Cell, column_of, getter
from nanobanana_batch.collection.entries import Entry, Picture
from nanobanana_batch.collection.judgements import CAN_SAY
from nanobanana_batch.errors import UsageError
from nanobanana_batch.model import RowStatus
from nanobanana_batch.wording import closest, did_you_mean, shown

_KINDS = ("accepted", "rejected", "rated", "unrated")
ONLY = (*(status.value for status in RowStatus), *_KINDS)
"""What `--only` can name."""
_SIGN = r"\s*(?P<sign>!=|>=|<=|=|>|<|~)\s*(?P<value>.*)"
_CONDITION = re.compile(rf"\s*(?P<name>[^=!<>~]+?){_SIGN}", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_OTHERS_KEPT, _OTHERS_SHOWN, _LONGEST_KEPT = 1000, 20, 200
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
    met: set[str] = field(default_factory=set, compare=False)
    """Those of the values that something had, or came up to."""
    others: dict[str, None] = field(default_factory=dict, compare=False)
    """The first of the short texts that are there instead."""

    def holds(self, found: Cell) -> bool:
        """Whether it does for what is known under the name."""
        text = "" if found is None else f"{found:.10g}" if isinstance(found, float) else str(found)
        met = self._met(text)
        if met:
            self.met.update(met)
        elif len(self.others) < _OTHERS_KEPT and len(text) <= _LONGEST_KEPT:
            self.others[text] = None
        return bool(met) is (self.sign != "!=")

    def idle(self) -> str:
        """What to say of values that nothing had of what was looked at: a slip, probably; or nothing."""
        known = {*self.met, *CAN_SAY.get(self.name, ()), *(ONLY if self.name == "status" else ())}
        missing = [value for value in self.values if value not in known]
        if not missing or not (self.met or self.others):
            return ""
        seen = sorted({*self.met, *self.others} if self.sign in ("=", "!=") else self.others)
        there = ", ".join(map(shown, seen[:_OTHERS_SHOWN])) + (", …" if len(seen) > _OTHERS_SHOWN else "")
        others = [text for text in self.others if text and self.sign in ("=", "!=")]
        near = next(filter(None, (closest(value, others) for value in missing)), "")
        hint = f" Did you mean {shown(near)}?" if near else ""
        values = ", ".join(map(shown, missing))
        return f"--where: nothing has {self.name} {self.sign} {values}; there it is {there}.{hint}"

    def _met(self, text: str) -> list[str]:
        """Those of the values that a text has, whichever way they are asked for."""
        if self.sign in ("=", "!="):
            return [value for value in self.values if value in (text, text.strip())]
        if self.sign == "~":
            return [value for value in self.values if value.casefold() in text.casefold()]
        number = _number(text)
        is_met = number is not None and _ORDERED[self.sign](number, float(self.values[0]))
        return list(self.values) if is_met else []


@dataclass(frozen=True, slots=True)
class Selection:
    """Which pictures of which rows; the empty one takes all."""

    only: frozenset[str] = frozenset()
    where: tuple[Condition, ...] = ()

    def takes(self, entry: Entry, picture: Picture | None) -> bool:
        """Whether it wants this picture of this row, or, without one, this row."""
        # Each is asked, to know of each what there is.
        held = [condition.holds(getter(condition.name)(entry, picture)) for condition in self.where]
        return self._is_of_kind(entry, picture) and all(held)

    def idle(self) -> list[str]:
        """What a person should know of conditions that took nothing; known once all were looked at."""
        return list(filter(None, (condition.idle() for condition in self.where)))

    def _is_of_kind(self, entry: Entry, picture: Picture | None) -> bool:
        if not self.only:
            return True
        kinds = {entry.status.value}
        if picture is not None:
            judgement = picture.judgement
            kinds.add("rated" if judgement else "unrated")
            if judgement and judgement.verdict:
                kinds.add(judgement.verdict.value)
        return not kinds.isdisjoint(self.only)


def read_selection(
    only: Iterable[str], where: Iterable[str], variables: Sequence[str], checks: Sequence[str] = ()
) -> Selection:
    """What a person said: `--only accepted`, `--where 'style=ink,photo'`, `--where 'rating>=4'`.

    Commas separate values; one inside of a value is written `\\,`. `~` looks for a part of a text. All
    conditions have to hold, and one of the kinds; `unrated` is a picture that nobody has judged.

    Raises:
        UsageError: it is none, or names what nobody knows.
    """
    kinds = [kind.strip() for words in only for kind in words.split(",")]
    for kind in kinds:
        if kind not in ONLY:
            near = closest(kind, ONLY)
            raise UsageError(
                f"--only {shown(kind)}: it has to be one of {', '.join(ONLY)}.", hint=did_you_mean(near)
            )
    names = (*FIXED, *map(column_of, variables), *(f"{OF_CHECK}{name}" for name in checks))
    return Selection(frozenset(kinds), tuple(_condition(text, names) for text in where))


def _condition(text: str, names: Sequence[str]) -> Condition:
    found = _of_known(text, names) or _CONDITION.fullmatch(text)
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


def _of_known(text: str, names: Sequence[str]) -> re.Match[str] | None:
    """Names may have signs in them; the longest that is known counts."""
    begun = text.lstrip()
    for name in sorted(filter(begun.startswith, names), key=len, reverse=True):
        found = re.fullmatch(rf"(?P<name>{re.escape(name)}){_SIGN}", begun, re.DOTALL)
        if found is not None:
            return found
    return None


def _values(text: str) -> tuple[str, ...]:
    return tuple(part.replace("\\,", ",").strip() for part in re.split(r"(?<!\\),", text))


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text.strip()) else None
