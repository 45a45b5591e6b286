"""Somebody's folder brings the data of an embedded service along: it says what is written and deleted."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.options import ServiceError, ServiceOptions
from nanobanana_batch.service.store import DATABASE_NAME, NewTask, Store

_AWAY = "../../../precious"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Of a service that has had a task, three folders below what somebody wants to have."""
    (tmp_path / "precious.png").write_bytes(b"mine")
    folder = tmp_path / "out" / ".service"
    folder.mkdir(parents=True)
    store = Store(folder, 100)
    new = NewTask(
        "task-unified-1-abc", "a", "evolink", "m", "open", 0, 0, 0, b"{}", "", 0, 5, "{}", 1, None, "png"
    )
    store.create(new, None)
    store.close()
    return folder


def refusal(data: Path) -> str:
    """Why the service did not start; what it did until then has left the person's file alone."""
    with pytest.raises(ServiceError) as caught, EmbeddedService(ServiceOptions(data, latency_s=0.0)):
        pass
    assert (data.parents[1] / "precious.png").read_bytes() == b"mine"
    assert "\n" not in str(caught.value)
    return str(caught.value)


UPLOAD = f"INSERT INTO uploads VALUES ('f', 'a', '{_AWAY}', '{{}}', 'n', 'n', 'n', 1, 0, 1, 0)"


@pytest.mark.parametrize(
    "statement",
    [
        UPLOAD.format("png"),
        UPLOAD.replace(_AWAY, "token").format("x/../../../../precious.png"),
        UPLOAD.replace(f"'{_AWAY}'", f"CAST('{_AWAY}' AS BLOB)").format("png"),
        UPLOAD.replace(f"'{_AWAY}'", f"'a' || char(0) || '{_AWAY}'").format("png"),
        f"UPDATE tasks SET id = '{_AWAY}'",
        "UPDATE tasks SET extension = 'x/../../../../precious.png'",
        "CREATE TRIGGER t AFTER UPDATE ON tasks BEGIN DELETE FROM ledger; END",
        "ALTER TABLE accounts ADD COLUMN more",
        "DROP TABLE links; CREATE VIEW links AS SELECT id AS token, seq AS task_seq, 0 AS dead FROM tasks",
    ],
)
def test_what_no_service_has_written_is_refused(data: Path, statement: str) -> None:
    """Names that lead away, and parts that run along."""
    with closing(sqlite3.connect(data / DATABASE_NAME)) as db:
        db.executescript(statement)
    assert "damaged or a stranger's" in refusal(data)


def test_a_journal_that_has_another_file_deleted_is_refused(data: Path) -> None:
    """SQLite would delete the file that it names as the journal of several databases."""
    name = str(data.parents[1] / "precious.png").encode()
    told = name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big")
    (data / f"{DATABASE_NAME}-journal").write_bytes(bytes(512) + told + bytes.fromhex("d9d505f920a163d7"))
    assert "damaged or a stranger's" in refusal(data)


def _folder_in(place: str) -> Callable[[Path], None]:
    def make(data: Path) -> None:
        (data / place).unlink(missing_ok=True)
        (data / place).mkdir(parents=True)

    return make


def _second_name(place: str) -> Callable[[Path], None]:
    def make(data: Path) -> None:
        (data / place).unlink(missing_ok=True)
        os.link(data.parents[1] / "precious.png", data / place)

    return make


def _nonsense(data: Path) -> None:
    (data / DATABASE_NAME).write_bytes(b"no database " * 1000)


@pytest.mark.parametrize(
    "change",
    [
        *map(
            _folder_in, ("uploads/x", "images/x.part", "service.lock", DATABASE_NAME, f"{DATABASE_NAME}-wal")
        ),
        *map(_second_name, ("service.log", f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm", DATABASE_NAME)),
        _nonsense,
    ],
)
def test_what_is_none_of_its_files_is_told_in_one_sentence(
    data: Path, change: Callable[[Path], None]
) -> None:
    """A folder, another name of the person's own file, something else than a database."""
    change(data)
    assert str(data) in refusal(data)


def test_the_data_of_a_service_that_was_killed_is_used(tmp_path: Path) -> None:
    """Whatever it had open."""
    service = EmbeddedService(ServiceOptions(tmp_path, latency_s=0.0))
    service.start()
    service.kill()
    with service:
        assert service.base_url
