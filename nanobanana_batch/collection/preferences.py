"""Which of two pictures of the same prompt people like better: preferences.csv of an output folder.

The first picture of a pair is of the folder that holds the file; the other may be of another folder, made by
another model. A pair is judged once: the last word counts, whichever of the two was shown first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from nanobanana_batch.collection.entries import Collection, Entry, Picture
from nanobanana_batch.collection.named import Named
from nanobanana_batch.collection.sheet import NAMES, Line, Sheet, read_sheet, write_sheet
from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import PREFERENCES_NAME
from nanobanana_batch.files.lock import only_changer
from nanobanana_batch.wording import shown

COLUMNS = (
    "prompt",
    "better",
    "first_id",
    "first_image",
    "second_id",
    "second_image",
    "second_folder",
    "first_row_key",
    "first_sha256",
    "second_row_key",
    "second_sha256",
)
_FIRST, _SECOND = "first_", "second_"


class Better(StrEnum):
    """Which of the two it is."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"
    """They are equally good, or bad."""
    SKIP = "skip"
    """Nobody can say; the pair is not asked for again."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of preferences.csv."""

    prompt: str
    first: Named
    second: Named
    better: Better | None
    """None takes back what was said of this pair."""
    second_folder: str = ""
    """Where the second picture is, relative to the folder of the file; empty: there, too."""

    @property
    def chosen(self) -> Named | None:
        """The better one, if one is."""
        return {Better.FIRST: self.first, Better.SECOND: self.second}.get(self.better or Better.SKIP)

    @property
    def rejected(self) -> Named | None:
        """The other one, if one is better."""
        return {Better.FIRST: self.second, Better.SECOND: self.first}.get(self.better or Better.SKIP)

    @property
    def pair(self) -> frozenset[tuple[str, Named]]:
        """The two, whichever was shown first."""
        return frozenset({("", self.first.needed()), (self.second_folder, self.second.needed())})


@dataclass(frozen=True, slots=True)
class Pair:
    """A choice with both pictures as they are."""

    prompt: str
    first: tuple[Entry, Picture]
    second: tuple[Entry, Picture]
    better: Better

    @property
    def chosen(self) -> tuple[Entry, Picture] | None:
        """The better one, if one is."""
        return {Better.FIRST: self.first, Better.SECOND: self.second}.get(self.better)

    @property
    def rejected(self) -> tuple[Entry, Picture] | None:
        """The other one, if one is better."""
        return {Better.FIRST: self.second, Better.SECOND: self.first}.get(self.better)


def read_choices(folder: Path) -> list[Choice]:
    """Those of preferences.csv, each pair once, in the order of the file; none where there is no such file.

    Raises:
        UsageError: the file cannot be read, or a line is none.
    """
    sheet = read_sheet(folder / PREFERENCES_NAME, ("better",))
    if sheet is None:
        return []
    choices = (_choice(sheet, line) for line in sheet.lines)
    return list({choice.pair: choice for choice in choices if choice.better}.values())


def pairs(collection: Collection) -> Iterator[Pair]:
    """Each pair of a collection that was judged, in the order of its folders and their files.

    One of whose pictures is not there any more, or is not as it was judged, is left out.

    Raises:
        StateFailed: a row is damaged.
        UsageError: a file of a folder cannot be read.
    """
    paths = [folder.path for folder in collection.folders]
    choices = [(path, choice) for path in paths for choice in read_choices(path)]
    if not choices:
        return
    wanted: dict[tuple[Path, Named], tuple[Entry, Picture] | None] = {}
    for path, choice in choices:
        wanted[_key(path, choice.first)] = None
        wanted[_key(_other(path, choice), choice.second)] = None
    for entry in collection.entries():
        for picture in entry.pictures:
            names = Named(entry.id, picture.path, entry.row_key, picture.sha256)
            for way in names.ways(is_first=picture.number == 1):
                key = _key(entry.folder, way)
                if key in wanted and picture.is_there:
                    wanted[key] = (entry, picture)
    for path, choice in choices:
        first = wanted[_key(path, choice.first)]
        second = wanted[_key(_other(path, choice), choice.second)]
        if first and second and choice.better:
            yield Pair(choice.prompt, first, second, choice.better)


def save_choices(folder: Path, choices: Iterable[Choice], disk: Disk) -> None:
    """Put these into preferences.csv; what else it says stays. Its order is that of prompts and pictures.

    Raises:
        UsageError: the file that is there cannot be read, or a line of it is none.
        DiskFailed: the disk is full or refuses; the old file is untouched.
    """
    news = {choice.pair: choice for choice in choices}
    path = folder / PREFERENCES_NAME
    with only_changer(folder):
        there = read_sheet(path, ("better",))
        if there is None and not any(choice.better for choice in news.values()):
            return
        sheet = (there or Sheet(COLUMNS)).with_columns(COLUMNS)
        lines = {_choice(sheet, line).pair: line for line in sheet.lines}
        for pair, choice in news.items():
            if choice.better:
                sheet.put(lines.setdefault(pair, Line("", [])), _cells(choice))
            else:
                lines.pop(pair, None)
        order = sorted(lines.values(), key=lambda line: [sheet.cell(line, name) for name in _IN_ORDER])
        write_sheet(disk, path, sheet.with_lines(order))


_IN_ORDER = ("prompt", "first_image", "second_folder", "second_image", "first_sha256", "second_sha256")


def folder_between(folder: Path, other: Path) -> str:
    """What `second_folder` says of a picture in another folder."""
    path = os.path.relpath(other.resolve(), folder.resolve()).replace(os.sep, "/")
    return "" if path == "." else path


def _other(path: Path, choice: Choice) -> Path:
    return path / choice.second_folder if choice.second_folder else path


def _key(folder: Path, named: Named) -> tuple[Path, Named]:
    return folder.resolve(), named.needed()


def _choice(sheet: Sheet, line: Line) -> Choice:
    better = sheet.cell(line, "better").strip().casefold()
    if better not in ("", *Better):
        allowed = ", ".join(Better)
        raise UsageError(
            f"{line.place}: better is {shown(better)}; it has to be one of {allowed}, or nothing."
        )
    first, second = sheet.named(line, _FIRST), sheet.named(line, _SECOND)
    if better and not (first and second):
        raise UsageError(f"{line.place}: it names no two pictures.")
    other = sheet.cell(line, "second_folder").strip()
    choice = Choice(sheet.cell(line, "prompt"), first, second, Better(better) if better else None, other)
    if better and len(choice.pair) < 2:
        raise UsageError(f"{line.place}: it names one picture twice.")
    return choice


def _cells(choice: Choice) -> dict[str, str]:
    cells = {"prompt": choice.prompt, "better": choice.better or "", "second_folder": choice.second_folder}
    for prefix, named in ((_FIRST, choice.first), (_SECOND, choice.second)):
        cells |= {f"{prefix}{name}": getattr(named, name) for name in NAMES}
    return cells
