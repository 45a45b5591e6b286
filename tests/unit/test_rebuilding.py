"""Where a state is lost each command refuses in the same words, and one of them mends it."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from nanobanana_batch.cli import main
from nanobanana_batch.errors import StateFailed, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder, choose, create, find, was_worked_on
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.files.payments import PAYMENTS_NAME
from nanobanana_batch.jobs.opening import opened
from nanobanana_batch.jobs.rebuild import rebuild_folder
from nanobanana_batch.state.reader import open_reader
from tests.unit.test_state_ledger import accepted, intent, ready, saved, take


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with two requests, one with its image."""
    folder = Folder(tmp_path / "out", tmp_path / "out")
    create(folder, Disk(), worked_on=False)
    with only_writer(folder.path), opened(folder, Disk()) as store:
        take(store, 6)
        store.apply([intent(1, 1), intent(2, 2)])
        store.apply([accepted(1), accepted(2), ready(1), saved(1)])
    return folder.path


def gone(state: Path) -> None:
    state.unlink()


def empty(state: Path) -> None:
    state.write_bytes(b"")


def older(state: Path) -> None:
    """As of before anything was sent."""
    with closing(sqlite3.connect(state)) as db, db:
        for table in ("images", "attempts", "requests", "told"):
            db.execute(f"DELETE FROM {table}")
        db.execute("UPDATE rows SET attempt = NULL")


def work_in(out: Path, *, as_copy: bool = False) -> None:
    """As far as a run does before it sends anything."""
    with only_writer(out):
        folder = find(out)
        create(folder, Disk(), worked_on=was_worked_on(out))
        with opened(folder, Disk(), as_copy=as_copy):
            pass


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """What a command says, and its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nanobanana-batch", *words])
        with pytest.raises(SystemExit) as end:
            main()
    return int(end.value.code or 0), "".join(capsys.readouterr())


@pytest.mark.parametrize("lose", [gone, empty, older])
@pytest.mark.parametrize("command", ["status", "results", "audit", "retry", "repair"])
def test_every_command_says_what_is_lost_and_what_mends_it(
    out: Path, capsys: pytest.CaptureFixture[str], lose: Callable[[Path], None], command: str
) -> None:
    """And changes nothing."""
    lose(out / "state.sqlite3")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    words = {"retry": ("retry", str(out), "--only", "failed"), "repair": ("audit", str(out), "--repair")}
    code, text = said(capsys, *words.get(command, (command, str(out))))
    assert code == 3
    assert f"`nanobanana-batch audit {out} --rebuild` makes one" in text
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {name: after.get(name) for name in before} == before


@pytest.mark.parametrize("lose", [gone, empty, older])
def test_a_run_refuses_before_a_new_state_is_made(out: Path, lose: Callable[[Path], None]) -> None:
    """Nothing is known of what was paid for."""
    state = out / "state.sqlite3"
    lose(state)
    before = state.read_bytes() if state.exists() else None
    with pytest.raises(StateFailed, match="--rebuild"):
        work_in(out)
    assert lose is older or (state.read_bytes() if state.exists() else None) == before


@pytest.mark.parametrize("lose", [gone, empty, older])
def test_a_state_is_made_of_what_was_told(
    out: Path, capsys: pytest.CaptureFixture[str], lose: Callable[[Path], None]
) -> None:
    """The old one is kept under another name, and the next command goes on."""
    lose(out / "state.sqlite3")
    code, text = said(capsys, "audit", str(out), "--rebuild")
    assert code == 1
    assert "2 requests (1 completed, 1 running)" in text or "2 requests (1 running, 1 completed)" in text
    assert ("state-before-rebuild-1.sqlite3" in text) is (lose is not gone)
    with open_reader(out / "state.sqlite3", find(out).told()) as reader:
        assert [one.task_id for one in reader.attempts()] == ["task-1", "task-2"]
    code, text = said(capsys, "audit", str(out), "--rebuild")
    assert "The state knows all" in text


def test_a_state_that_is_whole_is_not_made_anew(out: Path) -> None:
    """Nor is one made where nothing is told."""
    before = (out / "state.sqlite3").read_bytes()
    assert rebuild_folder(out, Disk()) is None
    assert (out / "state.sqlite3").read_bytes() == before
    (out / PAYMENTS_NAME).unlink()
    with pytest.raises(UsageError, match="no payments"):
        rebuild_folder(out, Disk())


def test_a_damaged_telling_leaves_the_old_state(out: Path) -> None:
    """And nothing of a half-made one."""
    gone(out / "state.sqlite3")
    told = (out / PAYMENTS_NAME).read_text().splitlines(keepends=True)
    (out / PAYMENTS_NAME).write_text("".join([*told[1:]]))
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(StateFailed, match="damaged"):
        rebuild_folder(out, Disk())
    assert sorted(path.name for path in out.iterdir()) == before


def test_an_old_state_that_is_no_database_any_more_is_kept(out: Path) -> None:
    """Nobody knows who may still read it."""
    (out / "state.sqlite3").write_bytes(b"nonsense" * 1000)
    rebuilt = rebuild_folder(out, Disk())
    assert rebuilt is not None
    assert rebuilt.before is not None
    assert rebuilt.before.read_bytes() == b"nonsense" * 1000


# --- the log of older versions ---------------------------------------------------------------------


def log_of(out: Path, attempt: int) -> None:
    line = json.dumps({"time": "t", "event": "intent", "attempt": attempt}, separators=(",", ":"))
    (out / "run.log").write_text(f'{line}\n{{"time":"t","event":"accepted","attempt":{attempt}}}\n')


def test_an_older_copy_of_before_there_was_a_telling_is_known_by_the_log(out: Path) -> None:
    """The log has the number of the latest request."""
    (out / PAYMENTS_NAME).unlink()
    log_of(out, 3)
    with pytest.raises(StateFailed, match=r"request number 3.*knows of 2"):
        work_in(out)
    log_of(out, 2)
    work_in(out)


def test_a_lost_state_of_before_there_was_a_telling_is_known_by_the_log(out: Path) -> None:
    """Although no image was there yet."""
    (out / PAYMENTS_NAME).unlink()
    (out / "state.sqlite3").unlink()
    create(find(out), Disk(), worked_on=True)
    log_of(out, 3)
    with pytest.raises(StateFailed, match="a log of an earlier run"):
        create(find(out), Disk(), worked_on=True)


def test_a_backup_of_both_is_known_by_the_log(out: Path, tmp_path: Path) -> None:
    """State and telling agree, and both are older than what was sent."""
    log_of(out, 3)
    with pytest.raises(StateFailed, match=r"request number 3.*knows of 2"):
        work_in(out)


def test_a_state_that_stood_elsewhere_is_made_there_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Although its folder is gone as a whole."""
    folder = choose(tmp_path / "out", tmp_path / "states", risk_network=False)
    create(folder, Disk(), worked_on=False)
    with only_writer(folder.path), opened(folder, Disk()) as store:
        take(store, 6)
        store.apply([intent(1, 1)])
    shutil.rmtree(tmp_path / "states")
    _, text = said(capsys, "audit", str(folder.path), "--rebuild")
    assert "1 request (1 unknown)" in text
    assert folder.state.exists()
    work_in(folder.path)


