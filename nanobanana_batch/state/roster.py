"""The rows of one manifest, each with its key and a unique id, before anything is written to the state.

They are kept in a private temporary database that SQLite itself spills to disk and deletes: memory
does not grow with the manifest, and `plan` leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from nanobanana_batch.errors import BadSurroundings
from nanobanana_batch.model import (
    Around,
    Draft,
    LocalImage,
    PlainDrafts,
    Row,
    around,
    request_from_json,
    row_key,
    variables_as_json,
)
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state.clashes import DERIVED, NAMED, SUGGESTED, Clashes, FoldId, NameRow, mark_of
from nanobanana_batch.state.prices import BY_KIND, KIND, PriceClass, counted
from nanobanana_batch.state.repeats import Numbers
from nanobanana_batch.state.shards import Shard
from nanobanana_batch.state.twins import Read, Twins, assigned

_CACHE_KIB = 8192
"""What SQLite keeps in memory of the rows, and sorts at once; the rest is on disk."""
# `mark` and `folded` stand for the row key and the compared form of the id. As numbers they are compared when
# all rows are there, and are in an index only once that is asked for; as texts, in an index from the start,
# they cost more than all else. `base_key` is the key of a row of several that ask for the same, as it would
# be for the only one, unless that is its own.
_TABLE = """
CREATE TABLE roster (
    position INTEGER PRIMARY KEY, mark INTEGER, folded INTEGER, row_key TEXT, occurrence INTEGER,
    id TEXT, is_named INTEGER, request TEXT, variant INTEGER, variables TEXT, source TEXT, base_key TEXT
)
"""
# What rows ask for beside their prompts; most have it in common, so that questions about it are asked of few.
_KINDS = "CREATE TABLE kinds (request TEXT, rows INTEGER, first INTEGER)"
_KINDS_LEFT = """
CREATE VIEW kinds AS
SELECT json_remove(request, '$.prompt') AS request, count(*) AS rows, min(position) AS first
FROM roster GROUP BY 1
"""
"""The same, counted when it is asked for: of the rows of a shard a plan asks, a run does not."""
_KINDS_KEPT = 10_000
_SINGLE_AT_ONCE = 500
_INSERT = "INSERT INTO roster VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, NULL)"
_NUMBERED = ("mark", "folded")
_INDEX = "CREATE INDEX IF NOT EXISTS roster_by_{column} ON roster ({column})"
_INDEX_OF_REPEATS = "CREATE INDEX IF NOT EXISTS roster_bases ON roster (base_key) WHERE base_key IS NOT NULL"
_TWINS = """
SELECT position, row_key, id, request, variant FROM roster
WHERE (mark = ? AND row_key = ?) OR base_key = ? ORDER BY position
"""
_FILES = "kinds, json_each(kinds.request, '$.files')"
_KNOWN_IDS = "SELECT row_key, id FROM rows WHERE row_key IN (SELECT value FROM json_each(?))"
_ASKED_AT_ONCE = 1000
_TAKE_KEY = "UPDATE roster SET mark = ?, row_key = ?, base_key = ? WHERE position = ?"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Rows that are added at once, a column each; those that are no sequence may go on for ever."""

    keys: Sequence[str]
    ids: Sequence[str]
    origins: Iterable[int]
    """Where each id comes from."""
    requests: Sequence[str]
    variants: Iterable[int]
    variables: Sequence[str]
    sources: Sequence[str]

    def told(self) -> Iterator[tuple[str, ...]]:
        """Of each row what the digest of all tells."""
        return zip(self.keys, self.ids, self.requests, self.variables, self.sources, strict=True)

    def stored(self) -> tuple[Iterable[object], ...]:
        """The columns in the order of the table."""
        origins, variants = self.origins, self.variants
        return self.keys, self.ids, origins, self.requests, variants, self.variables, self.sources


