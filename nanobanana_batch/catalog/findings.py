"""What is wrong with a value, and what would be right."""

from __future__ import annotations

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
