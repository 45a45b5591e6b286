"""Somebody hands over an output folder; nothing outside of it is read, written, deleted or run."""

from __future__ import annotations

import json
import os
import platform
import socket
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from nanobanana_batch.errors import FolderRefused, StateFailed
from nanobanana_batch.files.disk import Disk, same_content
from nanobanana_batch.files.folder import POINTER_NAME, SERVICE_FOLDER, STATE_NAME, choose, create, find, held
from nanobanana_batch.files.lock import LOCK_NAME
from nanobanana_batch.files.log import LOG_NAMES, RunLog
from nanobanana_batch.files.plain import open_input, open_own
from nanobanana_batch.service import data_folder
from nanobanana_batch.service.options import ServiceError
from nanobanana_batch.session import notice_lost_files
from nanobanana_batch.state import facts
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.store import Store
from tests.unit.test_state_store import FACTS, IMAGE, drafts, intent, take

OURS = (STATE_NAME, f"{STATE_NAME}-wal", f"{STATE_NAME}-shm", f"{STATE_NAME}-journal", LOCK_NAME)
WRITTEN = (*OURS, POINTER_NAME, "results.csv", *LOG_NAMES, "images", SERVICE_FOLDER)
WAYS_OUT = ("../../.bashrc", "/etc/passwd", "images/../../x.png", "images/a/b.png", "images/..", "x.png", "")


def put_link(place: Path, target: Path) -> None:
    """A symbolic link."""
    place.symlink_to(target)


def put_pipe(place: Path, target: Path) -> None:
    """A pipe: whoever opens it waits for ever."""
    os.mkfifo(place)


