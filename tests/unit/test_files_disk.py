"""Readers of a derived file see the old one or the new one, never something between."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanobanana_batch.errors import DiskFailed, StateFailed
from nanobanana_batch.files.disk import Disk, same_content, write_atomically
from tests.unit.test_files_images import WatchedDisk


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    """The pieces make the file; nothing else is left."""
    write_atomically(Disk(), tmp_path / "a.csv", [b"one,", b"", b"two\n"])
    assert (tmp_path / "a.csv").read_bytes() == b"one,two\n"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_bytes_are_synced_before_the_replacement_and_the_folder_after(tmp_path: Path) -> None:
    """Power loss leaves the old or the new file, never an empty one."""
    disk = WatchedDisk()
    write_atomically(disk, tmp_path / "a.csv", [b"one"])
    assert disk.steps == ["create", "write", "sync", "close", "replace", "sync_folder"]


def test_an_unchanged_file_keeps_its_time_stamp(tmp_path: Path) -> None:
    """Make compares time stamps; the same bytes are not news, others are."""
    path = tmp_path / "a.csv"
    write_atomically(Disk(), path, [b"one"])
    os.utime(path, (1_000_000_000, 1_000_000_000))
    before = path.stat()
    write_atomically(Disk(), path, [b"o", b"ne"])
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    write_atomically(Disk(), path, [b"One"])
    assert path.stat().st_mtime_ns != before.st_mtime_ns
    assert os.listdir(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", ["create", "write", "sync", "close", "replace"])
def test_a_failing_disk_leaves_the_old_file(tmp_path: Path, step: str, code: int) -> None:
    """Each step may fail; the old bytes stay, the temporary file does not."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"old")
    with pytest.raises(DiskFailed, match=r"a\.csv"):
        write_atomically(WatchedDisk(step, code), path, [b"new"])
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_source_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    """What fails is not always the disk: a damaged state ends the pieces early."""

    def pieces() -> Iterator[bytes]:
        yield b"half of the new one"
        raise StateFailed("damaged")

    path = tmp_path / "a.csv"
    path.write_bytes(b"old")
    with pytest.raises(StateFailed):
        write_atomically(Disk(), path, pieces())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_new_folder_is_synced_into_the_one_above(tmp_path: Path) -> None:
    """Each level's name must survive power loss, from the top down."""
    synced: list[Path] = []

    class Noting(Disk):
        def sync_folder(self, path: Path) -> None:
            synced.append(path)
            super().sync_folder(path)

    Noting().make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert synced == [tmp_path, tmp_path / "a"]
    Noting().make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take less than it was given."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    write_atomically(Disk(), tmp_path / "a", [b"0123456789"])
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_same_content_means_the_same_bytes(tmp_path: Path) -> None:
    """Of equal length is not enough, missing is never the same."""
    big = b"x" * (1 << 20)
    (tmp_path / "a").write_bytes(big + b"1")
    (tmp_path / "b").write_bytes(big + b"1")
    (tmp_path / "c").write_bytes(big + b"2")
    assert same_content(tmp_path / "a", tmp_path / "b")
    assert not same_content(tmp_path / "a", tmp_path / "c")
    assert not same_content(tmp_path / "a", tmp_path / "none")
