"""What is looked at before SQLite opens a state that may be a stranger's, and what is told if that fails."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.state.journal import journal_of, leads_elsewhere


def refuse_foreign_journal(path: Path) -> None:
    """SQLite would roll it back, and then delete the file that it names, wherever that is.

    Raises:
        StateFailed: the journal beside the state names a file, or cannot be looked at.
    """
    if leads_elsewhere(path):
        raise StateFailed(
            f"{journal_of(path)} names another file, which would be deleted, or cannot be read; no run makes"
            " such a journal.",
            hint="Nothing was sent, read or written. Do not use this folder.",
        )


def refuse_other_names(path: Path) -> None:
    """What is written to a file is written to all of its names, and one of them may be a person's own file.

    Raises:
        StateFailed: the state file has a second name.
    """
    if path.stat().st_nlink > 1:
        raise StateFailed(
            f"{path} is the same file as another one (a hard link), to which all would be written, too;"
            " nothing was sent.",
            hint="A backup made with `cp -al` does that: while no run is going on, give the folder that you"
            f" work on a file of its own with cp -p {path.name} {path.name}.new &&"
            f" mv {path.name}.new {path.name} there. If it is a stranger's, do not use it.",
        )


def unusable(path: Path, error: sqlite3.Error | UnicodeDecodeError, hint: str = "") -> StateFailed:
    """What to tell when SQLite cannot read a state file, or Python cannot read what SQLite says of it."""
    said = "it has text that is none" if isinstance(error, UnicodeDecodeError) else str(error)
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK:
        said, hint = "a change of it was cut off", "The next run takes back what was begun."
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CANTOPEN:
        said = f"{said} (may this user read it, and all that stands beside it?)"
    return StateFailed(f"The state file {path} cannot be read: {said}.", hint=hint)
