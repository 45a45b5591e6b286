"""What may be said of an export; the names are those of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from nanobanana_batch.errors import UsageError
from nanobanana_batch.wording import shown

TRAIN = "train"
"""What the only part is called where nothing is split."""
MAX_BYTES = 500_000_000
"""How large a shard may become where nothing is said."""
QUALITY = 95
"""Of JPEG and WebP, where nothing is said."""
_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}


class Link(StrEnum):
    """How an image file comes into an export."""

    COPY = "copy"
    HARD = "hard"
    SYMLINK = "symlink"


class Encoding(StrEnum):
    """What a picture is written as; the value is the ending of its file."""

    JPG = "jpg"
    PNG = "png"
    WEBP = "webp"


class FileKind(StrEnum):
    """In which files the pictures of a format stand that several loaders know."""

    PARQUET = "parquet"
    IMAGEFOLDER = "imagefolder"
    WEBDATASET = "webdataset"


@dataclass(frozen=True, slots=True)
class Options:
    """One export; what a format has no use for is refused by `refuse_unused`."""

    format: str
    out: str
    """A path; for formats that take one, an address such as `s3://bucket/name`."""
    only: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    split: tuple[tuple[str, float], ...] = ()
    """Names and shares, which come to 1; empty: everything is `train`."""
    seed: int = 0
    max_bytes: int | None = None
    """Of a shard; None: what the format does by itself."""
    link: Link | None = None
    """None: copies."""
    images: Literal["first", "all"] = "first"
    """Which images of a row that has several."""
    noted: bool = True
    """Whether images come along that are not what was asked for, by size or ratio."""
    practice: bool = False
    """Whether placeholders of the embedded service may be exported."""
    bom: bool = False
    """For spreadsheets: with a byte order mark, and no text that can be taken for a formula."""
    paths_only: bool = False
    """Paths in the place of bytes."""
    convert: Encoding | None = None
    """What pictures are drawn anew as; None: each stays as it is where the format can hold it."""
    quality: int = QUALITY
    """Of those that are drawn anew as JPEG or WebP, 1 to 100."""
    caption: str | None = None
    """A column, or a template of columns; None: the prompt."""
    path_prefix: str | None = None
    """Where a trainer will find the export; None: where it is made."""
    layout: FileKind | None = None
    """None: Parquet."""
    by: str | None = None
    """A column of numbers that says which of two pictures is the better one; None: what people said."""
    ties: bool = False
    """Whether pairs come along of which neither is the better one."""
    push_to_hub: str = ""
    """A repository on the Hub that the finished folder is sent to; empty: none."""

    embed_metadata: bool = False
    """Whether copies of pictures say in themselves what row they are of."""
    embed_in_signed: bool = False
    """Also those whose signature is broken by that."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the parts, in the order in which they were asked for."""
        return tuple(name for name, _ in self.split) or (TRAIN,)

    def as_text(self) -> dict[str, str]:
        """What decides what is in the export, by option; one made with others is not replaced by it."""
        told: dict[str, object] = {
            "format": self.format,
            "only": ",".join(sorted(self.only)),
            "where": " and ".join(self.where),
            "split": ",".join(f"{name}={share:.10g}" for name, share in self.split),
            "seed": (self.seed or "") if self.split else "",
            "max-size": self.max_bytes or "",
            "link": self.link or "",
            "images": self.images,
            "noted": "in" if self.noted else "out",
            "practice": "yes" if self.practice else "",
            "bom": "yes" if self.bom else "",
            "paths-only": "yes" if self.paths_only else "",
            "convert": self.convert or "",
            "quality": self.quality if self.quality != QUALITY else "",
            "caption": self.caption or "",
            "path-prefix": self.path_prefix or "",
            "layout": self.layout or "",
            "by": self.by or "",
            "ties": "yes" if self.ties else "",
            "embed-metadata": "yes" if self.embed_metadata else "",
            "embed-in-signed": "yes" if self.embed_in_signed else "",
        }
        return {name: str(value) for name, value in told.items() if value != ""}


def read_split(text: str) -> tuple[tuple[str, float], ...]:
    """`train=0.9,test=0.1`; shares may also be percentages or parts, such as 9 and 1.

    Raises:
        UsageError: it is no list of names and shares.
    """
    parts: dict[str, float] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        name, sign, share = piece.partition("=")
        name = name.strip()
        if not (name.isidentifier() and name.isascii()) or not sign or name in parts:
            raise _no_split(text)
        parts[name] = _share(share.strip(), text)
    whole = sum(parts.values())
    if not 0 < whole < float("inf"):
        raise _no_split(text)
    return tuple((name, share / whole) for name, share in parts.items())


def in_range(given: int, spelt: str, least: int, most: int) -> int:
    """A whole number that a program gave.

    Raises:
        UsageError: it is too small or too large.
    """
    if not least <= given <= most:
        raise UsageError(f"{spelt} {given}: it has to be {least} to {most}.")
    return given


def read_size(text: str) -> int:
    """A number of bytes: 500MB, 1.5GB, 64MiB, 1000.

    Raises:
        UsageError: it is none.
    """
    squeezed = text.strip().lower().replace(" ", "")
    number = squeezed.rstrip("bgikm")
    unit = _UNITS.get(squeezed[len(number) :])
    try:
        size = int(float(number) * (unit or 0))
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise UsageError(f"--max-size {shown(text)} is no size; for example 500MB or 1GB.")
    return size


def _share(text: str, whole: str) -> float:
    try:
        share = float(text.removesuffix("%"))
    except ValueError:
        raise _no_split(whole) from None
    if not 0 < share < float("inf"):
        raise _no_split(whole)
    return share


def _no_split(text: str) -> UsageError:
    return UsageError(
        f"--split {shown(text)} is no list of parts with their shares.",
        hint="For example train=0.9,test=0.1.",
    )
