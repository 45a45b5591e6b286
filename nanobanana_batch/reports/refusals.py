"""Which rows a provider refuses: by the value of each variable, by pairs of them, and by words of prompts.

It is counting, not a model. A share of few rows says little, so each stands with the least that it may
really be (the lower end of Wilson's interval of 95 %), and what is above all others by that is marked.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

from nanobanana_batch.state.sums import Judged

Key = TypeVar("Key")
FEW = 10
"""Rows of which a share says little."""
_MOST_VALUES = 30
"""Of a variable that makes a table with another one."""
_MOST_VALUES_KEPT = 2000
_MOST_VARIABLES = 10
_MOST_PAIRS = 10
_MOST_ALIKE = 5000
_MOST_WORDS = 20_000
_WORDS_SHOWN = 25
_LONGEST_WORD = 60
_Z = 1.96
_FAR = 1.5
"""So many times the share of all others is what is refused often."""
_WORD = re.compile(r"[^\W_]+(?:['\u2019\-][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Count:
    """Of rows that the provider has judged: how many it refused."""

    refused: int
    rows: int

    @property
    def share(self) -> float:
        """Of 1."""
        return self.refused / self.rows if self.rows else 0.0

    @property
    def at_least(self) -> float:
        """What the share is at least, if chance did its part (95 %)."""
        return wilson_low(self.refused, self.rows)

    @property
    def is_few(self) -> bool:
        """So few rows that the share says little."""
        return self.rows < FEW


@dataclass(frozen=True, slots=True)
class OfValue:
    """Rows in which a variable has a value."""

    variable: str
    value: str
    count: Count
    is_high: bool
    """Refused half as often again as all others, and by more than chance explains."""


@dataclass(frozen=True, slots=True)
class OfPair:
    """A table of two variables: each cell is a pair of their values that occurs."""

    rows: str
    columns: str
    row_values: tuple[str, ...]
    column_values: tuple[str, ...]
    cells: tuple[tuple[Count | None, ...], ...]


@dataclass(frozen=True, slots=True)
class OfWord:
    """Rows whose prompt has a word; `words` are several where each has all of them, or none."""

    words: tuple[str, ...]
    count: Count
    others: Count
    """Of all rows without it."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """What is refused, of the rows that are made or refused."""

    all: Count
    values: tuple[OfValue, ...] = ()
    pairs: tuple[OfPair, ...] = ()
    words: tuple[OfWord, ...] = ()
    left_out: tuple[str, ...] = ()
    """Variables with too many values for a table."""


Look = Callable[[bool], Iterable[Judged]]
"""All judged rows, or the refused ones only."""


def wilson_low(hits: int, of: int) -> float:
    """The lower end of Wilson's interval of a share."""
    if not of:
        return 0.0
    share, square = hits / of, _Z * _Z
    middle = share + square / (2 * of)
    around = _Z * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, (middle - around) / (1 + square / of))


def refusals(look: Look) -> Refusals:
    """What they are; rows are looked at twice, and none is kept."""
    suspects = _suspects(look(True))
    if not suspects.refused:
        return Refusals(Count(0, sum(1 for _ in look(False))))
    cells, words, all_ = _Cells(), _Words(suspects.words), [0, 0]
    for row in look(False):
        all_[0] += row.is_refused
        all_[1] += 1
        cells.add(row)
        words.add(row, all_[1])
    of_all = Count(all_[0], all_[1])
    return Refusals(
        of_all,
        tuple(cells.values(of_all)),
        tuple(cells.pairs()),
        tuple(itertools.islice(words.found(of_all), _WORDS_SHOWN)),
        tuple(cells.left_out),
    )


@dataclass(slots=True)
class _Suspects:
    refused: int
    words: frozenset[str]


def _suspects(rows: Iterable[Judged]) -> _Suspects:
    """Words that were refused more than once: no other one can stand out."""
    counts: Counter[str] = Counter()
    refused = 0
    for row in rows:
        refused += 1
        counts.update(_words_of(row.prompt))
        if len(counts) > 10 * _MOST_WORDS:
            counts = Counter(dict(counts.most_common(_MOST_WORDS)))
    most = counts.most_common(_MOST_WORDS)
    return _Suspects(refused, frozenset(word for word, count in most if count > 1))


def _words_of(prompt: str) -> set[str]:
    return {word for word in _WORD.findall(prompt.casefold()) if 1 < len(word) <= _LONGEST_WORD}


