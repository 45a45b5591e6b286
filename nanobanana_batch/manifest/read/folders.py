"""A folder as a table: its texts are prompts, or its pictures are references; a file's name becomes the id.

Names are sorted, so that the same folder gives the same rows on every system. Hidden files are not meant.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NoReturn

from nanobanana_batch.catalog import IMAGE_ENDINGS
from nanobanana_batch.errors import Problem
from nanobanana_batch.files.contents import read_otherwise
from nanobanana_batch.files.plain import reading
from nanobanana_batch.manifest.read.encoding import MAX_LINE, control_fault, is_utf16, name_fault, not_utf8
from nanobanana_batch.manifest.read.reach import Reach
from nanobanana_batch.manifest.read.table import Header
from nanobanana_batch.manifest.words.ids import portable
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import counted


class PromptFolder:
    """A folder of text files: each is one prompt, and its name without the ending is the row's id."""

    def __init__(self, folder: Path, file: str, reach: Reach) -> None:
        self.file = file
        self.row_prefix = f"{file.rstrip('/')}/"
        self._folder = folder
        self._reach = reach
        self._pictures = 0
        self._below = 0

    def header(self) -> Header:
        """Two columns."""
        return Header(("id", "prompt"), (self.file, self.file))

    def rows(
        self, names: Sequence[str], log: ProblemLog, inner: Sequence[str] = ()
    ) -> Iterator[tuple[str, list[str]]]:
        """The name of each file, its id and its text."""
        try:
            found = _files_of(self._folder)
            self._below = sum("/" in name and is_text_file(name) for name in _below(self._folder, "."))
        except OSError as error:
            log.add(Problem(self.file, f"cannot be read: {error.strerror or error}"))
            return
        self._pictures = sum(is_picture(name) for name in found)
        for name in found:
            if is_text_file(name):
                path, place = self._folder / name, self.row_prefix + name
                if fault := name_fault(name) or self._reach.fault(path, name):
                    log.add(Problem(place, fault))
                elif (text := self._text(path, place, log)) is not None:
                    yield name, [portable(name[: -len(_TEXT)]), text]

    def _text(self, path: Path, place: str, log: ProblemLog) -> str | None:
        try:
            with reading(path) as stream:
                data = stream.read(MAX_LINE + 1)
        except OSError as error:
            log.add(Problem(place, f"cannot be read: {error.strerror or error}"))
            return None
        fault = f"longer than {MAX_LINE >> 20} MiB" if len(data) > MAX_LINE else ""
        try:
            text = data.decode("utf-16" if is_utf16(data) else "utf-8-sig").replace("\r\n", "\n").strip()
            fault = fault or control_fault(text)
        except UnicodeDecodeError:
            fault = fault or not_utf8(data)
        if fault:
            log.add(Problem(place, fault))
            return None
        return text

    def notes(self) -> Iterator[str]:
        """Pictures beside the prompts, and texts below them."""
        if self._below:
            are = "is" if self._below == 1 else "are"
            message = f"{counted(self._below, 'text file')} in folders below it {are} not read"
            yield str(Problem(self.file, f"{message}; name such a folder, or give each a block of its own"))
        if self._pictures:
            message = f"{counted(self._pictures, 'picture')} beside the prompts are not used"
            yield str(Problem(self.file, f"{message}; `images_from:` of a YAML manifest makes rows of them"))


