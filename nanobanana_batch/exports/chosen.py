"""What was chosen for an export, in the order of the manifests, and into which part each of it goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.spool import Lines, Spool, Spooled


@dataclass(frozen=True, slots=True)
class Chosen:
    """Kept on disk while it is written, as often as a format walks through it."""

    spool: Spooled
    parts: tuple[str, ...]
    """The names of the parts that were asked for."""
    sides: bytes
    """Of each sample, as a number among the parts."""
    plan: str
    """A hash of all that is to be in the export: the same plan makes the same bytes."""
    media_types: frozenset[str]
    """Of all pictures."""
    placeholders: int
    picture_bytes: int

    def counts(self) -> dict[str, int]:
        """How many samples each part has."""
        return {name: self.sides.count(number) for number, name in enumerate(self.parts)}

    def samples(self, part: str | None = None) -> Iterator[Sample]:
        """Each of them, or those of a part; may be done several times."""
        assert isinstance(self.spool, Spool), "of a format of lines nothing else is kept"
        side = None if part is None else self.parts.index(part)
        return self.spool.walk(self.parts, self.sides, side)

    def lines(self) -> Iterator[tuple[bytes, int]]:
        """The lines of a format that has only these, many at a time, and how many."""
        assert isinstance(self.spool, Lines), "a format without lines walks through the samples"
        return self.spool.walk()
