"""How each row of the manifest came to what it has: who was asked, when, how often, and every picture it has.

What a person looks at, and what a trainer loads, wants more than results.csv says: it comes from the same
walk over the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from nanobanana_batch.file_names import is_image_path
from nanobanana_batch.state.lifecycle import ImagePhase
from nanobanana_batch.state.reader import Reader
from nanobanana_batch.state.reports import RowReport
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


_BESIDE = """
attempts.attempt, images.phase, images.media_type, images.saved_at, requests.provider,
coalesce(attempts.number, 0), requests.intended_at, requests.accepted_at, requests.answered_at,
attempts.ended_at
"""
_PICTURES = f"""
SELECT number, path, media_type, width, height, size_bytes, sha256, file_time, saved_at
FROM images WHERE attempt = ? AND phase = '{ImagePhase.SAVED}' ORDER BY number
"""


def made(reader: Reader) -> Iterator[tuple[RowReport, Made]]:
    """Each row of `Reader.rows`, in the same order, and how it came to what it has.

    Raises:
        StateFailed: one is damaged, or names an image as no run does.
    """
    with understood("images"):
        for row, (attempt, phase, media_type, saved_at, *rest) in reader.rows_with(_BESIDE):
            pictures: tuple[SavedPicture, ...] = ()
            if row.other_images:
                pictures = _several(reader, attempt)
            elif phase == ImagePhase.SAVED:
                pictures = (_only(row, media_type, saved_at),)
            known: Any = (*rest, pictures)
            yield row, Made(row.row_key, *known)


def _only(row: RowReport, media_type: Any, saved_at: Any) -> SavedPicture:
    """Most rows have one picture, of which the row says nearly all."""
    if row.path is None:
        raise names_what_no_run_names(row.path)
    known: Any = (row.width, row.height, row.size_bytes, row.sha256, row.file_time, saved_at)
    return SavedPicture(1, row.path, media_type, *known)


def _several(reader: Reader, attempt: int) -> tuple[SavedPicture, ...]:
    pictures = tuple(SavedPicture(*values) for values in reader.each(_PICTURES, attempt))
    for picture in pictures:
        if not is_image_path(str(picture.path)):
            raise names_what_no_run_names(picture.path)
    return pictures