class PictureFolder:
    """The pictures of a folder and of those below it, or those that a pattern finds: rows of an edit run."""

    def __init__(self, base: Path, name: str) -> None:
        self.file = name
        self.row_prefix = ""
        self._base = base
        self._name = name
        self._others = 0

    def header(self) -> Header:
        """The picture, its id, and what it is called."""
        names = ("images", "id", "file", "folder")
        try:
            found = self._names()
        except OSError as error:
            return Header(problems=(Problem(self.file, f"cannot be read: {error}"),))
        if found:
            return Header(names, (self.file,) * len(names))
        wanted = " ".join(IMAGE_ENDINGS)
        return Header(problems=(Problem(self.file, f"there are no pictures; they end in {wanted}"),))

    def rows(
        self, names: Sequence[str], log: ProblemLog, inner: Sequence[str] = ()
    ) -> Iterator[tuple[str, list[str | tuple[str, ...]]]]:
        """Each picture by its path from the manifest's folder."""
        used: set[str] = set()
        try:
            found = self._names()
        except OSError as error:
            log.add(Problem(self.file, f"cannot be read: {error}"))
            return
        for name in found:
            if fault := name_fault(name):
                log.add(Problem(name, fault))
                continue
            path = PurePosixPath(name)
            parts = path.relative_to(self.root).parts if self.root else path.parts
            id_ = portable("-".join([*parts[:-1], path.stem]))
            if id_.casefold() in used:  # the same name with another ending
                id_ = portable(f"{id_}-{path.suffix[1:]}")
            used.add(id_.casefold())
            yield name, [(name,), id_, path.name, "" if path.parent == PurePosixPath() else str(path.parent)]

    def notes(self) -> Iterator[str]:
        """Pictures that no model takes."""
        if self._others:
            are = "is" if self._others == 1 else "are"
            message = f"{counted(self._others, 'picture')} of a kind that no model takes {are} not used"
            yield str(Problem(self.file, f"{message}; save them as JPEG or PNG"))

    @property
    def root(self) -> str:
        """The folder in which names are told from each other: the pattern up to its first wildcard."""
        parts = PurePosixPath(self._name).parts
        fixed = next((n for n, part in enumerate(parts) if _has_wildcard(part)), len(parts))
        return str(PurePosixPath(*parts[:fixed])) if fixed else ""

    def _names(self) -> list[str]:
        read_otherwise()
        found: Iterable[str]
        if _has_wildcard(self._name):
            parts = PurePosixPath(self._name).parts
            all_ = _below(self._base, self.root or ".")
            found = (name for name in all_ if _matches(parts, PurePosixPath(name).parts))
        elif (self._base / self._name).is_file():
            found = [self._name]
        else:
            found = _below(self._base, self._name)
        names, self._others = [], 0
        for name in found:
            if is_picture(name):
                names.append(name)
            self._others += name.lower().endswith(_OTHER_PICTURES)
        return sorted(names)


def has_pictures(folder: Path) -> bool:
    """Whether a picture stands in this folder or below it."""
    return any(is_picture(name) for name in _below(folder, "."))


def has_texts(folder: Path) -> bool:
    """Whether a text file stands in this folder."""
    return any(is_text_file(name) for name in _files_of(folder))


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture that a model may take."""
    return name.lower().endswith(IMAGE_ENDINGS)


_TEXT = ".txt"
_OTHER_PICTURES = (".heic", ".heif", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".jfif", ".jxl")


def is_text_file(name: str) -> bool:
    """Whether a file of this name is a text."""
    return name.lower().endswith(_TEXT)


def _files_of(folder: Path) -> list[str]:
    read_otherwise()
    with os.scandir(folder) as entries:
        # A link that leads nowhere is told where it is read.
        found = [entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir()]
    return sorted(found)


def _below(base: Path, name: str) -> Iterator[str]:
    """The files below a folder, each as a path from `base`; links to folders are not followed."""
    for root, folders, files in os.walk(base / name, onerror=_raise):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        place = PurePosixPath(name) / PurePosixPath(Path(root).relative_to(base / name).as_posix())
        yield from (str(place / file) for file in files if not file.startswith("."))


def _matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether a path is as a pattern says, part by part; `**` stands for any number of folders."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_matches(pattern[1:], path[at:]) for at in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _matches(pattern[1:], path[1:])


def _raise(error: OSError) -> NoReturn:
    raise error


def _has_wildcard(text: str) -> bool:
    return any(mark in text for mark in "*?[")
