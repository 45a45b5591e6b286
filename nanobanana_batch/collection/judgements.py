"""What people said of pictures: ratings.csv of an output folder.

A judgement is of a row's picture as it was, so it is known by row key and content: another picture of the
same row has none yet, and the row keeps its own wherever the manifest has it.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.folder import RATINGS_NAME
from nanobanana_batch.files.plain import open_own

COLUMNS = ("id", "image", "rating", "verdict", "rating_note", "row_key", "sha256")
MOST_STARS = 5


class Verdict(StrEnum):
    """Whether a picture is to be used."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of one picture; at least one of these is given."""

    rating: int | None = None
    """1 to 5."""
    verdict: Verdict | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """One line of ratings.csv: a picture, and what was said of it."""

    id: str
    image: str
    row_key: str
    sha256: str
    judgement: Judgement


class Judgements:
    """Those of one folder."""

    def __init__(self, judged: Iterable[Judged] = ()) -> None:
        self._of = {(one.row_key, one.sha256): one.judgement for one in judged}

    def of(self, row_key: str, sha256: str) -> Judgement | None:
        """What was said of this picture of this row."""
        return self._of.get((row_key, sha256))


def read_judgements(folder: Path) -> Judgements:
    """Those of ratings.csv; none where there is no such file.

    Raises:
        UsageError: the file cannot be read, or a line is none.
    """
    return Judgements(read_judged(folder))


def read_judged(folder: Path) -> Iterator[Judged]:
    """Each line of ratings.csv.

    Raises:
        UsageError: the file cannot be read, or a line is none.
    """
    path = folder / RATINGS_NAME
    try:
        with os.fdopen(open_own(path), encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
    for cells in reader:
        yield _judged(cells, f"{path}:{reader.line_num}")


def _judged(cells: dict[str, str], place: str) -> Judged:
    rating, verdict = cells.get("rating", "").strip(), cells.get("verdict", "").strip()
    if rating and not (rating.isdecimal() and 1 <= int(rating) <= MOST_STARS):
        raise UsageError(f"{place}: rating is {rating!r}; it has to be 1 to {MOST_STARS}, or nothing.")
    if verdict not in ("", *Verdict):
        raise UsageError(f"{place}: verdict is {verdict!r}; it has to be accepted, rejected, or nothing.")
    judgement = Judgement(
        int(rating) if rating else None, Verdict(verdict) if verdict else None, cells.get("rating_note", "")
    )
    return Judged(
        cells.get("id", ""),
        cells.get("image", ""),
        cells.get("row_key", ""),
        cells.get("sha256", ""),
        judgement,
    )
