"""A finished run for trainers, spreadsheets and people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nanobanana_batch.api.options import AnyPath

if TYPE_CHECKING:
    from nanobanana_batch.exports.export import Exported
    from nanobanana_batch.exports.watch import Watch


def export(
    folders: AnyPath | Sequence[AnyPath],
    format: str,
    out: AnyPath,
    *,
    only: str | Iterable[str] = (),
    where: str | Iterable[str] = (),
    split: str | Mapping[str, float] = "",
    seed: int = 0,
    max_size: int | str | None = None,
    link: Literal["copy", "hard", "symlink"] | None = None,
    images: Literal["first", "all"] = "first",
    noted: Literal["in", "out"] = "in",
    practice: bool = False,
    bom: bool = False,
    paths_only: bool = False,
    convert: Literal["jpg", "png", "webp"] | None = None,
    quality: int = 95,
    caption: str | None = None,
    path_prefix: str | None = None,
    layout: Literal["parquet", "imagefolder", "webdataset"] | None = None,
    by: str | None = None,
    ties: bool = False,
    embed_metadata: bool = False,
    embed_in_signed: bool = False,
    push_to_hub: str | None = None,
    dry_run: bool = False,
    progress: AbstractContextManager[Watch | None] | None = None,
) -> Exported:
    """Write what one or more output folders hold in a form that other programs load.

    - `format`: `"imagefolder"`, `"parquet"`, … docs/exports.md has all of them
    - `out`: the folder, or for formats of one file the file, that is made
    - `only`, `where`: which pictures, as `results` and the gallery name them: `only="accepted"`,
      `where=["rating>=4", "style=ink,photo"]` [all]
    - `split`: parts and their shares, `"train=0.9,test=0.1"`; what has the same prompt or source image is
      never in two [everything is `train`]
    - `seed`: another one, another split [0]
    - `max_size`: of a shard, in bytes or as `"500MB"` [what the format does]
    - `link`: how pictures come into folders: `"copy"`, `"hard"` or `"symlink"` [`"copy"`]
    - `images`: of a row that has several, the `"first"` or `"all"` [`"first"`]
    - `noted`: pictures of another size or ratio than asked for come along, `"in"`, or stay `"out"` [`"in"`]
    - `practice`: placeholders of the embedded service come along, marked [False: they are refused]
    - `bom`: tables for spreadsheets [False]
    - `paths_only`: Parquet with paths in the place of bytes [False]
    - `convert`: pictures are drawn anew as `"jpg"`, `"png"` or `"webp"` [they stay as they are]
    - `quality`: of those that become JPEG or WebP, 1 to 100 [95]
    - `caption`: a column, or a template such as `"sks style, {prompt}"` [the prompt]
    - `path_prefix`: where the trainer will find the export, for the paths in musubi-tuner's list [`out`]
    - `layout`: edits as `"parquet"`, `"imagefolder"` or `"webdataset"` [`"parquet"`]
    - `by`: a column of numbers that says which of two pictures is better [what people said]
    - `ties`: pairs of which neither is better come along [False]
    - `embed_metadata`: copies of pictures say of which row they are; `from_image` reads it [False]
    - `embed_in_signed`: also those whose signature (C2PA) does not hold then [False]
    - `push_to_hub`: a repository on the Hugging Face Hub that the folder is sent to, private if new [none]
    - `dry_run`: say what would be written, and write nothing [False]

    Raises:
        UsageError: an option is wrong, there is nothing to export, or something else stands at `out`.
        FolderInUse: another process writes the same export.
        FolderRefused: a folder holds links or other things that no run makes.
        StateFailed: a folder's state cannot be read.
        RunStopped: the Hub cannot be reached; the export is whole.
        DiskFailed: the disk is full or refuses; the export of before is untouched.
    """
    from nanobanana_batch.exports.export import export as made
    from nanobanana_batch.exports.options import (
        Encoding,
        FileKind,
        Link,
        Options,
        among,
        in_range,
        one_of,
        read_size,
        read_split,
    )

    given = [folders] if isinstance(folders, str | PathLike) else list(folders)
    if isinstance(split, Mapping):
        split = ",".join(f"{name}={share!r}" for name, share in split.items())
    options = Options(
        format=format,
        out=fspath(out),
        only=_texts(only),
        where=_texts(where),
        split=read_split(split) if split else (),
        seed=seed,
        max_bytes=read_size(str(max_size)) if max_size is not None else None,
        link=one_of(Link, "--link", link),
        images="all" if among(images, "--images", "first", "all") == "all" else "first",
        noted=among(noted, "--noted", "in", "out") == "in",
        practice=practice,
        bom=bom,
        paths_only=paths_only,
        convert=one_of(Encoding, "--convert", convert),
        quality=in_range(quality, "--quality", 1, 100),
        caption=caption,
        path_prefix=path_prefix,
        layout=one_of(FileKind, "--layout", layout),
        by=by,
        ties=ties,
        embed_metadata=embed_metadata,
        embed_in_signed=embed_in_signed,
        push_to_hub=push_to_hub or "",
    )
    with progress or nullcontext() as watch:
        return made([Path(folder) for folder in given], options, dry_run=dry_run, watch=watch)


def _texts(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
