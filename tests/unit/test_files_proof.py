"""A place is believed to keep what is written only after it has kept something."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from nanobanana_batch.errors import BadSurroundings, UsageError
from nanobanana_batch.files.disk import Disk, as_disk_failure
from nanobanana_batch.files.folder import Folder
from nanobanana_batch.files.proof import prove_writable, refuse_unspeakable


class Refusing(Disk):
    """A disk on which one kind of step fails in one place."""

    def __init__(self, step: str, place: Path, code: int) -> None:
        self._step, self._place, self._code = step, place, code

    def _may(self, step: str, path: Path) -> None:
        if step == self._step and self._place in (path, path.parent):
            raise OSError(self._code, os.strerror(self._code))

    def create(self, path: Path) -> int:
        self._may("create", path)
        return super().create(path)

    def sync(self, fd: int) -> None:
        if self._step == "sync":
            raise OSError(self._code, os.strerror(self._code))
        super().sync(fd)

    def replace(self, source: Path, target: Path) -> None:
        self._may("replace", target)
        super().replace(source, target)

    def sync_folder(self, path: Path) -> None:
        self._may("sync_folder", path)
        super().sync_folder(path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """One whose state stands elsewhere."""
    for name in ("out/images", "state"):
        (tmp_path / name).mkdir(parents=True)
    return Folder(tmp_path / "out", tmp_path / "state")


def test_a_healthy_place_is_left_as_it_was(folder: Folder, tmp_path: Path) -> None:
    """Nothing stays of the proof."""
    prove_writable(folder, Disk())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["out", "out/images", "state"])
@pytest.mark.parametrize("step", ["create", "sync", "replace", "sync_folder"])
@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_each_step_in_each_place_counts(
    folder: Folder, tmp_path: Path, name: str, step: str, code: int
) -> None:
    """A disk may take a name and not the bytes, or the bytes and not their sync."""
    with pytest.raises(UsageError, match="nothing was sent") as caught:
        prove_writable(folder, Refusing(step, tmp_path / name, code))
    assert os.strerror(code) in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_of_the_results_name_is_refused(folder: Folder) -> None:
    """They could not be written at the end."""
    (folder.path / "results.csv").mkdir()
    with pytest.raises(UsageError, match=r"results\.csv is a folder"):
        prove_writable(folder, Disk())


def test_names_are_looked_at_only_where_some_are_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where names are UTF-8 a million ids are not even read."""
    refuse_unspeakable(iter(lambda: pytest.fail("it was read"), None))
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "latin-1")
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("latin-1"))
    refuse_unspeakable(["café", "row-1"])
    with pytest.raises(BadSurroundings, match="PYTHONUTF8=1"):
        refuse_unspeakable(["café", "漢"])


def test_a_name_that_a_locale_cannot_give_is_no_failing_disk(tmp_path: Path) -> None:
    """It stops the run with what to do, as an error of the system would, instead of ending it."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
        Disk().create(tmp_path / "half \ud800 a character")
    assert caught.value.errno == errno.EILSEQ
    assert "PYTHONUTF8=1" in str(as_disk_failure(caught.value, "saving it"))


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC])
def test_another_folder_is_only_offered_where_nothing_was_paid_for(folder: Folder, code: int) -> None:
    """One that knows what was paid for has to be made to work: in another one all is paid for again."""
    refusing = Refusing("create", folder.path, code)
    with pytest.raises(UsageError) as new:
        prove_writable(folder, refusing)
    folder.state.write_text("a state")
    with pytest.raises(UsageError) as old:
        prove_writable(folder, refusing)
    assert ["--out" in (error.value.hint or "") for error in (new, old)] == [True, False]
