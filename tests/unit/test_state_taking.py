"""A manifest is taken into the state whole or not at all, and what was paid for stays with its row."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, LocalImage, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts, schema, taking
from nanobanana_batch.state.ledger import Witness
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.scope import EVERY_ROW
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken
from tests.unit.connections import connections

Rows = list[tuple[str, str, str]]
"""(prompt, id, mood) of each row of a manifest."""


@contextmanager
def roster_of(rows: Rows) -> Iterator[Roster]:
    """The rows as they are taken."""
    drafts = [
        Draft(f"m:{n}", Request("m", prompt), id_, variables=(("mood", mood),))
        for n, (prompt, id_, mood) in enumerate(rows)
    ]
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(drafts, ProblemLog())
        yield roster


def take(store: Store, rows: Rows) -> None:
    """Make the rows the current manifest."""
    with roster_of(rows) as roster:
        store.take_manifest(Taken(roster, "m", ("mood",)))


def many(count: int, **changed: str) -> Rows:
    """Rows that fill some pages; `changed` gives single ones another prompt, by their ids."""
    return [(changed.get(f"r{n}", f"{n} {'x' * 200}"), f"r{n}", "calm") for n in range(count)]


def schema_of(path: Path) -> list[tuple[object, ...]]:
    """Everything that the file is made of."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        return db.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        ).fetchall()


def content_of(path: Path) -> list[str]:
    """Each table as SQL text."""
    with closing(sqlite3.connect(path)) as db:
        return sorted(db.iterdump())


def pay(store: Store, prompt: str) -> None:
    """A task was made for the row of this prompt."""
    (row,) = (found for found in store.new_rows(-1, EVERY_ROW, 99) if found.request.prompt == prompt)
    attempt = store.next_attempt()
    intent = facts.Intent(row.row, attempt, 1, row.id, "p", "me", b"{}", "f", f"key-{attempt}", 1.0)
    store.apply([intent, facts.Accepted(attempt, TaskMade(f"task-{prompt}", None, 4.0, None), 2.0)])


def test_a_filled_state_is_made_like_an_empty_one(tmp_path: Path) -> None:
    """Indexes that are made after the rows are the very ones of the schema, and whole."""
    empty, full = tmp_path / "empty", tmp_path / "full"
    Store(empty).close()
    store = Store(full)
    take(store, many(300))
    store.close()
    assert schema_of(full) == schema_of(empty)
    with closing(sqlite3.connect(full)) as db:
        found = db.execute(
            "SELECT id FROM rows INDEXED BY rows_in_order WHERE position IS NOT NULL"
        ).fetchall()
        assert [id_ for (id_,) in found] == [f"r{n}" for n in range(300)]


@pytest.mark.parametrize(
    "name", [b"lat\xefn", b"a?mode=ro", b"50%41 #1", b"it's", b"new\nline", "e\u0301".encode()]
)
def test_a_manifest_is_taken_wherever_the_folder_stands(tmp_path: Path, name: bytes) -> None:
    """Its name is bytes: some mean something to SQLite elsewhere, some are no UTF-8."""
    path = tmp_path / os.fsdecode(name) / "state.sqlite3"
    try:
        path.parent.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    store = Store(path)
    take(store, many(3))
    assert [row.id for row in store.new_rows(-1, EVERY_ROW, 9)] == ["r0", "r1", "r2"]
    store.close()
    begun = path.with_name("begun")
    begun_with(begun, many(3)).close()
    assert whole(begun)["rows"] == whole(path)["rows"]
    assert sorted(each.name for each in tmp_path.rglob("*") if each.is_file()) == ["begun", path.name]


MANIFESTS = st.lists(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.just(""), st.sampled_from(["calm", "busy"])),
        unique_by=lambda row: row[0],
        max_size=6,
    ).flatmap(lambda rows: st.permutations(rows)),
    min_size=1,
    max_size=4,
)


@given(MANIFESTS, st.lists(st.sampled_from("abcdef"), max_size=3, unique=True))
@settings(max_examples=40, deadline=None)
def test_whatever_manifest_follows_which_every_task_stays_with_its_request(
    manifests: list[Rows], paid: list[str]
) -> None:
    """Rows are where the manifest has them; the others are kept if anything was sent for them."""
    with TemporaryDirectory() as name:
        path = Path(name) / "state.sqlite3"
        store = Store(path)
        tasks: dict[str, str] = {}
        for number, rows in enumerate(manifests):
            take(store, [(prompt, f"{prompt}{number % 2}", mood) for prompt, _, mood in rows])
            for prompt in paid[number : number + 1]:
                if prompt in [each for each, _, _ in rows] and prompt not in tasks:
                    pay(store, prompt)
                    tasks[prompt] = f"task-{prompt}"
            expected = {
                prompt: (place, f"{prompt}{number % 2}", mood, tasks.get(prompt))
                for place, (prompt, _, mood) in enumerate(rows)
            }
            found = {prompt: rest for prompt, *rest in _standing(path)}
            assert {prompt: tuple(rest) for prompt, rest in found.items() if rest[0] is not None} == expected
            assert {prompt for prompt, rest in found.items() if rest[0] is None} == set(tasks) - set(expected)
        store.close()