def put_socket(place: Path, target: Path) -> None:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(place.parent)  # the path of a socket may not be long
        try:
            one.bind(place.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("put", [put_link, put_pipe, put_socket])
def test_what_is_no_plain_file_in_the_place_of_ours_is_refused(
    tmp_path: Path, name: str, put: Callable[[Path, Path], None]
) -> None:
    """By every command, since each finds its folder first; what a link leads to is left as it is."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "out"
    folder.mkdir()
    put(folder / name, precious)
    with pytest.raises(FolderRefused, match=f"{name} is a"):
        find(folder)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("name", OURS)
def test_a_link_in_the_place_of_a_state_that_stands_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """The same holds behind the pointer."""
    folder = choose(tmp_path / "out", tmp_path / "state", risk_network=False)
    create(folder, Disk(), worked_on=False)
    (folder.state_folder / name).symlink_to(tmp_path / "precious")
    with pytest.raises(FolderRefused, match="is a symbolic link"):
        find(tmp_path / "out")


@pytest.mark.parametrize("path", ["/home/victim/other-project", "/", "relative", "/tmp/../etc"])
def test_a_pointer_of_somebody_else_does_not_lead_to_another_state(tmp_path: Path, path: str) -> None:
    """The name of a state's folder tells whose it is; no folder is made where a stranger wants one."""
    (tmp_path / POINTER_NAME).write_text(json.dumps({"host": platform.node(), "path": path}))
    with pytest.raises(FolderRefused, match="not the state of this folder"):
        find(tmp_path)


@pytest.mark.parametrize("opened", [open_own, open_input])
def test_a_device_is_no_file(opened: Callable[[Path], int]) -> None:
    """It would never end."""
    with pytest.raises(OSError, match="it is a device"):
        opened(Path("/dev/zero"))


def test_a_pipe_does_not_hold_up_whoever_opens_it(tmp_path: Path) -> None:
    """Nobody writes to it."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a pipe"):
        open_input(tmp_path / "pipe")


def test_a_link_that_comes_later_is_not_written_through(tmp_path: Path) -> None:
    """Between the look at the folder and the opening of the log, too: a log never ends a run."""
    precious = tmp_path / "bashrc"
    precious.write_text("mine\n")
    (tmp_path / "run.log").symlink_to(precious)
    with RunLog(tmp_path / "run.log") as log:
        log("saved", id="x$(touch RCE)")
    assert precious.read_text() == "mine\n"
    with pytest.raises(OSError, match="symbolic link"):
        open_own(tmp_path / "run.log", os.O_RDWR | os.O_CREAT)


def test_an_image_is_never_compared_with_what_a_link_leads_to(tmp_path: Path) -> None:
    """A link with the very bytes of an image is not the image."""
    (tmp_path / "real").write_bytes(b"same")
    (tmp_path / "other").write_bytes(b"same")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    assert same_content(tmp_path / "real", tmp_path / "other")
    assert not same_content(tmp_path / "real", tmp_path / "link")


def stranger(tmp_path: Path, statement: str, *values: object) -> Path:
    """A folder with one saved and one open attempt, changed by somebody who knows SQLite."""
    path = tmp_path / STATE_NAME
    (tmp_path / "images").mkdir()
    store = Store(path)
    take(store, drafts("a", "b", "c"))
    store.apply([intent(1, stem="a"), FACTS["Accepted"](1), FACTS["Ready"](1), facts.Saved(1, IMAGE, 1.0)])
    store.apply([intent(2, attempt=2, stem="b"), FACTS["Accepted"](2)])
    store.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, values)
    return path


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_path_in_a_state_does_not_leave_the_folder(tmp_path: Path, way: str) -> None:
    """Neither where it is looked at before a run, nor in what people read."""
    path = stranger(tmp_path, "UPDATE attempts SET path = ? WHERE attempt = 1", way)
    with closing(Store(path)) as store, pytest.raises(StateFailed, match="as no run does"):
        notice_lost_files(store, tmp_path)
    with open_reader(path) as reader:
        with pytest.raises(StateFailed, match="damaged"):
            list(reader.rows())
        with pytest.raises(StateFailed, match="as no run does"):
            list(reader.attempts())


@pytest.mark.parametrize("way", ["../x", "a/b", "/etc/passwd", "..", "", ".hidden", "a\x1b[2J", "con"])
def test_a_name_in_a_state_passes_the_checks_of_a_manifest(tmp_path: Path, way: str) -> None:
    """Of an open attempt, and of a row that is to be sent."""
    path = stranger(tmp_path, "UPDATE rows SET stem = ?, id = ?", way, way)
    with closing(Store(path)) as store:
        with pytest.raises(StateFailed, match="as no run does"):
            store.open_attempts(facts.Phase.ACCEPTED)
        with pytest.raises(StateFailed, match="as no run does"):
            store.row_to_send(3)


def test_what_a_run_makes_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Whatever the umask says: prompts and payments are nobody else's, nor is the lock."""
    before = os.umask(0)
    try:
        folder = choose(tmp_path / "out", None, risk_network=False)
        Disk().make_folder(tmp_path / "out", 0o700)
        with held(folder):
            create(folder, Disk(), worked_on=False)
            Store(folder.state).close()
            with RunLog(folder.path / "run.log") as log:
                log("begun")
        data_folder.make(folder.path / SERVICE_FOLDER)
    finally:
        os.umask(before)
    modes = {
        name: stat.S_IMODE((folder.path / name).stat().st_mode)
        for name in (".", STATE_NAME, LOCK_NAME, "run.log", SERVICE_FOLDER)
    }
    assert modes == {".": 0o700, STATE_NAME: 0o600, LOCK_NAME: 0o600, "run.log": 0o600, SERVICE_FOLDER: 0o700}


@pytest.mark.parametrize("name", ["service.log", "service.sqlite3", "images/task.png", "uploads/x.png"])
def test_a_link_in_the_data_of_the_embedded_service_is_refused(tmp_path: Path, name: str) -> None:
    """It may have come with the folder."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(tmp_path / "precious")
    with pytest.raises(ServiceError, match="is no file"):
        data_folder.make(tmp_path)


FOREIGN_PARTS = (
    "CREATE TRIGGER t AFTER UPDATE ON rows BEGIN UPDATE rows SET stem = 'x'; END",
    "CREATE VIEW v AS SELECT * FROM rows",
    "ALTER TABLE meta ADD COLUMN more TEXT GENERATED ALWAYS AS (upper(value)) VIRTUAL",
    "CREATE VIRTUAL TABLE words USING fts5(a)",
)


@pytest.mark.parametrize("statement", FOREIGN_PARTS)
def test_what_would_run_along_with_a_question_is_refused(tmp_path: Path, statement: str) -> None:
    """Triggers, views and computed columns of a state that was made by somebody else."""
    path = stranger(tmp_path, statement)
    with pytest.raises(StateFailed, match="as no run makes"):
        Store(path)
    with pytest.raises(StateFailed, match="as no run makes"), open_reader(path):
        pass


def test_a_view_in_the_place_of_a_table_is_refused(tmp_path: Path) -> None:
    """It would answer with whatever it likes."""
    path = stranger(tmp_path, "ALTER TABLE meta RENAME TO other")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE VIEW meta AS SELECT 'connection' AS name, 'x' AS value")
    with pytest.raises(StateFailed, match="as no run makes"):
        Store(path)
