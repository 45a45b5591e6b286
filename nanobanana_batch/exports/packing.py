"""Rows as plain values and back: to pickle dataclasses and paths takes several times as long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from nanobanana_batch.collection.entries import Entry, Picture
from nanobanana_batch.collection.judgements import Judgement, Verdict
from nanobanana_batch.files.standing import Stands
from nanobanana_batch.model import RowStatus, request_as_json, request_from_json

_NAMES = tuple(field.name for field in fields(Entry))[2:]
"""Behind the folder and its name, which rows share."""
_VALUES = attrgetter(*_NAMES)
_STATUS, _REQUEST, _VARIABLES, _PICTURES = map(_NAMES.index, ("status", "request", "variables", "pictures"))
_STATUSES = {str(status): status for status in RowStatus}
_STANDS = {str(stands): stands for stands in Stands}
_VERDICTS = {str(verdict): verdict for verdict in Verdict}


def packed(entry: Entry) -> list[Any]:
    """A row as texts, numbers, lists of them and None; without its folder."""
    values: list[Any] = list(_VALUES(entry))
    values[_STATUS] = str(entry.status)
    values[_REQUEST] = request_as_json(entry.request)
    values[_VARIABLES] = dict(entry.variables)
    values[_PICTURES] = [_packed_picture(picture) for picture in entry.pictures]
    return values


def unpacked(folder: Path, folder_name: str, values: Sequence[Any]) -> Entry:
    """The row that these were made of."""
    told = list(values)
    told[_STATUS] = _STATUSES[told[_STATUS]]
    told[_REQUEST] = request_from_json(told[_REQUEST])
    told[_PICTURES] = tuple([_unpacked_picture(folder, picture) for picture in told[_PICTURES]])
    return Entry(folder, folder_name, *told)


def _packed_picture(one: Picture) -> tuple[Any, ...]:
    said = one.judgement
    judgement = None if said is None else (said.rating, said.verdict and str(said.verdict), said.note)
    of_file = (one.number, one.path, one.media_type, one.width, one.height, one.size_bytes, one.sha256)
    return (*of_file, str(one.stands), one.saved_at, judgement, dict(one.measures) if one.measures else None)


def _unpacked_picture(folder: Path, values: Sequence[Any]) -> Picture:
    number, path, *of_file, stands, saved_at, judgement, measures = values
    media_type, width, height, size_bytes, sha256 = of_file
    said = None
    if judgement is not None:
        rating, verdict, note = judgement
        said = Judgement(rating, verdict and _VERDICTS[verdict], note)
    stated = (number, path, folder, media_type, width, height, size_bytes, sha256)
    return Picture(*stated, _STANDS[stands], saved_at, said, measures or {})
