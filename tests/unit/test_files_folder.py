"""Where the state stands: on a disk where locks work, found again by every command."""

from __future__ import annotations

import errno
import json
import os
import platform
from pathlib import Path

import pytest

from nanobanana_batch.errors import DiskFailed, StateFailed, UsageError
from nanobanana_batch.files import filesystem
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import POINTER_NAME, Folder, choose, create, find, held, was_worked_on
from nanobanana_batch.files.lock import LOCK_NAME

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 / /mnt/share rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2
41 40 8:1 / /mnt/share/local rw - xfs /dev/sdb1 rw
42 22 0:36 / /mnt/with\\040blank rw - cifs //nas/images rw
43 22 0:37 / /mnt/sharement rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/outputs", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/outputs/one", "nfs4"),
        ("/mnt/share/local/outputs", "xfs"),
        ("/mnt/with blank/outputs", "cifs"),
        ("/mnt/sharement/outputs", "tmpfs"),
    ],
)
def test_the_longest_mount_point_tells_the_file_system(path: str, kind: str) -> None:
    """A folder stands where its nearest mount is; names that merely begin alike do not count."""
    assert filesystem.type_of(Path(path), MOUNTS) == kind


def test_a_machine_without_a_list_of_mounts_is_not_refused() -> None:
    """Where the kernel tells nothing, nothing is known, and that is no reason to stop."""
    assert filesystem.type_of(Path("/anywhere"), "") == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p"])
def test_a_network_file_system_is_refused_with_both_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The message names the file system, --state-dir and the flag that says what it risks."""
    share = tmp_path / "share"
    monkeypatch.setattr(
        filesystem, "type_of", lambda path: kind if share in (path, *path.parents) else "ext4"
    )
    with pytest.raises(UsageError) as caught:
        choose(share / "out", None, risk_network=False)
    assert kind in str(caught.value)
    assert "--state-dir" in str(caught.value)
    assert "--risk-network-filesystem" in str(caught.value)
    assert choose(share / "out", None, risk_network=True).state_folder == share / "out"
    moved = choose(share / "out", tmp_path / "local", risk_network=False)
    assert tmp_path / "local" in moved.state_folder.parents


def test_every_output_folder_has_its_own_place_below_one_state_dir(tmp_path: Path) -> None:
    """Two folders of one name do not share a state."""
    places = {
        choose(tmp_path / parent / "out", tmp_path / "state", risk_network=False).state_folder
        for parent in ("one", "two")
    }
    assert len(places) == 2


def test_the_pointer_is_followed_without_the_flag(tmp_path: Path) -> None:
    """Once made, the folder knows where its state is."""
    folder = choose(tmp_path / "out", tmp_path / "state", risk_network=False)
    create(folder, Disk(), worked_on=False)
    assert find(tmp_path / "out").state == folder.state
    assert choose(tmp_path / "out", None, risk_network=False) == folder


def test_the_pointer_of_another_machine_is_refused(tmp_path: Path) -> None:
    """A local disk of another host cannot be reached: going on would begin a second state."""
    create(choose(tmp_path / "out", tmp_path / "state", risk_network=False), Disk(), worked_on=False)
    pointer = tmp_path / "out" / POINTER_NAME
    told = json.loads(pointer.read_text())
    assert told["host"] == platform.node()
    pointer.write_text(json.dumps({**told, "host": "elsewhere"}))
    with pytest.raises(UsageError, match="elsewhere"):
        find(tmp_path / "out")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"host": 1}', "not json"])
def test_a_damaged_pointer_is_said_so(tmp_path: Path, text: str) -> None:
    """Not knowing where the state is must not begin a new one."""
    (tmp_path / POINTER_NAME).write_text(text)
    with pytest.raises(UsageError, match="damaged"):
        find(tmp_path)


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_what_can_be_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    """By every command, before anything else."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot be an output folder: (Not a dir|File name too long)"):
        find(tmp_path / name)


def test_a_state_that_stands_in_the_folder_is_not_moved(tmp_path: Path) -> None:
    """--state-dir on a folder that has its state already would begin a second one."""
    (tmp_path / "state.sqlite3").write_bytes(b"x")
    with pytest.raises(UsageError, match="already"):
        choose(tmp_path, tmp_path / "elsewhere", risk_network=False)


@pytest.mark.parametrize(
    ("left", "refused"),
    [
        ((".run.lock", "images/a.png"), True),
        ((".run.lock", "results.csv"), True),
        ((".run.lock", "images/a.png", "state.sqlite3"), True),
        ((".run.lock", "images/.a.png.part"), False),
        ((".run.lock",), False),
        (("images/a.png", "results.csv"), False),
    ],
)
def test_a_folder_whose_state_is_gone_is_told_from_a_new_one(
    tmp_path: Path, left: tuple[str, ...], refused: bool
) -> None:
    """Worked on, with something made, and no state or an empty one: nobody knows what was paid for."""
    (tmp_path / "images").mkdir()
    for name in left:
        (tmp_path / name).touch()
    worked_on = was_worked_on(tmp_path)
    if not refused:
        create(Folder(tmp_path, tmp_path), Disk(), worked_on=worked_on)
        return
    with pytest.raises(StateFailed, match="gone or empty"):
        create(Folder(tmp_path, tmp_path), Disk(), worked_on=worked_on)


def test_a_folder_that_cannot_be_made_for_want_of_space_is_a_disk_failure(tmp_path: Path) -> None:
    """Exit 3 and a sentence, no traceback."""

    class Full(Disk):
        def make_folder(self, path: Path, mode: int = 0o777) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFailed):
        create(Folder(tmp_path / "out", tmp_path / "out"), Full(), worked_on=False)


def test_what_a_writer_left_that_was_killed_is_removed_by_the_next_run(tmp_path: Path) -> None:
    """A half results.csv of a million rows is large; one of a process that lives is still being written."""
    out, state = tmp_path / "out", tmp_path / "state"
    alive, none = os.getppid(), 2**31 - 2
    left = {out / f".results.csv.{none}.part", out / f".checks.csv.{10**30}.part"}
    left |= {state / f".output-dir.json.{none}.part"}
    stays = {out / f".results.csv.{alive}.part", out / ".results.csv.1.part", out / ".results.csv.part"}
    stays |= {out / f".mine.csv.{none}.part", out / f"results.csv.{none}.part", state / "notes"}
    for path in left | stays:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    with held(Folder(out, state)):
        assert {path for path in (left | stays) if path.exists()} == stays


def test_a_folder_of_that_name_stands_in_nobodys_way(tmp_path: Path) -> None:
    """It cannot be removed, and need not be."""
    (tmp_path / f".results.csv.{2**31 - 2}.part").mkdir()
    with held(Folder(tmp_path, tmp_path)):
        assert (tmp_path / LOCK_NAME).exists()
