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
from nanobanana_batch.file_names import is_stem
from nanobanana_batch.model import Kind, Request, request_from_json
from nanobanana_batch.state.lifecycle import ImagePhase, Phase, RequestPhase, in_sql

_OTHERWISE = {
    "TEXT": "({0} < '' OR {0} >= x'')",
    "INTEGER": "{0} NOT BETWEEN 0 AND 9007199254740992",
    "REAL": "{0} NOT BETWEEN 0 AND 1e12",
    "BLOB": "{0} < x''",
}
"""In SQLite every number is less than any text, and every text less than any blob; faster than `typeof`."""
_PHASES = {"attempts": Phase, "requests": RequestPhase, "images": ImagePhase}
_MORE = {
    "rows": (
        "NOT json_valid(request) OR json_type(request, '$.model') IS NOT 'text'"
        " OR json_type(request, '$.prompt') IS NOT 'text'"
        " OR NOT json_valid(variables) OR json_type(variables) IS NOT 'object'"
    ),
    "attempts": "row NOT IN (SELECT row FROM rows)",
    "images": (
        "attempt NOT IN (SELECT attempt FROM attempts) OR number < 1"
        " OR (number > 1 AND (attempt, number - 1) NOT IN (SELECT attempt, number FROM main.images))"
    ),
}
_OF_COLUMN = {
    "links": "(links IS NOT NULL AND (NOT json_valid(links) OR json_type(links) IS NOT 'array'))",
    "kind": f"kind NOT IN ({', '.join(repr(kind.value) for kind in Kind)})",
    "sent": "sent < 1",
}
_TABLES = ("rows", "requests", "attempts", "images", "meta", "uploads", "attempt_uploads", "told", "twins")
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
        columns = db.execute(f"PRAGMA main.table_info({table})").fetchall()
        faults = [_OTHERWISE[kind].format(name) for _, name, kind, *_ in columns if kind in _OTHERWISE]
        faults += [f"{name} IS NULL" for _, name, _, is_needed, *_ in columns if is_needed]
        faults += [_OF_COLUMN[name] for _, name, *_ in columns if name in _OF_COLUMN]
        faults += [_MORE[table]] if table in _MORE and columns else []
        if table == "attempts" and any(name == "request" for _, name, *_ in columns):
            faults.append("request NOT IN (SELECT request FROM requests)")
        if table in _PHASES and columns:
            faults.append(f"phase NOT IN ({in_sql(_PHASES[table])})")
        query = f"SELECT 1 FROM main.{table} WHERE {' OR '.join(faults)} LIMIT 1"
        if faults and db.execute(query).fetchone():
            raise foreign(table)


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
                    raise foreign("rows")
        except (StateFailed, UnicodeDecodeError, sqlite3.Error) as fault:
            raise fault from error
        raise


@contextmanager
def understood(table: str) -> Iterator[None]:
    """What the block cannot make sense of is in this table of the state, and is told so.

    Raises:
        StateFailed: it could not, such as for a text that is nested a thousand times, or a number for a name.
    """
    try:
        yield
    except _NOT_UNDERSTOOD as error:
        raise foreign(table) from error


def refuse_ways_out(*names: str | None) -> None:
    """Names become paths, and the state may be somebody else's.

    Raises:
        StateFailed: one of them leads somewhere else.
    """
    for name in names:
        if name is not None and not is_stem(name):
            raise names_what_no_run_names(name)


def names_what_no_run_names(name: object) -> StateFailed:
    """What to tell of a file that the state names, which no run would."""
    return StateFailed(
        f"The state file names a file {str(name)!r}, as no run does: it is damaged or a stranger's.",
        hint="Nothing was sent or written. Do not use this folder.",
    )


def texts(found: str) -> tuple[str, ...]:
    """A JSON list of texts.

    Raises:
        ValueError, RecursionError: it is something else.
    """
    values = json.loads(found)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("no list of texts")
    return tuple(values)


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


def foreign(table: str) -> StateFailed:
    """What to tell of a table that holds what no run writes."""
    return StateFailed(
        f"The state file is damaged, or a stranger's: its {table} hold what no run writes.",
        hint="Nothing was sent. Bring back a good copy, or do not use this folder.",
    )