class _Words:
    def __init__(self, suspects: frozenset[str]) -> None:
        self._suspects = suspects
        self._of: dict[str, list[int]] = {}
        """By word: refused rows, rows, and a mark of which rows these are."""

    def add(self, row: Judged, number: int) -> None:
        mark = int.from_bytes(blake2b(number.to_bytes(8, "big"), digest_size=8).digest(), "big")
        for word in _words_of(row.prompt) & self._suspects:
            of = self._of.setdefault(word, [0, 0, 0])
            of[0] += row.is_refused
            of[1] += 1
            of[2] ^= mark

    def found(self, all_: Count) -> Iterator[OfWord]:
        """Words that stand out; those that are always together are told together."""
        together: dict[tuple[int, int, int], list[str]] = {}
        for word, (refused, rows, mark) in self._of.items():
            together.setdefault((refused, rows, mark), []).append(word)
        found = []
        for (refused, rows, _), words in together.items():
            count = Count(refused, rows)
            others = Count(all_.refused - refused, all_.rows - rows)
            if _stands_out(count, others):
                found.append(OfWord(tuple(sorted(words)), count, others))
        yield from sorted(found, key=lambda one: (-one.count.at_least, -one.count.rows, one.words))


class _Cells:
    def __init__(self) -> None:
        self._of: dict[str, dict[str, list[int]]] = {}
        self._pairs: dict[tuple[str, str], dict[tuple[str, str], list[int]]] = {}
        self._alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
        """Rows by their values, as far as they are not paired yet."""
        self._many: set[str] = set()

    @property
    def left_out(self) -> list[str]:
        """Variables with too many values."""
        return sorted(self._many)

    def add(self, row: Judged) -> None:
        fields = [(name, value) for name, value in row.fields.items() if name not in self._many]
        for name, value in fields:
            values = self._of.setdefault(name, {})
            if value not in values and len(values) >= _MOST_VALUES_KEPT:
                self._forget(name)
                continue
            _count(values, value, row.is_refused)
        small = [field for field in fields if len(self._of.get(field[0], ())) <= _MOST_VALUES]
        _count(self._alike, tuple(small[:_MOST_VARIABLES]), row.is_refused)
        if len(self._alike) > _MOST_ALIKE:
            self._pair_up()

    def _pair_up(self) -> None:
        """Rows with the same values are paired once for all of them."""
        for fields, (refused, rows) in self._alike.items():
            for (one, first), (other, second) in itertools.combinations(sorted(fields), 2):
                if self._many.isdisjoint((one, other)):
                    found = self._pairs.setdefault((one, other), {}).setdefault((first, second), [0, 0])
                    found[0] += refused
                    found[1] += rows
        self._alike.clear()

    def values(self, all_: Count) -> Iterator[OfValue]:
        """Of each variable that has several values, those that are refused at all."""
        for variable, values in self._of.items():
            if len(values) < 2 or variable in self._many:
                continue
            found = []
            for value, (refused, rows) in values.items():
                count = Count(refused, rows)
                others = Count(all_.refused - refused, all_.rows - rows)
                if refused:
                    found.append(OfValue(variable, value, count, _stands_out(count, others)))
            yield from sorted(found, key=lambda one: (-one.count.at_least, one.value))[:_WORDS_SHOWN]

    def pairs(self) -> Iterator[OfPair]:
        """Tables of two variables, those first in which cells differ most."""
        self._pair_up()
        found = [
            (self._spread(cells), names, cells)
            for names, cells in self._pairs.items()
            if all(2 <= len(self._of.get(name, ())) <= _MOST_VALUES for name in names)
        ]
        found.sort(key=lambda one: (-one[0], one[1]))
        for _, names, cells in found[:_MOST_PAIRS]:
            yield self._table(names, cells)

    def _table(self, names: tuple[str, str], cells: dict[tuple[str, str], list[int]]) -> OfPair:
        """The longer variable goes down, and values that are refused most come first."""
        down, across = sorted(names, key=lambda name: -len(self._of[name]))
        row_values, column_values = self._ordered(down), self._ordered(across)
        is_turned = (down, across) != names

        def cell(row: str, column: str) -> Count | None:
            found = cells.get((column, row) if is_turned else (row, column))
            return None if found is None else Count(found[0], found[1])

        table = tuple(tuple(cell(row, column) for column in column_values) for row in row_values)
        return OfPair(down, across, row_values, column_values, table)

    def _ordered(self, name: str) -> tuple[str, ...]:
        return tuple(sorted(self._of[name], key=lambda value: (-_share(self._of[name][value]), value)))

    def _spread(self, cells: dict[tuple[str, str], list[int]]) -> float:
        shares: Sequence[float] = [_share(found) for found in cells.values()]
        mean = sum(shares) / len(shares)
        return round(sum((share - mean) ** 2 for share in shares) / len(shares), 9)

    def _forget(self, name: str) -> None:
        """A variable that is another one in each row makes no table."""
        self._many.add(name)
        self._of.pop(name, None)
        self._pairs = {names: cells for names, cells in self._pairs.items() if name not in names}


def _stands_out(count: Count, others: Count) -> bool:
    """By far: of many rows the least difference is more than chance."""
    return bool(others.rows) and count.at_least > _FAR * others.share


def _count(of: dict[Key, list[int]], key: Key, is_refused: bool) -> None:
    found = of.setdefault(key, [0, 0])
    found[0] += is_refused
    found[1] += 1


def _share(found: Sequence[int]) -> float:
    return found[0] / found[1]
