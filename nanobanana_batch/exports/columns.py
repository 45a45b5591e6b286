"""What is told of each sample beside its picture: the same columns with the same types in every format.

A type never depends on what is in a column, so that no part of an export and no later one has another.
Texts are texts, whatever they look like; a text that is not there is empty, a number that is not is None.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from nanobanana_batch.collection.columns import OF_CHECK, OF_VARIABLE, cell, column_of
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
        if self.source == PLACEHOLDER:
            return sample.entry.is_practice
        if self.source == OTHER_IMAGES:
            return "|".join(one.path for one in sample.entry.pictures[1:])
        found = cell(sample.entry, sample.found, self.source)
        if self.type is Type.TEXT:
            return "" if found is None else str(found)
        if self.type is Type.NUMBER:
            return None if found is None else float(found)
        return None if found is None else int(found)


PLACEHOLDER, OTHER_IMAGES = "\0placeholder", "\0other_images"
"""What only exports have; a variable may be called as what stands behind the first sign, and no more."""
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
