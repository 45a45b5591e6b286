"""Disks that fill up, fail, or forget what was not synced; the promises hold on all of them."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from nanobanana_batch.engine.journal import Blocking, in_place
from nanobanana_batch.engine.limits.space import RESERVE_BYTES
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.files.disk import Disk, write_atomically
from nanobanana_batch.files.folder import STATE_NAME, Folder, create
from nanobanana_batch.model import RowStatus
from nanobanana_batch.results import write_results
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.store import Store
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import Night

DONE, PENDING, READY = RowStatus.COMPLETED, RowStatus.PENDING, RowStatus.READY
PROMPTS = [f"a picture of the number {n}" for n in range(6)]


class PowerCut(BaseException):
    """The machine lost power."""


class ForgetfulDisk(Disk):
    """A real disk that knows what would survive a power cut, and can lose power at its n-th operation.

    Worst case of a file system that keeps its promises and no more: the bytes of a file survive as of
    its last `sync`, a name survives as of its folder's last `sync_folder`, a state file as SQLite left
    it (it syncs itself) if its name was synced.
    """

    def __init__(self, root: Path, cut_at: int = 0, without: str = "") -> None:
        self.root = root
        self.left = cut_at
        self.without = without
        self.fds: dict[int, int] = {}
        self.synced: dict[int, bytes] = {}
        self.named: dict[Path, dict[str, int | None]] = {}
        """Folder -> name -> inode (None: a folder), as of its last sync."""

    def step(self) -> None:
        """One operation; power may fail before it."""
        self.left -= 1
        if self.left == 0:
            raise PowerCut

    def create(self, path: Path) -> int:
        self.step()
        fd = super().create(path)
        self.fds[fd] = os.fstat(fd).st_ino
        self.synced.setdefault(self.fds[fd], b"")
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> None:
        self.step()
        super().write(fd, data)

    def sync(self, fd: int) -> None:
        self.step()
        if self.without != "sync":
            self.synced[self.fds[fd]] = os.pread(fd, os.fstat(fd).st_size, 0)

    def place(self, source: Path, target: Path) -> bool:
        self.step()
        return super().place(source, target)

    def replace(self, source: Path, target: Path) -> None:
        self.step()
        super().replace(source, target)

    def sync_folder(self, path: Path) -> None:
        self.step()
        if self.without != "sync_folder":
            self.named[path] = {
                entry.name: None if entry.is_dir() else entry.stat().st_ino for entry in path.iterdir()
            }

    def survivors(self, target: Path) -> Path:
        """The folder as it is after power came back, as a folder of its own."""
        self._revive(self.root, target)
        return target

    def _revive(self, source: Path, target: Path) -> None:
        target.mkdir(parents=True)
        for name, inode in self.named.get(source, {}).items():
            if inode is None:
                self._revive(source / name, target / name)
            elif name.startswith(STATE_NAME):
                for path in source.glob(f"{STATE_NAME}*"):
                    shutil.copy(path, target / path.name)
            else:
                (target / name).write_bytes(self.synced.get(inode, b""))


T = TypeVar("T")


async def in_slow_thread(call: Callable[[], T]) -> T:
    """Takes a while, in which other images come: they are saved together then."""
    await anyio.sleep(0.5)
    return call()


def night_on(disk: ForgetfulDisk, provider: FakeProvider, settings: Settings | None = None) -> Night:
    """A run as the pipeline opens it: folders made, the state's name synced."""
    folder = Folder(disk.root, disk.root)
    create(folder, disk, worked_on=False)
    Store(folder.state).close()
    disk.sync_folder(disk.root)
    return Night(disk.root, provider, PROMPTS, settings or Settings(submit_concurrency=2), disk)


