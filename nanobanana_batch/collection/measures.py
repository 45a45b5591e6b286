"""What `check` found of pictures: checks.csv of an output folder, by the content of the picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nanobanana_batch.collection.named import ByPicture, Named
from nanobanana_batch.collection.sheet import NAMES, read_sheet
from nanobanana_batch.files.folder import CHECKS_NAME

SHA256 = "sha256"


class Measures:
    """Those of one folder."""

    def __init__(self, of: Mapping[str, Mapping[str, str]], columns: tuple[str, ...] = ()) -> None:
        self._of = dict(of)
        self._by_place: dict[tuple[str, str], Mapping[str, str]] = {}
        """Rows may have the same content, and other scores."""
        self._by_picture: ByPicture[Mapping[str, str]] = ByPicture()
        self.columns = columns
        """What was measured, in the order of the file."""

    def put(self, named: Named, found: Mapping[str, str]) -> None:
        """What was found of a picture, by its content or what else is known of it."""
        if named.sha256:
            self._of[named.sha256] = found
            self._by_place[named.image, named.sha256] = found
        else:
            self._by_picture.put(named, found)

    def of(
        self, sha256: str, row_key: str = "", id_: str = "", image: str = "", *, is_first: bool = True
    ) -> Mapping[str, str]:
        """What was found of the picture with this content, by column; empty: it was not checked.

        The other names are for lines that have lost the content's.
        """
        found = self._by_place.get((image, sha256)) or self._of.get(sha256)
        if found is None:
            found = self._by_picture.of(id_, image, row_key, sha256, is_first=is_first)
        return found or {}


def measured(folder: Path) -> tuple[str, ...]:
    """The columns of checks.csv; none where there is no such file.

    Raises:
        UsageError: the file cannot be read.
    """
    sheet = read_sheet(folder / CHECKS_NAME, NAMES)
    names = dict.fromkeys(sheet.names if sheet else ())
    return tuple(name for name in names if name and name not in NAMES)


def read_measures(folder: Path) -> Measures:
    """Those of checks.csv; none where there is no such file.

    Raises:
        UsageError: the file cannot be read, or a line is none.
    """
    sheet = read_sheet(folder / CHECKS_NAME, NAMES)
    if sheet is None:
        return Measures({})
    measures = Measures({}, measured(folder))
    for line in sheet.lines:
        measures.put(sheet.named(line), {name: sheet.cell(line, name) for name in measures.columns})
    return measures
