"""An export is there whole or not at all, and is replaced only by its like."""

from __future__ import annotations

import hashlib
import os
import resource
from importlib import import_module
from pathlib import Path

import pytest

import nanobanana_batch as nb
from nanobanana_batch.exports.target import Target
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.lock import only_writer
from tests.exports.finished import Made, finish, make_folder


def hashes(folder: Path) -> dict[str, tuple[str, int]]:
    """Each file, by content and time."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def contents(folder: Path) -> dict[str, str]:
    """Each file, by content."""
    return {name: found[0] for name, found in hashes(folder).items()}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A run of a few rows, one of which is still to be made."""
    return make_folder(
        tmp_path / "out", [*(Made(f"r{number}") for number in range(5)), Made("late", end="pending")]
    )


def test_nothing_new_writes_nothing(small: Path, tmp_path: Path) -> None:
    """Not one time stamp changes, for Make."""
    first = nb.export(small, "imagefolder", tmp_path / "set")
    before = hashes(tmp_path / "set")
    again = nb.export(small, "imagefolder", tmp_path / "set")
    assert (first.is_new, again.is_new) == (True, False)
    assert again.splits == first.splits
    assert hashes(tmp_path / "set") == before


@pytest.mark.parametrize(("format", "name"), [("csv", "t.csv"), ("imagefolder", "set")])
def test_new_rows_replace_the_export(small: Path, tmp_path: Path, format: str, name: str) -> None:
    """The whole of it, so that nothing of before is left."""
    nb.export(small, format, tmp_path / name)
    (small / "images" / "r0.png").unlink()
    finish(small, 6, Made("late"))
    done = nb.export(small, format, tmp_path / name)
    assert done.is_new
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"out", name, *([f".{name}.export.json"] if format == "csv" else [])}
    if format == "imagefolder":
        pictures = {path.name for path in (tmp_path / name / "train").glob("*.png")}
        assert pictures == {"r1.png", "r2.png", "r3.png", "r4.png", "late.png"}


def test_a_file_that_was_lost_is_made_again(small: Path, tmp_path: Path) -> None:
    """An export that is not whole any more is not up to date."""
    nb.export(small, "imagefolder", tmp_path / "set")
    before = contents(tmp_path / "set")
    (tmp_path / "set/train/r3.png").unlink()
    assert nb.export(small, "imagefolder", tmp_path / "set").is_new
    assert contents(tmp_path / "set") == before


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_no_export_is_refused(small: Path, tmp_path: Path, kind: str) -> None:
    """It is somebody's work; also where the name is a link's."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    out = {"folder": mine, "file": mine / "thesis.txt", "link": tmp_path / "link"}[kind]
    if kind == "link":
        out.symlink_to(mine)
    before = hashes(mine)
    for format in ("imagefolder", "csv"):
        with pytest.raises(nb.UsageError, match="no export of this kind"):
            nb.export(small, format, out)
    assert hashes(mine) == before


@pytest.mark.parametrize("name", ["LICENSE", "train/r0.npz", "v2/.export.json"])
def test_what_people_have_added_is_not_thrown_away(small: Path, tmp_path: Path, name: str) -> None:
    """A licence, what a trainer has cached, another export: nothing is written while it is there."""
    nb.export(small, "imagefolder", tmp_path / "set")
    added = tmp_path / "set" / name
    added.parent.mkdir(exist_ok=True)
    added.write_text("mine")
    (tmp_path / "set/.DS_Store").write_text("a desktop's")
    before = hashes(tmp_path / "set")
    assert not nb.export(small, "imagefolder", tmp_path / "set").is_new
    finish(small, 6, Made("late"))
    with pytest.raises(nb.UsageError, match=f"changed or added '{name}'; nothing was written"):
        nb.export(small, "imagefolder", tmp_path / "set")
    assert hashes(tmp_path / "set") == before
    added.unlink()
    assert nb.export(small, "imagefolder", tmp_path / "set").samples == 6


def test_a_card_that_a_person_has_edited_stays(small: Path, tmp_path: Path) -> None:
    """It names no licence by itself: that is for people to write into it."""
    nb.export(small, "parquet", tmp_path / "set")
    card = tmp_path / "set/README.md"
    card.write_text(card.read_text("utf-8").replace("---\n", "---\nlicense: mit\n", 1), "utf-8")
    assert not nb.export(small, "parquet", tmp_path / "set").is_new
    finish(small, 6, Made("late"))
    with pytest.raises(nb.UsageError, match=r"README\.md"):
        nb.export(small, "parquet", tmp_path / "set")
    assert "license: mit" in card.read_text("utf-8")


@pytest.mark.parametrize("ending", ["part", "before"])
@pytest.mark.parametrize("format", ["imagefolder", "csv"])
def test_a_neighbour_of_the_same_name_is_not_built_over(
    small: Path, tmp_path: Path, ending: str, format: str
) -> None:
    """Where an export is built, and where the one of before stands meanwhile, may be somebody's work."""
    mine = tmp_path / f"set.{ending}"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(nb.UsageError, match="was not made by an export"):
        nb.export(small, format, tmp_path / "set")
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_what_is_told_again_is_what_was_written(small: Path, tmp_path: Path) -> None:
    """Also of a picture that was found to be changed only when it was read."""
    file = small / "images/r1.png"
    time, data = file.stat().st_mtime_ns, bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(time, time))
    first = nb.export(small, "parquet", tmp_path / "set")
    again = nb.export(small, "parquet", tmp_path / "set")
    assert (first.is_new, again.is_new, first.samples) == (True, False, 4)
    assert (again.samples, again.splits, again.left_out) == (4, first.splits, first.left_out)


