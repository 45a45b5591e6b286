"""JSON Lines: one object a line. Numbers stay as they were written, since every value is text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.read.encoding import Unusable, control_fault, sound_lines
from nanobanana_batch.manifest.read.table import CHANGED, Header, opened
from nanobanana_batch.manifest.words.names import as_name
from nanobanana_batch.manifest.words.template import Value
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import shown

MAX_COLUMNS = 1000


class _Refused(ValueError):
    """What this line holds cannot be a row."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.key = key


class JsonLines:
    """A JSONL file; its columns are the keys of all of its lines, in the order in which they first stand."""

    def __init__(self, path: Path, file: str) -> None:
        self.file = file
        self.row_prefix = f"{file}:"
        self._path = path

    def header(self) -> Header:
        """The keys, found by reading the whole file."""
        names: dict[str, int] = {}
        lists: dict[str, int] = {}
        log = ProblemLog()
        for line, record in self._records(log):
            if not record.keys() <= names.keys():
                for key in record:
                    names.setdefault(key, line)
            for key, value in record.items():
                if type(value) is tuple:
                    lists.setdefault(key, line)
            if len(names) > MAX_COLUMNS:
                message = f"more than {MAX_COLUMNS} different keys up to here; keys name columns, and are few"
                return Header(problems=(Problem(f"{self.file}:{line}", message),))
        if not names:
            empty = Problem(
                self.file, 'the table is empty; each line has to be an object: {"prompt": "a cat"}'
            )
            return Header(problems=tuple(log)[:1] or (empty,))
        columns = {name: index for index, name in enumerate(names)}
        return Header(
            tuple(names),
            tuple(f"{self.file}:{line}" for line in names.values()),
            {columns[name]: f"{self.file}:{line}" for name, line in lists.items()},
        )

    def rows(self, names: Sequence[str], log: ProblemLog) -> Iterator[tuple[int, list[Value]]]:
        """The line of each object, and its values in the order of the columns."""
        known = set(names)
        for line, record in self._records(log):
            if not record.keys() <= known:
                log.add(Problem(self.file, CHANGED))
                return
            cells = [record.get(name, "") for name in names]
            if any(cells):
                yield line, cells

    def _records(self, log: ProblemLog) -> Iterator[tuple[int, dict[str, Value]]]:
        try:
            with opened(self._path) as stream:
                for line, text in sound_lines(stream, self.file, log.add):
                    try:
                        if not text.isspace():
                            yield line, _record(text)
                    except json.JSONDecodeError as error:
                        place = f"{self.file}:{line}:{error.colno}"
                        log.add(Problem(place, f"not valid JSON: {error.msg}"))
                    except _Refused as error:
                        log.add(Problem(f"{self.file}:{line}", error.message, error.key))
        except Unusable as error:
            log.add(Problem(self.file, str(error)))
        except OSError as error:
            log.add(Problem(self.file, f"cannot be read: {error.strerror or error}"))


def _record(text: str) -> dict[str, Value]:
    try:
        record = _DECODER.decode(text)
    except json.JSONDecodeError:
        if text.strip() in _OVER_LINES:
            raise Unusable(_OVER_LINES[text.strip()]) from None
        raise
    except RecursionError:
        raise _Refused("nested far too deeply") from None
    if type(record) is not dict:
        raise _Refused('expected an object, such as {"prompt": "a cat"}')
    # Only an escape can bring in a character that the line itself was checked for.
    escaped = "\\" in text
    for key, value in record.items():
        if type(value) is not str:
            record[key] = _value(key, value)
        if escaped:
            _refuse_control(key, record[key])
    return record


def _value(key: str, value: Any) -> Value:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        raise _Refused("an object inside of the row; a value is a text, a number, true, false or null", key)
    if not all(type(item) is str for item in value):
        raise _Refused("a list has texts in it and nothing else", key)
    return tuple(value)


def _refuse_control(key: str, value: Value) -> None:
    fault = control_fault(value if isinstance(value, str) else " ".join(value))
    if fault:
        raise _Refused(fault, key)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = {as_name(key): value for key, value in pairs}
    if len(record) < len(pairs):
        keys = [as_name(key) for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Refused(f"the key {shown(twice)} stands there twice")
    return record


def _no_number(name: str) -> NoReturn:
    raise _Refused(f"{name} is no number that JSON knows; write null where there is none")


_OVER_LINES = {
    "[": "one list over several lines, and not one object a line; `jq -c '.[]' OLD > NEW` makes it so",
    "{": "objects over several lines, and not one object a line; `jq -c . OLD > NEW` makes it so",
}
_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=str, parse_int=str, parse_constant=_no_number
)
