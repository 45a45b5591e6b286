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

from nanobanana_batch.errors import FolderRefused, StateFailed, UsageError
from nanobanana_batch.files.disk import Disk, same_content
from nanobanana_batch.files.folder import (
    OWNER_NAME,
    POINTER_NAME,
    SERVICE_FOLDER,
    STATE_NAME,
    choose,
    create,
    find,
    held,
)
from nanobanana_batch.files.lock import LOCK_NAME, only_writer
from nanobanana_batch.files.log import LOG_NAMES, RunLog
from nanobanana_batch.files.plain import open_input, open_own
from nanobanana_batch.jobs.session import notice_lost_files
from nanobanana_batch.service import data_folder
from nanobanana_batch.service.options import ServiceError
from nanobanana_batch.state import facts
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.scope import EVERY_ROW
from nanobanana_batch.state.store import Store
from tests.security.journals import put_journal
from tests.unit.test_state_store import FACTS, IMAGE, drafts, intent, take

OURS = (STATE_NAME, f"{STATE_NAME}-wal", f"{STATE_NAME}-shm", f"{STATE_NAME}-journal", LOCK_NAME)
WRITTEN = (*OURS, POINTER_NAME, "results.csv", *LOG_NAMES, "images", "answers", SERVICE_FOLDER)
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


def anothers_state(tmp_path: Path) -> tuple[Path, Path, str]:
    """A stranger's folder, a run of the person's own, and the name that a state of the former has."""
    folder = choose(tmp_path / "out", tmp_path / "states", risk_network=False)
    folder.path.mkdir()
    return folder.path, stranger(tmp_path, "SELECT 1").parent, folder.state_folder.name


def point(folder: Path, state_folder: Path) -> None:
    """Write its pointer."""
    text = json.dumps({"host": platform.node(), "path": str(state_folder)})
    (folder / POINTER_NAME).write_text(text)


def test_a_link_of_the_right_name_does_not_lead_to_another_state(tmp_path: Path) -> None:
    """A run would take its manifest into the state of another run, which then knows of no payment."""
    out, mine, name = anothers_state(tmp_path)
    (out / "strange").mkdir()
    (out / "strange" / name).symlink_to(mine)
    point(out, out / "strange" / name)
    with pytest.raises(FolderRefused, match=f"{name} is a symbolic link"):
        find(out)
    with pytest.raises(FolderRefused, match=f"{name} is a symbolic link"):
        choose(out, out / "strange", risk_network=False)


def test_a_link_that_came_with_a_folder_is_not_followed_to_its_state(tmp_path: Path) -> None:
    """Nor by a detour; the person's own links further up are their own business."""
    out, mine, name = anothers_state(tmp_path)
    (mine / name).mkdir()
    (out / "strange").symlink_to(mine)
    for way in (out / "strange", out / ".." / out.name / "strange"):
        point(out, way / name)
        with pytest.raises(FolderRefused, match="strange is a symbolic link"):
            find(out)
    (tmp_path / "own").symlink_to(mine)
    point(out, tmp_path / "own" / name)
    assert find(out).state_folder == tmp_path / "own" / name


def test_a_state_that_another_folder_points_to_is_not_taken_over(tmp_path: Path) -> None:
    """A person renames it as told, but it is that of another run; one that was moved goes on."""
    mine = choose(tmp_path / "mine", tmp_path / "states", risk_network=False)
    mine.path.mkdir()
    create(mine, Disk(), worked_on=False)
    assert find(mine.path) == mine
    out = tmp_path / "out"
    out.mkdir()
    wanted = choose(out, tmp_path / "states", risk_network=False).state_folder
    mine.state_folder.rename(wanted)
    point(out, wanted)
    with pytest.raises(FolderRefused, match=f"is the state of {mine.path}"):
        find(out)
    (mine.path / POINTER_NAME).unlink()
    create(find(out), Disk(), worked_on=False)
    assert json.loads((wanted / OWNER_NAME).read_text()) == {"path": str(out)}
    (wanted / OWNER_NAME).write_text("[" * 9999)
    assert find(out).state_folder == wanted


@pytest.mark.parametrize(
    "odd", ["/a\0b", "/\ud800", "/" + "x" * 300, "/x" * 3000], ids=("zero", "half", "long", "deep")
)
def test_a_pointer_that_is_no_path_is_one_sentence(tmp_path: Path, odd: str) -> None:
    """Whatever the system says of it."""
    out, _, name = anothers_state(tmp_path)
    point(out, Path(f"{odd}/{name}"))
    with pytest.raises(UsageError):
        open_reader(find(out).state).__enter__()