@pytest.mark.parametrize("command", ["results", "retry", "repair"])
def test_before_its_manifest_is_taken_a_state_made_anew_does_nothing_in_silence(
    out: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """It says what comes first; what is in results.csv stays."""
    gone(out / "state.sqlite3")
    (out / "results.csv").write_text("as it was\n")
    assert rebuild_folder(out, Disk()) is not None
    words = {"retry": ("retry", str(out), "--only", "failed"), "repair": ("audit", str(out), "--repair")}
    code, text = said(capsys, *words.get(command, (command, str(out))))
    assert code == 2
    assert "Run the same command as before first" in text
    assert (out / "results.csv").read_text() == "as it was\n"
    assert "made anew" in said(capsys, "status", str(out))[1]


# --- copies of a folder ----------------------------------------------------------------------------


def test_a_copy_on_another_machine_is_told_once(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would pay for the rows that are left; the person says that they know."""
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    with pytest.raises(UsageError, match=re.escape(f"worked on as {out} on the machine")):
        work_in(copy)
    for as_copy in (True, False):
        work_in(copy, as_copy=as_copy)


def test_a_copy_on_the_same_machine_is_told_as_long_as_the_first_is_there(out: Path, tmp_path: Path) -> None:
    """`cp -r` makes two of one."""
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    with pytest.raises(UsageError, match=re.escape(f"worked on as {out} on the machine")):
        work_in(copy)
    work_in(out)
    shutil.rmtree(out)
    work_in(copy)


def test_a_folder_that_was_moved_before_is_told_as_a_copy_all_the_same(out: Path, tmp_path: Path) -> None:
    """Only the place where it was last counts."""
    moved = out.rename(tmp_path / "moved")
    work_in(moved)
    copy = tmp_path / "copy"
    shutil.copytree(moved, copy)
    with pytest.raises(UsageError, match=re.escape(f"worked on as {moved} on the machine")):
        work_in(copy)


@pytest.mark.parametrize("changed", ["machine", "path"])
def test_a_folder_that_was_moved_or_a_machine_with_a_new_name_is_no_copy(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """Containers have other names each time."""
    if changed == "machine":
        monkeypatch.setattr("platform.node", lambda: "elsewhere")
    else:
        out = out.rename(tmp_path / "moved")
    work_in(out)
