"""What is told of a state: rows, attempts and sums as values, and how what SQLite gives becomes one."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.file_names import is_image_path
from nanobanana_batch.model import Request, RowStatus, request_from_json
from nanobanana_batch.state.lifecycle import STATUS_OF_PHASE, Phase
from nanobanana_batch.state.soundness import names_what_no_run_names


@dataclass(frozen=True, slots=True)
class RowReport:
    """Everything that is known of one row of the current manifest; None where it is not known."""

    id: str
    row_key: str
    status: RowStatus
    request: Request
    variant: int
    variables: dict[str, str]
    source: str
    path: str | None
    width: int | None
    height: int | None
    size_bytes: int | None
    sha256: str | None
    credits: float | None
    """Of all its attempts."""
    task_id: str | None
    error_code: str | None
    error_message: str | None
    duplicate_of: str | None
    """The id of the first row in the manifest whose image has the same bytes, if that is another row."""
    file_time: float | None
    """When its image file was changed last, as it was saved (Unix seconds)."""
    other_images: tuple[ImageFile, ...] = ()
    """What its request has made besides, as far as it is saved."""


FIELDS = len(fields(RowReport))
"""How many values of a state make one."""


class Waiting(NamedTuple):
    """A row of the current manifest for which nothing was sent, as it is stored."""

    id: str
    row_key: str
    request: str
    """As JSON, as `variables`."""
    variant: int
    variables: str
    source: str

    def report(self) -> RowReport:
        """All that is known of it.

        Raises:
            StateFailed: it is damaged.
        """
        id_, key, *rest = self
        return sound_row((id_, key, None, *rest, *_NOTHING_KNOWN, "[]"))


_NOTHING_KNOWN = (None,) * 11


class ImageFile(NamedTuple):
    """A saved image, and what its file was like then; `file_time` in Unix seconds, None: not known."""

    path: str
    size_bytes: int
    sha256: str
    file_time: float | None


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """One attempt of any row, also of rows that left the manifest; None where a thing is not known."""

    attempt: int
    row_key: str
    id: str
    phase: Phase
    path: str | None
    sha256: str | None
    size_bytes: int | None
    file_time: float | None
    """Unix seconds."""
    width: int | None
    height: int | None
    task_id: str | None
    sent: int
    """How many of its sendings may have been paid."""
    credits_reserved: float | None
    """Of a job, as the next one: its share."""
    credits_used: float | None
    is_accepted: bool
    """The provider has taken its request."""
    is_spent: bool
    """What it has cost is spent: it has ended, and was not refunded."""
    error_code: str | None
    error_message: str | None
    request: str
    """As `request_as_json` stored it."""
    has_left: bool
    """Its row is not in the manifest any more."""
    saved_images: tuple[ImageFile, ...] = ()
    """Those of its images that are saved, in order."""


class SavedImage(NamedTuple):
    """An image that the state counts on, and what its file was like when it was saved."""

    path: str
    size_bytes: int
    sha256: str
    file_time: float | None
    """Unix seconds; None: not known."""
    attempt: int
    is_current: bool
    """Whether it is one of those of a row of the current manifest that is completed."""


@dataclass(frozen=True, slots=True)
class Known:
    """What came of a row so far, whether or not it is in the current manifest; None where it is not known."""

    image: str | None
    """Its path in the folder."""
    task_id: str | None
    credits: float | None
    """Of all its attempts."""
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Rows that ended for the same reason."""

    status: RowStatus
    """Failed or refused."""
    code: str
    rows: int
    first: str
    """The id of the first of them."""
    message: str
    """What was said of that one."""


@dataclass(frozen=True, slots=True)
class Credits:
    """Credits over all attempts of the folder, as far as the provider told."""

    reserved: float
    """Of accepted requests that are not finished yet."""
    used: float
    """Of finished images and given up tasks; the reserved amount where the provider tells no other."""
    unknown: float
    """Of each sending without an answer, as far as its price was known."""
    untold: int
    """Requests that are paid for, and in no sum: the provider has not said what they cost."""


@dataclass(frozen=True, slots=True)
class BeingSent:
    """Requests that were begun and have no answer yet."""

    rows: int = 0
    """Of the current manifest."""
    credits: float = 0.0
    """As far as their price was known."""


def sound_row(found: tuple[Any, ...]) -> RowReport:
    """A row, of what was asked of the state in the order of its fields.

    Raises:
        StateFailed: it says what no run writes.
    """
    try:
        return _row_report(found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StateFailed(f"The state file is damaged: nobody can read row {found[0]!r}.") from error


def _row_report(found: tuple[Any, ...]) -> RowReport:
    id_, key, phase, request, variant, variables, source, *rest, others = found
    asked, texts = request_from_json(request), dict(json.loads(variables))
    if rest[0] is not None and not is_image_path(rest[0]):
        raise ValueError("its path leads out of the folder")
    values = (*rest, image_files(others))
    return RowReport(id_, key, status_of(phase), asked, variant, texts, source, *values)


def image_files(found: str) -> tuple[ImageFile, ...]:
    """Images of one request, of a JSON list of their numbers and what they were like, in order."""
    if found == "[]":
        return ()
    files = tuple(ImageFile(*file) for _, *file in sorted(json.loads(found)))
    for file in files:
        if not is_image_path(str(file.path)):
            raise names_what_no_run_names(file.path)
    return files


def status_of(phase: str | None) -> RowStatus:
    """What a person is told of a row in that phase; None: nothing was sent for it."""
    return RowStatus.PENDING if phase is None else STATUS_OF_PHASE[Phase(phase)]
