"""The connections that are made to SQLite meanwhile: what only they know, and what can be made to fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def connections() -> Iterator[list[sqlite3.Connection]]:
    """Those that are made within the block, in order, closed ones included."""
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noted(*place: Any, **how: Any) -> sqlite3.Connection:
        made.append(connect(*place, **how))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", noted)
        yield made


def answer(db: sqlite3.Connection, pragma: str) -> object:
    """How a connection is set; None: it is closed."""
    try:
        return db.execute(f"PRAGMA {pragma}").fetchone()[0]
    except sqlite3.ProgrammingError:
        return None
