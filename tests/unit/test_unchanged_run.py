"""A run with nothing to do writes nothing, and never takes something for nothing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import StateFailed
from nanobanana_batch.jobs import run as run_job
from nanobanana_batch.jobs.order import Order, expanded
from nanobanana_batch.jobs.outcome import Outcome
from nanobanana_batch.model import RowStatus
from nanobanana_batch.state import state_file
from nanobanana_batch.state import store as store_module
from nanobanana_batch.state.scope import Scope
from tests.unit.test_pipeline import put_in_their_place
from tests.unit.watched import Watched
from tests.unit.wire import failed

ROWS = 4


class Hearing(Tally):
    """Keeps what a person is told once."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def say_once(self, text: str) -> None:
        self.heard.append(text)


class Folder:
    """A manifest, its folder and a provider in memory."""

    def __init__(self, place: Path, patch: pytest.MonkeyPatch) -> None:
        self.manifest, self.out, self.patch = place / "m.csv", place / "out", patch
        self.write(*(f"picture {n}" for n in range(ROWS)))
        self.provider = Watched(latency_s=0.0, submit_s=0.0, offers={"poll_interval_s": 0.01})
        self.connected = put_in_their_place(self.provider, patch)
        self.expanded: list[int] = []
        patch.setattr(run_job, "expanded", self._counting(expanded))

    def write(self, *prompts: str) -> None:
        lines = [f"row-{n},{prompt},nano-banana-beta\n" for n, prompt in enumerate(prompts)]
        self.manifest.write_text("id,prompt,model\n" + "".join(lines))

    def _counting(self, expand: Any) -> Any:
        def counted(*given: Any, **how: Any) -> Any:
            self.expanded.append(1)
            return expand(*given, **how)

        return counted

    def run(self, settings: Settings | None = None, tally: Tally | None = None, **order: Any) -> Outcome:
        return run_job.run(Order(self.manifest, self.out, **order), settings or Settings(), tally or Tally())

    def content(self) -> dict[str, tuple[bytes, int]]:
        """Every file of the folder, with when it was written."""
        return {
            str(path.relative_to(self.out)): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(self.out.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Of which all rows are made."""
    made = Folder(tmp_path, monkeypatch)
    outcome = made.run()
    assert (outcome.exit_code, outcome.had_work) == (0, True)
    made.expanded.clear()
    made.connected.clear()
    return made


def test_an_unchanged_manifest_with_nothing_to_do_leaves_every_file_as_it_is(folder: Folder) -> None:
    """No row is read, nothing is sent, no byte is written; what is told is the same."""
    before, tally = folder.content(), Tally()
    outcome = folder.run(tally=tally)
    assert folder.content() == before
    assert (folder.expanded, folder.connected) == ([], [])
    assert (outcome.rows, outcome.exit_code, outcome.had_work) == (ROWS, 0, False)
    assert outcome.counts[RowStatus.COMPLETED] == tally.completed == tally.total == ROWS
    assert outcome.credits_used == tally.credits > 0


def test_where_a_journal_may_know_more_than_the_state_the_rows_are_read(folder: Folder) -> None:
    """A state that is made of it has no rows; and the folder remembers that there is one."""
    journal = str(folder.out.with_name("journal"))
    assert folder.run(journal=journal).exit_code == 0
    assert folder.run().exit_code == 0
    assert folder.expanded == [1, 1]


def test_what_a_run_says_of_its_rows_it_says_also_where_they_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Braces that were sent as they stand."""
    made = Folder(tmp_path, monkeypatch)
    made.write("a {cat}")
    first, then = Hearing(), Hearing()
    made.run(tally=first)
    made.run(tally=then)
    assert made.expanded == [1]
    assert first.heard == then.heard != []


def test_one_edited_prompt_is_paid_though_size_and_time_of_the_manifest_are_the_same(folder: Folder) -> None:
    """Only its row."""
    before = folder.manifest.stat()
    folder.write("picture 0", "picture X", "picture 2", "picture 3")
    os.utime(folder.manifest, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert folder.manifest.stat().st_size == before.st_size
    outcome = folder.run()
    assert (outcome.had_work, len(folder.provider.tasks)) == (True, ROWS + 1)


def test_a_deleted_image_is_fetched_again(folder: Folder) -> None:
    """A state that says that all is saved does not hide it."""
    image = next((folder.out / "images").iterdir())
    image.unlink()
    outcome = folder.run()
    assert (outcome.had_work, image.is_file(), folder.expanded) == (True, True, [])
    assert len(folder.provider.tasks) == ROWS


def test_an_image_that_was_changed_is_told_each_time(folder: Folder) -> None:
    """results.csv says it as well."""
    next((folder.out / "images").iterdir()).write_bytes(b"other")
    for _ in range(2):
        assert folder.run().files.changed == 1
    assert "the file was changed" in (folder.out / "results.csv").read_text()


@pytest.mark.parametrize("how", ["edited", "deleted"])
def test_results_that_are_not_what_was_written_are_written_anew(folder: Folder, how: str) -> None:
    """Whatever somebody did to the file."""
    path = folder.out / "results.csv"
    written = path.read_bytes()
    path.unlink()
    if how == "edited":
        path.write_bytes(written.replace(b"picture 1", b"picture 2"))
    folder.run()
    assert path.read_bytes() == written


def test_ratings_that_are_new_or_others_get_into_the_results(folder: Folder) -> None:
    """They are columns there."""
    for rating in ("5", "1"):
        (folder.out / "ratings.csv").write_text(f"id,rating\nrow-1,{rating}\n")
        folder.run()
        assert f",{rating},," in (folder.out / "results.csv").read_text()


@pytest.mark.parametrize("how", ["nonsense", "a link to the same"])
def test_ratings_that_cannot_be_read_are_told_each_time(folder: Folder, how: str) -> None:
    """Also where nothing else is to be done."""
    path, elsewhere = folder.out / "ratings.csv", folder.out.parent / "elsewhere.csv"
    path.write_text("id,rating\nrow-1,5\n" if how != "nonsense" else "nonsense\n1\n")
    if how != "nonsense":
        folder.run()
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
    for _ in range(2):
        tally = Hearing()
        folder.run(tally=tally)
        assert any("without ratings" in text for text in tally.heard)


def test_a_run_that_is_to_do_more_does_it_and_reads_no_row_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `--limit 1` all rows are wanted: the state has them."""
    made = Folder(tmp_path, monkeypatch)
    made.run(Settings(scope=Scope(before=1)))
    outcome = made.run()
    assert (outcome.counts[RowStatus.COMPLETED], made.expanded) == (ROWS, [1])
    assert len(made.provider.tasks) == ROWS


def test_rows_that_may_be_tried_again_are_tried_though_nothing_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run before has ended with them as failed; a higher `--max-attempts` pays for them once more."""
    made = Folder(tmp_path, monkeypatch)
    made.provider.on_read = lambda n, task: failed(task.id, "service_error")
    assert made.run(Settings(max_attempts=1)).exit_code == 1
    assert made.run(Settings(max_attempts=1)).had_work is False
    made.provider.on_read = lambda n, task: None
    outcome = made.run(Settings(max_attempts=2))
    assert (outcome.had_work, outcome.exit_code, made.expanded) == (True, 0, [1])


def test_another_limit_is_another_question(folder: Folder) -> None:
    """Its rows and its exit code are counted, and `status` says which were asked for."""
    outcome = folder.run(Settings(scope=Scope(before=2)))
    assert (outcome.rows, outcome.exit_code) == (2, 0)


def test_a_pilot_reads_the_rows(folder: Folder) -> None:
    """It chooses among them."""
    run_job.run(Order(folder.manifest, folder.out), Settings(), Tally(), pilot=2)
    assert folder.expanded == [1]


def test_an_option_that_decides_rows_is_not_missed(folder: Folder) -> None:
    """The file is the same, and its rows are others."""
    outcome = folder.run(defaults={"aspect_ratio": "1:1"})
    assert (outcome.had_work, len(folder.provider.tasks)) == (True, 2 * ROWS)


def test_a_manifest_that_an_older_program_took_is_read(folder: Folder) -> None:
    """It leaves a note of ours in the state, which is of other rows."""
    with closing(sqlite3.connect(folder.out / "state.sqlite3")) as db, db:
        db.execute("UPDATE meta SET value = 'other' WHERE name = 'digest'")
    folder.run()
    assert folder.expanded == [1]


def test_every_page_is_looked_at_before_anything_is_written(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is missing could hide what was paid for; with nothing to do nobody waits for the look."""
    looked: list[Path] = []

    def refuse(db: sqlite3.Connection, path: Path) -> None:
        looked.append(path)
        raise StateFailed("damaged")

    for module in (store_module, state_file):
        monkeypatch.setattr(module, "refuse_damage", refuse)
    folder.run()
    assert looked == []
    folder.write(*(f"picture {n}" for n in range(ROWS + 1)))
    with pytest.raises(StateFailed):
        folder.run()
    next((folder.out / "images").iterdir()).unlink()
    folder.write(*(f"picture {n}" for n in range(ROWS)))
    with pytest.raises(StateFailed):
        folder.run()
    assert (len(looked), len(folder.provider.tasks)) == (2, ROWS)


def test_no_fact_is_written_to_a_state_that_nobody_has_looked_at(folder: Folder) -> None:
    """Whoever opens it to look first is held to that by the state itself."""
    path = folder.out / "state.sqlite3"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE images SET number = 7")
    with closing(store_module.Store(path, is_checked_later=True)) as store, pytest.raises(StateFailed):
        store.remember("name", "value")


def test_a_state_with_a_damaged_index_is_told_to_be_damaged_and_what_to_do(folder: Folder) -> None:
    """Where there is nothing to do not every page was looked at before, and one of them cannot be read."""
    folder.run()
    state = folder.out / "state.sqlite3"
    with closing(sqlite3.connect(state)) as db:
        ((page,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'images_sha256'")
        ((size,),) = db.execute("PRAGMA page_size")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with state.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x55" * size)
    with pytest.raises(StateFailed, match=r"(?s)is damaged.*nothing was sent. Bring back a good copy"):
        folder.run()
