"""The output folder, removed, read-only, full or in somebody's way, at each stage of a run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.options import ServiceOptions
from tests.process.surroundings import Ended, Place, as_nobody, ended, needs_root, until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """Slower: there is time between payment and image."""
    options = ServiceOptions(data_dir=tmp_path_factory.mktemp("service"), latency_s=0.5)
    with EmbeddedService(options) as running:
        yield running


# --- before anything is sent -----------------------------------------------------------------------


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[None]:
    """A small file system of memory; skipped where that is not allowed."""
    needs_root()
    place.mkdir(parents=True, exist_ok=True)
    found = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(place)], capture_output=True)
    if found.returncode:
        pytest.skip("this case of the matrix takes the right to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def unchangeable(place: Path) -> Iterator[None]:
    """A folder in which nothing can be made or removed, not even by root."""
    needs_root()
    place.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["chattr", "+i", str(place)], capture_output=True).returncode:
        pytest.skip("this case of the matrix takes a file system with chattr")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(place)], check=True)


def in_the_way(place: Path) -> None:
    """A file where a folder belongs."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("mine")


@pytest.mark.parametrize("name", ["out", "out/images"])
def test_a_file_in_the_way_is_told(place: Place, name: str) -> None:
    """And left alone."""
    in_the_way(place.folder / name)
    place.refuses(place.run())
    assert (place.folder / name).read_text() == "mine"
    (place.folder / name).unlink()
    place.completes()


def test_a_folder_where_the_results_belong_is_told(place: Place) -> None:
    """They could not be written after all is paid for."""
    (place.out / "results.csv").mkdir(parents=True)
    place.refuses(place.run())
    (place.out / "results.csv").rmdir()
    place.completes()


@pytest.mark.parametrize("name", [".", "out", "out/images"])
def test_an_unchangeable_folder_is_told(place: Place, name: str) -> None:
    """Permissions say nothing of it; only a real write finds it, here as root."""
    with unchangeable(place.folder / name):
        place.refuses(place.run(via="env -C /tmp"))


@pytest.mark.parametrize("name", ["out", "out/images", "states"])
@pytest.mark.parametrize("option", ["ro", "size=4k"])
def test_a_disk_that_takes_nothing_is_told(place: Place, name: str, option: str) -> None:
    """Read-only or full, for the folder, its images or its state elsewhere."""
    flags = ("--state-dir", str(place.folder / "states"))
    with mounted(place.folder / name, "-o", option):
        if option != "ro":
            fill(place.folder / name)
        end = place.run(*flags)
    place.refuses(end)


def fill(folder: Path) -> None:
    """Not a byte is left."""
    room = os.statvfs(folder)
    with (folder / "filler").open("wb", buffering=0) as filler:
        os.posix_fallocate(filler.fileno(), 0, room.f_bavail * room.f_frsize * 9 // 10)  # at once
        filler.seek(0, os.SEEK_END)
        try:
            while True:
                filler.write(bytes(1 << 16))
        except OSError:
            pass


@pytest.mark.parametrize("mode", [0o555, 0o666])
def test_a_folder_of_another_user_is_told(service: EmbeddedService, open_folder: Path, mode: int) -> None:
    """Readable, without the right to pass through, or closed."""
    via = as_nobody()
    place = Place(open_folder, service)
    place.out.mkdir()
    place.out.chmod(mode)
    place.refuses(place.run(via=via))
    place.out.chmod(0o755)


def test_a_log_that_cannot_be_written_ends_no_run(place: Place) -> None:
    """It is said once: the log only tells people."""
    (place.out / "run.log").mkdir(parents=True)
    end = place.run()
    assert end.code == 0, end
    assert end.err.count("run.log cannot be written") == 1
    place.is_whole()


@pytest.mark.parametrize("blocks", [1, 40])
def test_files_that_may_not_grow_are_told(place: Place, blocks: int) -> None:
    """`ulimit -f`: the state does not fit, so nothing is paid for."""
    end = place.run(shell=f"ulimit -f {blocks};")
    place.is_clean(end)
    assert end.code in (2, 3), end
    assert not place.paid()
    place.completes()


def test_a_repair_that_could_save_nothing_is_told(place: Place) -> None:
    """As a run: exit 2; a folder of images that somebody has removed is simply made again."""
    assert place.run().code == 0
    shutil.rmtree(place.out / "images")
    with unchangeable(place.out / "images"):
        end = ended(place.start(["audit", str(place.out), "--repair", *place.where], via="env -C /tmp"))
    place.is_clean(end)
    assert end.code == 2, end
    shutil.rmtree(place.out / "images", ignore_errors=True)
    assert ended(place.start(["audit", str(place.out), "--repair", *place.where])).code == 0
    place.is_whole()


# --- in the midst of it ----------------------------------------------------------------------------


def moved_away(place: Place) -> Callable[[], object]:
    """The folder has another name all at once."""
    return renamed(place.out, place.folder / "elsewhere")


def images_moved_away(place: Place) -> Callable[[], object]:
    """Only that of the images."""
    return renamed(place.out / "images", place.folder / "elsewhere")


def renamed(folder: Path, elsewhere: Path) -> Callable[[], object]:
    """And back again; what was made in its place goes."""
    folder.rename(elsewhere)

    def undo() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        elsewhere.rename(folder)

    return undo


def frozen(place: Place) -> Callable[[], object]:
    """Nothing new can be made among the images."""
    guard = unchangeable(place.out / "images")
    guard.__enter__()
    return lambda: guard.__exit__(None, None, None)


@pytest.mark.parametrize("trouble", [moved_away, images_moved_away, frozen], ids=lambda it: it.__name__)
def test_a_folder_that_goes_wrong_in_the_midst_loses_nothing(
    place: Place, trouble: Callable[[Place], Callable[[], object]]
) -> None:
    """Paying ends; when the folder is as it was, the next run fetches all that is paid for."""
    process = place.start(place.words("--concurrency", "3"))
    until(place.paid)
    undo = trouble(place)
    try:
        end = stopped(process)
    finally:
        undo()
    place.is_clean(end)
    assert end.code in (3, 130), end
    place.completes()


def test_a_disk_that_fills_up_in_the_midst_loses_nothing(service: EmbeddedService, tmp_path: Path) -> None:
    """Paid for, and no room for the image: it is fetched when there is some."""
    place = Place(tmp_path, service, rows=30)
    with mounted(place.out, "-o", "size=256m"):
        process = place.start(place.words("--concurrency", "3"))
        until(place.paid)
        fill(place.out)
        end = stopped(process)
        place.is_clean(end)
        assert end.code in (3, 130), end
        (place.out / "filler").unlink()
        place.completes()


def stopped(process: subprocess.Popen[str]) -> Ended:
    """It ends by itself, or, if it tries on, when a person tells it to, and then insists."""
    for _ in range(2):
        try:
            process.wait(timeout=8)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
    return ended(process, timeout_s=30)


def test_a_folder_that_is_removed_ends_the_run_soon(service: EmbeddedService, tmp_path: Path) -> None:
    """What stood in it is gone with it; no more is paid for than was in flight."""
    place = Place(tmp_path, service, rows=30)
    process = place.start(place.words("--concurrency", "3"))
    until(place.paid)
    shutil.rmtree(place.out)
    end = stopped(process)
    place.is_clean(end)
    assert end.code in (3, 130), end
    assert sum(place.paid().values()) <= 12
    assert os.path.exists(place.manifest)
