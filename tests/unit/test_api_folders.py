"""What looks at output folders takes one, or several of any kind, in the same way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import nanobanana_batch as nb
from tests.exports.finished import Made, make_folder

FUNCTIONS: dict[str, Callable[..., object]] = {
    "gallery": lambda folders, place: nb.gallery(folders, out=place / "gallery"),
    "report": lambda folders, place: nb.report(folders, out=place / "report.html"),
    "check": lambda folders, place: nb.check(folders),
    "export": lambda folders, place: nb.export(folders, "csv", place / "rows.csv"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two rows, one of which failed."""
    return make_folder(tmp_path / "run", [Made("a"), Made("b", end="failed")])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_folder_or_several(name: str, folder: Path, tmp_path: Path) -> None:
    """As a text, a path, a list, or what is walked through once."""
    for given in (str(folder), folder, [str(folder), folder], iter([folder])):
        FUNCTIONS[name](given, tmp_path)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_folder_is_told(name: str, tmp_path: Path) -> None:
    """In the same words everywhere."""
    with pytest.raises(nb.UsageError, match=r"^No output folder is named\.$"):
        FUNCTIONS[name]([], tmp_path)


@pytest.mark.parametrize("name", ["report", "export"])
def test_a_folder_of_another_user_is_told_with_a_way_out(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which folder it is, not which of our files."""
    monkeypatch.setattr(os, "access", lambda path, mode, **how: Path(path) != tmp_path)
    with pytest.raises(nb.UsageError, match=f"^This user may not write to {tmp_path}\\. --out "):
        FUNCTIONS[name](folder, tmp_path)


def test_one_text_is_one_choice(folder: Path) -> None:
    """A text is a sequence of its letters, which nobody means."""
    assert nb.gallery(folder, only="completed", where="prompt~a").rows == 1