def lies(folder: Path) -> list[str]:
    """Rows that the state calls completed without their bytes being there."""
    with open_reader(folder / STATE_NAME) as reader:
        rows = [row for row in reader.rows() if row.status is DONE]
    return [row.id for row in rows if not _is_whole(folder / str(row.path), str(row.sha256))]


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def cut_and_survive(
    tmp_path: Path, at: int, blocking: Blocking = in_place
) -> tuple[bool, Path, FakeProvider]:
    """Run until power fails at the n-th disk operation; whether it did, what survived, who was asked."""
    root, provider = tmp_path / f"{at}", FakeProvider(latency_s=1.0)
    root.mkdir()
    disk = ForgetfulDisk(root)
    it = night_on(disk, provider)
    it.blocking = blocking
    disk.left = at
    with suppress(PowerCut, BaseExceptionGroup):
        it.run()
    reached = disk.left <= 0
    return reached, disk.survivors(tmp_path / f"{at}-after"), provider


@pytest.mark.parametrize("blocking", [in_place, in_slow_thread], ids=["one by one", "together"])
def test_power_loss_at_any_disk_operation_neither_pays_twice_nor_lies(
    tmp_path: Path, blocking: Blocking
) -> None:
    """For every n: what the state calls completed is there, and the next run completes the rest."""
    at = 0
    while True:
        at += 1
        reached, survived, provider = cut_and_survive(tmp_path, at, blocking)
        assert lies(survived) == [], f"power cut at operation {at}"
        if not reached:
            break
        (survived / "images").mkdir(exist_ok=True)
        again = Night(survived, provider, PROMPTS)
        again.run()
        assert again.statuses() == [DONE] * 6
        assert set(provider.paid().values()) == {1}
    assert at > 20


@pytest.mark.parametrize("without", ["sync", "sync_folder"])
def test_each_sync_of_an_image_is_needed(tmp_path: Path, without: str) -> None:
    """The test of the test: a disk on which one kind of sync does nothing makes the state lie."""
    root = tmp_path / "run"
    root.mkdir()
    disk = ForgetfulDisk(root)
    it = night_on(disk, FakeProvider(latency_s=1.0))
    disk.without = without
    it.run()
    assert lies(root) == []
    assert lies(disk.survivors(tmp_path / "after")) != []


def test_the_state_files_name_survives(tmp_path: Path) -> None:
    """Opening a folder syncs the name of a new state file before anything is sent."""
    from nanobanana_batch.jobs.opening import opened

    disk = ForgetfulDisk(tmp_path / "run")
    folder = Folder(disk.root, disk.root)
    disk.root.mkdir()
    with opened(folder, disk):
        assert STATE_NAME in disk.named[disk.root]


def test_new_folders_survive(tmp_path: Path) -> None:
    """Every name on the way to a new output folder is synced."""
    disk = ForgetfulDisk(tmp_path)
    path = tmp_path / "outputs" / "one"
    create(Folder(path, path), disk, worked_on=False)
    assert (
        disk.survivors(tmp_path.parent / f"{tmp_path.name}-after") / "outputs" / "one" / "images"
    ).is_dir()


def test_results_are_the_old_or_the_new_after_power_loss(tmp_path: Path) -> None:
    """At every operation of writing results.csv a cut leaves the old file or the new one, whole."""
    for at in range(1, 10):
        root = tmp_path / f"{at}"
        root.mkdir()
        disk = ForgetfulDisk(root)
        write_atomically(disk, root / "results.csv", [b"old"])
        disk.left = at
        with suppress(PowerCut):
            write_atomically(disk, root / "results.csv", [b"new ", b"and longer"])
        survived = disk.survivors(tmp_path / f"{at}-after") / "results.csv"
        assert survived.read_bytes() in (b"old", b"new and longer")


