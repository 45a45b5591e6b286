"""`export` on the command line: what it says, where, and with which exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.cli import main
from nanobanana_batch.exports.format import Takes
from nanobanana_batch.exports.registry import FORMATS, load
from tests.exports.finished import Made, make_folder, picture

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Exports a run of three rows, one of which failed."""
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "out", [Made("a"), Made("b", pictures=2), Made("c", end="failed")])

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nanobanana-batch", "export", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_a_value_that_nothing_has_is_told(command: Run) -> None:
    """It was probably misspelt; what has the others is exported all the same."""
    words = ("out", "--format", "jsonl", "--out", "set.jsonl", "--where", "id=a,bb")
    code, out, _ = command(*words)
    assert (code, "1 sample written" in out) == (0, True)
    assert "nothing has id = 'bb'; there it is 'a', 'b'" in out


def test_it_says_what_was_written_and_what_was_not(command: Run) -> None:
    """In a few lines; with --json for programs, and with -q nothing at all."""
    words = ("out", "--format", "imagefolder", "--out", "set")
    code, out, err = command(*words, "--dry-run")
    assert (code, err) == (0, "")
    assert "set: 2 samples would be written" in out
    code, out, err = command(*words)
    assert "set: 2 samples written" in out
    assert "left out: 1 rows without an image" in out
    assert err == ""  # no bar where there is no terminal
    code, out, err = command(*words, "--json")
    told = json.loads(out)
    assert (told["samples"], told["is_new"], told["splits"]) == (2, False, {"train": 2})
    assert command(*words, "-q") == (0, "", "")


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        (("imagefolder", "--out", "set"), True),
        (("parquet", "--out", "set"), True),
        (("parquet", "--paths-only", "--out", "set"), False),
        (("csv", "--out", "set.csv"), False),
        (("jsonl", "--out", "set.jsonl"), False),
        (("sheet", "--out", "set.pdf"), False),
    ],
)
def test_how_large_pictures_are_is_told_of_what_holds_them(
    command: Run, words: tuple[str, ...], holds: bool
) -> None:
    """A table only tells of them, and a contact sheet shows them small."""
    _, out, _ = command("out", "--format", *words)
    assert ("of images)" in out) is holds
    _, out, _ = command("out", "--format", *words, "--json")
    assert json.loads(out)["holds_pictures"] is holds


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_there_and_in_the_pages(name: str) -> None:
    """The list names files and classes by their names."""
    format = load(name)
    assert format.takes in Takes
    assert f"`{name}`" in (Path(__file__).parents[2] / "docs" / "exports.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "imagefolder", "--out", "out"), "no export of this kind"),
        (("--format", "tfrecord", "--out", "set"), "tfrecord"),
        (("--format", "csv", "--out", "t.csv", "--split", "train=9,test=1"), "no use for --split"),
        (("--format", "parquet", "--out", "set", "--max-size", "big"), "500MB"),
        (("--format", "parquet", "--out", "set", "--only", "nice"), "--only 'nice'"),
        (("--format", "parquet", "--out", "set", "--where", "style=ink"), "nothing is called 'style'"),
        (("nowhere", "--format", "parquet", "--out", "set"), "nowhere"),
        (("--format", "parquet"), "--out"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(
    command: Run, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    """Exit 2, and nothing is written."""
    before = sorted(tmp_path.rglob("*"))
    code, out, err = command("out", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("side", "is_told"), [(1024, False), (512, True)])
def test_a_card_tells_of_notes_where_there_are_some(command: Run, side: int, is_told: bool) -> None:
    """A count of nothing raises a question."""
    make_folder(Path("asked"), [Made("a", data=picture("a", size=(side, side)))])
    command("asked", "--format", "imagefolder", "--out", "set")
    assert ("another size" in Path("set/README.md").read_text("utf-8")) is is_told


def test_edits_of_a_run_without_sources_say_what_is_missing(command: Run) -> None:
    """Which rows are edits is not seen in the count alone."""
    code, _, err = command("out", "--format", "edits", "--out", "set")
    assert code == 2
    assert "Edits are rows with a local source image: images, images_from or from of a manifest." in err


@pytest.mark.parametrize(
    ("library", "words", "said"),
    [
        ("pyarrow.parquet", ("parquet",), "--format parquet needs pyarrow.parquet. `pip install"),
        ("huggingface_hub", ("csv", "--push-to-hub", "me/x"), "--push-to-hub needs huggingface_hub. `pip"),
    ],
)
def test_what_is_not_installed_is_told_with_what_needs_it(
    command: Run, monkeypatch: pytest.MonkeyPatch, library: str, words: tuple[str, ...], said: str
) -> None:
    """And how it is installed."""
    monkeypatch.setitem(sys.modules, library, None)
    code, _, err = command("out", "--out", "set", "--format", *words)
    assert code == 2
    assert said in err
