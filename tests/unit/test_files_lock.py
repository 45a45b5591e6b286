"""One writer a folder, proved with real processes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nanobanana_batch.errors import FolderInUse
from nanobanana_batch.files.lock import LOCK_NAME, is_held, only_writer

HOLD = """
import subprocess, sys
from pathlib import Path
from nanobanana_batch.files.lock import only_writer
with only_writer(Path(sys.argv[1])):
    if len(sys.argv) > 2:
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], close_fds=False)
        print(child.pid, flush=True)
    else:
        print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """The next line that it printed."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_process_is_turned_away(tmp_path: Path) -> None:
    """It does not wait, and says which folder; the holder is not disturbed."""
    with holder(tmp_path) as other:
        assert said(other) == "held"
        with pytest.raises(FolderInUse, match=tmp_path.name) as caught, only_writer(tmp_path):
            pass
        assert caught.value.exit_code == 4
        assert other.poll() is None


def test_the_lock_goes_with_a_killed_holder(tmp_path: Path) -> None:
    """kill -9 leaves nothing that a person has to remove."""
    with holder(tmp_path) as other:
        assert said(other) == "held"
        other.send_signal(signal.SIGKILL)
        other.wait()
        with only_writer(tmp_path), pytest.raises(FolderInUse), only_writer(tmp_path):
            pass


def test_a_child_that_outlives_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    """Children that a run started are not writers."""
    with holder(tmp_path, "with child") as other:
        child = int(said(other))
        other.send_signal(signal.SIGKILL)
        other.wait()
        os.kill(child, 0)
        with only_writer(tmp_path), pytest.raises(FolderInUse), only_writer(tmp_path):
            pass
        os.kill(child, 0)


def test_the_lock_is_free_after_the_block_and_after_an_error(tmp_path: Path) -> None:
    """Also when the run in it fails."""
    with pytest.raises(ValueError, match="in between"), only_writer(tmp_path):
        raise ValueError("in between")
    with only_writer(tmp_path), pytest.raises(FolderInUse), only_writer(tmp_path):
        pass
    with holder(tmp_path) as other:
        assert said(other) == "held"


def test_two_folders_do_not_disturb_each_other(tmp_path: Path) -> None:
    """The lock is the folder's."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with only_writer(tmp_path / "a"), only_writer(tmp_path / "b"):
        assert (tmp_path / "a").is_dir()
        with pytest.raises(FolderInUse), only_writer(tmp_path / "b"):
            pass


def test_whether_it_is_held_can_be_asked(tmp_path: Path) -> None:
    """Before, during and after; a folder without a lock file gets none by being asked."""
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with holder(tmp_path) as other:
        assert said(other) == "held"
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    assert not is_held(tmp_path / "none")


def test_somebody_who_asks_is_not_taken_for_a_run(tmp_path: Path) -> None:
    """Two who look at the same moment both see that nobody works there."""
    with only_writer(tmp_path):
        pass
    with (tmp_path / LOCK_NAME).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not is_held(tmp_path)


def test_somebody_who_asks_turns_no_run_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins just then tries again after a moment, in which the look is over."""
    with only_writer(tmp_path):
        pass
    with (tmp_path / LOCK_NAME).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda seconds: file.close())
        with only_writer(tmp_path):
            assert is_held(tmp_path)
