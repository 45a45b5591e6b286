"""Which two pictures of the same prompt were compared, and which of them is the better one.

What a person said of the two counts before anything else: one choice in preferences.csv, or else different
ratings, or else that one was accepted and the other rejected. Samples that were judged are kept in a private
temporary database, which SQLite spills to disk.
"""

from __future__ import annotations

import hashlib
import math
import pickle
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from types import TracebackType
from typing import Self

from nanobanana_batch.collection.entries import Collection, Entry, Picture
from nanobanana_batch.collection.judgements import Judgement, Verdict
from nanobanana_batch.collection.lineage import sources_of
from nanobanana_batch.collection.preferences import Better, pairs
from nanobanana_batch.exports.columns import Column
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.samples import Samples
from nanobanana_batch.files.temporary_database import temporary_database

_TABLES = """
CREATE TABLE judged (place INTEGER PRIMARY KEY, question BLOB, name TEXT UNIQUE, split TEXT, sample BLOB);
CREATE TABLE found (first INTEGER, second INTEGER, label REAL, PRIMARY KEY (first, second)) WITHOUT ROWID;
"""
_LABELS = {Better.FIRST: 1.0, Better.SECOND: 0.0, Better.TIE: 0.5, Better.SKIP: -1.0}
_SKIPPED = -1.0
_MOST_OF_ONE_PROMPT = 10_000
_TIE = 0.5


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """Two samples of one part, in the order of the manifests."""

    first: Sample
    second: Sample
    label: float
    """1: the first is better, 0: the second is, 0.5: neither."""


class Pairs:
    """Those of all samples, in their order. Use as a context manager.

    `by`: a column of numbers that says it all; without it what people said. `ties`: pairs of which neither is
    better count, too.
    """

    def __init__(self, samples: Samples, by: Column | None, *, ties: bool) -> None:
        self._by = by
        self._ties = ties
        self._without: Counter[str] = Counter()
        self._db = temporary_database()
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")
        for place, sample in enumerate(samples):
            self._db.execute(
                "INSERT INTO judged VALUES (?, ?, ?, ?, ?)",
                (
                    place,
                    _question(sample.entry),
                    _name(sample.entry, sample.picture),
                    sample.split,
                    pickle.dumps(sample),
                ),
            )
        self._db.execute("CREATE INDEX questions ON judged (question, place)")
        if by is None:
            self._take_choices(samples.folders)
        self._compare()
        self._db.execute("COMMIT")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def of(self, split: str | None) -> Iterator[JudgedPair]:
        """Those of one part; None: all."""
        rows = self._db.execute(
            "SELECT one.sample, other.sample, label FROM found"
            " JOIN judged AS one ON one.place = first JOIN judged AS other ON other.place = second"
            " WHERE label >= 0 AND (:split IS NULL OR one.split = :split) ORDER BY first, second",
            {"split": split},
        )
        for first, second, label in rows:
            if label != _TIE or self._ties:
                yield JudgedPair(pickle.loads(first), pickle.loads(second), label)

    def notes(self) -> tuple[str, ...]:
        """What the card says of them."""
        (ties,) = self._db.execute("SELECT count(*) FROM found WHERE label = ?", (_TIE,)).fetchone()
        said = "--by " + self._by.name if self._by else "ratings and choices of people"
        told = [f"which picture is better: {said}", "pictures that are no JPEG are here as JPEG"]
        if ties:
            kept = "are here with label_0 0.5" if self._ties else "are left out (--ties takes them)"
            told.append(f"{ties:,} pairs of which neither is better {kept}")
        return (*told, *(f"{count:,} choices {why}" for why, count in sorted(self._without.items())))

    def _take_choices(self, folders: tuple[Path, ...]) -> None:
        for pair in pairs(Collection(folders)):
            one, other = (self._place(*each) for each in (pair.first, pair.second))
            if one is None or other is None:
                self._without["are of a picture that was not chosen for this export"] += 1
            elif one[1] != other[1]:
                self._without["are of pictures in two parts of the split"] += 1
            elif one[0] != other[0]:
                label = _LABELS[pair.better]
                if one[0] > other[0]:
                    one, other, label = other, one, label if label in (_TIE, _SKIPPED) else 1 - label
                self._take(one[0], other[0], label)

    def _compare(self) -> None:
        questions = self._db.execute(
            "SELECT question FROM judged GROUP BY question HAVING count(*) > 1 ORDER BY min(place)"
        ).fetchall()
        for (question,) in questions:
            found = self._db.execute(
                "SELECT place, sample FROM judged WHERE question = ? ORDER BY place", (question,)
            ).fetchall()
            samples = [(place, pickle.loads(sample)) for place, sample in found]
            for (first, one), (second, other) in islice(combinations(samples, 2), _MOST_OF_ONE_PROMPT):
                label = self._label(one, other)
                if label is not None and one.picture.sha256 != other.picture.sha256:
                    self._take(first, second, label)

    def _label(self, one: Sample, other: Sample) -> float | None:
        if self._by is None:
            return _said(one.picture.judgement, other.picture.judgement)
        first, second = (_number(self._by.of(sample)) for sample in (one, other))
        return None if first is None or second is None else _sign(first, second)

    def _take(self, first: int, second: int, label: float) -> None:
        """The first word on a pair counts: choices come before ratings."""
        self._db.execute("INSERT OR IGNORE INTO found VALUES (?, ?, ?)", (first, second, label))

    def _place(self, entry: Entry, picture: Picture) -> tuple[int, str] | None:
        found: tuple[int, str] | None = self._db.execute(
            "SELECT place, split FROM judged WHERE name = ?", (_name(entry, picture),)
        ).fetchone()
        return found


def _said(one: Judgement | None, other: Judgement | None) -> float | None:
    if one is None or other is None:
        return None
    label = None
    if one.rating is not None and other.rating is not None:
        label = _sign(one.rating, other.rating)
    if label in (None, _TIE) and one.verdict and other.verdict and one.verdict != other.verdict:
        return 1.0 if one.verdict is Verdict.ACCEPTED else 0.0
    return label


def _sign(one: float, other: float) -> float:
    return _TIE if one == other else float(one > other)


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _question(entry: Entry) -> bytes:
    """What was asked for: the prompt, and what was to be edited."""
    asked = [entry.request.prompt, *(source.content for source in sources_of(entry.request))]
    return hashlib.sha256("\0".join(asked).encode()).digest()


def _name(entry: Entry, picture: Picture) -> str:
    return f"{entry.folder_name}\0{entry.row_key}\0{picture.number}"
