"""What is told of each sample beside its picture: the same columns with the same types in every format.

A type never depends on what is in a column, so that no part of an export and no later one has another.
Texts are texts, whatever they look like; a text that is not there is empty, a number that is not is None.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nanobanana_batch.collection.columns import OF_CHECK, OF_VARIABLE, Getter, column_of, getter
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.model import REQUEST_FIELDS
from nanobanana_batch.results import AFTER_VARIABLES, BEFORE_VARIABLES

Value = str | int | float | bool | None


class Type(StrEnum):
    """By the names that the Hub has for them."""

    TEXT = "string"
    WHOLE = "int64"
    NUMBER = "float64"
    TRUTH = "bool"


_KINDS: Mapping[Type, Callable[[Any], Value]] = {
    Type.TEXT: str,
    Type.WHOLE: int,
    Type.NUMBER: float,
    Type.TRUTH: bool,
}
"""What most values are already; else it makes them that."""
_MISSING: Mapping[Type, Value] = dict.fromkeys(Type) | {Type.TEXT: ""}


@dataclass(frozen=True, slots=True)
class Column:
    """One of them."""

    name: str
    """As it is called in the export."""
    source: str
    """As `collection.columns` calls it, or one of our own."""
    type: Type = Type.TEXT

    def of(self, sample: Sample) -> Value:
        """What a sample has there."""
        return Teller((self,)).of(sample)[0]

    def getter(self) -> Getter:
        """What finds it, as what it is there."""
        return _OWN.get(self.source) or getter(self.source)


class Teller:
    """Tells what samples have in these columns, each of which is understood once for all samples.

    `missing`: what is told of a thing that is not known, by the type of its column.
    """

    def __init__(self, columns: Iterable[Column], missing: Mapping[Type, Value] = _MISSING) -> None:
        listed = list(columns)
        self._names = [column.name for column in listed]
        self._ways = [
            (column.getter(), _KINDS[column.type], _as(_KINDS[column.type], missing[column.type]))
            for column in listed
        ]

    def of(self, sample: Sample) -> list[Value]:
        """What one has, column by column."""
        entry, picture = sample.entry, sample.found
        return [
            found if (found := get(entry, picture)).__class__ is kind else as_kind(found)
            for get, kind, as_kind in self._ways
        ]

    def named(self, sample: Sample) -> dict[str, Value]:
        """The same by the names of the columns."""
        return dict(zip(self._names, self.of(sample), strict=True))


def _as(kind: Callable[[Any], Value], missing: Value) -> Callable[[Any], Value]:
    return lambda found: missing if found is None else kind(found)


PLACEHOLDER, OTHER_IMAGES = "\0placeholder", "\0other_images"
"""What only exports have; a variable may be called as what stands behind the first sign, and no more."""
_OWN: Mapping[str, Getter] = {
    PLACEHOLDER: lambda row, _: row.is_practice,
    OTHER_IMAGES: lambda row, _: "|".join([one.path for one in row.pictures[1:]]),
}
_WHOLE = ("variant", "image_number", "width", "height", "size_bytes", "rating", "attempts")
_TYPES = dict.fromkeys(_WHOLE, Type.WHOLE) | {"credits": Type.NUMBER, PLACEHOLDER: Type.TRUTH}
_BEFORE = ("id", *REQUEST_FIELDS, "variant")
_AFTER = ("image_number", "width", "height", "sha256", "duplicate_of", "note", "provider", "row_key")
_JUDGED = ("rating", "verdict", "rating_note")


def columns_of(
    variables: Iterable[str],
    checks: Iterable[str] = (),
    *,
    is_judged: bool = False,
    is_practice: bool = False,
    has_folders: bool = False,
) -> tuple[Column, ...]:
    """Those of an export; what no sample can have is left out (ratings where nobody has rated)."""
    judged = _JUDGED if is_judged else ()
    folders = ("folder",) if has_folders else ()
    names = (*_BEFORE, *map(column_of, variables), *_AFTER, *judged, *map(_check, checks), *folders)
    return _columns(names, is_practice)


def table_columns_of(
    variables: Iterable[str],
    checks: Iterable[str] = (),
    *,
    is_judged: bool = False,
    is_practice: bool = False,
    has_folders: bool = False,
) -> tuple[Column, ...]:
    """Those of a table of rows: what results.csv has, and what people and checks say of pictures."""
    judged = _JUDGED if is_judged else ()
    folders = ("folder",) if has_folders else ()
    before = BEFORE_VARIABLES
    after = (OTHER_IMAGES if name == OTHER_IMAGES[1:] else name for name in AFTER_VARIABLES)
    names = (*before, *map(column_of, variables), *after, *judged, *map(_check, checks), *folders)
    return _columns(names, is_practice)


def _check(name: str) -> str:
    return f"{OF_CHECK}{name}"


def _columns(sources: Iterable[str], is_practice: bool) -> tuple[Column, ...]:
    listed = list(dict.fromkeys(sources))
    taken = {source.lstrip("\0") for source in listed}
    columns = []
    for source in listed:
        name = source.lstrip("\0")
        if f"\0{source}" in listed:  # as results.csv calls such a variable
            name = _free(f"{OF_VARIABLE}{source}", taken)
        columns.append(Column(name, source, _TYPES.get(source, Type.TEXT)))
    if is_practice:
        columns.append(Column(_free(PLACEHOLDER[1:], taken), PLACEHOLDER, Type.TRUTH))
    return tuple(columns)


def renamed(
    columns: Iterable[Column], reserved: Collection[str], endings: tuple[str, ...] = ()
) -> tuple[Column, ...]:
    """The same where names mean something to a loader: `reserved`, and whatever ends with one of `endings`.

    Such a column is called `var_<name>`, or `<name>_text` where its ending is what means something.
    """
    listed = list(columns)
    taken = {column.name for column in listed} | set(reserved)
    told = []
    for column in listed:
        name = column.name
        if name in reserved:
            name = _free(f"{OF_VARIABLE}{name}", taken)
        if endings and name.endswith(endings):
            name = _free(f"{name}_text", taken)
        taken.add(name)
        told.append(Column(name, column.source, column.type))
    return tuple(told)


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name
