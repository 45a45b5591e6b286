"""JSON Lines: one object a line. Numbers stay as they were written, since every value is text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.read.encoding import Unusable, sound_lines
from nanobanana_batch.manifest.read.records import (
    DECODER,
    NO_OBJECT,
    Record,
    RecordTable,
    Refused,
    problem_at,
    refuse_controls,
)
from nanobanana_batch.manifest.read.table import opened
from nanobanana_batch.problems import ProblemLog


class JsonLines(RecordTable):
    """A JSONL file; its columns are the keys of all of its lines, in the order in which they first stand."""

    EMPTY = 'the table is empty; each line has to be an object: {"prompt": "a cat"}'

    def __init__(self, path: Path, file: str) -> None:
        super().__init__(path, file, f"{file}:")

    def _records(self, log: ProblemLog) -> Iterator[tuple[int, Record]]:
        try:
            with opened(self._path) as stream:
                for line, text in sound_lines(stream, self.file, log.add):
                    try:
                        if not text.isspace():
                            yield line, _record(text)
                    except json.JSONDecodeError as error:
                        place = f"{self.file}:{line}:{error.colno}"
                        log.add(Problem(place, f"not valid JSON: {error.msg}"))
                    except Refused as error:
                        log.add(problem_at(f"{self.file}:{line}", error))
        except Unusable as error:
            log.add(Problem(self.file, str(error)))
        except OSError as error:
            log.add(Problem(self.file, f"cannot be read: {error.strerror or error}"))


def _record(text: str) -> Record:
    try:
        record = DECODER.decode(text)
    except json.JSONDecodeError:
        if text.strip() in _OVER_LINES:
            raise Unusable(_OVER_LINES[text.strip()]) from None
        raise
    except RecursionError:
        raise Refused("nested far too deeply") from None
    if type(record) is not dict:
        raise Refused(NO_OBJECT)
    if "\\" in text:  # only an escape can bring in a character that the line itself was checked for
        for key, value in record.items():
            refuse_controls(key, value)
    return record


_OVER_LINES = {
    "{": "objects over several lines, and not one object a line; `jq -c . OLD > NEW` makes it so",
}
