"""A folder whose state is lost, or replaced by an older one, is not paid for again, as the ledger knows."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nanobanana_batch.results import read_results
from nanobanana_batch.state.store import Store
from tests.process.harness import Bench, bench, cli, small_manifest, wrong_hashes
from tests.process.surroundings import until

ROWS = 6


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A service whose tasks take long enough to be killed in."""
    folder = tmp_path_factory.mktemp("lost")
    with bench(folder, small_manifest(folder, ROWS), latency_s=2.5) as running:
        yield running


def killed(it: Bench, *flags: str, images: int = 0) -> None:
    """A run that is killed with all rows accepted, and so many images there."""
    process = it.start(*flags)
    told = it.out / "payments.jsonl"
    until(lambda: told.exists() and told.read_text().count('"fact":"Accepted"') == ROWS)
    until(lambda: told.read_text().count('"fact":"Saved"') >= images)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def all_gone(out: Path) -> None:
    """All that the state consists of."""
    for path in out.glob("state.sqlite3*"):
        path.unlink()


def log_gone(out: Path) -> None:
    """What makes an odd file of it to a person."""
    for end in ("-wal", "-shm"):
        (out / f"state.sqlite3{end}").unlink()


def first_moment(out: Path) -> None:
    """Killed while the state was made: a change of it is cut off, and its journal stands beside it."""
    all_gone(out)
    new = out / "new.sqlite3"
    Store(new).close()
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("BEGIN IMMEDIATE")
        db.execute("PRAGMA cache_size = 1")  # so that a part of the change is in the file
        db.executemany("INSERT INTO meta VALUES (?, ?)", [(str(n), "x" * 4000) for n in range(99)])
        for end in ("", "-journal"):
            shutil.copyfile(f"{new}{end}", out / f"state.sqlite3{end}")
        db.execute("ROLLBACK")
    new.unlink()


@pytest.mark.parametrize(("lose", "images"), [(all_gone, 2), (log_gone, 0), (first_moment, 0)])
def test_a_lost_state_is_refused_and_can_be_made_anew(
    it: Bench, lose: Callable[[Path], None], images: int
) -> None:
    """Nothing is paid meanwhile, and in the end each row has its image, paid once."""
    name = f"{lose.__name__}-{images}"
    it = it.another(small_manifest(it.folder, ROWS, name))
    before = len(it.tasks_paid())
    killed(it, images=images)
    lose(it.out)
    refused = it.finish()
    assert refused.returncode == 3, refused.stderr
    advice = refused.stderr.partition("`nanobanana-batch ")[2].partition("`")[0]
    made = cli(*shlex.split(advice), cwd=it.folder)
    assert "Traceback" not in made.stderr
    done = it.finish()
    assert done.returncode == 0, done.stderr
    assert len(it.tasks_paid()) - before == ROWS
    assert wrong_hashes(it.out) == []
    assert cli("audit", str(it.out), cwd=it.folder).returncode == 0


def test_an_older_copy_of_a_state_is_refused(it: Bench) -> None:
    """Brought back from a backup that was made before the last run; its rows are taken over."""
    it = it.another(small_manifest(it.folder, ROWS, "older"))
    before = len(it.tasks_paid())
    it.finish("--limit", "2")
    shutil.copy(it.out / "state.sqlite3", it.folder / "older.sqlite3")
    assert it.finish().returncode == 0
    shutil.copy(it.folder / "older.sqlite3", it.out / "state.sqlite3")
    refused = it.finish()
    assert refused.returncode == 3, refused.stderr
    assert "lacks the last" in refused.stderr
    assert cli("audit", str(it.out), "--rebuild", cwd=it.folder).returncode == 0
    assert it.finish().returncode == 0
    assert len(it.tasks_paid()) - before == ROWS
    assert (it.out / "state-before-rebuild-1.sqlite3").exists()
    assert list(read_results(it.out)["status"]) == ["completed"] * ROWS


def test_a_lost_pointer_to_the_state_is_noticed(it: Bench) -> None:
    """With the option that made it the state is found again."""
    it = it.another(small_manifest(it.folder, ROWS, "pointer"))
    before = len(it.tasks_paid())
    where = ("--state-dir", str(it.folder / "states"))
    killed(it, *where)
    (it.out / "state-dir.json").unlink()
    refused = it.finish()
    assert refused.returncode == 3
    assert "--state-dir" in refused.stderr
    assert it.finish(*where).returncode == 0
    assert len(it.tasks_paid()) - before == ROWS
