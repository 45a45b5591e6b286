"""`run --pilot N`: a few rows that show every level of every factor, and what they say about the rest.

Which rows these are depends on nothing but what the manifest asks for: a second pilot finds them made.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobanana_batch.errors import UsageError
from nanobanana_batch.estimates import Cost, Duration, Prices, duration, seen_by
from nanobanana_batch.model import REQUEST_FIELDS, Row, RowStatus
from nanobanana_batch.pricing.book import PriceBook
from nanobanana_batch.state.reader import Reader
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.scope import EVERY_ROW

if TYPE_CHECKING:
    from nanobanana_batch.engine.settings import Settings

_Z = 1.959964
"""Of the normal distribution, for 95 %."""
_FIELDS = tuple(name for name in REQUEST_FIELDS if name not in ("prompt", "images"))

Level = tuple[str, object]
"""(name of a factor, one of its values)"""


@dataclass(frozen=True, slots=True)
class Pilot:
    """The rows that are to be made first."""

    positions: frozenset[int]
    levels: Mapping[str, int]
    """How many each factor and field has, of those that have several."""

    def text(self, rows: int) -> str:
        """How many of so many rows these are, and what they show."""
        levels = ", ".join(f"{name} ({count})" for name, count in self.levels.items())
        shown = f", with every value of {levels}" if levels else ""
        return f"{len(self.positions):,} of {rows:,} rows{shown}"


@dataclass(frozen=True, slots=True)
class Share:
    """How many of the pilot's rows ended so, and what that says about all rows."""

    rows: int
    of: int
    low: float
    high: float
    """Between these two is the share of all rows, with 95 % confidence (Wilson)."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What a pilot says about the rest of its manifest."""

    rows_left: int
    cost: Cost
    duration: Duration
    failed: Share
    refused: Share


def choose_pilot(roster: Roster, factors: Iterable[str], rows: int) -> Pilot:
    """So many rows, with every level of every factor and of every field at least once.

    Memory grows with the levels and the rows chosen, not with the manifest.

    Raises:
        UsageError: that takes more rows.
    """
    names = dict.fromkeys((*(name for name in factors if name != "prompt"), *_FIELDS, *_own(roster)))
    levels = {level for row in roster.rows() for level in _levels(row, names)}
    counts = Counter(name for name, _ in levels)
    several = {name: counts[name] for name in names if counts[name] > 1}
    chosen = _covering(roster, {level for level in levels if level[0] in several})
    if len(chosen) > rows:
        name, most = max(several.items(), key=lambda item: item[1])
        raise UsageError(
            f"--pilot {rows} is too few: {len(chosen)} rows show every value of the matrix and of each field"
            f" ({name} has the most: {most}); nothing was sent.",
            hint=f"Give --pilot {len(chosen)} or more.",
        )
    for row in roster.shuffled():
        if len(chosen) >= rows:
            break
        chosen.add(row.position)
    return Pilot(frozenset(chosen), several)


def choose_first(roster: Roster, rows: int) -> Pilot:
    """So many of the first rows, as `run --limit` takes them."""
    return Pilot(frozenset(range(min(rows, len(roster)))), {})


def project(reader: Reader, settings: Settings, book: PriceBook) -> Projection:
    """What the rows of a run's scope say about all rows of the manifest that are left."""
    seen, counts = seen_by(reader), reader.counts(settings.scope)
    left = reader.to_pay(EVERY_ROW, settings.max_attempts)
    failed, refused = counts[RowStatus.FAILED], counts[RowStatus.REFUSED]
    ended = counts[RowStatus.COMPLETED] + counts[RowStatus.EXPIRED] + failed + refused
    return Projection(
        rows_left=left.total(),
        cost=Prices(seen, book).cost(left),
        duration=duration(left.total(), seen.row_s, settings.concurrency, settings.submits_per_min),
        failed=share(failed, ended),
        refused=share(refused, ended),
    )


def share(rows: int, of: int) -> Share:
    """A share of a sample, with the interval in which the share of the whole is."""
    if not of:
        return Share(0, 0, 0.0, 1.0)
    found, z2 = rows / of, _Z * _Z
    middle = (found + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z * math.sqrt(found * (1 - found) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    return Share(rows, of, max(0.0, middle - half), min(1.0, middle + half))


def _covering(roster: Roster, missing: set[Level]) -> set[int]:
    """Rows that show all these levels: first those that show the most new ones at once."""
    names = {name for name, _ in missing}
    left = Counter(name for name, _ in missing)
    chosen: set[int] = set()
    at_least = len(names)
    while missing:
        began_with = at_least
        for row in roster.shuffled():
            new = missing.intersection(_levels(row, names))
            if len(new) >= at_least:
                chosen.add(row.position)
                missing -= new
                left.subtract(name for name, _ in new)
                at_least = min(at_least, sum(1 for count in left.values() if count))
            if not missing:
                break
        else:
            # Rows in front of where it was lowered were not asked with the lower one.
            at_least -= at_least == began_with
    return chosen


def _own(roster: Roster) -> Iterator[str]:
    """Settings of a model's own that choose something, rather than only vary it; they are variables, too."""
    for (text,) in roster.tally(("priced_by",)):
        yield from json.loads(text) if text else ()


def _levels(row: Row, names: Collection[str]) -> list[Level]:
    """What a row shows of each; a variable that it does not have is none."""
    variables = dict(row.variables)
    return [
        (name, getattr(row.request, name) if name in REQUEST_FIELDS else variables[name])
        for name in names
        if name in REQUEST_FIELDS or name in variables
    ]