@pytest.mark.parametrize("part", ["wal", "shm", "journal"])
def test_a_second_name_of_what_sqlite_writes_is_refused(tmp_path: Path, part: str) -> None:
    """An archive can bring a hard link to a file of the person's; even who only reads writes to these."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for place in (
        tmp_path / "out",
        choose(tmp_path / "out", tmp_path / "s", risk_network=False).state_folder,
    ):
        place.mkdir(parents=True)
        os.link(precious, place / f"{STATE_NAME}-{part}")
        point(tmp_path / "out", place)
        with pytest.raises(FolderRefused, match="hard link"):
            find(tmp_path / "out")
        (place / f"{STATE_NAME}-{part}").unlink()
    assert precious.read_text() == "mine"


def test_a_log_with_a_second_name_begins_anew(tmp_path: Path) -> None:
    """A log never ends a run, and is not written through; what it said stays."""
    precious = tmp_path / "bashrc"
    precious.write_text("mine\n")
    os.link(precious, tmp_path / "run.log")
    with RunLog(tmp_path / "run.log") as log:
        assert not log.refusal()
        log("saved", id="x$(touch RCE)")
    assert precious.read_text() == "mine\n"
    assert (tmp_path / "run.log").read_text().count("\n") == 1
    assert (tmp_path / "run.log.1").read_text() == "mine\n"


def test_a_lock_with_a_second_name_is_refused(tmp_path: Path) -> None:
    """A run would hold up that of another folder; reading goes on, as in a backup made of links."""
    (tmp_path / "other").touch()
    os.link(tmp_path / "other", tmp_path / LOCK_NAME)
    with pytest.raises(FolderRefused, match="cp -al"), only_writer(tmp_path):
        pass
    assert find(tmp_path).path == tmp_path


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
    path = stranger(tmp_path, "UPDATE images SET path = ? WHERE attempt = 1", way)
    with closing(Store(path)) as store, pytest.raises(StateFailed, match="as no run does"):
        notice_lost_files(store, tmp_path)
    with open_reader(path) as reader:
        with pytest.raises(StateFailed, match="damaged"):
            list(reader.rows())
        with pytest.raises(StateFailed, match="as no run does"):
            list(reader.attempts())


@pytest.mark.parametrize(
    "way", ["../x", "answers/../x", "/etc/passwd", "answers/", "answers/a/b", "images/a"]
)
def test_a_reply_that_a_state_names_is_one_of_the_folders_own(tmp_path: Path, way: str) -> None:
    """It is read, and in the end removed."""
    path = stranger(tmp_path, "UPDATE requests SET results = ?", way)
    with closing(Store(path)) as store, pytest.raises(StateFailed, match="as no run does"):
        list(store.open_attempts(Phase.ACCEPTED))


@pytest.mark.parametrize("way", ["../images/x", "/etc/passwd", "notes", ""])
@pytest.mark.parametrize("kind", ["direct", "job"])
def test_a_key_by_which_an_answer_is_kept_is_one_that_a_run_writes(
    tmp_path: Path, kind: str, way: str
) -> None:
    """Else the reply would be written wherever it says."""
    path = stranger(tmp_path, "UPDATE requests SET kind = ?, idempotency_key = ? || request", kind, way)
    with closing(Store(path)) as store, pytest.raises(StateFailed, match="as no run does"):
        list(store.open_attempts(Phase.ACCEPTED))


@pytest.mark.parametrize("way", ["../x", "a/b", "/etc/passwd", "..", "", ".hidden", "a\x1b[2J", "con"])
def test_a_name_in_a_state_passes_the_checks_of_a_manifest(tmp_path: Path, way: str) -> None:
    """Of an open attempt, and of a row that is to be sent."""
    path = stranger(tmp_path, "UPDATE rows SET stem = ?, id = ?", way, way)
    with closing(Store(path)) as store:
        with pytest.raises(StateFailed, match="as no run does"):
            list(store.open_attempts(Phase.ACCEPTED))
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


@pytest.mark.parametrize("empty_log", [True, False])
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_journal_that_names_a_file_does_not_delete_it(tmp_path: Path, kind: str, empty_log: bool) -> None:
    """By SQLite itself, on opening, also by who only reads and tidies up; a pipe there would hold it."""
    path, victim = stranger(tmp_path, "SELECT 1"), tmp_path / "precious"
    victim.write_text("mine") if kind == "file" else os.mkfifo(victim)
    put_journal(path, victim)
    if empty_log:
        path.with_name(f"{STATE_NAME}-wal").touch()
    with pytest.raises(StateFailed, match="names another file"), open_reader(path):
        pass
    with pytest.raises(StateFailed, match="names another file"):
        Store(path)
    assert os.path.lexists(victim)


def test_reading_does_not_carry_out_a_journal(tmp_path: Path) -> None:
    """Of no kind: tidying after a reading opens the state for writing only where nothing is to be undone."""
    path = stranger(tmp_path, "SELECT 1")
    journal, log = (path.with_name(f"{STATE_NAME}-{part}") for part in ("journal", "wal"))
    journal.write_bytes(bytes.fromhex("d9d505f920a163d7").ljust(512, b"\0"))
    log.touch()
    with pytest.raises(StateFailed, match="cut off"), open_reader(path):
        pass
    assert journal.stat().st_size == 512


def test_a_change_that_was_cut_off_is_taken_back(tmp_path: Path) -> None:
    """A journal that names nothing puts back the state's own pages, as after a kill at the very beginning."""
    path, cut_off = stranger(tmp_path, "SELECT 1"), tmp_path / "later"
    cut_off.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("UPDATE meta SET value = 'other'")
        for name in (STATE_NAME, f"{STATE_NAME}-journal"):
            (cut_off / name).write_bytes((tmp_path / name).read_bytes())
    with closing(Store(cut_off / STATE_NAME)) as store:
        assert store.meta("manifest") != "other"
    assert not (cut_off / f"{STATE_NAME}-journal").exists()


