"""One JSON document: an array of objects or texts, or an object of them; read value by value, never whole."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.read.encoding import (
    MAX_LINE,
    Unusable,
    beginning_of,
    control_fault,
    is_utf16,
    not_utf8,
    refuse_foreign,
)
from nanobanana_batch.manifest.read.jsonl import JsonLines
from nanobanana_batch.manifest.read.records import (
    DECODER,
    NO_OBJECT,
    Record,
    RecordTable,
    Refused,
    problem_at,
    refuse_controls,
)
from nanobanana_batch.manifest.read.table import Table, opened
from nanobanana_batch.manifest.words.names import field_written_otherwise, offers_prompts
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import shown

KEY = "key"
"""The column of the keys of an object of objects."""
_PROMPT = "prompt"
_CHUNK = 1 << 16
_TOO_LONG = f"a value of more than {MAX_LINE:,} characters, or a quote that is never closed; no more are read"
_SAYS_SOMETHING = re.compile(r"[^ \t\n\r]")
_ONE_LIST = "one object, and a row for each of its values was expected; its rows seem to stand under {key}"


class JsonTable(RecordTable):
    """A JSON file; its columns are the keys of all of its objects."""

    EMPTY = 'there are no rows; expected a list such as [{"prompt": "a cat"}]'

    def __init__(self, path: Path, file: str) -> None:
        super().__init__(path, file, f"{file} row ")

    def _records(self, log: ProblemLog) -> Iterator[tuple[int, Record]]:
        try:
            with opened(self._path) as stream, closing(_Scanner(stream)) as scanner:
                yield from self._read(scanner, log)
        except Unusable as error:
            log.add(Problem(self.file, str(error)))
        except UnicodeDecodeError as error:
            log.add(Problem(self.file, not_utf8(error.object[max(0, error.start - 200) : error.start + 200])))
        except _NotJson as error:
            log.add(Problem(f"{self.file}:{error.line}", f"not valid JSON: {error}"))
        except OSError as error:
            log.add(Problem(self.file, f"cannot be read: {error.strerror or error}"))

    def _read(self, scanner: _Scanner, log: ProblemLog) -> Iterator[tuple[int, Record]]:
        for row, (key, value) in enumerate(scanner.members(), 1):
            try:
                if isinstance(value, Refused):
                    raise value
                yield row, _record(key, value)
            except Refused as error:
                log.add(problem_at(f"{self.row_prefix}{row}", error))


def _record(key: str | None, value: Any) -> Record:
    if key is not None and isinstance(value, list):
        raise Unusable(_ONE_LIST.format(key=shown(key)) + f"; `jq '.[{json.dumps(key)}]' OLD > NEW`")
    record = {_PROMPT: value} if isinstance(value, str) else value
    if type(record) is not dict:
        raise Refused(NO_OBJECT)
    return record if key is None or KEY in record else {KEY: key, **record}


class _NotJson(Exception):
    """With the line at which it ends to be JSON."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class _Scanner:
    """Takes one value after the other from a text of which only a piece is in memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        assert isinstance(stream, io.BufferedReader)
        head = stream.peek(4)
        refuse_foreign(head)
        self._text = io.TextIOWrapper(stream, "utf-16" if is_utf16(head) else "utf-8-sig", newline="")
        self._piece = ""
        self._at = 0
        self._line = 1
        self._is_over = False

    def close(self) -> None:
        """Leave the stream to those who have opened it."""
        self._text.detach()

    def members(self) -> Iterator[tuple[str | None, Any]]:
        """The values of the array or object, each with its key; `Refused` in the place of a bad one."""
        opening = self._next()
        closing = {"[": "]", "{": "}"}.get(opening)
        if closing is None:
            raise self._fault("a list or an object begins with [ or {" if opening else "it is empty")
        self._at += 1
        if self._next() == closing:
            return
        while True:
            key = self._key() if opening == "{" else None
            self._next()
            yield key, self._value()
            mark = self._next()
            self._at += 1
            if mark == closing:
                break
            if mark != ",":
                raise self._fault("a comma between two values is missing, or the end")
            if self._next() == closing:
                raise self._fault("a comma stands behind the last value")
        if self._next():
            raise self._fault("something stands behind the end")

    def _key(self) -> str:
        self._next()
        key = self._value()
        if not isinstance(key, str) or self._next() != ":":
            raise self._fault('expected "key": value')
        self._at += 1
        return key

    def _next(self) -> str:
        """The next character that says something; nothing at the end."""
        while True:
            if found := _SAYS_SOMETHING.search(self._piece, self._at):
                self._at = found.start()
                return found[0]
            self._at = len(self._piece)
            if not self._more():
                return ""

    def _value(self) -> Any:
        while True:
            try:
                value, end = DECODER.raw_decode(self._piece, self._at)
            except json.JSONDecodeError as error:
                self._go_on(error)
            except Refused as refused:
                return self._passed(refused)
            except RecursionError:
                raise self._fault("nested far too deeply") from None
            else:
                # A number may go on in the next piece.
                if end < len(self._piece) or not self._more():
                    return self._taken(value, end)

    def _passed(self, refused: Refused) -> Any:
        while True:
            try:
                _, end = _PLAIN.raw_decode(self._piece, self._at)
            except json.JSONDecodeError as error:
                self._go_on(error)
            except RecursionError:
                raise self._fault("nested far too deeply") from None
            else:
                self._at = end
                return refused

    def _go_on(self, error: json.JSONDecodeError) -> None:
        """Read on, if that may mend it."""
        is_long = len(self._piece) - self._at > MAX_LINE
        if is_long and (error.msg.startswith("Unterminated") or error.pos - self._at > MAX_LINE):
            raise Unusable(f"line {self._line_at(self._at)}: {_TOO_LONG}")
        if is_long or not self._more():
            raise self._fault(error.msg, error.pos) from error

    def _taken(self, value: Any, end: int) -> Any:
        text = self._piece[self._at : end]
        self._at = end
        if len(text) > MAX_LINE:
            return Refused(f"a value of {len(text):,} characters; at most {MAX_LINE:,} are read")
        try:
            if fault := control_fault(text):
                raise Refused(fault)
            if type(value) is str and text[0] != '"':  # a number
                raise Refused(NO_OBJECT)
            if "\\" in text:
                refuse_controls("", value)
        except Refused as refused:
            return refused
        return value

    def _more(self) -> bool:
        """Read on; what was taken is forgotten."""
        if self._is_over:
            return False
        piece = self._text.read(_CHUNK)
        self._is_over = not piece
        self._line += self._piece.count("\n", 0, self._at)
        self._piece = self._piece[self._at :] + piece
        self._at = 0
        return bool(piece)

    def _fault(self, message: str, position: int | None = None) -> _NotJson:
        return _NotJson(message, self._line_at(self._at if position is None else position))

    def _line_at(self, position: int) -> int:
        return self._line + self._piece.count("\n", 0, position)


_PLAIN = json.JSONDecoder(parse_float=str, parse_int=str)


def json_table(path: Path, file: str) -> Table:
    """The table in a file called .json: one document, unless it has an object a line, which some call so."""
    line, rest = _beginning(path)
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    keys = list(value) if isinstance(value, dict) else []
    is_more = bool(keys) and rest.lstrip().startswith("{")
    # One line may be a whole document of many rows, or one row.
    is_row = is_more or any(field_written_otherwise(key) or offers_prompts(key) for key in keys)
    return JsonLines(path, file) if is_row else JsonTable(path, file)


def lines_table(path: Path, file: str) -> Table:
    """The table in a file called .jsonl: an object a line, unless it is one list over several lines."""
    line, _ = _beginning(path)
    return JsonTable(path, file) if line.strip() == "[" else JsonLines(path, file)


def _beginning(path: Path) -> tuple[str, str]:
    """The first line, and what follows; what cannot be read is told where it is read."""
    try:
        with opened(path) as stream:
            head = stream.read(MAX_LINE)
    except (OSError, Unusable):
        return "", ""
    line, _, rest = beginning_of(head).partition("\n")
    return line, rest
