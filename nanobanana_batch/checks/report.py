"""What a check has found, counted, with the first of each kind and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_FIRST = 3


class Kind(StrEnum):
    """What may be wrong with a picture."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    BROKEN = "broken"
    CHANGED = "changed"
    BLANK = "blank"
    SIZE = "size"
    NEAR_DUPLICATE = "near_duplicate"
    PROFILE = "profile"
    PLACEHOLDER = "placeholder"
    SCORE = "score"


ADVICE: Mapping[Kind, tuple[str, str]] = {
    Kind.MISSING: ("Files that are gone", "The next run fetches them again, and pays for none."),
    Kind.UNREADABLE: (
        "Files that cannot be read",
        "Let this user read them, and check again.",
    ),
    Kind.BROKEN: (
        "Files of which no picture can be made",
        "An audit with --repair fetches those anew that are not as they were saved.",
    ),
    Kind.CHANGED: (
        "Files that were changed since they were saved",
        "Exports leave them out; an audit with --repair saves the originals beside them.",
    ),
    Kind.BLANK: (
        "Images with nothing to see (black, white, of one colour, transparent)",
        "--where check_blank= leaves them out of exports and galleries.",
    ),
    Kind.SIZE: (
        "Images of another size or ratio than was asked for",
        "--where check_size_as_asked=yes leaves them out.",
    ),
    Kind.NEAR_DUPLICATE: (
        "Images that are nearly the same as an earlier one",
        "--where check_near_duplicate_of= keeps the first of each group.",
    ),
    Kind.PROFILE: (
        "Images with a broken colour profile",
        "Viewers show their colours each in its own way; --where check_profile!=broken leaves them out.",
    ),
    Kind.PLACEHOLDER: (
        "Placeholders of the embedded service",
        "They are for practice, and nothing to train on.",
    ),
    Kind.SCORE: ("Scores that could not be made", "Their cells are empty; the first error says why."),
}
"""What they are, and what to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """All of one kind."""

    kind: Kind
    count: int
    what: str
    first: tuple[str, ...]
    """The first few."""
    advice: str


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that are nearly the same."""

    first: str
    count: int
    """With the first."""
    others: tuple[str, ...]
    """The next few."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check."""

    images: int
    measured: int
    """Of them, those that were read; the others were known from an earlier check."""
    findings: tuple[Finding, ...]
    groups: tuple[Group, ...]
    """The largest groups of near-duplicates."""
    tables: tuple[str, ...]
    """Where all of it is written."""

    @property
    def exit_code(self) -> int:
        """0: nothing was found."""
        return 1 if self.findings else 0


@dataclass(slots=True)
class Counts:
    """How much of each kind there is so far."""

    _counts: dict[Kind, int] = field(default_factory=dict)
    _first: dict[Kind, list[str]] = field(default_factory=dict)

    def add(self, kind: Kind, told: str, count: int = 1) -> None:
        """One more, in words that name it."""
        self._counts[kind] = self._counts.get(kind, 0) + count
        first = self._first.setdefault(kind, [])
        if len(first) < _FIRST:
            first.append(told)

    def findings(self) -> tuple[Finding, ...]:
        """Of each kind, what is worse first."""
        return tuple(
            Finding(kind, self._counts[kind], what, tuple(self._first[kind]), advice)
            for kind, (what, advice) in ADVICE.items()
            if kind in self._counts
        )
