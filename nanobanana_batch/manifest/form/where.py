"""`where` picks rows by what they have under a name; a value that no row has was probably misspelt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from nanobanana_batch.catalog import closest, shown
from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.words.template import Value, as_text

_OTHERS_KEPT = 1000
_LONGEST_KEPT = 200
_VALUES_SHOWN = 5
_SEEN_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Condition:
    """One name of `where` with the values that rows may have there, and what rows were seen to have."""

    place: str
    name: str
    values: frozenset[str]
    met: set[str] = field(default_factory=set, compare=False)
    """Those of the values that some row had."""
    others: dict[str, None] = field(default_factory=dict, compare=False)
    """The first of the short values that rows had instead."""

    def holds(self, value: Value) -> bool:
        """Whether a row with this value is wanted."""
        text = as_text(value)
        if text in self.values:
            self.met.add(text)
            return True
        if len(self.others) < _OTHERS_KEPT and len(text) <= _LONGEST_KEPT:
            self.others[text] = None
        return False

    def there(self) -> str:
        """What rows were seen to have, some of it."""
        seen = sorted({*self.met, *self.others})
        texts = ", ".join(map(shown, seen[:_SEEN_SHOWN])) + (", …" if len(seen) > _SEEN_SHOWN else "")
        return f"{self.name} is {texts or 'nothing'}"

    def idle(self, rows: str) -> Iterator[tuple[str, str]]:
        """The place, with what to say of the values that none of these rows has; known once all were read."""
        missing = sorted(self.values - self.met)
        if missing:
            texts = ", ".join(map(shown, missing[:_VALUES_SHOWN]))
            more = f" and {len(missing) - _VALUES_SHOWN} more" if len(missing) > _VALUES_SHOWN else ""
            near = next(filter(None, (closest(text, self.others) for text in missing[:_VALUES_SHOWN])), "")
            message = f"no row of {rows} has {self.name} {texts}{more}; there {self.there()}"
            yield self.place, str(Problem(self.place, message, "where", suggestion=near))
