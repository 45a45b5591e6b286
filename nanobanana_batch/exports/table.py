"""`csv` and `jsonl`: the table of results, with what people and checks have said of the pictures."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import islice

from nanobanana_batch.exports.columns import Value
from nanobanana_batch.exports.format import Takes
from nanobanana_batch.exports.json_lines import json_line
from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.samples import Samples
from nanobanana_batch.results import written, written_harmless

_ROWS_AT_ONCE = 1000


class Csv:
    """RFC 4180, UTF-8; with `--bom` for spreadsheets."""

    takes = Takes.ROWS
    is_file = True
    uses = frozenset({"bom"})

    def check(self, options: Options) -> None:
        """Nothing is needed."""

    def write(self, samples: Samples, place: Place, options: Options) -> None:
        """The header, then a line a row."""
        write = written_harmless if options.bom else written
        with place.file(place.name) as file:
            if options.bom:
                file.write(codecs.BOM_UTF8)
            file.write(write([[column.name for column in samples.columns]]))
            rows = _rows(samples)
            while listed := list(islice(rows, _ROWS_AT_ONCE)):
                file.write(write([[_as_text(value) for value in row] for row in listed]))


class Jsonl:
    """An object a line; what is not there is null, or an empty text."""

    takes = Takes.ROWS
    is_file = True
    uses = frozenset[str]()

    def check(self, options: Options) -> None:
        """Nothing is needed."""

    def write(self, samples: Samples, place: Place, options: Options) -> None:
        """A line a row."""
        names = [column.name for column in samples.columns]
        with place.file(place.name) as file:
            for row in _rows(samples):
                file.write(json_line(dict(zip(names, row, strict=True))))


def _as_text(value: Value) -> Value:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else value


def _rows(samples: Samples) -> Iterator[list[Value]]:
    for sample in samples:
        with samples.written(sample):
            yield [column.of(sample) for column in samples.columns]
