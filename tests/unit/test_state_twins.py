"""Rows that ask for the same: what was made for one of them stays with rows that remain."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.payments import Payments, lines
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Image, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.comparison import Prospect
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.rebuild import rebuild
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken
from nanobanana_batch.state.twins import Twin, assigned

SAME = Request("m", "a cat")


class Folder:
    """A state, and manifests of rows that all ask for the same."""

    def __init__(self, path: Path) -> None:
        self.state = path / "state.sqlite3"

    def take(self, *ids: str | None) -> list[tuple[str, str | None]]:
        """Make rows of these ids the manifest; (id, task) of each afterwards."""
        plan = self.plan(*ids) if self.state.exists() else None
        store = Store(self.state)
        with self._roster(*ids) as roster:
            store.take_manifest(Taken(roster, "test", ()))
        store.close()
        with open_reader(self.state) as reader:
            found = [(row.id, row.task_id) for row in reader.rows()]
            counts = {Prospect(name): n for name, n in reader.compare(self._roster(*ids), 3).counts().items()}
        assert plan is None or plan == counts
        return found

    def plan(self, *ids: str | None) -> dict[Prospect, int]:
        """How a manifest would stand."""
        with open_reader(self.state) as reader, self._roster(*ids) as roster:
            return dict(reader.compare(roster, 3).counts())

    def end(self, **ends: str) -> None:
        """A row of an id ends so: saved, failed, accepted or unknown."""
        store = Store(self.state)
        with closing(sqlite3.connect(self.state)) as db:
            rows = dict(db.execute("SELECT id, row FROM rows WHERE position IS NOT NULL"))
        for id_, end in ends.items():
            attempt = store.next_attempt()
            key = f"key-{attempt}"
            known: list[facts.Fact] = [
                facts.Intent(rows[id_], attempt, 1, id_, "p", "me", b"{}", "f", key, 1.0)
            ]
            if end == "unknown":
                known.append(facts.Unanswered(attempt, "cut"))
            else:
                known.append(facts.Accepted(attempt, TaskMade(f"task-{id_}"), 2.0))
            if end == "saved":
                image = Image(f"images/{id_}.png", "image/png", 8, 6, 9, "a" * 64)
                known += [facts.Ready(attempt, (), 9.0, None, 3.0), facts.Saved(attempt, image, 4.0)]
            if end == "failed":
                known.append(facts.Failed(attempt, "no", "no", False, False, 5.0))
            store.apply(known)
        store.close()

    def told_to(self, path: Path) -> list[bytes]:
        """All that a witness tells of it."""
        path.mkdir()
        with Payments(path, Disk()) as payments:
            Store(self.state, payments).close()
        return list(lines(path))

    def _roster(self, *ids: str | None) -> Roster:
        problems = ProblemLog()
        roster = Roster(derive_id, fold_id)
        roster.add_all((Draft(f"t:{n}", SAME, id_) for n, id_ in enumerate(ids)), problems)
        problems.raise_if_any()
        return roster


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_failure_is_not_inherited(folder: Folder) -> None:
    """The first of two failed and leaves: the second keeps its image."""
    folder.take("a", "b")
    folder.end(a="failed", b="saved")
    assert folder.take("b") == [("b", "task-b")]
    assert folder.plan("b") == {Prospect.DONE: 1}


def test_an_image_stays_with_a_row_that_remains(folder: Folder) -> None:
    """The second of two was made and leaves: its image is what the first one asks for."""
    folder.take("a", "b")
    folder.end(a="failed", b="saved")
    assert folder.take("a") == [("a", "task-b")]


@pytest.mark.parametrize("end", ["saved", "accepted", "unknown"])
def test_rows_without_names_keep_what_was_paid(folder: Folder, end: str) -> None:
    """Derived ids go by place, and say nothing."""
    (first, _), (second, _) = folder.take(None, None)
    folder.end(**{first: "failed", second: end})
    ((_, task),) = folder.take(None)
    assert task == (None if end == "unknown" else f"task-{second}")


def test_another_order_moves_nothing(folder: Folder) -> None:
    """Each id keeps what was its own."""
    folder.take("a", "b", "c")
    folder.end(a="failed", b="saved")
    assert folder.take("c", "b", "a") == [("c", None), ("b", "task-b"), ("a", "task-a")]
    assert folder.take("b", "a", "c") == [("b", "task-b"), ("a", "task-a"), ("c", None)]


def test_a_row_that_comes_back_is_not_paid_for_again(folder: Folder) -> None:
    """Or what another one has left: nothing is paid for again."""
    folder.take("a", "b", "c")
    folder.end(a="saved", b="saved", c="failed")
    assert folder.take("c", "b") == [("c", "task-a"), ("b", "task-b")]
    assert folder.take("a", "b", "c") == [("a", "task-c"), ("b", "task-b"), ("c", "task-a")]


def test_a_new_twin_takes_nothing_that_has_an_owner(folder: Folder) -> None:
    """It is another image that is asked for."""
    folder.take("a")
    folder.end(a="saved")
    assert folder.take("new", "a") == [("new", None), ("a", "task-a")]
    folder.end(new="failed")
    assert folder.take("new", "a", "more") == [("new", "task-new"), ("a", "task-a"), ("more", None)]


def test_a_renamed_row_keeps_its_failure(folder: Folder) -> None:
    """A name costs nothing."""
    folder.take("a", "b")
    folder.end(a="failed")
    assert folder.take("z", "b") == [("z", "task-a"), ("b", None)]


def test_the_same_manifest_again_changes_nothing(folder: Folder) -> None:
    """However it got to where it is."""
    folder.take("a", "b", "c")
    folder.end(a="failed", b="saved")
    folder.take("b", "c")
    before = folder.state.read_bytes()
    folder.take("b", "c")
    assert folder.state.read_bytes() == before


def test_twins_of_an_older_state_are_found(folder: Folder) -> None:
    """It had no table of them."""
    folder.take("a", "b")
    folder.end(a="failed", b="saved")
    with closing(sqlite3.connect(folder.state)) as db, db:
        db.execute("DELETE FROM twins")
        db.execute("DELETE FROM meta WHERE name = 'has twins'")
    assert folder.take("b") == [("b", "task-b")]


@pytest.mark.parametrize("has_old", [True, False])
def test_a_state_that_was_made_anew_keeps_them_apart(tmp_path: Path, has_old: bool) -> None:
    """What is told of a row names its likes."""
    first = Folder(tmp_path)
    first.take("a", "b")
    first.end(a="failed", b="saved")
    (tmp_path / "new").mkdir()
    made = Folder(tmp_path / "new")
    told = first.told_to(tmp_path / "told")
    rebuild(made.state, told, first.state if has_old else None)
    assert made.take("b") == [("b", "task-b")]


def test_what_is_worth_most_is_kept_if_not_all_can_be() -> None:
    """An image before what may become one."""
    phases = [Phase.FAILED, Phase.UNKNOWN, Phase.SAVED, Phase.ACCEPTED, Phase.READY, None]
    twins = [Twin(f"key-{n}", f"id-{n}", phase) for n, phase in enumerate(phases)]
    for many in range(1, 5):
        found = assigned([f"other-{n}" for n in range(many)], twins)
        best = [Phase.SAVED, Phase.READY, Phase.ACCEPTED, Phase.UNKNOWN][:many]
        assert [twin and twin.phase for twin in found] == best
