"""Where a gallery stands, and how its page names files that stand elsewhere.

Nothing is written over what is not a gallery, and through no link.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from nanobanana_batch.errors import FolderInUse, UsageError
from nanobanana_batch.files.lock import LOCK_NAME, only_writer
from nanobanana_batch.files.plain import refuse_foreign

DATA, PAGE, THUMBS = "data", "page", "thumbs"
INDEX_NAME = "index.html"
_MARK = ".gallery"
_WORDS = "Made by nanobanana-batch gallery; open index.html. Everything here can be made again.\n"


@contextmanager
def gallery_folder(path: Path) -> Iterator[None]:
    """Make it, and hold it: who builds it at the same time is refused.

    Raises:
        UsageError: something else is there, or it cannot be made.
        FolderRefused: it holds links.
        FolderInUse: another process builds it just now.
    """
    _refuse_others(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be made: {error.strerror}.", hint="--out PATH puts the gallery elsewhere."
        ) from error
    try:
        with only_writer(path):
            (path / _MARK).write_text(_WORDS, encoding="utf-8")
            yield
    except FolderInUse as error:
        raise FolderInUse(f"Another command is building {path}; nothing was changed.") from error


def _refuse_others(path: Path) -> None:
    if path.is_symlink():
        raise UsageError(f"{path} is a link; name the folder that it leads to with --out.")
    refuse_foreign(path, (_MARK, LOCK_NAME, INDEX_NAME), (DATA, PAGE, THUMBS))
    try:
        names = {entry.name for entry in os.scandir(path)} if path.exists() else set()
    except OSError as error:
        raise UsageError(f"{path} cannot be a gallery: {error.strerror}.") from error
    if names - {LOCK_NAME} and _MARK not in names:
        raise UsageError(
            f"{path} holds other things, and no gallery; nothing was written.",
            hint="Give --out a new folder.",
        )


def refuse_other_file(path: Path, head: bytes) -> None:
    """A gallery in one file is written over one only.

    Raises:
        UsageError: it is another file, a link, or a folder.
    """
    if not os.path.lexists(path):
        if not path.parent.is_dir():
            raise UsageError(f"There is no folder {path.parent}.")
        return
    is_file = path.is_file() and not path.is_symlink()
    if not is_file or path.read_bytes()[: len(head)] != head:
        raise UsageError(f"{path} is there, and is no gallery; nothing was written.")


def link(file: Path, page_folder: Path) -> str:
    """A file as a page in that folder names it: relative, with what means something in a URL escaped."""
    relative = os.path.relpath(os.path.abspath(file), os.path.abspath(page_folder))
    return "/".join(quote(os.fsencode(part), safe="") for part in relative.split(os.sep))
