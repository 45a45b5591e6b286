"""`nanobanana.toml`: what holds for a project where the command line says nothing; found, read, and no more.

It is looked for in the working directory and above, up to the home directory. That folder may be somebody
else's, so a file that another user owns is refused, and what a found one may decide is told by who reads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanobanana_batch.errors import UsageError

NAME = "nanobanana.toml"
NONE = "none"
GENERAL = "defaults"
"""The heading of what holds for every command."""
_MOST_BYTES = 1 << 16
_WITHOUT = f"Correct it, or do without: --config {NONE}"


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """What it says, by heading and option."""

    path: Path
    is_named: bool
    """A person has named it, and it was not only found."""
    sections: Mapping[str, Mapping[str, Any]]


def open_project_file(named: str | None) -> ProjectFile | None:
    """The file that a person names, or else the one that is found, or none.

    Raises:
        UsageError: it cannot be read, is no such file, or is somebody else's.
    """
    if named == NONE:
        return None
    if named is not None:
        return ProjectFile(Path(named), True, _sections(Path(named), is_named=True))
    found = _found()
    return None if found is None else ProjectFile(found, False, _sections(found, is_named=False))


def _found() -> Path | None:
    """The nearest one; nothing above the home directory is looked at, where the search begins below it."""
    try:
        start = Path.cwd()
    except OSError:  # it was removed
        return None
    home = os.path.realpath(os.path.expanduser("~"))
    for folder in (start, *start.parents):
        if os.path.lexists(folder / NAME):
            return folder / NAME
        if str(folder) == home:
            break
    return None


def _sections(path: Path, *, is_named: bool) -> Mapping[str, Mapping[str, Any]]:
    import tomllib

    try:
        told = tomllib.loads(_text(path, is_named=is_named))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.", hint=_WITHOUT) from error
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "no text of this kind"
        raise UsageError(f"{path} is no TOML: {why}.", hint=_WITHOUT) from error
    loose = [name for name, section in told.items() if not isinstance(section, dict)]
    if loose:
        raise UsageError(
            f"{path}: {loose[0]} stands under no heading.",
            hint=f"Write [{GENERAL}] above it, for all commands, or [run] for that command.",
        )
    return told


def _text(path: Path, *, is_named: bool) -> str:
    from nanobanana_batch.files.plain import reading

    with reading(path) as stream:
        owner = os.fstat(stream.fileno()).st_uid
        if not is_named and owner not in (os.geteuid(), 0):
            raise UsageError(
                f"{path} belongs to another user and is not read: it could decide what is paid for.",
                hint=f"If it is right, name it: --config {path}; else do without: --config {NONE}",
            )
        data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path} is larger than {_MOST_BYTES >> 10} KiB.", hint=_WITHOUT)
    return data.decode("utf-8")
