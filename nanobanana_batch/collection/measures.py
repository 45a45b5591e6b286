"""What `check` found of pictures: checks.csv of an output folder, by the content of the picture."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.folder import CHECKS_NAME
from nanobanana_batch.files.plain import open_own

SHA256 = "sha256"
_OF_THE_ROW = frozenset({"id", "image", SHA256})


class Measures:
    """Those of one folder."""

    def __init__(self, of: Mapping[str, Mapping[str, str]], columns: tuple[str, ...] = ()) -> None:
        self._of = of
        self.columns = columns
        """What was measured, in the order of the file."""

    def of(self, sha256: str) -> Mapping[str, str]:
        """What was found of the picture with this content, by column; empty: it was not checked."""
        return self._of.get(sha256, {})


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
        return Measures({})
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    columns = tuple(name for name in reader.fieldnames or () if name not in _OF_THE_ROW)
    return Measures(
        {line.get(SHA256, ""): {name: line[name] for name in columns} for line in reader}, columns
    )
