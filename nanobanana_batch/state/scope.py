"""Which rows of a manifest a run is about; what is paid for already is collected whichever these are."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """Rows by their positions: all, those in front of one, or only certain ones."""

    before: int | None = None
    only: frozenset[int] | None = None

    def holds(self, position: int | None) -> bool:
        """Whether a row stands in the manifest and belongs to the scope."""
        if position is None:
            return False
        if self.only is not None:
            return position in self.only
        return self.before is None or position < self.before

    @property
    def condition(self) -> str:
        """What a query says of `rows.position`; it has one mark, for `value`."""
        if self.only is not None:
            return "rows.position IN (SELECT value FROM json_each(?))"
        return "rows.position < ?"

    @property
    def value(self) -> int | str:
        """What belongs in the place of the mark in `condition`."""
        if self.only is not None:
            return json.dumps(sorted(self.only))
        return (1 << 62) if self.before is None else self.before


EVERY_ROW = Scope()
