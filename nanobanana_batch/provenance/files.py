"""Records of files that people name, each once, and what has to be known of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.images import MAX_IMAGE_BYTES
from nanobanana_batch.files.plain import reading
from nanobanana_batch.provenance.embed import Unreadable, record_in
from nanobanana_batch.provenance.record import Record

_NONE = (
    "Only images that were exported with --embed-metadata have it; of those in an output folder the state"
    " knows the row."
)


@dataclass(frozen=True, slots=True)
class Found:
    """What files say."""

    records: tuple[Record, ...]
    """Each row once, in the order of the files."""
    notes: tuple[str, ...]
    """What a manifest of these rows alone does not have."""


def records_of(files: Iterable[Path]) -> Found:
    """What these image files say of their rows.

    Raises:
        UsageError: one cannot be read, or has no record; all of them are listed.
    """
    records: dict[str, Record] = {}
    notes, wrong = [], []
    for path in files:
        try:
            record = _record(path)
        except Unreadable as error:
            wrong.append(f"{path}: {error}.")
            continue
        if record.row_key not in records:
            records[record.row_key] = record
            notes += _notes(path, record)
    if wrong:
        raise UsageError("\n".join(wrong), hint=_NONE)
    return Found(tuple(records.values()), tuple(notes))


def _record(path: Path) -> Record:
    try:
        with reading(path) as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise Unreadable(error.strerror or "it cannot be read") from error
    if len(data) > MAX_IMAGE_BYTES:
        raise Unreadable("it is too large for an image")
    record = record_in(data)
    if record is None:
        raise Unreadable("it says nothing of a row")
    return record


def _notes(path: Path, record: Record) -> list[str]:
    notes = []
    if record.variant > 1:
        notes.append(f"{path}: it is variant {record.variant}; a row of this manifest is variant 1 of it.")
    elif not record.is_whole:
        notes.append(
            f"{path}: the row key is another one than a manifest of this row alone has:"
            " it was one of several equal rows, or what it says was changed."
        )
    if record.request.files:
        names = ", ".join(file.name for file in record.request.files)
        notes.append(
            f"{path}: its row rests on files, which have to be there with the same content: {names}."
        )
    return notes
