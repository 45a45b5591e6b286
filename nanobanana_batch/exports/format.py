"""What a format is: it says what it takes and needs, and writes samples to a place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

from nanobanana_batch.collection.entries import Entry
from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.columns import Column, Value
from nanobanana_batch.exports.features import Feature
from nanobanana_batch.exports.leaving_out import Why
from nanobanana_batch.exports.options import Link, Options
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.samples import Samples

Liner = Callable[[Sequence[Sequence[Value]]], bytes]
"""Makes lines of what is told of samples, column by column."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the card tells a loader of the files; the parts are those of `Samples.splits`."""

    features: Sequence[Feature] = ()
    data_files: Mapping[str, str] = field(default_factory=dict)
    """The pattern of the files of each part."""
    num_bytes: Mapping[str, int] = field(default_factory=dict)
    """What the rows of each part take in memory; where it is not told, the bytes of its pictures."""
    load: Sequence[str] = ()
    """Lines of Python that load it from `PATH`."""
    notes: Sequence[str] = ()
    """Sentences of the format's own."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a format has found before anything was written."""

    plan: str = ""
    """A hash of what else decides what will be in the export."""
    splits: Mapping[str, int] | None = None
    """Samples by part, where these are no pictures; None: each picture is one."""


class Takes(Enum):
    """What its samples are."""

    PICTURES = "pictures"
    """Pictures of completed rows, whole and as they were saved."""
    ROWS = "rows"
    """Every row, with its picture where it has one."""


class Format(Protocol):
    """One way of writing an export; `registry` has them all."""

    takes: Takes
    is_file: bool
    """`--out` is a file, and not a folder with a card."""
    uses: frozenset[str]
    """Options that it has a use for, beside those of all; `refuse_unused` has their names."""

    def check(self, options: Options) -> None:
        """Look at the options before anything else is done.

        Raises:
            UsageError: they do not go together, or what the format needs is not installed.
        """

    def write(self, samples: Samples, place: Place, options: Options) -> Layout | None:
        """Write all samples; the card is added by the caller, with what is returned.

        Raises:
            DiskFailed: the disk is full or refuses.
        """


@runtime_checkable
class Wants(Protocol):
    """A format that has no use for some rows, whatever their pictures are."""

    def why_not(self, entry: Entry) -> Why | None:
        """Why a row with a picture is left out; None: it is not."""


@runtime_checkable
class MakesLines(Protocol):
    """A format of one file that has a line for each sample, and no picture.

    They are made while rows are chosen; its samples are walked through as `Samples.lines`, once.
    """

    def liner(self, columns: Sequence[Column], options: Options) -> Liner:
        """What makes them, of samples with these columns."""


@runtime_checkable
class LooksFirst(Protocol):
    """A format that has to see all samples before anything is written."""

    def look(self, samples: Samples, options: Options) -> Looked:
        """Look at them.

        Raises:
            UsageError: they do not fit, or an option names what they do not have.
        """


def refuse_unused(format: Format, options: Options) -> None:
    """Options that a format does nothing with were meant for something.

    Raises:
        UsageError: there is one.
    """
    given = {
        "split": (bool(options.split), "--split"),
        "max_bytes": (options.max_bytes is not None, "--max-size"),
        "link": (options.link is not None, "--link"),
        "bom": (options.bom, "--bom"),
        "paths_only": (options.paths_only, "--paths-only"),
        "convert": (options.convert is not None, "--convert"),
        "caption": (options.caption is not None, "--caption"),
        "path_prefix": (options.path_prefix is not None, "--path-prefix"),
        "layout": (options.layout is not None, "--layout"),
        "by": (options.by is not None, "--by"),
        "ties": (options.ties, "--ties"),
        "embed_metadata": (options.embed_metadata, "--embed-metadata"),
    }
    for name, (is_given, spelt) in given.items():
        if is_given and name not in format.uses:
            raise UsageError(f"--format {options.format} has no use for {spelt}.")
    if options.embed_metadata and (options.paths_only or options.link not in (None, Link.COPY)):
        raise UsageError("--embed-metadata writes into copies of pictures, and these would be the run's own.")
    if options.embed_in_signed and not options.embed_metadata:
        raise UsageError("--embed-in-signed says more of --embed-metadata, which is not given.")


def missing_extra(error: ModuleNotFoundError, extra: str, what: str) -> UsageError:
    """The error where a library of an extra is not installed."""
    return UsageError(
        f"{what} needs {error.name}.",
        hint=f"`pip install 'nanobanana-batch[{extra}]'` installs it.",
    )
