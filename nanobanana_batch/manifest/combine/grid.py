"""The combinations of a block: its rows times its factors, less what is excluded, and with what is included.

What an entry asks of a row itself decides whether it holds for that row. Rows for which the same entries hold
share one product, so a table of a million rows costs a look at each and no more.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

from nanobanana_batch.errors import Problem, UsageError
from nanobanana_batch.manifest.combine.axes import Axes, Excluded, Held, Included
from nanobanana_batch.manifest.combine.product import Entangled, Product, drawn
from nanobanana_batch.manifest.form.block import Block, Entry, Picked, SourceRow
from nanobanana_batch.manifest.form.table_source import TableRows
from nanobanana_batch.manifest.words.template import Value, as_text
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import closest, shown

_PRODUCTS_KEPT = 10_000
_SUGGESTED_AMONG = 1000
_VALUES_SHOWN = 10
_Held = TypeVar("_Held", bound=Held)
_Texts = tuple[str, ...]
MAX_VARIANTS = 1_000_000


class Point(NamedTuple):
    """One combination: the `include` entry that adds it, if one does, and its level on each axis."""

    added_by: Included | None
    levels: tuple[int, ...]


_ONLY = Point(None, ())


@dataclass(frozen=True, slots=True, eq=False)
class _RowProduct:
    """The combinations of all rows for which the same entries hold."""

    product: Product
    parts: tuple[Included | None, ...]
    """The entry that adds each part of the product."""


class _Index(Generic[_Held]):
    """Finds the entries that hold for a row without asking all of them."""

    def __init__(self, entries: Sequence[_Held]) -> None:
        self._numbered: dict[tuple[str, str] | None, list[tuple[int, _Held]]] = {}
        for number, held in enumerate(entries):
            first = next(iter(held.asks.items()), None)
            for key in dict.fromkeys((first[0], text) for text in first[1]) if first else (None,):
                self._numbered.setdefault(key, []).append((number, held))

    def holding(self, base: Mapping[str, Value]) -> tuple[_Held, ...]:
        """The entries that hold for this row, in order."""
        keys = (None, *((name, as_text(value)) for name, value in base.items()))
        found = [each for key in keys for each in self._numbered.get(key, ()) if each[1].holds(base)]
        return tuple([held for _, held in sorted(found, key=itemgetter(0))])


class Grid:
    """What combinations a block has; only what is iterated is ever enumerated."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self._defaults = {name: given.value for name, given in block.defaults.items()}
        self._axes = Axes(block)
        self._columns = [
            (column.name, column.values, axis)
            for axis, factor in enumerate(block.factors)
            for column in factor.columns
        ]
        self._excludes = _Index(self._axes.excludes)
        self._includes = _Index(self._axes.includes)
        self._asked = self._axes.asked()
        self._products: dict[tuple[str | None, ...], _RowProduct] = {}
        self._total: int | None = None
        self._drawn_from = 0
        self._met: set[str] = set()
        self.used = {
            _value_key(name, text)
            for entry in block.exclude
            for name, text in _choices_of(entry)
            if self._axes.has(name, text)
        }
        """Places of the entries that take something out, or add something, in a row that was read.

        And the values among several of an `exclude` entry that are there.
        """

    def cells(self, log: ProblemLog) -> Iterator[tuple[SourceRow, Point, dict[str, Value]]]:
        """Each combination in order, with its row and all its values; unreadable rows go to `log`."""
        for row, base, found, numbers in self._shares(log):
            product, parts = found.product, found.parts
            for part, levels in product if numbers is None else map(product.nth, numbers):
                point = Point(parts[part], levels)
                yield row, point, self._values(base, point)

    @property
    def is_plain(self) -> bool:
        """Whether each row of its source is one combination, and none is taken out."""
        block = self.block
        return not (block.factors or block.include or block.exclude or block.sample)

    def was_read(self, rows: int) -> None:
        """All rows of such a block were read by somebody else, and there were so many."""
        self._total = rows

    def cell(self, row: SourceRow) -> tuple[SourceRow, Point, dict[str, Value]]:
        """The one combination of a row of such a block, as `cells` gives it."""
        return row, _ONLY, {**self._defaults, **row.values}

    def count(self) -> int:
        """How many rows the block gives, variants included."""
        return sum(
            (found.product.total if numbers is None else len(numbers)) * _variants(base)
            for _, base, found, numbers in self._shares(ProblemLog())
        )

    def most(self) -> int | None:
        """A number that its rows do not exceed, found without reading them; None: they have to be counted."""
        block = self.block
        if not isinstance(block.source, TableRows) or block.factors or block.include:
            return None
        is_once = "variants" not in block.row_names and "variants" not in block.defaults
        return block.source.most_rows() if is_once else None

    def tally(self, names: Sequence[str]) -> Counter[_Texts]:
        """How many rows have which texts under these names; products are counted and not enumerated."""
        counts: Counter[_Texts] = Counter()
        groups: Counter[tuple[_RowProduct, _Texts]] = Counter()
        for _, base, found, numbers in self._shares(ProblemLog()):
            if numbers is None:
                groups[found, _texts(base, names)] += _variants(base)
                continue
            for part, levels in map(found.product.nth, numbers):
                values = self._values(base, Point(found.parts[part], levels))
                counts[_texts(values, names)] += _variants(base)
        for (found, given), rows in groups.items():
            for chosen, combinations in self._choices(found, names):
                texts = [chosen.get(name, own) for name, own in zip(names, given, strict=True)]
                counts[tuple(texts)] += rows * combinations
        return counts

    def place(self, point: Point, name: str) -> str:
        """Where a factor or an `include` entry gives this name its value; nothing when neither does."""
        entry = point.added_by.entry if point.added_by else None
        if entry and name in entry.places and name not in self.block.row_names:
            return entry.places[name]
        axis = self._axes.of.get(name)
        if axis is None:
            return ""
        column = next(column for column in self.block.factors[axis].columns if column.name == name)
        return column.place(point.levels[axis])

    def words(self, point: Point) -> Iterator[str]:
        """What tells the combinations of one row from each other in ids."""
        return self._axes.words(point.levels)

    def sampled(self) -> Iterator[Picked]:
        """What `sample` takes of all combinations, if not all; known once all rows were read."""
        sample = self.block.sample
        if sample and self._total is not None and sample.count < self._total:
            yield Picked("sample", sample.count, self._total, str(sample.seed))

    def idle(self) -> Iterator[tuple[str, str]]:
        """Entries that change nothing, by place, with what to say; known once all rows were read."""
        if self._total is None:
            return
        yield from self.block.source.idle()
        for entry in self.block.exclude:
            if entry.place not in self.used:
                why, near = self._why_it_takes_nothing(entry)
                yield entry.place, str(Problem(entry.place, f"takes nothing out: {why}", "exclude", (), near))
            else:
                yield from self._idle_choices(entry)
        for entry in self.block.include:
            if entry.place not in self.used:
                held = next(held for held in self._axes.includes if held.entry is entry)
                why = "all of it is there already" if entry.place in self._met else _lacking(held.asks)
                yield entry.place, str(Problem(entry.place, f"adds nothing: {why}", "include"))
        sample = self.block.sample
        if sample and sample.count > self._total:
            message = f"there are only {self._total} combinations, and all are taken"
            yield sample.place, str(Problem(sample.place, message, "sample"))

    def _idle_choices(self, entry: Entry) -> Iterator[tuple[str, str]]:
        levels = {name: column for name, column, _ in self._columns}
        for name, text in _choices_of(entry):
            key = _value_key(name, text)
            if key not in self.used:
                near = closest(text, list(itertools.islice(levels.get(name, ()), _SUGGESTED_AMONG)))
                problem = Problem(entry.places[name], f"{name} is never {shown(text)}", "exclude", (), near)
                yield key, str(problem)

    def _why_it_takes_nothing(self, entry: Entry) -> tuple[str, str]:
        for name, column, _ in self._columns:
            texts = entry.values.get(name)
            if texts is not None and not any(self._axes.has(name, text) for text in texts):
                near = closest(texts[0], list(itertools.islice(column, _SUGGESTED_AMONG)))
                return f"{name} is never {_any_of(texts)}", near
        held = next((held for held in self._axes.excludes if held.entry is entry), None)
        return (_lacking(held.asks) if held else "`zip` has no such values side by side"), ""

    def _shares(
        self, log: ProblemLog
    ) -> Iterator[tuple[SourceRow, dict[str, Value], _RowProduct, list[int] | None]]:
        """Each row with its combinations, and the numbers of those that are drawn; `None` for all."""
        numbers = self._drawn()
        start = 0
        for row, base, found in self._rows(log):
            stop = start + found.product.total
            if numbers is None:
                yield row, base, found, None
            else:
                mine = numbers[bisect_left(numbers, start) : bisect_left(numbers, stop)]
                yield row, base, found, [number - start for number in mine]
            start = stop
        sample = self.block.sample
        if sample and start != self._drawn_from:
            # What was drawn from other rows is not what the person asked for, and could be more.
            log.add(Problem(sample.place, "rows came or went while they were read; try again", "sample"))

    def _drawn(self) -> list[int] | None:
        sample = self.block.sample
        if sample is None:
            return None
        total = sum(found.product.total for _, _, found in self._rows(ProblemLog()))
        self._drawn_from = total
        return None if sample.count >= total else drawn(total, sample.count, sample.seed)

    def _rows(self, log: ProblemLog) -> Iterator[tuple[SourceRow, dict[str, Value], _RowProduct]]:
        total = 0
        for row in self.block.source.rows(log):
            base = {**self._defaults, **row.values}
            found = self._row_product(base)
            total += found.product.total
            yield row, base, found
        self._total = total

    def _row_product(self, base: Mapping[str, Value]) -> _RowProduct:
        key = []
        for name, texts in self._asked:
            value = base.get(name)
            text = as_text(value) if value.__class__ is tuple else value
            key.append(text if text in texts else None)
        found = self._products.get(tuple(key))
        if found is None:
            if len(self._products) >= _PRODUCTS_KEPT:
                self._products.clear()
            found = self._made(self._excludes.holding(base), self._includes.holding(base))
            given = zip(self._asked, key, strict=True)
            self.used |= {_value_key(name, text) for (name, _), text in given if text is not None}
            self._products[tuple(key)] = found
        return found

    def _made(self, excludes: tuple[Excluded, ...], includes: tuple[Included, ...]) -> _RowProduct:
        boxes, added = [held.box for held in excludes], [held.ranges for held in includes]
        try:
            product = Product(self._axes.sizes, boxes, added)
        except Entangled:
            place = (*excludes, *includes)[0].entry.place
            message = "these entries overlap in too many ways to be counted; give fewer, or split the block"
            raise UsageError(f"{place}: {message}.") from None
        self.used |= {held.entry.place for held in excludes}
        for held, region in zip(includes, product.regions[1:], strict=True):
            self._met.add(held.entry.place)
            if region.total:
                self.used.add(held.entry.place)
        return _RowProduct(product, (None, *includes))

    def _values(self, base: dict[str, Value], point: Point) -> dict[str, Value]:
        values = base.copy()
        sets = point.added_by.sets if point.added_by else {}
        for name, column, axis in self._columns:
            if name not in sets:
                values[name] = column[point.levels[axis]]
        values.update(sets)
        return values

    def _choices(self, found: _RowProduct, names: Sequence[str]) -> Iterator[tuple[dict[str, str], int]]:
        """What combinations have under those names that are not the row's own, and how many have it."""
        columns = [(name, column, axis) for name, column, axis in self._columns if name in names]
        axes = sorted({axis for _, _, axis in columns})
        for held, region in zip(found.parts, found.product.regions, strict=True):
            sets = {name: text.strip() for name, text in held.sets.items() if name in names} if held else {}
            for levels in itertools.product(*(region.ranges[axis] for axis in axes)):
                at = dict(zip(axes, levels, strict=True))
                texts = {n: column[at[axis]].strip() for n, column, axis in columns if n not in sets}
                combinations = region.at(at).total
                if combinations:
                    yield {**texts, **sets}, combinations


def _choices_of(entry: Entry) -> Iterator[tuple[str, str]]:
    """Each value under the names for which an entry gives several."""
    for name, texts in entry.values.items():
        if len(texts) > 1:
            yield from ((name, text) for text in texts)


def _value_key(name: str, text: str) -> str:
    return f"{name}={text}"


def _any_of(texts: Sequence[str]) -> str:
    return " or ".join(map(shown, texts[:_VALUES_SHOWN])) + (" …" if len(texts) > _VALUES_SHOWN else "")


def _lacking(asks: Mapping[str, Sequence[str]]) -> str:
    return "no row has " + " and ".join(f"{name} {_any_of(texts)}" for name, texts in asks.items())


def _variants(base: Mapping[str, Value]) -> int:
    return variant_count(base.get("variants", "1"))


def _texts(values: Mapping[str, Value], names: Sequence[str]) -> _Texts:
    return tuple([as_text(values[name]).strip() if name in values else "" for name in names])


def variant_count(value: Value) -> int:
    """How many times a row is wanted; 0 for what is no such number."""
    text = as_text(value).strip()
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_VARIANTS))
    return int(text) if digits and int(text) <= MAX_VARIANTS else 0
