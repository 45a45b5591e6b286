"""State files of earlier versions are read as they are, and become current ones despite interruptions."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.model import RowStatus
from nanobanana_batch.state import facts, schema
from nanobanana_batch.state.lifecycle import GIVEN_UP, Phase
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.scope import EVERY_ROW
from nanobanana_batch.state.store import Repeat, Store

VERSIONS = range(1, schema.VERSION)
Attempt = dict[str, Any]
TASK = {"task_id": "t", "request_id": "q", "credits_reserved": 4.0, "estimated_s": 20.0, "accepted_at": 2.0}
LINKS = {"links": '["https://x/1", "https://x/0"]', "ready_at": 3.0, "dies_at": 99.0, "credits_used": 3.0}
FILE = {
    "path": "images/n.png",
    "media_type": "image/png",
    "width": 8,
    "height": 6,
    "size_bytes": 5,
    "sha256": "ab" * 32,
    "saved_at": 4.0,
}
ENDED = {"error_code": "service_error", "error_message": "no", "retryable": 1, "ended_at": 5.0}
OLD: list[Attempt] = [
    {"phase": "intent"},
    {"phase": "not_sent", "error_message": "refused"},
    {"phase": "unknown", "error_message": "cut"},
    {"phase": "rejected", **ENDED, "retryable": None},
    {"phase": "refused", **ENDED, "retryable": None},
    {"phase": "accepted", **TASK},
    {"phase": "ready", **TASK, **LINKS},
    {"phase": "saved", **TASK, **LINKS, **FILE},
    {"phase": "accepted", **TASK, **LINKS, **FILE, "error_message": "the saved file is gone"},
    {"phase": "failed", **TASK, **ENDED},
    {"phase": "refused", **TASK, **ENDED},
    {"phase": "expired", **TASK, **LINKS, **ENDED, "error_code": "expired"},
    {"phase": "expired", **TASK, **ENDED, "error_code": "expired"},
    {"phase": "failed", **TASK, **ENDED, "error_code": GIVEN_UP, "retryable": 0},
    {"phase": "failed", **ENDED, "error_code": GIVEN_UP, "retryable": 0},
]
"""Of every kind that an earlier version wrote."""


def old_state(path: Path, version: int) -> Path:
    """A row for each, and one that was never sent."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for step in range(version):
            db.executescript(schema._STEPS[step])
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        for number, known in enumerate([*OLD, None], 1):
            request = json.dumps({"model": "m", "prompt": f"p{number}", "resolution": "1K"})
            attempt = None if known is None else number
            name = None if known is None else f"n{number}"
            row = (number, f"r1-{number}", number - 1, f"n{number}", request, 1, '{"a": "b"}', "m:1")
            db.execute(f"INSERT INTO rows VALUES ({', '.join('?' * 11)})", (*row, name, name, attempt))
            if known is not None:
                _insert(db, number, known, version)
    return path


def _insert(db: sqlite3.Connection, number: int, known: Attempt, version: int) -> None:
    mine = {
        "attempt": number,
        "row": number,
        "number": 1,
        "provider": "p",
        "account": "me",
        "body": b"{}",
        "fingerprint": "f",
        "idempotency_key": f"key-{number}",
        "intended_at": 1.0,
        **known,
    }
    if "task_id" in known:
        mine["task_id"] = f"t{number}"
    if "path" in known:
        mine["path"] = f"images/n{number}.png"
    if version > 1:
        mine |= {"credits_expected": 6.0, "sent": 2 if known["phase"] == "unknown" else 1}
    if version > 3 and "path" in known:
        mine["file_time"] = 7.0
    names = ", ".join(mine)
    db.execute(f"INSERT INTO attempts ({names}) VALUES ({', '.join('?' * len(mine))})", tuple(mine.values()))


def seen(path: Path) -> list[object]:
    """All that people are told of it."""

    def told(reader: Reader) -> list[object]:
        return [
            list(reader.rows()),
            list(reader.attempts()),
            sorted(reader.saved_images()),
            reader.counts(),
            reader.left_counts(),
            reader.credits(),
            reader.prices(),
            reader.being_sent(0),
            reader.failures(EVERY_ROW),
            reader.to_pay(EVERY_ROW, 3),
            reader.same_bytes(),
            reader.not_as_asked(),
            reader.latency_s(),
            reader.providers(),
            reader.known("r1-8"),
            reader.upload_url("p", "ab", 0.0),
        ]

    with open_reader(path) as reader:
        return told(reader)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_told_of_an_older_state_is_what_is_told_of_it_as_a_current_one(
    tmp_path: Path, version: int
) -> None:
    """An old file is only read, and stays as it is; opened for work it becomes a current one."""
    path = old_state(tmp_path / "state.sqlite3", version)
    data = path.read_bytes()
    before = seen(path)
    assert path.read_bytes() == data
    Store(path).close()
    assert seen(path) == before
    rows = before[0]
    assert isinstance(rows, list)
    assert [row.status for row in rows].count(RowStatus.COMPLETED) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_run_knows_of_an_older_state_all_that_is_owed(tmp_path: Path, version: int) -> None:
    """Tasks, links and bodies; nothing that was saved is asked for again, and nothing is paid for twice."""
    with closing(Store(old_state(tmp_path / "state.sqlite3", version))) as store:
        (ready,) = store.open_attempts(Phase.READY)
        assert (ready.task_id, ready.id, ready.body, ready.idempotency_key) == ("t7", "n7", b"{}", "key-7")
        assert [image.links for image in ready.images] == [("https://x/1", "https://x/0")]
        assert [known.task_id for known in store.open_attempts(Phase.ACCEPTED)] == ["t6", "t9"]
        assert {known.id for known in store.open_attempts(Phase.EXPIRED)} == {"n12", "n13"}
        assert [(file.path, file.is_saved) for file in store.saved_files()] == [
            ("images/n8.png", True),
            ("images/n9.png", False),
        ]
        assert [row.id for row in store.new_rows(-1, EVERY_ROW, 99)] == ["n16"]
        assert list(
            store.rows_to_repeat(Repeat(frozenset({Phase.FAILED}), retryable_below=3), EVERY_ROW)
        ) == [10]
        store.apply(
            [facts.Ready(9, ("https://x/2",), 99.0, None, 6.0), facts.Ready(12, ("y",), 9.0, None, 6.0)]
        )
        (lost,) = [known for known in store.open_attempts(Phase.READY) if known.attempt == 9]
        assert lost.images[0].links == ("https://x/2", "https://x/1", "https://x/0")
        store.apply([facts.Expired(9, "gone", 7.0), facts.Found(9)])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_migration_that_is_interrupted_anywhere_is_made_good(tmp_path: Path, version: int) -> None:
    """After so many steps of the database's own machine, more each time, until it goes through."""
    whole = old_state(tmp_path / "whole.sqlite3", version)
    before = seen(whole)
    steps, times = 50, 0
    while True:
        path = Path(shutil.copy(whole, tmp_path / f"{steps}.sqlite3"))
        if _migrated(path, steps):
            break
        assert seen(path) == before
        Store(path).close()
        assert seen(path) == before
        steps, times = int(steps * 1.6), times + 1
    assert times > 3
    assert seen(path) == before


def _migrated(path: Path, steps: int) -> bool:
    """Whether so many steps were enough; else the connection is gone in the middle of it."""
    left = steps

    def stop() -> int:
        nonlocal left
        left -= 1
        return int(left < 0)

    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.set_progress_handler(stop, 1)
        try:
            schema.bring_up_to_date(db)
        except sqlite3.OperationalError:
            return False
    return True