def redefined(path: Path, table: str, old: str, new: str) -> None:
    """The same state, with another definition of a table from its beginning on."""
    with closing(sqlite3.connect(path)) as db:
        lines = [line.replace(old, new) if f"TABLE {table}" in line[:30] else line for line in db.iterdump()]
        marks = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")]
    path.unlink()
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript("PRAGMA foreign_keys = OFF;" + "\n".join(lines))
        db.execute(f"PRAGMA user_version = {marks[0]}")
        db.execute(f"PRAGMA application_id = {marks[1]}")


REDEFINED = (
    ("requests", "fingerprint      TEXT NOT NULL", "fingerprint TEXT NOT NULL UNIQUE ON CONFLICT REPLACE"),
    ("meta", "value TEXT NOT NULL", "value TEXT NOT NULL CHECK(length(hex(zeroblob(4))) > 99)"),
    ("requests", "task_id          TEXT", "task_id TEXT COLLATE NOCASE"),
    ("images", "PRIMARY KEY (attempt, number)", "CHECK (1), PRIMARY KEY (attempt, number)"),
)


@pytest.mark.parametrize(("table", "old", "new"), REDEFINED)
def test_a_table_that_is_defined_otherwise_is_refused(tmp_path: Path, table: str, old: str, new: str) -> None:
    """It could forget what was paid for when the next thing is written, or take all memory."""
    path = stranger(tmp_path, "DELETE FROM meta")
    redefined(path, table, "no such words", "")
    Store(path).close()
    redefined(path, table, old, new)
    with pytest.raises(StateFailed, match="as no run makes"):
        Store(path)
    with pytest.raises(StateFailed, match="as no run makes"), open_reader(path):
        pass


def test_an_index_that_is_missing_is_told(tmp_path: Path) -> None:
    """Without it a request could be paid twice under one key."""
    path = stranger(tmp_path, "DROP INDEX requests_key")
    with pytest.raises(StateFailed, match="lacks the index 'requests_key'"):
        Store(path)


@pytest.mark.parametrize("where", ["definition", "value"])
def test_what_is_no_text_in_a_state_is_one_sentence(tmp_path: Path, where: str) -> None:
    """A byte of a file that was damaged, in what SQLite itself says of it or in a value."""
    path = stranger(tmp_path, "UPDATE rows SET id = CAST(x'61ff' AS TEXT)")
    if where == "definition":
        data = path.read_bytes()
        data = data.replace(b"tablemetameta", b"table\xffetameta")
        path.write_bytes(data.replace(b"CREATE TABLE meta", b"CREATE TABLX meta"))
    with pytest.raises(StateFailed), closing(Store(path)) as store:
        store.new_rows(-1, EVERY_ROW, 5)
    with pytest.raises(StateFailed), open_reader(path) as reader:
        list(reader.rows())


def test_a_state_with_a_second_name_is_not_written_to(tmp_path: Path) -> None:
    """The other name may be that of a person's own file; a copy of its own goes on."""
    path, other = stranger(tmp_path, "SELECT 1"), tmp_path / "mine.db"
    os.link(path, other)
    before = other.read_bytes()
    with pytest.raises(StateFailed, match="hard link"):
        Store(path)
    with open_reader(path) as reader:
        assert reader.counts()
    assert other.read_bytes() == before
    assert not list(tmp_path.glob("*-wal"))
    other.unlink()
    Store(path).close()


DEEP = "[" * 1500 + "]" * 1500
"""SQLite takes it for JSON; Python does not go so far down."""


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO meta VALUES ('variables', ?)",
        "UPDATE rows SET variables = '{\"a\": ' || ? || '}'",
        'UPDATE rows SET request = \'{"model": "m", "prompt": "p", "images": \' || ? || \'}\'',
        "INSERT INTO images (attempt, number, phase, links) VALUES (2, 1, 'expected', ?)",
    ],
)
@pytest.mark.parametrize("value", [DEEP, "[1]", "[{}]"])
def test_what_is_nested_without_end_is_one_sentence(tmp_path: Path, statement: str, value: str) -> None:
    """Or what has something else in the place of a text; whoever asks for it is told."""
    path = stranger(tmp_path, statement, value)
    faults = 0
    try:
        with open_reader(path) as reader:
            reader.variables()
            list(reader.rows())
    except StateFailed:
        faults += 1
    try:
        with closing(Store(path)) as store:
            store.new_rows(-1, EVERY_ROW, 5)
            list(store.open_attempts(Phase.ACCEPTED))
            list(store.credits_of_open())
    except StateFailed:
        faults += 1
    assert faults or value != DEEP
