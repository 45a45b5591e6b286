"""The command over whole folders: what it writes, what it remembers, what it tells, and how it ends."""

from __future__ import annotations

import csv
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import nanobanana_batch as nb
from nanobanana_batch.checks import check as job
from nanobanana_batch.checks.report import Checked, Kind
from nanobanana_batch.cli import commands
from nanobanana_batch.collection.entries import Collection
from nanobanana_batch.collection.selection import read_selection
from nanobanana_batch.model import Request
from tests.checks.drawn import encoded, photo
from tests.saved_run import MODEL, Made, saved_run

PNG, JPEG = encoded(photo(1)), encoded(photo(1), "JPEG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images: two strangers, one that is nearly the first, a black one, one of a wrong size, none."""
    wide = Request(MODEL, "a cat", aspect_ratio="16:9")
    return saved_run(
        tmp_path / "run",
        [
            Made("one", PNG),
            Made("two", encoded(photo(2))),
            Made("three", JPEG),
            Made("black", encoded(photo(1).point(lambda _: 0))),
            Made("square", encoded(photo(3)), wide),
            Made("pending", None),
        ],
    )


def lines(folder: Path) -> dict[str, dict[str, str]]:
    """checks.csv by row."""
    with (folder / "checks.csv").open(encoding="utf-8", newline="") as file:
        return {line["id"]: line for line in csv.DictReader(file)}


def counts(checked: Checked) -> dict[str, int]:
    return {finding.kind.value: finding.count for finding in checked.findings}


def test_what_is_found(folder: Path) -> None:
    """Each kind is counted, named and written."""
    checked = nb.check(folder)
    assert counts(checked) == {"blank": 1, "size": 1, "near_duplicate": 1}
    assert (checked.images, checked.measured, checked.exit_code) == (5, 5, 1)
    assert [finding.first for finding in checked.findings] == [
        ("images/black.png: black",),
        ("images/square.png: 96x96 for 16:9",),
        ("images/three.jpg as images/one.png",),
    ]
    assert [(group.first, group.count, group.others) for group in checked.groups] == [
        ("images/one.png", 2, ("images/three.jpg",))
    ]
    found = lines(folder)
    assert {id: line["blank"] for id, line in found.items() if line["blank"]} == {"black": "black"}
    assert {id: line["size_as_asked"] for id, line in found.items()}["square"] == "no"
    near = {id: (line["near_duplicate_of"], line["near_duplicates"]) for id, line in found.items()}
    assert near["one"] == ("", "2")
    assert near["three"] == ("images/one.png", "2")
    assert near["two"] == ("", "")


def test_a_run_in_which_nothing_is_wrong(tmp_path: Path) -> None:
    """Ends with 0."""
    assert nb.check(saved_run(tmp_path / "run", [Made("one", PNG)])).exit_code == 0


def test_the_gallery_and_exports_can_choose_by_it(folder: Path) -> None:
    """As the summary advises."""
    nb.check(folder)
    collection = Collection([folder])

    def chosen(*where: str) -> list[str]:
        names = ("blank", "near_duplicate_of", "size_as_asked", "mean")
        selection = read_selection(["completed"], where, collection.variables, names)
        return [e.id for e in collection.entries() for p in e.pictures if selection.takes(e, p)]

    assert chosen("check_blank=") == ["one", "two", "three", "square"]
    assert chosen("check_blank=", "check_near_duplicate_of=", "check_size_as_asked=yes") == ["one", "two"]
    assert chosen("check_mean<5") == ["black"]


def test_a_second_check_reads_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of a file that is as it was saved stands in the table."""
    first = nb.check(folder)
    before = (folder / "checks.csv").stat()
    monkeypatch.setattr(job, "look_at", None)
    again = nb.check(folder)
    assert again.measured == 0
    assert again.findings == first.findings
    after = (folder / "checks.csv").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_what_a_person_wrote_over_is_measured_anew(folder: Path) -> None:
    """No cell is believed that no check writes."""
    nb.check(folder)
    table = folder / "checks.csv"
    whole = table.read_bytes()
    table.write_bytes(whole.replace(b"v1:", b"v0:", 1).replace(b",black,", b",dark,"))
    assert nb.check(folder).measured == 2
    assert table.read_bytes() == whole


def test_files_that_are_not_as_they_were(folder: Path) -> None:
    """Gone, cut off, replaced, or only of another time."""
    nb.check(folder)
    images = folder / "images"
    (images / "one.png").unlink()
    (images / "two.png").write_bytes(encoded(photo(2))[:-100])
    (images / "three.jpg").write_bytes(encoded(photo(5), "JPEG"))
    (images / "square.png").touch()
    checked = nb.check(folder)
    assert counts(checked) == {"missing": 1, "broken": 1, "changed": 1, "blank": 1, "size": 1}
    assert checked.measured == 3
    found = lines(folder)
    assert found["two"]["file"] == "broken"
    assert found["two"]["detail"] == "the image is cut off"
    assert found["two"]["fingerprint"] == ""
    assert found["three"]["file"] == "changed"
    assert "one" not in found


def test_several_folders_are_one_run(folder: Path, tmp_path: Path) -> None:
    """Each gets its table; a picture of another folder is named with that."""
    other = saved_run(tmp_path / "other", [Made("one", JPEG), Made("two", encoded(photo(9)))])
    checked = nb.check([folder, other])
    assert counts(checked)["near_duplicate"] == 2
    assert checked.tables == (str(folder / "checks.csv"), str(other / "checks.csv"))
    assert lines(other)["one"]["near_duplicate_of"] == "run/images/one.png"
    assert lines(folder)["three"]["near_duplicate_of"] == "images/one.png"
    assert lines(other)["one"]["near_duplicates"] == "3"


@pytest.mark.parametrize("near", [-1, 17, 2.5, True])
def test_how_near_is_bounded(folder: Path, near: int) -> None:
    """Beyond a quarter of the bits strangers would be near."""
    with pytest.raises(nb.UsageError, match="near"):
        nb.check(folder, near=near)


def test_placeholders_are_told(tmp_path: Path) -> None:
    """Whatever they look like: who drew them is known."""
    folder = saved_run(tmp_path / "run", [Made("one", PNG)], provider="local")
    assert counts(nb.check(folder)) == {"placeholder": 1}


# --- scores ----------------------------------------------------------------------------------------------

JUDGE = """
calls = []
def width(image, row):
    calls.append(row["id"])
    return image.width
def two(image, row):
    calls.append(row["id"])
    return {"length": len(row["prompt"]), "tall": image.height / image.width}
two.version = 1
def torn(image, row):
    if row["id"] == "one":
        raise RuntimeError("no\\nmemory")
    return {"two": float("nan"), "three": "good", "black": True, "square": None}.get(row["id"])
def wild(image, row):
    return {row["id"]: 1}
def taken(image, row):
    return {"mean": 1}
def mode(image, row):
    return {"is_rgb": image.mode == "RGB" and 1, "style": len(row["style"])}
def leaves(image, row):
    name = row.pop("id")
    calls.append(name)
    row.clear()
    if name == "two":
        raise SystemExit(7)
    return 1
leaves.version = 1
number = 5
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A module of a person's own in the working directory; gives what was asked of it."""
    (tmp_path / "judge_of_mine.py").write_text(JUDGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    import judge_of_mine  # type: ignore[import-not-found]

    yield judge_of_mine.calls
    sys.modules.pop("judge_of_mine")


def test_scores_are_columns(folder: Path, calls: list[str]) -> None:
    """One named by its function, or several by their names; each picture is asked about once."""
    checked = nb.check(folder, score=["judge_of_mine:width", "judge_of_mine:two"])
    assert "score" not in counts(checked)
    assert calls == [id for id in ("one", "two", "three", "black", "square") for _ in range(2)]
    assert [lines(folder)["one"][name] for name in ("width", "length", "tall")] == ["96", "5", "1"]


def test_only_a_function_with_a_version_is_remembered(
    folder: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can see whether another one has changed; with another version it is another one."""
    import judge_of_mine

    nb.check(folder, score="judge_of_mine:two")
    whole = (folder / "checks.csv").read_bytes()
    calls.clear()
    nb.check(folder, score="judge_of_mine:two")
    assert calls == []
    assert (folder / "checks.csv").read_bytes() == whole
    monkeypatch.setattr(judge_of_mine.two, "version", 2)
    nb.check(folder, score="judge_of_mine:two")
    assert len(calls) == 5
    calls.clear()
    for _ in range(2):
        nb.check(folder, score="judge_of_mine:width")
    assert len(calls) == 10


def test_scores_of_another_check_stay(folder: Path, calls: list[str]) -> None:
    """They may have taken a night; so does what a person has added."""
    nb.check(folder, score="judge_of_mine:two")
    table = folder / "checks.csv"
    header, *rest = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},mine", *(f"{line},=x" for line in rest)]) + "\n")
    nb.check(folder)
    assert lines(folder)["one"]["length"] == "5"
    assert lines(folder)["one"]["mine"] == "=x"
    calls.clear()
    nb.check(folder, score="judge_of_mine:two")
    assert calls == []


def test_what_is_no_score_is_counted_and_told(folder: Path, calls: list[str]) -> None:
    """The others are there; the first error says why, on one line."""
    checked = nb.check(folder, score="judge_of_mine:torn")
    (finding,) = (finding for finding in checked.findings if finding.kind is Kind.SCORE)
    assert finding.count == 5
    assert finding.first == ("judge_of_mine:torn: images/one.png: RuntimeError: no memory",)


def test_a_function_that_ends_the_program_or_empties_its_row_harms_nobody(
    folder: Path, calls: list[str]
) -> None:
    """It has failed for that picture; the table is written, and what it said of the others is remembered."""
    checked = nb.check(folder, score=["judge_of_mine:leaves", "judge_of_mine:two"])
    (finding,) = (finding for finding in checked.findings if finding.kind is Kind.SCORE)
    assert (finding.count, finding.first[0].rpartition(": ")[0][-10:]) == (1, "SystemExit")
    assert lines(folder)["one"]["length"]
    calls.clear()
    nb.check(folder, score="judge_of_mine:leaves")
    assert calls == ["two"]


@pytest.mark.parametrize("name", ["wild", "taken"])
def test_names_of_scores_are_few_and_free(folder: Path, calls: list[str], name: str) -> None:
    """The same for all pictures, and none of ours."""
    checked = nb.check(folder, score=f"judge_of_mine:{name}")
    (finding,) = (finding for finding in checked.findings if finding.kind is Kind.SCORE)
    assert finding.count == {"wild": 4, "taken": 5}[name]
    assert float(lines(folder)["one"]["mean"]) > 1


def test_an_old_score_does_not_stand_for_one_that_failed(folder: Path, calls: list[str]) -> None:
    """Its cell is empty."""
    nb.check(folder)
    table = folder / "checks.csv"
    text = table.read_text().replace("profile,", "torn,profile,").replace(",none,", ",9,none,")
    table.write_text(text)
    assert lines(folder)["one"]["torn"] == "9"
    import judge_of_mine

    judge_of_mine.torn = lambda image, row: 1 / (row["id"] != "one")
    nb.check(folder, score="judge_of_mine:torn")
    assert [lines(folder)[id]["torn"] for id in ("one", "two")] == ["", "1"]


def test_a_function_is_told_of_the_row(tmp_path: Path, calls: list[str]) -> None:
    """With its variables; and it gets three channels whatever the file has."""
    rows = [Made("one", encoded(photo(1).convert("L")), variables={"style": "ink"})]
    folder = saved_run(tmp_path / "run", rows)
    nb.check(folder, score="judge_of_mine:mode")
    assert (lines(folder)["one"]["is_rgb"], lines(folder)["one"]["style"]) == ("1", "3")


def test_the_same_picture_of_two_rows_has_two_scores(tmp_path: Path, calls: list[str]) -> None:
    """Another prompt, another score: they are told apart when they are read."""
    rows = [Made("one", PNG), Made("two", PNG, Request(MODEL, "a long prompt"))]
    folder = saved_run(tmp_path / "run", rows)
    nb.check(folder, score="judge_of_mine:two")
    measured = [entry.pictures[0].measures["length"] for entry in Collection([folder]).entries()]
    assert measured == ["5", "13"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("judge_of_mine", "module:function"),
        ("judge_of_mine:nothing", "has no attribute"),
        ("judge_of_mine:number", "is no function"),
        ("no_such_module_at_all:x", "No module named"),
        ("broken_of_mine:x", "SyntaxError"),
        ("leaving_of_mine:x", "SystemExit"),
    ],
)
def test_what_cannot_be_asked_is_said_at_once(
    folder: Path, calls: list[str], tmp_path: Path, spec: str, words: str
) -> None:
    """Before any picture is looked at."""
    (tmp_path / "broken_of_mine.py").write_text("def")
    (tmp_path / "leaving_of_mine.py").write_text("raise SystemExit(0)")
    with pytest.raises(nb.UsageError, match=words):
        nb.check(folder, score=spec)
    assert not (folder / "checks.csv").exists()


# --- the command -----------------------------------------------------------------------------------------


def test_the_command(folder: Path, tmp_path: Path) -> None:
    """What it prints and how it ends; as JSON it is the same."""
    done = CliRunner().invoke(commands, ["check", str(folder)], standalone_mode=False)
    assert done.return_value == 1
    assert (
        "5 images looked at.\nImages with nothing to see (black, white, of one colour, transparent): 1."
        in done.output
    )
    assert "images/three.jpg as images/one.png" in done.output
    told = CliRunner().invoke(commands, ["check", str(folder), "--json"], standalone_mode=False)
    found = json.loads(told.output)
    assert (found["images"], found["measured"]) == (5, 0)
    assert [finding["kind"] for finding in found["findings"]] == ["blank", "size", "near_duplicate"]
    fine = saved_run(tmp_path / "fine", [Made("one", PNG)])
    quiet = CliRunner().invoke(commands, ["check", str(fine), "--quiet"], standalone_mode=False)
    assert (quiet.return_value, quiet.output) == (0, "")


def test_a_folder_that_cannot_be_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told before an hour's work."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr(job, "look_at", None)
    with pytest.raises(nb.UsageError, match="cannot be written"):
        nb.check(folder)


def test_without_the_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that installs it is told; the extra has that name."""
    for name in ("imagehash", *(name for name in sys.modules if name.startswith("nanobanana_batch.checks"))):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("nanobanana_batch.checks.check", raising=False)
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(nb.UsageError, match="imagehash") as raised:
        nb.check(folder)
    assert "nanobanana-batch[check]" in str(raised.value)
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert any(name.startswith("ImageHash") for name in extras["optional-dependencies"]["check"])


def test_a_file_that_was_only_found_names_no_function(folder: Path, calls: list[str], tmp_path: Path) -> None:
    """It would be run; the project may be somebody else's."""
    (tmp_path / "nanobanana.toml").write_text('[check]\nscore = ["judge_of_mine:width"]\n')
    done = CliRunner().invoke(commands, ["check", str(folder)])
    assert "only found" in str(done.exception)
    assert calls == []
