"""Which files a served gallery gives out: its own, and images of the folders that it shows.

A path is walked name by name from one of these folders, and through no link, so that none leads elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from nanobanana_batch.file_names import is_image_path

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class ServedFile:
    """One of them, whole."""

    content: bytes
    media_type: str
    is_page: bool
    """It is the gallery's page itself."""


class ServedFiles:
    """Addresses are as relative links in the page make them: paths below what all these folders share."""

    def __init__(self, page: Path, folders: Sequence[Path]) -> None:
        """`page`: the page of the gallery, in its folder; `folders`: the output folders that it shows."""
        self._page = Path(os.path.abspath(page))
        self._folders = [Path(os.path.abspath(folder)) for folder in folders]
        self._root = Path(os.path.commonpath([self._page.parent, *self._folders]))

    @property
    def address(self) -> str:
        """That of the page."""
        parts = self._page.relative_to(self._root).parts
        return "/".join(quote(os.fsencode(part), safe="") for part in parts)

    def read(self, address: bytes) -> ServedFile | None:
        """What stands at an address, as it was asked for; None: nothing that is given out."""
        names = [os.fsdecode(unquote_to_bytes(part)) for part in address.split(b"/")]
        if any(name in ("", ".", "..") or "/" in name or "\0" in name for name in names):
            return None
        place = self._place(self._root.joinpath(*names))
        kind = _KINDS.get(Path(names[-1]).suffix)
        if place is None or kind is None:
            return None
        content = _read(*place)
        if content is None:
            return None
        return ServedFile(content, kind, self._root.joinpath(*names) == self._page)

    def _place(self, path: Path) -> tuple[Path, tuple[str, ...]] | None:
        """The folder to begin in, and the names from there."""
        gallery = self._page.parent
        if path.is_relative_to(gallery):
            names = path.relative_to(gallery).parts
            return (gallery, names) if names and not any(name.startswith(".") for name in names) else None
        for folder in self._folders:
            if path.is_relative_to(folder) and is_image_path("/".join(path.relative_to(folder).parts)):
                return folder, path.relative_to(folder).parts
        return None


def _read(folder: Path, names: Sequence[str]) -> bytes | None:
    try:
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names[:-1]:
                below = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=at)
                os.close(at)
                at = below
            file = os.open(names[-1], _OPEN, dir_fd=at)
        finally:
            os.close(at)
        with os.fdopen(file, "rb") as opened:
            return opened.read() if stat.S_ISREG(os.fstat(opened.fileno()).st_mode) else None
    except OSError:
        return None
