"""What an export was made of, and which files are there: name by name, since there may be a million of them.

Both are in the order of the names, and so can be held against each other while they are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import IO, Any

from nanobanana_batch.files.lock import LOCK_NAME
from nanobanana_batch.files.plain import open_own

RECORD = ".export.json"
"""In each export, or beside it as `.<name>.export.json`: what it was made of, and how."""
MADE_BY = "nanobanana-batch export"
_MOST_BYTES = 1 << 30
_AT_ONCE = 1_000
_GROWING = f".{RECORD}."
"""How a record is called that is being written just now, while its folder is walked through."""
_BEGIN, _END = b'  "files": {\n', b"  }"
_OF_DESKTOPS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What programs that show folders put there."""

Sizes = Iterable[tuple[str, int]]
"""Names of files, with `/` and sorted, and their sizes."""


@dataclass(frozen=True, slots=True)
class Record:
    """What an export was made of; by it an export is known as one of ours."""

    made_by: str
    options: Mapping[str, str]
    plan: str
    """A hash of all that was to be in it."""
    files: Sizes
    splits: Mapping[str, int] = field(default_factory=dict)
    """Samples by part."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What it has not, by reason."""

    def as_pieces(self) -> Iterator[bytes]:
        """As JSON, which has a line for each file."""
        before = {"made_by": self.made_by, "options": dict(self.options), "plan": self.plan}
        after = {"splits": dict(self.splits), "left_out": dict(self.left_out)}
        yield _as_json(before).removesuffix(b"\n}") + b",\n" + _BEGIN.removesuffix(b"\n")
        lines, begin = _lines(self.files), "\n"
        while some := list(islice(lines, _AT_ONCE)):
            yield (begin + ",\n".join(some)).encode("utf-8", "surrogatepass")  # names may be no text
            begin = ",\n"
        yield (
            (b"}" if begin == "\n" else b"\n" + _END) + b",\n" + _as_json(after).removeprefix(b"{\n") + b"\n"
        )


def read_record(path: Path) -> Record | None:
    """What is told there of an export; None: nothing, or it is not one of ours."""
    try:
        with _opened(path) as file:
            told = _told(path, file)
        record = Record(**told)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    parts = (record.options, record.splits, record.left_out)
    return record if record.made_by == MADE_BY and all(isinstance(part, dict) for part in parts) else None


def listing(folder: Path, below: str = "") -> Iterator[tuple[str, int]]:
    """All files in a folder, whatever the order in which a disk lists them.

    Links to folders are not followed. The names of one folder are in memory at a time.
    """
    for name in sorted(_names(folder / below)):
        place = below + name
        if name.endswith("/"):
            yield from listing(folder, place)
        elif name not in _OF_DESKTOPS and place not in (RECORD, LOCK_NAME) and not place.startswith(_GROWING):
            yield place, os.lstat(folder / place).st_size


def held_against(these: Sizes, those: Sizes) -> Iterator[tuple[str, int, int | None]]:
    """Each of these, and its size among those; None: it is not there."""
    others = chain(those, [("", -1)])
    other, said = next(others)
    for name, size in these:
        while other and other < name:
            other, said = next(others)
        yield name, size, said if other == name else None


def _lines(files: Sizes) -> Iterator[str]:
    return (f"    {json.dumps(name, ensure_ascii=False)}: {size}" for name, size in files)


def _as_json(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _opened(path: Path) -> IO[bytes]:
    file = os.fdopen(open_own(path), "rb")
    if os.fstat(file.fileno()).st_size > _MOST_BYTES:
        file.close()
        raise ValueError(path)
    return file


def _told(path: Path, file: IO[bytes]) -> dict[str, Any]:
    """All of a record, its files checked and left on the disk; somebody else's JSON may look otherwise."""
    before = b"".join(takewhile(lambda line: line != _BEGIN, iter(file.readline, b"")))
    files = _Files(path, file.tell())
    for _ in files.read(file):
        pass
    after = file.read()
    if not after:
        told: dict[str, Any] = json.loads(before)
        return {**told, "files": sorted(told["files"].items())}
    told = json.loads(before + b'"files": {}' + b"," * (after.strip() != b"}") + after)
    return {**told, "files": files}


class _Files:
    """Those of a record, read anew each time."""

    def __init__(self, path: Path, begin: int) -> None:
        self._path, self._begin = path, begin

    def __iter__(self) -> Iterator[tuple[str, int]]:
        with _opened(self._path) as file:
            file.seek(self._begin)
            yield from self.read(file)

    @staticmethod
    def read(file: IO[bytes]) -> Iterator[tuple[str, int]]:
        """What follows, up to its end."""
        lines = takewhile(lambda line: not line.startswith(_END), iter(file.readline, b""))
        while some := b"".join(islice(lines, _AT_ONCE)):
            yield from json.loads(b"{" + some.rstrip(b",\n") + b"}").items()


def _names(folder: Path) -> Iterator[str]:
    """What stands in it; of a folder with the `/` by which what is in it is sorted."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            is_folder = _is_folder(entry)
            if not (is_folder and entry.is_symlink()):
                yield f"{entry.name}/" if is_folder else entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
