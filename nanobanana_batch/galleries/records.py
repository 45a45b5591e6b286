"""What the page knows of one picture, or of a row that has none: all columns, and where its files are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanobanana_batch.collection.columns import FIXED, OF_CHECK, OF_VARIABLE, column_of, getter
from nanobanana_batch.collection.entries import Entry, Picture
from nanobanana_batch.files.standing import Stands
from nanobanana_batch.galleries.place import link

_TIMES = ("intended_at", "accepted_at", "answered_at", "ended_at")
_OF_PAGE = {"source", "practice", "extra", "sources", "saved_at", "seconds", "stands", "url", "thumb"}
_OF_PAGE |= {"problem", "#text", "#group", "#edit", *_TIMES}
"""What the page knows beside the columns that all have: no variable may pass for it."""
_FIXED = [(name, getter(name)) for name in FIXED]


def columns_of(variables: Sequence[str]) -> dict[str, str]:
    """What each variable is called in the page: as `--where` has it, unless the page means its own by it."""
    taken = {*FIXED, *_OF_PAGE, *map(column_of, variables)}
    found = {}
    for name in variables:
        column = column_of(name)
        while column in _OF_PAGE or (column != column_of(name) and column in taken):
            column = f"{OF_VARIABLE}{column}"
        taken.add(column)
        found[name] = column
    return found


def record(
    entry: Entry, picture: Picture | None, variables: Mapping[str, str], page_folder: Path
) -> dict[str, Any]:
    """Only what is known stands in it; the names are those of `--where`, and a few of the page's own.

    `variables`: as `columns_of` calls them.
    """
    found: dict[str, Any] = {name: get(entry, picture) for name, get in _FIXED}
    found |= {column: entry.variables.get(name) for name, column in variables.items()}
    found |= {name: getattr(entry, name) for name in _TIMES}
    found |= {
        "source": entry.source,
        "practice": entry.is_practice or None,
        "extra": json.dumps(dict(entry.request.extra), ensure_ascii=False) if entry.request.extra else None,
        "sources": _sources(entry) or None,
    }
    if picture is not None:
        found |= {f"{OF_CHECK}{name}": value for name, value in picture.measures.items()}
        found |= {
            "saved_at": picture.saved_at,
            "seconds": _seconds(entry, picture),
            "stands": None if picture.stands is Stands.AS_SAVED else picture.stands.value,
            "url": link(picture.file, page_folder) if picture.is_there else None,
        }
    return {name: value for name, value in found.items() if value is not None and value != ""}


def _sources(entry: Entry) -> list[dict[str, Any]]:
    """The pictures that the request names; those on this machine by their content."""
    files = {file.name: file for file in entry.request.files}
    return [
        {"name": name} | ({"sha256": files[name].sha256} if name in files else {})
        for name in entry.request.images
    ]


def _seconds(entry: Entry, picture: Picture) -> float | None:
    """How long it took from the request to the file."""
    if entry.intended_at is None or picture.saved_at is None or picture.saved_at < entry.intended_at:
        return None
    return round(picture.saved_at - entry.intended_at, 1)