def test_an_empty_folder_is_taken(small: Path, tmp_path: Path) -> None:
    """Nothing in it can be lost."""
    (tmp_path / "set").mkdir()
    assert nb.export(small, "imagefolder", tmp_path / "set").is_new


def test_other_options_do_not_replace_an_export(small: Path, tmp_path: Path) -> None:
    """Which ones they are is told; nothing is written."""
    nb.export(small, "imagefolder", tmp_path / "set")
    before = hashes(tmp_path / "set")
    with pytest.raises(nb.UsageError, match="another --split"):
        nb.export(small, "imagefolder", tmp_path / "set", split="train=1,test=1")
    assert hashes(tmp_path / "set") == before


class Killed(BaseException):
    """As a power cut."""


@pytest.mark.parametrize("format", ["imagefolder", "parquet", "csv"])
def test_killed_at_any_step_and_begun_again_it_ends_with_the_same_bytes(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    """What has the export's name is never a part of one."""
    nb.export(small, format, tmp_path / "whole")
    wanted = (tmp_path / "whole").read_bytes() if format == "csv" else contents(tmp_path / "whole")
    replace = Disk.replace
    for step in range(20):
        left = [step]

        def dies(self: Disk, source: Path, target: Path, left: list[int] = left) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            replace(self, source, target)

        out = tmp_path / f"set-{step}"
        with monkeypatch.context() as patch:
            patch.setattr(Disk, "replace", dies)
            try:
                nb.export(small, format, out)
                was_killed = False
            except Killed:
                was_killed = True
        assert not (was_killed and out.exists()) or contents_of(out) == wanted
        nb.export(small, format, out)
        assert contents_of(out) == wanted
        assert not out.with_name(f"{out.name}.part").exists()
        if not was_killed:
            return
    raise AssertionError("it has more steps than were tried")


def contents_of(path: Path) -> object:
    """Of a folder or a file."""
    return contents(path) if path.is_dir() else path.read_bytes()


def test_what_a_killed_export_has_placed_is_not_written_again(small: Path, tmp_path: Path) -> None:
    """As long as it is to become the same; a part that was changed meanwhile is."""
    nb.export(small, "imagefolder", tmp_path / "set")
    nb.export(small, "imagefolder", tmp_path / "other")
    plan = Target(str(tmp_path / "other"), is_file=False, disk=Disk())._record()
    assert plan is not None
    part = tmp_path / "third.part"
    (tmp_path / "other").rename(part)
    (part / ".export.json").write_text(plan.plan)
    (part / "train/r1.png").write_bytes(b"half")
    kept = (part / "train/r0.png").stat().st_ino
    nb.export(small, "imagefolder", tmp_path / "third")
    assert (tmp_path / "third/train/r0.png").stat().st_ino == kept
    assert contents(tmp_path / "third") == contents(tmp_path / "set")


def test_remains_of_another_export_are_not_taken_over(small: Path, tmp_path: Path) -> None:
    """Nothing stale comes into a new one."""
    part = tmp_path / "set.part"
    (part / "train").mkdir(parents=True)
    (part / "train/stale.png").write_bytes(b"x")
    (part / ".export.json").write_text("another plan")
    nb.export(small, "imagefolder", tmp_path / "set")
    assert not (tmp_path / "set/train/stale.png").exists()


def test_one_at_a_time(small: Path, tmp_path: Path) -> None:
    """The second one is told so at once, with the exit code for that."""
    (tmp_path / "set.part").mkdir()
    with only_writer(tmp_path / "set.part"), pytest.raises(nb.FolderInUse, match="Another export") as told:
        nb.export(small, "imagefolder", tmp_path / "set")
    assert told.value.exit_code == 4


def test_a_full_disk_leaves_the_export_of_before(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so, with the exit code for what can be begun again."""
    nb.export(small, "imagefolder", tmp_path / "set")
    before = hashes(tmp_path / "set")
    finish(small, 6, Made("late"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "write", full)
        with pytest.raises(nb.DiskFailed, match="full"):
            nb.export(small, "imagefolder", tmp_path / "set")
    assert hashes(tmp_path / "set") == before


@pytest.mark.parametrize("job", ["export", "check"])
def test_a_disk_that_is_full_before_anything_is_written_is_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    """What was chosen or found is kept on disk first: exit 3, as everywhere, and no error of the system's."""
    run = make_folder(tmp_path / "out", [Made(f"r{n}", prompt="x" * 8000) for n in range(40)])
    before = hashes(run)
    monkeypatch.setattr(import_module("nanobanana_batch.checks.table"), "other_columns", many)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, limits[1]))
    try:
        with pytest.raises(nb.DiskFailed) as told:
            nb.export(run, "imagefolder", tmp_path / "set") if job == "export" else nb.check(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert told.value.exit_code == 3
    assert hashes(run) == before


def many(_: object) -> dict[str, str]:
    """Scores of a person's own."""
    return {"told": "x" * 8000}


def test_a_folder_that_nobody_may_write_to_is_told(small: Path, tmp_path: Path) -> None:
    """In a sentence."""
    (tmp_path / "file").write_text("")
    with pytest.raises(nb.UsageError, match="cannot be made"):
        nb.export(small, "imagefolder", tmp_path / "file" / "set")