class Roster:
    """A manifest's rows in order. Use as a context manager; `add_all` once, then read as often as needed."""

    def __init__(self, name_row: NameRow, fold_id: FoldId) -> None:
        self._name_row = name_row
        self._fold_id = fold_id
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None, timeout=30)
        for setting in ("page_size = 16384", f"cache_size = -{_CACHE_KIB}", "journal_mode = OFF"):
            self._db.execute(f"PRAGMA {setting}")
        self._db.execute(_TABLE)
        self._db.execute(_KINDS)
        self._kinds: dict[str, list[int]] = {}
        self._count = 0
        self._may_repeat = False
        self._numbers = {column: Numbers() for column in _NUMBERED}
        self._digest = hashlib.sha256()
        self.shard: Shard | None = None
        """Of which part the rows are; None: of the whole manifest."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def __len__(self) -> int:
        return self._count

    @property
    def digest(self) -> str:
        """Changes when any row, its place, its id, its variables or the paths of its files change."""
        return self._digest.hexdigest()

    def add_all(self, drafts: Iterable[Draft | PlainDrafts], problems: ProblemLog) -> None:
        """Take the rows in manifest order; an id that is taken is reported and its row left out.

        Raises:
            BadSurroundings: there is no room for them.
        """
        with _kept_in_a_temporary_file():
            self._add_all(drafts, problems)

    def _add_all(self, drafts: Iterable[Draft | PlainDrafts], problems: ProblemLog) -> None:
        self._db.execute("BEGIN")
        single: list[Draft] = []
        for draft in drafts:
            if isinstance(draft, Draft):
                single.append(draft)
            if single and (isinstance(draft, PlainDrafts) or len(single) >= _SINGLE_AT_ONCE):
                self._add(single)
                single.clear()
            if isinstance(draft, PlainDrafts):
                self._add_plain(draft)
        self._add(single)
        self._write_kinds()
        repeats = {column: self._has_repeats(column) for column in _NUMBERED}
        self._may_repeat = any(repeats.values())
        if self._may_repeat:
            for column in _NUMBERED:
                self._index(column)
            self._db.execute(_INDEX_OF_REPEATS)
            self._count -= Clashes(self._db, self._name_row, self._fold_id, problems).settle()
            self._digest = hashlib.sha256()
            for key, _, id_, request, _, variables, source in self.columns():
                self._note((key, id_, request, variables, source))
        self._db.execute("COMMIT")

    def keep(self, shard: Shard) -> None:
        """Leave out the rows of other shards; the others keep the keys, ids and places that they have.

        Before `follow`: keys still say what rows ask for, and those that ask for the same stay together.
        """
        self._db.create_function("holds", 1, shard.holds, deterministic=True)
        self._db.execute(
            f"DELETE FROM roster WHERE NOT CASE WHEN base_key IS NULL THEN {shard.condition}"
            " ELSE holds(base_key) END"
        )
        ((self._count,),) = self._db.execute("SELECT count(*) FROM roster").fetchall()
        self._db.execute("DROP TABLE kinds")
        self._db.execute(_KINDS_LEFT)
        self.shard = shard

    def follow(self, twins: Twins) -> None:
        """Give rows that ask for the same the keys under which a state knows what was made for them."""
        own = "SELECT DISTINCT base_key FROM roster WHERE base_key IS NOT NULL"
        bases = {str(base): None for (base,) in self._db.execute(own)} if self._may_repeat else {}
        bases.update(dict.fromkeys(twins.bases()))
        if bases:
            self._index("mark")
            self._db.execute(_INDEX_OF_REPEATS)
        for base in bases:
            self._follow(base, twins)

    def keep_ids(self, read: Read) -> None:
        """Rows whose id was only suggested keep the one that a state knows them by, as long as it is free.

        Image files are called so already, and other manifests may name these rows. A row that the state does
        not know by this id, and has it only since its manifest suggests it, gives it up.
        """
        last = -1
        query = "SELECT position, row_key, id FROM roster WHERE is_named = ? AND position > ? LIMIT ?"
        while found := self._db.execute(query, (SUGGESTED, last, _ASKED_AT_ONCE)).fetchall():
            last = found[-1][0]
            known = dict(read(_KNOWN_IDS, json.dumps([key for _, key, _ in found])))
            for position, key, id_ in found:
                if known.get(key, id_) != id_:
                    self._take_id(position, str(known[key]), read)

    def _take_id(self, position: int, id_: str, read: Read) -> None:
        self._index("folded")
        folded = self._fold_id(id_)
        ((own,),) = self._db.execute("SELECT id FROM roster WHERE position = ?", (position,)).fetchall()
        query = "SELECT position, row_key, id, is_named FROM roster WHERE folded = ? AND position <> ?"
        for holder, key, other, is_named in self._db.execute(query, (hash(folded), position)).fetchall():
            if self._fold_id(other) == folded:
                known = dict(read(_KNOWN_IDS, json.dumps([key]))).get(key, "")
                if is_named != SUGGESTED or self._fold_id(str(known)) == folded:
                    return
                self._rename(holder, str(own))
        self._rename(position, id_)

    def _rename(self, position: int, id_: str) -> None:
        folded = hash(self._fold_id(id_))
        self._db.execute("UPDATE roster SET id = ?, folded = ? WHERE position = ?", (id_, folded, position))

    def _follow(self, base: str, twins: Twins) -> None:
        found = self._db.execute(_TWINS, (mark_of(base), base, base)).fetchall()
        known = twins.of(base, [key for _, key, *_ in found])
        taken = {twin.row_key for twin in known}
        occurrences = itertools.count()
        for row, twin in zip(found, assigned([id_ for _, _, id_, *_ in found], known), strict=True):
            position, key, _, request, variant = row
            wanted = None if twin is None else twin.row_key
            while wanted is None or (twin is None and wanted in taken):
                wanted = row_key(request_from_json(request), variant, next(occurrences))
            taken.add(wanted)
            if wanted != key:
                of_base = None if wanted == base else base
                self._db.execute(_TAKE_KEY, (mark_of(wanted), wanted, of_base, position))

    def rows(self, limit: int | None = None) -> Iterator[Row]:
        """The rows in manifest order, streamed."""
        return self._rows("ORDER BY position LIMIT ?", -1 if limit is None else limit)

    def shuffled(self) -> Iterator[Row]:
        """All rows in an order that depends on nothing but what they ask for, streamed."""
        self._index("mark")
        return self._rows("ORDER BY mark, row_key")

    def find(self, id_: str) -> Row | None:
        """The row with this id, without regard to case and Unicode form."""
        self._index("folded")
        folded = self._fold_id(id_)
        found = self._rows("WHERE folded = ?", hash(folded))
        return next((row for row in found if self._fold_id(row.id) == folded), None)

    def ids(self) -> Iterator[str]:
        """The id of each row, streamed."""
        for (id_,) in self._db.execute("SELECT id FROM roster"):
            yield str(id_)

    def repeated(self) -> int:
        """How many rows ask for the very same as an earlier row."""
        if not self._may_repeat:
            return 0
        (count,) = self._db.execute("SELECT count(*) FROM roster WHERE occurrence > 0").fetchone()
        return int(count)

    def repeated_ids(self, limit: int) -> list[str]:
        """The ids of the first of these; of derived ones, which differ in digits only, one is enough."""
        if not self._may_repeat:
            return []
        query = (
            "SELECT id, is_named FROM roster WHERE occurrence > 0 ORDER BY is_named DESC, position LIMIT ?"
        )
        found = self._db.execute(query, (limit,)).fetchall()
        return [str(id_) for id_, is_named in found if is_named] or [str(id_) for id_, _ in found[:1]]

    def files(self) -> tuple[int, int]:
        """How many local files rows use, each content once, and their bytes."""
        sizes = f"SELECT max(value ->> 'size_bytes') AS size FROM {_FILES} GROUP BY value ->> 'sha256'"
        ((count, size),) = self._db.execute(f"SELECT count(*), coalesce(sum(size), 0) FROM ({sizes})")
        return int(count), int(size)

    def first_files(self, limit: int) -> list[LocalImage]:
        """Some of them, each content once, in the order in which rows use them."""
        query = (
            "SELECT value ->> 'name', value ->> 'path', value ->> 'sha256', value ->> 'size_bytes',"
            f" value ->> 'media_type' FROM {_FILES} GROUP BY value ->> 'sha256'"
            " ORDER BY min(first) LIMIT ?"
        )
        return [LocalImage(*columns) for columns in self._db.execute(query, (limit,))]

    def edits(self) -> tuple[int, int]:
        """How many rows edit images, and how many addresses of images these name, each once."""
        (rows,) = self._db.execute(
            "SELECT coalesce(sum(rows), 0) FROM kinds WHERE json_array_length(request, '$.images') > 0"
        ).fetchone()
        (links,) = self._db.execute(
            "SELECT count(DISTINCT value) FROM kinds, json_each(kinds.request, '$.images')"
            " WHERE value LIKE 'http%://%'"
        ).fetchone()
        return int(rows), int(links)

    def tally(self, names: tuple[str, ...]) -> Counter[tuple[str, ...]]:
        """How many rows have each combination of request fields; an empty text where one is not given."""
        paths = [f"$.{name}" for name in (*names, "-", "-")]  # of two paths or more it makes a list
        marks = ", ".join("?" for _ in paths)
        query = f"SELECT json_extract(request, {marks}) AS found, sum(rows) FROM kinds GROUP BY found"
        counts: Counter[tuple[str, ...]] = Counter()
        for found, count in self._db.execute(query, paths):
            counts[tuple(_as_text(value) for value in json.loads(found)[: len(names)])] += count
        return counts

    def kinds(self) -> Counter[PriceClass]:
        """How many rows there are of each kind that costs the same."""
        return counted(self._db.execute(f"SELECT {KIND}, sum(rows.rows) FROM kinds AS rows {BY_KIND}"))

    def columns(self) -> Iterator[tuple[object, ...]]:
        """As `rows`, but as stored: row_key, position, id, request, variant, variables, source."""
        yield from self._db.execute(
            "SELECT row_key, position, id, request, variant, variables, source FROM roster ORDER BY position"
        )

    @contextmanager
    def beside(self, state: Path) -> Iterator[sqlite3.Connection]:
        """A connection to both: the rows as the table `roster`, a state file attached as `state`."""
        # As bytes, since a name need not be UTF-8.
        self._db.execute("ATTACH ? AS state", (os.fsencode(state),))
        try:
            yield self._db
        finally:
            self._db.execute("DETACH state")

    def _rows(self, which: str, *values: object) -> Iterator[Row]:
        columns = "position, row_key, id, request, variant, variables, source"
        for found in self._db.execute(f"SELECT {columns} FROM roster {which}", values):
            position, key, id_, request, variant, variables, source = found
            pairs = tuple(json.loads(variables).items())
            yield Row(position, key, id_, request_from_json(request), variant, pairs, source)

    # Each row is written as if no other wanted its key or its id.

    def _add(self, drafts: Sequence[Draft]) -> None:
        beside = [around(draft.request, draft.variant) for draft in drafts]
        written = [each.written(draft.prompt) for each, draft in zip(beside, drafts, strict=True)]
        keys, requests = [key for key, _ in written], [request for _, request in written]
        columns = _Columns(
            keys,
            [self._name_row(d, key) if d.id is None else d.id for d, key in zip(drafts, keys, strict=True)],
            map(_source_of_id, drafts),
            requests,
            [draft.variant for draft in drafts],
            [variables_as_json(draft.variables) for draft in drafts],
            [draft.source for draft in drafts],
        )
        self._insert(beside, columns)

    def _add_plain(self, drafts: PlainDrafts) -> None:
        keys, requests = drafts.written()
        origins: Iterable[int] = itertools.repeat(NAMED)
        if all(drafts.ids):
            ids = cast(Sequence[str], drafts.ids)
        else:
            origins = [DERIVED if id_ is None else NAMED for id_ in drafts.ids]
            ids = [
                self._name_row(draft, key) if draft.id is None else draft.id
                for draft, key in zip(drafts.drafts(), keys, strict=True)
            ]
        once = itertools.repeat(1)
        columns = _Columns(keys, ids, origins, requests, once, drafts.variables, drafts.sources)
        self._insert(drafts.around, columns)

    def _insert(self, beside: Sequence[Around], rows: _Columns) -> None:
        self._note(itertools.chain.from_iterable(rows.told()))
        self._count_kinds(beside)
        marks = array("q", map(mark_of, rows.keys))
        folded = array("q", map(hash, map(self._fold_id, rows.ids)))
        self._numbers["mark"].extend(marks)
        self._numbers["folded"].extend(folded)
        places = range(self._count, self._count + len(rows.keys))
        self._db.executemany(_INSERT, zip(places, marks, folded, *rows.stored(), strict=False))
        self._count += len(rows.keys)

    def _count_kinds(self, beside: Sequence[Around]) -> None:
        if beside and beside.count(beside[0]) == len(beside):
            self._count_kind(beside[0].bare, self._count, len(beside))
            return
        for position, each in enumerate(beside, self._count):
            self._count_kind(each.bare, position, 1)

    def _count_kind(self, kind: str, position: int, rows: int) -> None:
        known = self._kinds.get(kind)
        if known is not None:
            known[0] += rows
            return
        if len(self._kinds) >= _KINDS_KEPT:
            self._write_kinds()
        self._kinds[kind] = [rows, position]

    def _write_kinds(self) -> None:
        found = ((kind, rows, first) for kind, (rows, first) in self._kinds.items())
        self._db.executemany("INSERT INTO kinds VALUES (?, ?, ?)", found)
        self._kinds.clear()

    def _note(self, parts: Iterable[Any]) -> None:
        self._digest.update("\0".join((*parts, "")).encode())

    def _index(self, column: str) -> None:
        """Make it, where it is not there.

        Raises:
            BadSurroundings: there is no room for it.
        """
        with _kept_in_a_temporary_file():
            self._db.execute(_INDEX.format(column=column))

    def _has_repeats(self, column: str) -> bool:
        found = self._numbers[column].take_repeats()
        if found is not None:
            return found
        self._index(column)
        query = f"SELECT 1 FROM roster GROUP BY {column} HAVING count(*) > 1 LIMIT 1"
        return self._db.execute(query).fetchone() is not None


@contextmanager
def _kept_in_a_temporary_file() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        hint = "Free some space there, or set TMPDIR to a folder on another disk."
        message = f"The rows cannot be kept in a temporary file ({error}); nothing was sent."
        raise BadSurroundings(message, hint=hint) from error


def _source_of_id(draft: Draft) -> int:
    if draft.id is not None:
        return NAMED
    return SUGGESTED if draft.suggested_id else DERIVED


def _as_text(value: object) -> str:
    """A value of a request as a person writes it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
