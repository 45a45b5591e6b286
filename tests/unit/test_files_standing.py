"""A saved image that is not as it was saved is told as what it is: gone, changed, unreadable or no file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.files import standing
from nanobanana_batch.files.standing import Files, Look, Stands, sentences

CONTENT = b"the picture of a cat"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "images/cat.png"
SAVED_AT = 1_700_000_000.123456


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A saved image."""
    path = tmp_path / PATH
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    os.utime(path, (SAVED_AT, SAVED_AT))
    return path


def looked(
    folder: Path, *, file_time: float | None = SAVED_AT, most: int = 1 << 20, all_: bool = False
) -> Stands:
    """What a look says."""
    return Look(folder, verify=all_).at(PATH, len(CONTENT), SHA256, SAVED_AT)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_full_folder(path: Path) -> None:
    a_folder(path)
    (path / "x.png").write_bytes(CONTENT)


def a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def a_link_to_the_same(path: Path) -> None:
    path.rename(path.with_name("other.png"))
    path.symlink_to("other.png")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("done", "stands"),
    [
        (lambda path: None, Stands.AS_SAVED),
        (lambda path: path.unlink(), Stands.MISSING),
        (lambda path: path.parent.rename(path.parent.with_name("moved")), Stands.MISSING),
        (lambda path: path.write_bytes(b"optimised"), Stands.CHANGED),
        (lambda path: path.write_bytes(CONTENT[::-1]), Stands.CHANGED),
        (lambda path: os.utime(path), Stands.AS_SAVED),
        (a_folder, Stands.NOT_A_FILE),
        (a_full_folder, Stands.NOT_A_FILE),
        (a_dangling_link, Stands.NOT_A_FILE),
        (a_link_to_the_same, Stands.NOT_A_FILE),
        (a_pipe, Stands.NOT_A_FILE),
    ],
)
@pytest.mark.parametrize("verify", [False, True])
def test_each_is_told_as_what_it_is(
    image: Path, done: Callable[[Path], object], stands: Stands, verify: bool
) -> None:
    """Of another size: changed; of another time: by its bytes; a file in the place of the folder: gone."""
    done(image)
    assert looked(image.parents[1], all_=verify) is stands


def test_a_file_in_the_place_of_the_folder_is_no_error(image: Path) -> None:
    """The image is gone."""
    image.parent.rename(image.parent.with_name("moved"))
    image.parent.write_text("mine")
    assert looked(image.parents[1]) is Stands.MISSING


def test_what_is_of_its_size_and_time_is_not_read(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million images are not read to say that all is well; an archive may have kept whole seconds."""

    def read(path: Path) -> int:
        raise AssertionError("it was read")

    monkeypatch.setattr(standing, "open_own", read)
    assert looked(image.parents[1]) is Stands.AS_SAVED
    os.utime(image, (SAVED_AT, int(SAVED_AT)))
    assert looked(image.parents[1]) is Stands.AS_SAVED
    with pytest.raises(AssertionError, match="it was read"):
        looked(image.parents[1], all_=True)


def test_a_change_that_keeps_size_and_time_is_found_by_verify(image: Path) -> None:
    """That is what it is for."""
    image.write_bytes(CONTENT[::-1])
    os.utime(image, (SAVED_AT, SAVED_AT))
    assert looked(image.parents[1]) is Stands.AS_SAVED
    assert looked(image.parents[1], all_=True) is Stands.CHANGED


@pytest.mark.parametrize("file_time", [None, SAVED_AT - 60])
def test_only_so_much_is_read_in_one_look(image: Path, file_time: float | None) -> None:
    """A copied folder, or one of an older version: some are read, the others are said to be not looked at."""
    folder = image.parents[1]
    (folder / "images/dog.png").write_bytes(CONTENT)
    look = Look(folder, most_bytes=len(CONTENT))
    names = (PATH, "images/dog.png")
    assert [look.at(name, len(CONTENT), SHA256, file_time) for name in names] == [
        Stands.AS_SAVED,
        Stands.NOT_LOOKED_AT,
    ]
    assert look.files == Files(not_looked_at=1, first={"not_looked_at": "images/dog.png"})
    (sentence,) = sentences(look.files, FolderCommands(Path("out")))
    assert "`nanobanana-batch status out --verify`" in sentence


def test_what_this_user_may_not_read_may_be_in_order(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its rights say so, or the disk does when it is read."""
    image.chmod(0o000)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert looked(image.parents[1]) is Stands.UNREADABLE
    image.chmod(0o600)

    def fails(path: Path) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(standing, "open_own", fails)
    assert looked(image.parents[1], all_=True) is Stands.UNREADABLE


def test_what_is_said_can_be_pasted_whatever_the_folder_is_called(image: Path) -> None:
    """A shell has to get it as one word."""
    image.unlink()
    look = Look(image.parents[1])
    look.at(PATH, len(CONTENT), SHA256, SAVED_AT)
    (sentence,) = sentences(look.files, FolderCommands("my {cats}'s", ("--provider", "a b.yaml")))
    repair = """nanobanana-batch audit 'my {cats}'"'"'s' --repair --provider 'a b.yaml'"""
    assert f"1 (first: images/cat.png). `{repair}` fetches" in sentence
