"""What people said of pictures: ratings.csv of an output folder.

A judgement is of a row's picture as it was, so it is known by row key and content: another picture of the
same row has none yet, and the row keeps its own wherever the manifest has it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from nanobanana_batch.collection.named import ByPicture, Named
from nanobanana_batch.collection.sheet import Line, Sheet, read_sheet, write_sheet
from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import RATINGS_NAME
from nanobanana_batch.files.lock import only_changer
from nanobanana_batch.wording import shown

COLUMNS = ("id", "image", "rating", "verdict", "rating_note", "row_key", "sha256")
SAYS = ("rating", "verdict", "rating_note")
"""Those of them that say something of the picture."""
MOST_STARS = 5
_STARS = re.compile(rf"([1-{MOST_STARS}])(?:[.,]0+)?")


class Verdict(StrEnum):
    """Whether a picture is to be used."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


CAN_SAY = {
    "rating": frozenset(map(str, range(1, MOST_STARS + 1))),
    "verdict": frozenset(verdict.value for verdict in Verdict),
}
"""Texts that are no slip where nobody has said them yet."""


_VERDICTS = {verdict.value: verdict for verdict in Verdict}


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of one picture; without anything given it takes back what was said."""

    rating: int | None = None
    """1 to 5."""
    verdict: Verdict | None = None
    note: str = ""

    def __bool__(self) -> bool:
        return self.rating is not None or self.verdict is not None or bool(self.note)


@dataclass(frozen=True, slots=True)
class Judged:
    """One line of ratings.csv: a picture, and what was said of it; a name that is empty was not given."""

    id: str
    image: str
    row_key: str
    sha256: str
    judgement: Judgement
    is_first: bool = True
    """Whether the picture is the first of its row, which is meant where only the row is named."""

    @property
    def named(self) -> Named:
        """The picture."""
        return Named(self.id, self.image, self.row_key, self.sha256)


class Judgements:
    """Those of one folder."""

    def __init__(self, judged: Iterable[Judged] = ()) -> None:
        self._by_picture: ByPicture[Judgement] = ByPicture()
        for one in judged:
            self._by_picture.put(one.named, one.judgement)

    def of(
        self, row_key: str, sha256: str, id_: str = "", image: str = "", *, is_first: bool = True
    ) -> Judgement | None:
        """What was said of this picture of this row.

        `id_`, `image`: of its row, and its path, for lines that name no more than these. `is_first`: of its
        row, of whose pictures an id alone means this one.
        """
        return self._by_picture.of(id_, image, row_key, sha256, is_first=is_first)


def read_judgements(folder: Path) -> Judgements:
    """Those of ratings.csv; none where there is no such file.

    Raises:
        UsageError: the file cannot be read, or a line is none.
    """
    return Judgements(read_judged(folder))


def judgements_if_any(folder: Path) -> Judgements | None:
    """The same; None where there is no ratings.csv.

    Raises:
        UsageError: the file cannot be read, or a line is none.
    """
    return read_judgements(folder) if os.path.lexists(folder / RATINGS_NAME) else None


def read_judged(folder: Path) -> Iterator[Judged]:
    """Each line of ratings.csv that says something.

    Raises:
        UsageError: the file cannot be read, or a line is none.
    """
    sheet = read_sheet(folder / RATINGS_NAME, SAYS)
    if sheet is not None:
        yield from (judged for line in sheet.lines if (judged := _judged(sheet, line)).judgement)


def save_judged(folder: Path, judged: Iterable[Judged], disk: Disk) -> None:
    """Put these into ratings.csv; whatever else it says stays as it is, in its order.

    An empty judgement takes back what the file says of that picture.

    Raises:
        UsageError: the file that is there cannot be read, or a line of it is none.
        DiskFailed: the disk is full or refuses; the old file is untouched.
    """
    news = list({one.named.needed(): one for one in judged}.values())
    path = folder / RATINGS_NAME
    with only_changer(folder):
        there = read_sheet(path, SAYS)
        if there is None and not any(one.judgement for one in news):
            return
        sheet = (there or Sheet(COLUMNS)).with_columns(COLUMNS)
        write_sheet(disk, path, sheet.with_lines(_merged(sheet, news)))


def _merged(sheet: Sheet, news: Sequence[Judged]) -> Iterator[Line]:
    """The lines as they are to be; several of one picture all say the same afterwards."""
    of = {way: one for one in news for way in one.named.ways(is_first=one.is_first)}
    told = set()
    for line in sheet.lines:
        one = of.get(_judged(sheet, line).named.needed())
        if one is not None:
            told.add(one)
            sheet.put(line, _cells(one))
        if one is None or one.judgement or sheet.says_more(line, COLUMNS):
            yield line
    for one in news:
        if one.judgement and one not in told:
            yield sheet.line(_cells(one))


def _cells(one: Judged) -> dict[str, str]:
    said = one.judgement
    rating, verdict = said.rating, said.verdict
    texts = (one.id, one.image, str(rating or ""), verdict or "", said.note, one.row_key, one.sha256)
    return dict(zip(COLUMNS, texts, strict=True))


def _judged(sheet: Sheet, line: Line) -> Judged:
    rating, verdict = sheet.cell(line, "rating").strip(), sheet.cell(line, "verdict").strip().casefold()
    stars = _STARS.fullmatch(rating)
    if rating and not stars:
        raise UsageError(
            f"{line.place}: rating is {shown(rating)}; it has to be 1 to {MOST_STARS}, or nothing."
        )
    if verdict and verdict not in _VERDICTS:
        raise UsageError(
            f"{line.place}: verdict is {shown(verdict)}; it has to be accepted, rejected, or nothing."
        )
    judgement = Judgement(
        int(stars[1]) if stars else None,
        _VERDICTS[verdict] if verdict else None,
        sheet.cell(line, "rating_note"),
    )
    named = sheet.named(line)
    if judgement and not named:
        raise UsageError(f"{line.place}: it names no picture: there is no id, image, row_key or sha256.")
    return Judged(named.id, named.image, named.row_key, named.sha256, judgement)
