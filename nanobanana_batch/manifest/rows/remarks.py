"""What one reading of the rows has shown: rows that are left out, and braces that are sent as they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.form.skips import REASONS
from nanobanana_batch.manifest.words.template import WILDCARD, Value, names_in
from nanobanana_batch.problems import Places
from nanobanana_batch.wording import counted

_PLACES = 5


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that is left out, as the manifest gives it."""

    source: str
    reason: str
    """A key of `skip`."""
    prompt: str
    variant: int
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Skipped:
    """How many rows are left out for one reason, and where they stand, those that are named."""

    reason: str
    rows: int
    places: str

    def __str__(self) -> str:
        rows = f"{counted(self.rows, 'row')} with {REASONS[self.reason]} {'is' if self.rows == 1 else 'are'}"
        return f"skip: {rows} left out: {self.places}"


@dataclass(slots=True)
class Remarks:
    """Collects them, in bounded memory."""

    latest: list[SkippedRow] | None = None
    """The rows that were left out since somebody looked, where somebody does."""
    _skipped: Counter[str] = field(default_factory=Counter)
    _places: dict[str, Places] = field(default_factory=dict)
    _literal: int = 0
    _first: tuple[str, str] | None = None
    """Place of the first prompt with braces, and the name in them if it is one of the manifest."""

    def skip(self, row: SkippedRow) -> None:
        """A row is left out."""
        self._skipped[row.reason] += 1
        self._places.setdefault(row.reason, Places(_PLACES)).add(row.source)
        if self.latest is not None:
            self.latest.append(row)

    def literal(self, prompt: str, place: str, names: Collection[str]) -> None:
        """A prompt is sent as it stands that has what others would fill in."""
        inside = names_in(prompt) if "{" in prompt else []
        if not inside and not WILDCARD.search(prompt):
            return
        self._literal += 1
        name = next((name for name in inside if name in names or name == "prompt"), "")
        if self._first is None or (name and not self._first[1]):
            self._first = place, name

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What is left out."""
        return tuple(Skipped(r, n, str(self._places[r])) for r, n in self._skipped.items())

    def notes(self) -> Iterator[str]:
        """All of it, in sentences."""
        yield from map(str, self.skipped)
        if self._first is not None:
            yield self._of_literal(*self._first)

    def _of_literal(self, place: str, name: str) -> str:
        others = f"; so are braces or __names__ in {self._literal - 1:,} more" if self._literal > 1 else ""
        message = f"'{{{name}}}' is sent as it stands: prompts of a table are no templates"
        if name == "prompt":
            message += "; a table of styles is filled by `styles:` of a YAML manifest"
        elif name:
            message += "; a template over its columns stands in a YAML manifest (`table:` with `prompt:`)"
        else:
            message = (
                f"{{…}} or __…__ in {counted(self._literal, 'prompt')} of a table are sent as they stand"
            )
            others = ""
        return str(Problem(place, message + others, "prompt"))
