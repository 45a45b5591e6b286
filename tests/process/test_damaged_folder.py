"""What may stand in the way of a run's files: told, left alone, and healed as far as that can be done."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.files.disk import Disk
from nanobanana_batch.service.embedded import EmbeddedService
from tests.process.desk import FOLDER, Desk
from tests.process.surroundings import Ended, Place, as_nobody, environment

COMMANDS = {
    "status": ["status", FOLDER],
    "results": ["results", FOLDER],
    "audit": ["audit", FOLDER],
    "run": ["run", "small.csv", "--out", FOLDER],
    "retry": ["retry", FOLDER, "--only", "failed"],
    "repair": ["audit", FOLDER, "--repair"],
}
_SENDS = ("run", "retry", "repair")
IMAGE = Path("images/row-1.png")


def empty_folder(out: Path) -> None:
    (out / IMAGE).unlink()
    (out / IMAGE).mkdir()


def full_folder(out: Path) -> None:
    empty_folder(out)
    (out / IMAGE / "mine.txt").write_text("mine")


def dangling_link(out: Path) -> None:
    (out / IMAGE).unlink()
    (out / IMAGE).symlink_to("nowhere")


def pipe(out: Path) -> None:
    (out / IMAGE).unlink()
    os.mkfifo(out / IMAGE)


def no_images(out: Path) -> None:
    shutil.rmtree(out / "images")


def file_for_images(out: Path) -> None:
    no_images(out)
    (out / "images").write_text("mine")


def folder_for_results(out: Path) -> None:
    (out / "results.csv").unlink()
    (out / "results.csv").mkdir()


def folder_for_log(out: Path) -> None:
    (out / "run.log").unlink()
    (out / "run.log").mkdir()


ALL_WELL = dict.fromkeys(COMMANDS, 0)
REFUSED = dict.fromkeys(COMMANDS, 2)


@pytest.mark.parametrize(
    ("damage", "codes", "left"),
    [
        (empty_folder, {**ALL_WELL, "audit": 1}, []),
        (full_folder, {**ALL_WELL, "audit": 1, "repair": 1}, ["stray"]),
        (dangling_link, {**ALL_WELL, "audit": 1, "repair": 1}, ["stray"]),
        (pipe, {**ALL_WELL, "audit": 1, "repair": 1}, ["stray"]),
        (no_images, {**ALL_WELL, "audit": 1, "run": 2, "retry": 2}, []),
        (file_for_images, REFUSED, None),
        (folder_for_results, {**REFUSED, "status": 0, "audit": 0}, None),
        (folder_for_log, ALL_WELL, []),
    ],
    ids=lambda it: getattr(it, "__name__", ""),
)
def test_each_command_says_what_stands_in_the_way(
    desk: Desk, damage: Callable[[Path], object], codes: dict[str, int], left: list[str] | None
) -> None:
    """And nothing is paid for again or written over. `left`: after the repair; None: that is a person's."""
    desk.run()
    out = desk.folder / FOLDER
    damage(out)
    for name, words in COMMANDS.items():
        ended = desk.do(*words, *(desk.where if name in _SENDS else []))
        assert ended.code == codes[name], f"{name}: {ended.said}"
    if left is not None:
        assert desk.kinds() == left
        desk.is_whole()
    assert desk.paid() == 3


def test_a_full_disk_is_waited_for_by_a_repair(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image comes when there is room; meanwhile it is said what is the matter."""
    desk.run()
    (desk.folder / FOLDER / IMAGE).unlink()
    place, refusals = Disk.place, iter(range(3))

    def full(self: Disk, source: Path, target: Path) -> bool:
        if next(refusals, None) is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return place(self, source, target)

    monkeypatch.setattr(Disk, "place", full)
    ended = desk.do(*COMMANDS["repair"], *desk.where)
    assert ended.code == 0, ended.said
    assert "The disk is full" in ended.said
    desk.is_whole()


SCRIPT = """
import json, os, sys
from nanobanana_batch.cli import main
codes = {}
for name, words in json.loads(sys.argv[1]):
    if name == "chmod":
        os.chmod(words[0], int(words[1], 8))
        continue
    sys.argv = ["nanobanana-batch", *words]
    try:
        main()
    except SystemExit as end:
        codes[name] = int(end.code or 0)
print(json.dumps(codes))
"""
"""Several commands in one process: to start one for each takes most of the time."""


@pytest.mark.parametrize(
    ("what", "mode", "codes"),
    [
        (IMAGE, "0", {**ALL_WELL, "audit": 1, "repair": 1}),
        (Path("images"), "444", {**ALL_WELL, "audit": 1, "run": 2, "retry": 2, "repair": 2}),
    ],
    ids=["an image", "all images"],
)
def test_what_this_user_may_not_read_is_left_alone(
    service: EmbeddedService, open_folder: Path, what: Path, mode: str, codes: dict[str, int]
) -> None:
    """It may be in order: no row loses its image, and when it can be read again all is well."""
    via = as_nobody()
    place = Place(open_folder, service, rows=2)
    place.out.mkdir()
    place.out.chmod(0o777)
    said = [(name, _for(place, name)) for name in COMMANDS]
    shut = ("chmod", [str(place.out / what), mode])
    opened = ("chmod", [str(place.out / what), "700"])
    typed = [("first", place.words()), shut, *said, opened, ("last", ["audit", str(place.out)])]
    done = subprocess.run(
        [*via.split(), sys.executable, "-c", SCRIPT, json.dumps(typed)],
        cwd=place.folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    end = Ended(0, done.stdout, done.stderr)
    place.is_clean(end)
    assert json.loads(end.out.splitlines()[-1]) == {"first": 0, **codes, "last": 0}, end
    place.is_whole()


def _for(place: Place, name: str) -> list[str]:
    """A command as another user types it."""
    if name == "run":
        return place.words()
    words = [str(place.out) if word == FOLDER else word for word in COMMANDS[name]]
    return [*words, *(place.where if name in _SENDS else [])]
