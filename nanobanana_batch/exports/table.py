"""`csv` and `jsonl`: the table of results, with what people and checks have said of the pictures."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

from nanobanana_batch.exports.columns import Value
from nanobanana_batch.exports.format import Takes
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

    def liner(self, names: Sequence[str], options: Options) -> Callable[[Sequence[Sequence[Value]]], bytes]:
        """What writes lines as RFC 4180 has them."""
        write = written_harmless if options.bom else written
        return lambda rows: write([[_as_text(value) for value in row] for row in rows])

    def write(self, samples: Samples, place: Place, options: Options) -> None:
        """The header, then a line a row."""
        names = [column.name for column in samples.columns]
        with place.file(place.name) as file:
            if options.bom:
                file.write(codecs.BOM_UTF8)
            file.write(self.liner(names, options)([names]))
            file.writelines(samples.lines())


class Jsonl:
    """An object a line; what is not there is null, or an empty text."""

    takes = Takes.ROWS
    is_file = True
    uses = frozenset[str]()

    def check(self, options: Options) -> None:
        """Nothing is needed."""

    def liner(self, names: Sequence[str], options: Options) -> Callable[[Sequence[Sequence[Value]]], bytes]:
        """What writes an object a line."""
        return lambda rows: b"".join([json_line(dict(zip(names, row, strict=True))) for row in rows])

    def write(self, samples: Samples, place: Place, options: Options) -> None:
        """A line a row."""
        with place.file(place.name) as file:
            file.writelines(samples.lines())


def _as_text(value: Value) -> Value:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else value
