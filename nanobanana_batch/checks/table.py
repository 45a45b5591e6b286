"""checks.csv: what was found of each picture. It is the memory of `check`, too: what it knows is not read.

Columns that nobody here knows are kept as they are: scores of an earlier check, or a person's own.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nanobanana_batch.checks.pixels import Blank, FileIs, Seen
from nanobanana_batch.checks.profiles import Profile
from nanobanana_batch.collection.entries import Picture

OF_THE_ROW = ("id", "image", "sha256")
MEASURED = (
    *("file", "detail", "blank", "mean", "stddev", "near_duplicate_of", "near_duplicates"),
    *("size_as_asked", "profile", "placeholder"),
)
MEMORY = ("fingerprint", "scored")
"""What the next check wants to know; they stand at the end."""
OWN = frozenset((*OF_THE_ROW, *MEASURED, *MEMORY))
"""No score may be called so."""

_VERSION = "v1"
"""Of how a picture is measured: what was measured otherwise is measured anew."""
_FINGERPRINT = re.compile(rf"{_VERSION}:([0-9a-f]{{16}})")


@dataclass(frozen=True, slots=True)
class Line:
    """Of one picture."""

    id: str
    image: str
    sha256: str
    seen: Seen
    unlike: str
    """How it differs from the size that was asked for; empty: it does not."""
    is_placeholder: bool
    scores: dict[str, str]
    """Other columns, as they stand in the table."""
    scored: str
    unscored: frozenset[str]
    """Functions that could not score it; which columns are theirs is known when all are scored."""


def remembered(picture: Picture) -> Seen | None:
    """What an earlier check has found of this content; None: it has to be looked at."""
    told = picture.measures
    found = _FINGERPRINT.fullmatch(told.get("fingerprint", ""))
    if found is None or told.get("file") != FileIs.AS_SAVED:
        return None
    try:
        return Seen(
            FileIs.AS_SAVED,
            blank=Blank(told["blank"]),
            mean=float(told["mean"]),
            stddev=float(told["stddev"]),
            width=picture.width,
            height=picture.height,
            profile=Profile(told["profile"]),
            fingerprint=int(found[1], 16),
        )
    except (KeyError, ValueError):  # a person has written into it
        return None


def other_columns(picture: Picture) -> dict[str, str]:
    """What the table has of a picture beside our own columns."""
    return {name: text for name, text in picture.measures.items() if name not in OWN}


def written(lines: Iterable[tuple[Line, str, int]], others: Sequence[str]) -> Iterator[bytes]:
    """The table, line by line; with each the first of its group of near-duplicates and how many it has."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*OF_THE_ROW, *MEASURED, *others, *MEMORY))
    for line, first, count in lines:
        writer.writerow(_cells(line, first, count, others))
        if text.tell() > 1 << 16:
            yield text.getvalue().encode("utf-8", "replace")
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode("utf-8", "replace")


def _cells(line: Line, first: str, count: int, others: Sequence[str]) -> list[object]:
    seen = line.seen
    is_seen = seen.fingerprint is not None
    return [
        line.id,
        line.image,
        line.sha256,
        seen.file,
        seen.detail,
        seen.blank,
        seen.mean if is_seen else "",
        seen.stddev if is_seen else "",
        first,
        count if count > 1 else "",
        ("no" if line.unlike else "yes") if is_seen else "",
        seen.profile if is_seen else "",
        "yes" if line.is_placeholder else "no",
        *(line.scores.get(name, "") for name in others),
        f"{_VERSION}:{seen.fingerprint:016x}" if is_seen else "",
        line.scored,
    ]
