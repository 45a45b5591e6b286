"""Objects of JSON as rows: their keys are columns, and what stands deeper may be named as `prompts.en`."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.read.encoding import control_fault
from nanobanana_batch.manifest.read.table import CHANGED, Header
from nanobanana_batch.manifest.words.names import as_name
from nanobanana_batch.manifest.words.template import Value
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import shown

MAX_COLUMNS = 1000
_MOST_INNER = 1000
_DEEPEST = 5
_ITEMS_NAMED = 10
Record = dict[str, Any]
"""Values as JSON has them, numbers as they were written."""


class Refused(ValueError):
    """What this record holds cannot be a row."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.key = key


class TooManyKeys(Exception):
    """Keys name columns, and are few."""

    def __str__(self) -> str:
        return f"more than {MAX_COLUMNS} different keys up to here; keys name columns, and are few"


class Keys:
    """The keys of all records of a file, in the order in which they first stand, and what is under them."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._lists: dict[str, str] = {}
        self._nested: dict[str, str] = {}
        self._inner: dict[str, bool] = {}

    def see(self, place: str, record: Record) -> None:
        """Take one record; raises `TooManyKeys`."""
        if not record.keys() <= self._places.keys():
            for key in record:
                self._places.setdefault(key, place)
            if len(self._places) > MAX_COLUMNS:
                raise TooManyKeys
        for key, value in record.items():
            if type(value) is not str and isinstance(value, list | dict):
                self._see_inside(place, key, value)

    def _see_inside(self, place: str, key: str, value: Any) -> None:
        if is_list_of_texts(value):
            self._lists.setdefault(key, place)
        else:
            self._nested.setdefault(key, "object" if isinstance(value, dict) else "list")
        if len(self._inner) < _MOST_INNER:
            for path, is_list in _paths(value, key, _DEEPEST):
                self._inner[path] = is_list or self._inner.get(path, False)

    def header(self) -> Header:
        """What was seen; no names where there was nothing."""
        columns = {name: index for index, name in enumerate(self._places)}
        return Header(
            tuple(columns),
            tuple(self._places.values()),
            {columns[name]: place for name, place in self._lists.items() if name not in self._nested},
            {columns[name]: kind for name, kind in self._nested.items()},
            {path: is_list for path, is_list in self._inner.items() if path not in columns},
        )


def cells(record: Record, names: Sequence[str], inner: Sequence[str]) -> list[Value]:
    """What a record has under these names, and inside of others; "" for nothing."""
    found = [value if type(value := record.get(name, "")) is str else text_of(value) for name in names]
    return [*found, *(text_of(_reached(record, path.split("."))) for path in inner)] if inner else found


def text_of(value: Any) -> Value:
    """The text of a value; several for a list of texts, nothing for what has none."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return tuple(value) if is_list_of_texts(value) else ""


def is_list_of_texts(value: Any) -> bool:
    """Whether it is a list, and has nothing but texts and numbers in it."""
    return isinstance(value, list) and all(type(item) is str for item in value)


def _paths(value: Any, path: str, deep: int) -> Iterator[tuple[str, bool]]:
    items: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = [(str(number), item) for number, item in enumerate(value[:_ITEMS_NAMED])]
    for key, item in items:
        if not isinstance(item, dict) and (is_texts := is_list_of_texts(item)) == isinstance(item, list):
            yield f"{path}.{key}", is_texts
        if deep > 1:
            yield from _paths(item, f"{path}.{key}", deep - 1)


def _reached(value: Any, steps: Sequence[str]) -> Any:
    """What stands there; keys may have dots, the shortest that leads on wins."""
    if not steps:
        return value
    if isinstance(value, list):
        number = int(steps[0]) if steps[0].isascii() and steps[0].isdigit() and len(steps[0]) < 9 else -1
        return _reached(value[number], steps[1:]) if 0 <= number < len(value) else None
    if isinstance(value, dict):
        for length in range(1, len(steps) + 1):
            key = ".".join(steps[:length])
            if key in value and (found := _reached(value[key], steps[length:])) is not None:
                return found
    return None


def refuse_controls(key: str, value: Any) -> None:
    """Raise `Refused` for a text that only an escape can have brought in."""
    if isinstance(value, str):
        fault = control_fault(value)
        if fault:
            raise Refused(fault, key)
    elif isinstance(value, list):
        for item in value:
            refuse_controls(key, item)
    elif isinstance(value, dict):
        for name, item in value.items():
            refuse_controls(key or name, item)


def _unique(pairs: list[tuple[str, Any]]) -> Record:
    record = {as_name(key): value for key, value in pairs}
    if len(record) < len(pairs):
        keys = [as_name(key) for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Refused(f"the key {shown(twice)} stands there twice")
    return record


def _no_number(name: str) -> NoReturn:
    raise Refused(f"{name} is no number that JSON knows; write null where there is none")


DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=str, parse_int=str, parse_constant=_no_number
)
"""Numbers stay as they were written, since every value is text."""


NO_OBJECT = 'expected an object, such as {"prompt": "a cat"}'


def problem_at(place: str, error: Refused) -> Problem:
    """The problem of a record."""
    return Problem(place, error.message, error.key)


class RecordTable(ABC):
    """A file of objects; its columns are the keys of all of them, in the order in which they first stand."""

    EMPTY: ClassVar[str]
    """What is wrong with a file without any object."""

    def __init__(self, path: Path, file: str, row_prefix: str) -> None:
        self.file = file
        self.row_prefix = row_prefix
        self._path = path

    @abstractmethod
    def _records(self, log: ProblemLog) -> Iterator[tuple[int, Record]]:
        """Each object with its number in the file; what is wrong with it goes into the log."""

    def header(self) -> Header:
        """The keys, found by reading the whole file."""
        keys, log = Keys(), ProblemLog()
        for number, record in self._records(log):
            place = f"{self.row_prefix}{number}"
            try:
                keys.see(place, record)
            except TooManyKeys as error:
                return Header(problems=(Problem(place, str(error)),))
        header = keys.header()
        if header.names:
            return header
        return Header(problems=tuple(log)[:1] or (Problem(self.file, self.EMPTY),))

    def rows(
        self, names: Sequence[str], log: ProblemLog, inner: Sequence[str] = ()
    ) -> Iterator[tuple[int, list[Value]]]:
        """The number of each object, and its values in the order of the columns.

        Also of one without any value: unlike an empty line of a table, somebody has written it.
        """
        known = set(names)
        for number, record in self._records(log):
            if not record.keys() <= known:
                log.add(Problem(self.file, CHANGED))
                return
            yield number, cells(record, names, inner)

    def notes(self) -> Iterator[str]:
        """Nothing."""
        return iter(())
