"""`csv` and `jsonl`: the table of results, with what people and checks have said of the pictures."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from nanobanana_batch.exports.columns import Column, Type, Value
from nanobanana_batch.exports.format import Liner, Takes
from nanobanana_batch.exports.json_lines import json_line
from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.samples import Samples
from nanobanana_batch.results import written, written_harmless


class Csv:
    """RFC 4180, UTF-8; with `--bom` for spreadsheets."""

    takes = Takes.ROWS
    is_file = True
    uses = frozenset({"bom"})

    def check(self, options: Options) -> None:
        """Nothing is needed."""

    def liner(self, columns: Sequence[Column], options: Options) -> Liner:
        """What writes lines as RFC 4180 has them."""
        write = written_harmless if options.bom else written
        places = [at for at, column in enumerate(columns) if column.type in (Type.NUMBER, Type.TRUTH)]

        def texts(row: Sequence[Value]) -> list[Value]:
            told = list(row)
            for at in places:
                told[at] = _as_text(told[at])
            return told

        return lambda rows: write(list(map(texts, rows)))

    def write(self, samples: Samples, place: Place, options: Options) -> None:
        """The header, then a line a row."""
        write = written_harmless if options.bom else written
        with place.file(place.name) as file:
            if options.bom:
                file.write(codecs.BOM_UTF8)
            file.write(write([[column.name for column in samples.columns]]))
            file.writelines(samples.lines())


class Jsonl:
    """An object a line; what is not there is null, or an empty text."""

    takes = Takes.ROWS
    is_file = True
    uses = frozenset[str]()

    def check(self, options: Options) -> None:
        """Nothing is needed."""

    def liner(self, columns: Sequence[Column], options: Options) -> Liner:
        """What writes an object a line."""
        names = [column.name for column in columns]
        return lambda rows: b"".join([json_line(dict(zip(names, row, strict=True))) for row in rows])

    def write(self, samples: Samples, place: Place, options: Options) -> None:
        """A line a row."""
        with place.file(place.name) as file:
            file.writelines(samples.lines())


def _as_text(value: Value) -> Value:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else value
