"""All formats, by the names that `--format` takes; one is loaded when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from nanobanana_batch.errors import UsageError
from nanobanana_batch.wording import shown

if TYPE_CHECKING:
    from nanobanana_batch.exports.format import Format


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a format is, and what it is for."""

    module: str
    name: str
    about: str


FORMATS = {
    "imagefolder": Kind("imagefolder", "ImageFolder", "datasets: images in folders, with metadata.jsonl"),
    "parquet": Kind("parquet", "Parquet", "datasets and the Hub: shards that hold the images"),
    "csv": Kind("table", "Csv", "the table of results, a line a row"),
    "jsonl": Kind("table", "Jsonl", "the same, an object a line"),
    "sheet": Kind("sheet", "Sheet", "a contact sheet to look at: PDF or PNG, by the ending of --out"),
}


def load(name: str) -> Format:
    """The format of this name.

    Raises:
        UsageError: there is none.
    """
    kind = FORMATS.get(name)
    if kind is None:
        raise UsageError(f"There is no format {shown(name)}.", hint=f"There are {', '.join(FORMATS)}.")
    return cast("Format", getattr(import_module(f"nanobanana_batch.exports.{kind.module}"), kind.name)())