def _standing(path: Path) -> list[tuple[object, ...]]:
    query = (
        "SELECT json_extract(rows.request, '$.prompt'), position, id, json_extract(variables, '$.mood'),"
        " task_id FROM rows LEFT JOIN attempts USING (attempt)"
        " LEFT JOIN requests ON requests.request = attempts.request"
    )
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def test_one_changed_row_does_not_write_the_others_again(tmp_path: Path) -> None:
    """Else an edited cell of a million rows would cost as much as the first run."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    take(store, many(3000))
    store.close()
    whole = path.stat().st_size
    store = Store(path)
    take(store, many(3000, r7="another"))
    log = path.with_name(f"{path.name}-wal").stat().st_size
    assert [row.id for row in store.new_rows(6, EVERY_ROW, 1)] == ["r7"]
    store.close()
    assert log < whole / 10


def _with_file(name: str) -> Request:
    return Request("m", "p", images=(name,), files=(LocalImage(name, f"/{name}", "ab" * 32, 9, "image/png"),))


@pytest.mark.parametrize(
    "changed",
    [
        Draft("m:1", _with_file("a.png"), "other", variables=(("mood", "calm"),)),
        Draft("m:2", _with_file("a.png"), "id", variables=(("mood", "calm"),)),
        Draft("m:1", _with_file("a.png"), "id", variables=(("mood", "busy"),)),
        Draft("m:1", _with_file("b.png"), "id", variables=(("mood", "calm"),)),
    ],
    ids=["id", "source", "variables", "a file's name"],
)
def test_whatever_changes_in_a_row_reaches_the_state(tmp_path: Path, changed: Draft) -> None:
    """Also where its key and its place stay as they are."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    before = Draft("m:1", _with_file("a.png"), "id", variables=(("mood", "calm"),))
    for draft in (before, changed):
        with Roster(derive_id, fold_id) as roster:
            roster.add_all([draft], ProblemLog())
            store.take_manifest(Taken(roster, "m", ("mood",)))
    store.close()
    with open_reader(path) as reader:
        (row,) = reader.rows()
    assert (row.id, row.source, row.request) == (changed.id, changed.source, changed.request)
    assert row.variables == dict(changed.variables)


@pytest.mark.parametrize("before", [[], many(40)], ids=["the first manifest", "another one"])
def test_a_failure_at_any_moment_leaves_the_earlier_manifest(tmp_path: Path, before: Rows) -> None:
    """Nothing is half taken, and the next attempt takes it whole."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    if before:
        take(store, before)
        pay(store, before[3][0])
    after = [*many(60, r3="changed")[::-1], ("new", "new", "busy")]
    then, failures = content_of(path), 0
    with connections() as made, roster_of(after) as roster:
        while _fails_after(failures * 3, store, roster, made[0]):
            failures += 1
            assert content_of(path) == then
    assert failures > 10
    assert [row.id for row in store.new_rows(-1, EVERY_ROW, 99)] == [id_ for _, id_, _ in after]
    assert len(list(store.open_attempts(Phase.ACCEPTED))) == (1 if before else 0)
    store.close()
    assert schema_of(path) == _schema_of_a_new_one(tmp_path)


def _fails_after(looks: int, store: Store, roster: Roster, its: sqlite3.Connection) -> bool:
    """Take the manifest; the database gives up after so many of its short stretches of work."""
    seen = itertools.count()
    its.set_progress_handler(lambda: next(seen) == looks, 50)
    try:
        store.take_manifest(Taken(roster, "m", ("mood",)))
    except StateFailed:
        return True
    finally:
        its.set_progress_handler(None, 0)
    return False


def _schema_of_a_new_one(folder: Path) -> list[tuple[object, ...]]:
    Store(folder / "new").close()
    return schema_of(folder / "new")


_DIES = """
import os, sys
from pathlib import Path
from tests.unit.connections import connections
from tests.unit.test_state_taking import many, roster_of
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken
store = Store(Path(sys.argv[1]))
with connections() as made, roster_of(many(60, r3="changed")[::-1]) as roster:
    made[0].set_progress_handler(lambda: os._exit(9), int(sys.argv[2]))
    store.take_manifest(Taken(roster, "m", ("mood",)))