class FailingDisk(Disk):
    """A disk whose n-th operation fails, and all after it until it is healed."""

    def __init__(self, fail_at: int, code: int) -> None:
        self.left = fail_at
        self.code = code

    def step(self) -> None:
        """One operation."""
        self.left -= 1
        if self.left <= 0:
            raise OSError(self.code, os.strerror(self.code))

    def create(self, path: Path) -> int:
        self.step()
        return super().create(path)

    def write(self, fd: int, data: bytes | memoryview) -> None:
        self.step()
        super().write(fd, data)

    def sync(self, fd: int) -> None:
        self.step()
        super().sync(fd)

    def place(self, source: Path, target: Path) -> bool:
        self.step()
        return super().place(source, target)

    def sync_folder(self, path: Path) -> None:
        self.step()
        super().sync_folder(path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_write_stops_submitting_and_loses_nothing(tmp_path: Path, code: int) -> None:
    """For every n: a reason is given, nothing is kept half, and the rest is collected later."""
    at = 0
    while True:
        at += 1
        provider = FakeProvider(latency_s=1.0)
        how = Settings(concurrency=2, max_outage_s=600.0)
        it = Night(tmp_path / f"{at}", provider, PROMPTS, how, FailingDisk(at, code))
        it.run()
        if not it.stop.asked:
            break
        assert "disk" in it.stop.reason
        assert len(provider.tasks) - it.statuses().count(DONE) <= 3
        assert lies(it.folder) == []
        assert [path.name for path in (it.folder / "images").iterdir() if path.name.endswith(".part")] == []
        it.disk = Disk()
        it.run()
        assert it.statuses() == [DONE] * 6
        assert set(provider.paid().values()) == {1}
    assert at > 20


def test_a_full_disk_is_noticed_before_paying(tmp_path: Path) -> None:
    """Too little space for even one image: nothing is sent, and the reason says how much is left."""

    class Full(Disk):
        def free_bytes(self, path: Path) -> int:
            return 5 << 20

    provider = FakeProvider()
    it = Night(tmp_path, provider, PROMPTS, disk=Full())
    it.run()
    assert provider.submits == 0
    assert "5 MiB" in it.stop.reason
    assert it.statuses() == [PENDING] * 6


def test_little_space_bounds_what_is_in_flight(tmp_path: Path) -> None:
    """Room for two images of the expected size: two tasks at once until their real size is known."""

    class Small(Disk):
        def free_bytes(self, path: Path) -> int:
            return RESERVE_BYTES + (2 << 23)

    provider = FakeProvider()
    it = Night(tmp_path, provider, PROMPTS, disk=Small())
    it.run()
    assert it.statuses() == [DONE] * 6
    first = sorted(task.created for task in provider.tasks.values())
    assert first[2] - first[0] > 10


@pytest.mark.parametrize("jump", [-86400.0, 86400.0, -4e8])
def test_no_decision_rests_on_the_wall_clock(tmp_path: Path, jump: float) -> None:
    """A clock that is set back or forward in the middle of a run, and between runs, changes nothing."""
    provider = FakeProvider(on_submit=lambda n: "lost" if n == 4 else None)
    it = Night(tmp_path, provider, PROMPTS)
    now = iter(range(1, 10**6))
    it.now = lambda: 1.7e9 + next(now) + (jump if next(now) > 20 else 0.0)
    it.run()
    it.run()
    assert it.statuses() == [DONE] * 6
    assert set(provider.paid().values()) == {1}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:100],
        lambda data: data[: len(data) // 2],
        lambda data: b"garbage" * 2000,
        lambda data: data[:4096] + b"\xff" * 4096 + data[8192:],
    ],
    ids=["emptied", "header-only", "half", "garbage", "one-page"],
)
def test_a_damaged_state_stops_with_a_clear_message_and_nothing_is_sent(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """A state that lost its memory must not lead to paying again."""
    from nanobanana_batch.errors import StateFailed

    provider = FakeProvider()
    it = Night(tmp_path, provider, PROMPTS)
    it.run()
    state = tmp_path / STATE_NAME
    state.write_bytes(damage(state.read_bytes()))
    paid = len(provider.tasks)
    with pytest.raises((StateFailed, BaseExceptionGroup)) as caught:
        it.run()
    found = caught.value
    error = found.exceptions[0] if isinstance(found, BaseExceptionGroup) else found
    assert isinstance(error, StateFailed)
    assert "state file" in str(error)
    assert len(provider.tasks) == paid


def test_results_follow_the_state(tmp_path: Path) -> None:
    """After all of this results.csv is what the state says."""
    it = Night(tmp_path, FakeProvider(), PROMPTS)
    it.run()
    path = write_results(Folder(tmp_path, tmp_path), Disk())
    assert path.read_text().count("completed") == 6
