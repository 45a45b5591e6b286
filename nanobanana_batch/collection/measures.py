"""What `check` found of pictures: checks.csv of an output folder, by the content of the picture."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from sys import intern

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.folder import CHECKS_NAME
from nanobanana_batch.files.plain import open_own

SHA256, IMAGE = "sha256", "image"
_OF_THE_ROW = frozenset({"id", IMAGE, SHA256})


class Measures:
    """Those of one folder."""

    def __init__(self, lines: Iterable[Mapping[str, str]] = (), columns: tuple[str, ...] = ()) -> None:
        """`lines`: those of the table; only what was measured is kept, and each text once."""
        self.columns = columns
        """What was measured, in the order of the file."""
        self._of: dict[tuple[str, str], tuple[str, ...]] = {}
        for line in lines:
            told = tuple(intern(line[name]) for name in columns)
            self._of[line.get(IMAGE, ""), line.get(SHA256, "")] = told
            self._of.setdefault(("", line.get(SHA256, "")), told)

    def of(self, sha256: str, image: str = "") -> Mapping[str, str]:
        """What was found of the picture with this content, by column; empty: it was not checked.

        Where several rows got the same content, scores may differ: `image` says which is meant.
        """
        told = self._of.get((image, sha256)) or self._of.get(("", sha256), ())
        return dict(zip(self.columns, told, strict=True)) if told else {}


def read_measures(folder: Path) -> Measures:
    """Those of checks.csv; none where there is no such file.

    Raises:
        UsageError: the file cannot be read.
    """
    path = folder / CHECKS_NAME
    try:
        with os.fdopen(open_own(path), encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except FileNotFoundError:
        return Measures()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    columns = tuple(name for name in reader.fieldnames or () if name not in _OF_THE_ROW)
    return Measures(reader, columns)
