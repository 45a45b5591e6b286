"""The first files of a project: a manifest that runs as it stands, and a Makefile; nothing is overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.errors import UsageError

_FILES = ("manifest.yaml", "Makefile")
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Starter:
    """What stands in the folder now."""

    folder: Path
    files: Mapping[Path, bool]
    """Whether each was made; else one of that name was there, and stays as it is."""


def make_starter(folder: Path) -> Starter:
    """Write the files into a folder, which is made if it is not there.

    Raises:
        UsageError: the folder, or a file in it, cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Starter(folder, {folder / name: _is_made(folder / name) for name in _FILES})
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be made: {error.strerror}.") from error


def _is_made(path: Path) -> bool:
    text = (_HERE / path.name).read_bytes()
    try:
        with path.open("xb") as file:  # nothing of that name, not even a link that leads nowhere
            file.write(text)
    except FileExistsError:
        return False
    return True