"""


@pytest.mark.parametrize("before", [[], many(40)], ids=["the first manifest", "another one"])
@pytest.mark.parametrize("steps", [60, 900])
def test_a_process_that_dies_meanwhile_leaves_the_earlier_manifest(
    tmp_path: Path, before: Rows, steps: int
) -> None:
    """Without a chance to clear up."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    if before:
        take(store, before)
    store.close()
    then = content_of(path)
    died = subprocess.run([sys.executable, "-c", _DIES, str(path), str(steps)], check=False)
    assert died.returncode == 9
    Store(path).close()
    assert content_of(path) == then
    assert schema_of(path) == _schema_of_a_new_one(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_state_becomes_a_current_one_with_everything_in_it(tmp_path: Path, version: int) -> None:
    """Nothing is lost when the table is exchanged, and attempts still belong to their rows."""
    path = tmp_path / "state.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for step in range(version):
            db.executescript(schema._STEPS[step])
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        db.execute(
            "INSERT INTO rows VALUES"
            " (4, 'k4', 0, 'a', '{\"model\": \"m\", \"prompt\": \"p\"}', 1, '{}', 'm:1', 'stem', 'stem', 9),"
            ' (6, \'k6\', NULL, \'gone\', \'{"model": "m", "prompt": "q"}\', 2, \'{"n": "1"}\', \'m:2\','
            " NULL, NULL, NULL)"
        )
        db.execute(
            "INSERT INTO attempts (attempt, row, number, phase, provider, account, body, fingerprint,"
            " idempotency_key, intended_at, task_id)"
            " VALUES (9, 4, 1, 'accepted', 'p', 'me', x'7b', 'f', 'i', 1, 't')"
        )
        before = db.execute("SELECT * FROM rows").fetchall()
    store = Store(path)
    (attempt,) = store.open_attempts(Phase.ACCEPTED)
    assert (attempt.row, attempt.row_key, attempt.task_id, attempt.stem) == (4, "k4", "t", "stem")
    with pytest.raises(StateFailed):
        store.apply([facts.Intent(5, 10, 1, "s", "p", "me", b"{}", "f", "key", 1.0)])
    store.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT * FROM rows").fetchall() == before
    assert schema_of(path) == _schema_of_a_new_one(tmp_path)


def begun_with(path: Path, rows: Rows, witness: Witness | None = None) -> Store:
    """A state that has a manifest from the start."""
    with roster_of(rows) as roster:
        return Store(path, witness, begins_with=Taken(roster, "m", ("mood",), "a file"))


def whole(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every table, to the last value."""
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}


def test_a_state_that_begins_with_a_manifest_is_the_one_that_takes_it(tmp_path: Path) -> None:
    """With what is remembered, with indexes and twins; and it is written to as any other."""
    rows = [*many(60), ("0 " + "x" * 200, "again", "busy")]
    begun, taken = tmp_path / "begun", tmp_path / "taken"
    begun_with(begun, rows).close()
    with roster_of(rows) as roster, closing(Store(taken)) as store:
        store.take_manifest(Taken(roster, "m", ("mood",), "a file"))
    assert whole(begun) == whole(taken)
    assert len(whole(begun)["twins"]) == 1
    assert schema_of(begun) == schema_of(taken)
    assert begun.stat().st_mode & 0o777 == 0o600
    with closing(Store(begun)) as store:
        assert store.made_from() == "a file"
        take(store, rows)  # which it has
        pay(store, rows[3][0])
    assert content_of(begun) != content_of(taken)


def test_a_state_that_is_there_is_not_begun_again(tmp_path: Path) -> None:
    """What it knows stays what it is."""
    path = tmp_path / "state.sqlite3"
    begun_with(path, many(3)).close()
    then = whole(path)
    begun_with(path, many(5)).close()
    assert whole(path) == then


class _Told:
    """Something was told of payments."""

    def told(self) -> tuple[int, bytes, int, Path] | None:
        return 1, b"12345678", 1, Path("there")


def test_where_payments_were_told_no_state_begins_with_rows(tmp_path: Path) -> None:
    """It lacks what was paid for, and is refused."""
    path = tmp_path / "state.sqlite3"
    with pytest.raises(StateFailed, match="1"):
        begun_with(path, many(3), _Told())  # type: ignore[arg-type]
    assert whole(path)["rows"] == []


def test_a_state_that_cannot_be_begun_leaves_nothing(tmp_path: Path) -> None:
    """At whatever moment it fails, there is neither a state nor half of one, and the next attempt has all."""
    path = tmp_path / "state.sqlite3"
    failures = 0
    with connections() as made, roster_of(many(60)) as roster:
        while not path.exists():
            seen = itertools.count()
            made[0].set_progress_handler(lambda: next(seen) == failures * 3, 50)  # noqa: B023
            try:
                Store(path, begins_with=Taken(roster, "m", ("mood",))).close()
            except StateFailed:
                assert list(tmp_path.iterdir()) == []
                failures += 1
            finally:
                made[0].set_progress_handler(None, 0)
    assert failures > 5
    assert [name for name in os.listdir(tmp_path) if name != path.name] == []
    with closing(Store(path)) as store:
        assert len(store.new_rows(-1, EVERY_ROW, 99)) == 60


_DIES_AT_THE_BEGINNING = """
import os, sys
from pathlib import Path
from tests.unit.connections import connections
from tests.unit.test_state_taking import many, roster_of
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken
with connections() as made, roster_of(many(60)) as roster:
    made[0].set_progress_handler(lambda: os._exit(9), int(sys.argv[2]))
    Store(Path(sys.argv[1]), begins_with=Taken(roster, "m", ("mood",)))
"""


@pytest.mark.parametrize("steps", [60, 900])
def test_a_process_that_dies_while_a_state_begins_leaves_none(tmp_path: Path, steps: int) -> None:
    """What it leaves has another name, and the next one takes its place."""
    path = tmp_path / "state.sqlite3"
    died = subprocess.run([sys.executable, "-c", _DIES_AT_THE_BEGINNING, str(path), str(steps)], check=False)
    assert died.returncode == 9
    assert not path.exists()
    begun_with(path, many(60)).close()
    assert os.listdir(tmp_path) == [path.name]
    with closing(Store(path)) as store:
        assert len(store.new_rows(-1, EVERY_ROW, 99)) == 60


def test_a_new_state_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written without a log: a power cut after the naming must not find half of it."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(fd: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    def named(old: Path, new: Path) -> None:
        done.append(f"named {new}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", named)
    path = tmp_path / "state.sqlite3"
    begun_with(path, many(3)).close()
    assert done[:2] == [str(path.with_name(f".{path.name}.new")), f"named {path}"]


def _another_file(path: Path) -> None:
    path.write_bytes(b"somebody's")


def _another_made_anew(path: Path) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink()
    new.write_bytes(b"half of another one")


@pytest.mark.parametrize("meanwhile", [_another_file, _another_made_anew])
def test_what_somebody_else_makes_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Path], None]
) -> None:
    """On a disk on which locks hold nobody back; and no half state gets the name of a whole one."""
    path = tmp_path / "state.sqlite3"
    monkeypatch.setattr(os, "fsync", lambda fd: meanwhile(path))
    with pytest.raises(StateFailed, match="Somebody else") as failed:
        begun_with(path, many(3))
    assert "look" in failed.value.hint.lower()
    kept = [each.read_bytes() for each in tmp_path.iterdir()]
    assert kept == [b"somebody's" if meanwhile is _another_file else b"half of another one"]


def test_a_disk_that_keeps_no_state_is_told_without_one_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none yet, and nothing was sent."""

    def fails(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StateFailed, match="No space left") as failed:
        begun_with(tmp_path / "state.sqlite3", many(3))
    assert "there is no state yet" in failed.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("begins", "settings_there"),
    [(False, [1, 2, "wal"]), (True, [1, 0, "off"])],
    ids=["one that is there", "a new one"],
)
def test_only_a_file_that_nobody_knows_is_filled_without_being_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: bool, settings_there: list[object]
) -> None:
    """What is committed to a state survives power loss; and no row goes that an attempt belongs to."""
    found: list[object] = []
    fill = taking._take

    def looked_at(db: sqlite3.Connection, known: dict[str, str]) -> None:
        fill(db, known)
        asked = ("foreign_keys", "state.synchronous", "state.journal_mode")
        found.extend(value for name in asked for (value,) in db.execute(f"PRAGMA {name}"))

    monkeypatch.setattr(taking, "_take", looked_at)
    path = tmp_path / "state.sqlite3"
    if begins:
        begun_with(path, many(3)).close()
    else:
        with closing(Store(path)) as store:
            take(store, many(3))
    assert found == settings_there


def test_a_row_that_an_attempt_belongs_to_is_never_forgotten(tmp_path: Path) -> None:
    """Also where the row itself does not know of it: the manifest is not taken then."""
    path = tmp_path / "state.sqlite3"
    with closing(Store(path)) as store:
        take(store, many(3))
        pay(store, many(3)[1][0])
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE rows SET attempt = NULL")
        with pytest.raises(StateFailed, match="FOREIGN KEY"):
            take(store, many(1))
    assert [row[:1] for row in whole(path)["attempts"]] == [(1,)]
    assert len(whole(path)["rows"]) == 3


def test_of_a_twin_that_is_forgotten_nothing_is_kept(tmp_path: Path) -> None:
    """Its row is gone, and whoever asks for the same again is a new one."""
    path = tmp_path / "state.sqlite3"
    first, second = ("same", "a", "calm"), ("same", "b", "calm")
    with closing(Store(path)) as store:
        take(store, [first, second])
        assert len(whole(path)["twins"]) == 1
        take(store, [first])
        assert whole(path)["twins"] == []
