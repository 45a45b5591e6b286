"""One writer a folder, proved with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nanobanana_batch.errors import FolderInUse
from nanobanana_batch.files.lock import only_writer

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
