"""Rows that ask for the very same are told apart by a number; which has which follows what was made.

Numbers alone would go by place: the first of two that leaves the manifest would hand its failure to the
second one, whose image would be nobody's. So what was paid for stays with rows that remain, and each of them
keeps what was its own, as far as its id tells.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nanobanana_batch.model import request_from_json, row_key
from nanobanana_batch.state.lifecycle import Phase

Read = Callable[..., Iterable[Any]]
"""Runs a query with its values; all rows."""

HAS_TWINS = "has twins"
"""Under which a state remembers that its table of them is filled."""
_PAID = (Phase.SAVED, Phase.READY, Phase.ACCEPTED, Phase.UNKNOWN, Phase.INTENT, Phase.EXPIRED)
"""What is worth most first."""
_NEVER_SENT = len(Phase)
_KNOWN = """
SELECT rows.row_key, rows.id, attempts.phase FROM rows LEFT JOIN attempts USING (attempt)
WHERE rows.row_key IN (SELECT value FROM json_each(?)) ORDER BY rows.row
"""
_SAME_REQUEST = """
SELECT row_key, request, variant FROM rows
WHERE (request, variant) IN (SELECT request, variant FROM rows GROUP BY 1, 2 HAVING count(*) > 1)
"""


@dataclass(frozen=True, slots=True)
class Twin:
    """A row of a state that asks for the same as another one."""

    row_key: str
    id: str
    phase: Phase | None
    """None: nothing was sent for it."""

    @property
    def _is_paid(self) -> bool:
        return self.phase in _PAID

    @property
    def _rank(self) -> int:
        if self.phase is None:
            return _NEVER_SENT
        return _PAID.index(self.phase) if self.phase in _PAID else len(_PAID)


class Twins:
    """Those of one state. `legacy`: (row key, base key) of each, for one that was made before its table."""

    def __init__(self, read: Read, legacy: Iterable[tuple[str, str]] | None = None) -> None:
        self._read = read
        of_base: dict[str, set[str]] = {}
        self._legacy = None if legacy is None else of_base
        for key, base in legacy or ():
            of_base.setdefault(base, set()).add(key)

    def bases(self) -> Iterator[str]:
        """The keys that they would have if they were the only ones."""
        if self._legacy is not None:
            yield from self._legacy
            return
        for (base,) in self._read("SELECT DISTINCT base_key FROM twins"):
            yield str(base)

    def of(self, base: str, keys: Iterable[str]) -> list[Twin]:
        """All of a base; `keys`: those that rows have by their place."""
        found = self._read(_KNOWN, json.dumps(sorted({base, *keys, *self._others(base)})))
        return [Twin(key, id_, None if phase is None else Phase(phase)) for key, id_, phase in found]

    def _others(self, base: str) -> Iterable[str]:
        if self._legacy is not None:
            return self._legacy.get(base, ())
        return [str(key) for (key,) in self._read("SELECT row_key FROM twins WHERE base_key = ?", base)]


def legacy_twins(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """(row key, base key) of each in a state that was made before it had a table of them."""
    for key, request, variant in db.execute(_SAME_REQUEST):
        base = row_key(request_from_json(request), variant)
        if key != base:
            yield str(key), base


def assigned(ids: Sequence[str], twins: Iterable[Twin]) -> list[Twin | None]:
    """Which of them each row is, by the rows' ids in manifest order; None for a row that is a new one."""
    ranked = sorted(twins, key=lambda twin: twin._rank)
    paid = [twin for twin in ranked if twin._is_paid][: len(ids)]
    others = {twin.id: twin for twin in reversed(ranked) if not twin._is_paid}
    found: dict[int, Twin] = {}
    used: set[str] = set()

    def keep(row: int, twin: Twin | None) -> None:
        if twin is not None and row not in found and twin.row_key not in used:
            found[row] = twin
            used.add(twin.row_key)

    def give(rows: Iterable[int], left: Iterable[Twin]) -> None:
        free = (twin for twin in left if twin.row_key not in used)
        for row in rows:
            if row not in found:
                keep(row, next(free, None))

    own = {twin.id: twin for twin in reversed(paid)}
    for row, id_ in enumerate(ids):
        keep(row, own.get(id_))
    # A row with nothing of its own takes it first, then one that was never sent, then one that has failed.
    give((row for row, id_ in enumerate(ids) if id_ not in others), paid)
    give(sorted(range(len(ids)), key=lambda row: -others[ids[row]]._rank if ids[row] in others else 1), paid)
    for row, id_ in enumerate(ids):
        keep(row, others.get(id_))
    give(range(len(ids)), (twin for twin in ranked if not twin._is_paid))
    return [found.get(row) for row in range(len(ids))]
