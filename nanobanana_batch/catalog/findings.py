"""What is wrong with a value, and which word was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from nanobanana_batch.errors import Problem


@dataclass(frozen=True, slots=True)
class Finding:
    """One value that is not allowed: the field, what is wrong, what would be right."""

    field: str
    message: str
    allowed: tuple[str, ...] = ()
    suggestion: str = ""
    rests_on: str = dataclass_field(default="", compare=False)
    """As in `Problem`."""

    def at(self, place: str) -> Problem:
        """The same as a problem of this place."""
        return Problem(place, self.message, self.field, self.allowed, self.suggestion, rests_on=self.rests_on)


def closest(word: str, allowed: Iterable[str]) -> str:
    """The allowed word that this one was probably meant to be, or nothing."""
    folded = {name.casefold(): name for name in allowed}
    key = word.strip().casefold()
    if key in folded:
        return folded[key]
    found = difflib.get_close_matches(key[:200], folded, 1, 0.7) if len(key) > 2 else []
    return folded[found[0]] if found else ""


def shown(value: str) -> str:
    """A value in quotes for a message: one line, and not longer than helps."""
    return repr(value if len(value) <= 80 else value[:77] + "...")


def said(value: object) -> str:
    """What a person gave, for a message."""
    if isinstance(value, str):
        return shown(value)
    return "nothing" if value is None else "a list" if isinstance(value, list) else "a mapping"
