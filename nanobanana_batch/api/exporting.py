"""A finished run for trainers, spreadsheets and people."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from os import fspath
from typing import TYPE_CHECKING, Any, Unpack, get_type_hints

from nanobanana_batch.api import values
from nanobanana_batch.api.options import AnyPath, ExportOptions
from nanobanana_batch.api.values import several_folders, several_texts

if TYPE_CHECKING:
    from nanobanana_batch.exports.export import Exported
    from nanobanana_batch.exports.watch import Watch

Reading = Callable[[str, Any], Any]
"""What is made of the value of an option: (its name, the value)."""
_OURS = {"max_size": "max_bytes"}
_FLAGS = ("practice", "bom", "paths_only", "ties", "embed_metadata", "embed_in_signed")


def export(
    folders: AnyPath | Iterable[AnyPath],
    format: str,
    out: AnyPath,
    *,
    dry_run: bool = False,
    progress: AbstractContextManager[Watch | None] | None = None,
    **options: Unpack[ExportOptions],
) -> Exported:
    """Write what one or more output folders hold in a form that other programs load.

    - `format`: `"imagefolder"`, `"parquet"`, … docs/exports.md has all of them
    - `out`: the folder, or for formats of one file the file, that is made
    - `dry_run`: say what would be written, and write nothing [False]
    - `options`: which pictures, and how they are written; see `ExportOptions`

    Raises:
        UsageError: an option is wrong, there is nothing to export, or something else stands at `out`.
        FolderInUse: another process writes the same export.
        FolderRefused: a folder holds links or other things that no run makes.
        StateFailed: a folder's state cannot be read.
        RunStopped: the Hub cannot be reached; the export is whole.
        DiskFailed: the disk is full or refuses; the export of before is untouched.
    """
    from nanobanana_batch.exports.export import export as made
    from nanobanana_batch.exports.options import Options

    paths = several_folders(folders)
    asked = Options(format=format, out=fspath(out), **_understood(options))
    with progress or nullcontext() as watch:
        return made(paths, asked, dry_run=dry_run, watch=watch)


def _understood(options: ExportOptions) -> dict[str, Any]:
    """What was said, as exports have it; what was not, or is None, has its own default there."""
    from nanobanana_batch.exports.options import Encoding, FileKind, Link, in_range, read_size, read_split

    values.known_names(options, get_type_hints(ExportOptions), "export")

    def word(choices: Collection[str]) -> Reading:
        return lambda name, given: values.one_of(name, given, choices)

    def kind(of: type[StrEnum]) -> Reading:
        return lambda name, given: of(values.one_of(name, given, list(of)))

    read: dict[str, Reading] = {
        "only": lambda _, given: several_texts(given),
        "where": lambda _, given: several_texts(given),
        "split": lambda _, given: read_split(_split_text(given)) if given else (),
        "seed": lambda name, given: values.count(name, given, least=0),
        "max_size": lambda _, given: read_size(str(given)),
        "link": kind(Link),
        "images": word(("first", "all")),
        "noted": lambda name, given: values.one_of(name, given, ("in", "out")) == "in",
        "convert": kind(Encoding),
        "quality": lambda _, given: in_range(given, "--quality", 1, 100),
        "layout": kind(FileKind),
        **dict.fromkeys(_FLAGS, values.flag),
    }
    return {
        _OURS.get(name, name): read[name](name, given) if name in read else given
        for name, given in options.items()
        if given is not None
    }


def _split_text(given: str | Mapping[str, float]) -> str:
    return given if isinstance(given, str) else ",".join(f"{name}={share!r}" for name, share in given.items())
