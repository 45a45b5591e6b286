"""How each row of the manifest came to what it has: who was asked, when, how often, and every picture it has.

What a person looks at, and what a trainer loads, wants more than results.csv says. It is streamed beside
`Reader.rows`, in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from nanobanana_batch.file_names import is_image_path
from nanobanana_batch.state.lifecycle import ImagePhase
from nanobanana_batch.state.reader import Reader
from nanobanana_batch.state.soundness import names_what_no_run_names, understood


class SavedPicture(NamedTuple):
    """A picture of a row, as it was saved."""

    number: int
    """1: the row's image; the others stand beside it."""
    path: str
    """Relative to the output folder, with `/`."""
    media_type: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    file_time: float | None
    """When the file was changed last (Unix seconds); None: not known."""
    saved_at: float | None
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of the requests of one row; all times in Unix seconds, None where a thing is not known."""

    row_key: str
    provider: str | None
    """Its name, as tasks there are known by it: profile and host. None: nothing was sent."""
    attempts: int
    """How many requests the row had a share in."""
    intended_at: float | None
    """Of the latest of them; the next ones, too."""
    accepted_at: float | None
    answered_at: float | None
    ended_at: float | None
    pictures: tuple[SavedPicture, ...]
    """Those of the latest attempt that are saved, in order."""


_TO_THE_LAST_BIT = "CASE WHEN file_time IS NOT NULL THEN json(printf('%!.17g', file_time)) END"
"""SQLite writes 15 digits of a number into JSON: a file's time would be another one."""
_PICTURES = f"""
(SELECT json_group_array(json_array(number, path, media_type, width, height, size_bytes, sha256,
                                    {_TO_THE_LAST_BIT}, saved_at))
 FROM images AS file WHERE file.attempt = attempts.attempt AND file.phase = '{ImagePhase.SAVED}')
"""
_MADE = f"""
SELECT rows.row_key, requests.provider, coalesce(attempts.number, 0), requests.intended_at,
       requests.accepted_at, requests.answered_at, attempts.ended_at, {_PICTURES}
FROM rows LEFT JOIN attempts ON attempts.attempt = rows.attempt
LEFT JOIN requests ON requests.request = attempts.request
WHERE rows.position IS NOT NULL ORDER BY rows.position
"""


def made(reader: Reader) -> Iterator[Made]:
    """One for each row of `Reader.rows`, in the same order.

    Raises:
        StateFailed: one is damaged, or names an image as no run does.
    """
    with understood("images"):
        for found in reader.each(_MADE):
            values: Any = (*found[:-1], _pictures(found[-1]))
            yield Made(*values)


def _pictures(found: str) -> tuple[SavedPicture, ...]:
    pictures = tuple(SavedPicture(*values) for values in sorted(json.loads(found)))
    for picture in pictures:
        if not is_image_path(str(picture.path)):
            raise names_what_no_run_names(picture.path)
    return pictures
