"""A name is given in one step, or not at all; where the system cannot do that, nothing has happened."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path

import pytest

from nanobanana_batch.files import renaming
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.renaming import rename_unless_taken


def failing(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A system whose renaming fails so."""

    def rename(*_: object) -> int:
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(renaming, "_renameat2", lambda: rename)


def test_a_name_that_is_taken_stays_whose_it_is(tmp_path: Path) -> None:
    """Also of a link that leads nowhere."""
    new, old, nowhere = tmp_path / "new", tmp_path / "old", tmp_path / "nowhere"
    new.write_bytes(b"new")
    old.write_bytes(b"old")
    nowhere.symlink_to(tmp_path / "not there")
    assert not Disk().place(new, old)
    assert not Disk().place(new, nowhere)
    assert (new.read_bytes(), old.read_bytes(), nowhere.is_symlink()) == (b"new", b"old", True)
    assert Disk().place(new, tmp_path / "free")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["free", "nowhere", "old"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM])
def test_a_file_system_that_cannot_do_it_is_asked_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """By a second name and the removal of the first."""
    failing(monkeypatch, code)
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    assert not rename_unless_taken(tmp_path / "new", tmp_path / "free")
    assert not Disk().place(tmp_path / "new", tmp_path / "old")
    assert Disk().place(tmp_path / "new", tmp_path / "free")
    assert (tmp_path / "old").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["free", "old"]


def test_a_system_without_it_is_asked_in_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older library, another kernel."""
    monkeypatch.setattr(renaming, "_renameat2", lambda: None)
    (tmp_path / "new").write_bytes(b"new")
    assert Disk().place(tmp_path / "new", tmp_path / "free")
    assert [path.name for path in tmp_path.iterdir()] == ["free"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """It is no reason to try it another way."""
    failing(monkeypatch, code)
    (tmp_path / "new").write_bytes(b"new")
    with pytest.raises(OSError, match=r".") as caught:
        Disk().place(tmp_path / "new", tmp_path / "free")
    assert caught.value.errno == code
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
