"""The axes of a block's product: its factors, and names that only `include` sets; values as level numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from nanobanana_batch.manifest.combine.product import Box, Point, Ranges
from nanobanana_batch.manifest.form.block import Block, Entry, Factor
from nanobanana_batch.manifest.form.ranges import NumberRange
from nanobanana_batch.manifest.words.ids import word
from nanobanana_batch.manifest.words.template import Value, as_text


class Axis:
    """A factor and the levels that `include` adds; without a factor, the row's own value and those beside."""

    def __init__(self, names: tuple[str, ...], factor: Factor | None = None) -> None:
        self.names = names
        self.factor = factor
        self.size = len(factor) if factor else 1
        """Levels from here on are added ones."""
        self._holding: dict[str, dict[str, list[int]]] = {}
        self._added: dict[tuple[str, ...], int] = {}
        self._words: list[str] = []

    def holding(self, name: str, text: str) -> frozenset[int]:
        """The factor's levels that give this value to this name."""
        assert self.factor is not None
        values = self.factor.columns[self.names.index(name)].values
        if isinstance(values, NumberRange):
            level = values.find(text)
            return frozenset() if level is None else frozenset({level})
        if name not in self._holding:
            holding = self._holding[name] = {}
            for level, value in enumerate(values):
                holding.setdefault(value, []).append(level)
        return frozenset(self._holding[name].get(text, ()))

    def level(self, texts: tuple[str, ...]) -> int:
        """The level with these values, an added one if the factor has none."""
        if self.factor:
            found = [self.holding(name, text) for name, text in zip(self.names, texts, strict=True)]
            levels = frozenset.intersection(*found)
            if levels:
                return min(levels)
        if texts not in self._added:
            self._words.append(self._free_word("-".join(filter(None, map(word, texts)))))
            self._added[texts] = self.size + len(self._added)
        return self._added[texts]

    def word(self, level: int) -> str:
        """What the level is called in ids; nothing for the row's own value."""
        if level >= self.size:
            return self._words[level - self.size]
        return self.factor.word(level) if self.factor else ""

    def _free_word(self, name: str) -> str:
        number = self.size + len(self._added) + 1
        name = name or str(number)
        columns = self.factor.columns if self.factor else ()
        numbers = [column.words for column in columns if isinstance(column.words, NumberRange)]
        if name in self._taken or (numbers and len(columns) == 1 and name in numbers[0]):
            name = f"{name}-{number}"
        self._taken.add(name)
        return name

    @cached_property
    def _taken(self) -> set[str]:
        """The words of levels; beside a range each has a number of its own, and there may be too many."""
        columns = self.factor.columns if self.factor else ()
        is_long = any(isinstance(column.values, NumberRange) for column in columns)
        return set() if is_long else set(map(self.word, range(self.size)))


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """An entry, and what it asks of the row itself."""

    entry: Entry
    asks: Mapping[str, tuple[str, ...]]
    """Names, each with the values that will do."""

    def holds(self, base: Mapping[str, Value]) -> bool:
        """Whether the row is one that the entry is for."""
        return all(name in base and as_text(base[name]) in texts for name, texts in self.asks.items())


@dataclass(frozen=True, slots=True, eq=False)
class Excluded(Held):
    """An entry of `exclude`, and the combinations of factors that it takes out."""

    box: Box


@dataclass(frozen=True, slots=True, eq=False)
class Included(Held):
    """An entry of `include`: the levels that it asks for, and what it sets that no factor gives."""

    ranges: Ranges
    sets: Mapping[str, str]


class Axes:
    """All axes of a block, and its entries in their terms."""

    def __init__(self, block: Block) -> None:
        self._rows_give = block.row_names
        self._defaults = {name: as_text(given.value) for name, given in block.defaults.items()}
        self._axes = [Axis(factor.names, factor) for factor in block.factors]
        self.of = {name: index for index, axis in enumerate(self._axes) for name in axis.names}
        """The factors' names with their axes."""
        beside = dict.fromkeys(name for entry in block.include for name in self._set_by(entry))
        self._axes += [Axis((name,)) for name in beside if name not in self.of]
        self.sizes = [axis.size for axis in self._axes]
        excludes = map(self._excluded, block.exclude)
        self.excludes = [held for held in excludes if held]
        """Those that can take something out."""
        self.includes = [self._included(entry) for entry in block.include]

    def has(self, name: str, text: str) -> bool:
        """Whether a factor gives this value to this name."""
        return name in self.of and bool(self._axes[self.of[name]].holding(name, text))

    def asked(self) -> list[tuple[str, frozenset[str]]]:
        """The names of a row that decide what entries do to it, each with the values that matter."""
        asked: dict[str, set[str]] = {}
        for held in (*self.excludes, *self.includes):
            for name, texts in held.asks.items():
                asked.setdefault(name, set()).update(texts)
        return [(name, frozenset(texts)) for name, texts in asked.items()]

    def words(self, levels: Point) -> Iterator[str]:
        """What tells the combinations of one row from each other in ids."""
        return filter(None, (axis.word(level) for axis, level in zip(self._axes, levels, strict=True)))

    def _set_by(self, entry: Entry) -> dict[str, str]:
        return {name: texts[0] for name, texts in entry.values.items() if name not in self._rows_give}

    def _excluded(self, entry: Entry) -> Excluded | None:
        box: dict[int, frozenset[int]] = {}
        for name, texts in entry.values.items():
            if name in self.of:
                axis = self.of[name]
                levels = frozenset().union(*(self._axes[axis].holding(name, text) for text in texts))
                box[axis] = box.get(axis, levels) & levels
        if not all(box.values()):
            return None
        asks = {name: texts for name, texts in entry.values.items() if name not in self.of}
        return Excluded(entry, asks, tuple(sorted(box.items(), key=lambda item: item[0])))

    def _included(self, entry: Entry) -> Included:
        texts = self._set_by(entry)
        asks = {name: wanted for name, wanted in entry.values.items() if name not in texts}
        ranges: list[range] = []
        sets: dict[str, str] = {}
        for axis in self._axes:
            given = {name: texts[name] for name in axis.names if name in texts}
            if not given or (not axis.factor and given.items() <= self._defaults.items()):
                ranges.append(range(axis.size))  # what every row has by default is no other level
                continue
            level = axis.level(tuple([given[name] for name in axis.names]))
            ranges.append(range(level, level + 1))
            if level >= axis.size:
                sets |= given
        return Included(entry, asks, tuple(ranges), sets)
