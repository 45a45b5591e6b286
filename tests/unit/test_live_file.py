"""Beside its state a run leaves how it stands; nothing rests on that file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.files.folder import LIVE_NAME
from nanobanana_batch.live import file as module
from nanobanana_batch.live.file import read_live, told_beside


def until_told(folder: Path) -> None:
    """Wait for the first word, as long as a test may take."""
    done = threading.Event()
    for _ in range(3000):
        if read_live(folder) is not None:
            return
        done.wait(0.01)
    raise AssertionError("nothing was told")


def test_it_says_how_the_run_stands_and_goes_with_it(tmp_path: Path) -> None:
    """Another process reads it while the run goes on."""
    with told_beside(tmp_path, Tally(total=7, is_going=True)):
        until_told(tmp_path)
        live = read_live(tmp_path)
        assert live is not None
        assert live.rows == 7
        assert (tmp_path / LIVE_NAME).stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_its_place_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder from somebody else must not have another file of ours written to."""
    monkeypatch.setattr(module, "_EVERY_S", 0.001)
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / f"{LIVE_NAME}.new").symlink_to(mine)
    with told_beside(folder, Tally()):
        threading.Event().wait(0.05)
    assert mine.read_text() == "precious"
    (folder / LIVE_NAME).symlink_to(mine)
    assert read_live(folder) is None


def test_a_folder_that_takes_nothing_does_not_trouble_the_run(tmp_path: Path) -> None:
    """It has been removed meanwhile, say."""
    gone = tmp_path / "gone"
    with told_beside(gone, Tally()):
        pass
    assert not os.path.lexists(gone)
