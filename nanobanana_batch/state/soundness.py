"""Is what a state holds of the kinds that a run writes? SQLite itself takes anything anywhere.

A state may be somebody else's, or damaged. Whoever writes to one looks first; whoever only reads looks when
something cannot be understood, to know whether the state is to blame.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.model import Request, request_from_json
from nanobanana_batch.state.facts import Phase

_KINDS = {"TEXT": "'text'", "INTEGER": "'integer'", "REAL": "'real', 'integer'", "BLOB": "'blob'"}
_MOST_REAL, _MOST_INTEGER = "1e12", 1 << 53
_PHASES = ", ".join(f"'{phase.value}'" for phase in Phase)
_MORE = {
    "rows": (
        "json_valid(request) AND json_type(request, '$.model') = 'text'"
        " AND json_type(request, '$.prompt') = 'text'"
        " AND json_valid(variables) AND json_type(variables) = 'object'"
    ),
    "attempts": (
        f"phase IN ({_PHASES}) AND (links IS NULL OR (json_valid(links) AND json_type(links) = 'array'))"
        " AND row IN (SELECT row FROM rows)"
    ),
}
_TABLES = ("rows", "attempts", "meta", "uploads", "attempt_uploads")
_NOT_UNDERSTOOD = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    ArithmeticError,
    RecursionError,
)


def refuse_unsound(db: sqlite3.Connection) -> None:
    """Look at every value.

    Raises:
        StateFailed: one is of another kind than a run writes.
    """
    for table in _TABLES:
        columns = db.execute(f"PRAGMA table_info({table})").fetchall()
        wanted = [
            _of_its_kind(name, kind, bool(not_null or key)) for _, name, kind, not_null, _, key in columns
        ]
        if table in _MORE:
            wanted.append(_MORE[table])
        query = f"SELECT rowid FROM {table} WHERE NOT coalesce({' AND '.join(wanted)}, 0) LIMIT 1"
        if table in ("meta", "attempt_uploads"):  # without rowid
            query = query.replace("rowid", "1", 1)
        if wanted and db.execute(query).fetchone():
            raise _foreign(table)


@contextmanager
def blamed_on_state(db: sqlite3.Connection) -> Iterator[None]:
    """What goes wrong in the block for a value that no run writes is the state's fault, and told so.

    Raises:
        StateFailed: the state holds such a value; any other error stays what it is.
    """
    try:
        yield
    except _NOT_UNDERSTOOD as error:
        try:
            refuse_unsound(db)
            for (text,) in db.execute("SELECT request FROM rows"):
                if not _is_whole(text):
                    raise _foreign("rows")
        except StateFailed as fault:
            raise fault from error
        raise


def _of_its_kind(name: str, kind: str, is_needed: bool) -> str:
    test = f"typeof({name}) IN ({_KINDS.get(kind, '')})"
    if kind == "REAL":
        test = f"({test} AND abs({name}) <= {_MOST_REAL})"
    if kind == "INTEGER":
        test = f"({test} AND abs({name}) <= {_MOST_INTEGER})"
    return test if is_needed else f"({name} IS NULL OR {test})"


def _is_whole(text: str) -> bool:
    """Whether a request has texts and truths where those belong."""
    try:
        request = request_from_json(text)
        json.dumps(request.given())
        return isinstance(request, Request) and all(
            isinstance(value, str | bool | tuple | list | int | float) for value in request.given().values()
        )
    except _NOT_UNDERSTOOD:
        return False


def _foreign(table: str) -> StateFailed:
    return StateFailed(
        f"The state file is damaged, or a stranger's: its {table} hold what no run writes.",
        hint="Nothing was sent. Bring back a good copy, or do not use this folder.",
    )
