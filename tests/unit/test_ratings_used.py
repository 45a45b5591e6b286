"""What people said of images stands in results.csv and `status`, and decides what a next manifest takes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.cli.outcome_text import standing_text
from nanobanana_batch.collection.entries import Collection
from nanobanana_batch.collection.judgements import Judged, Judgement, Verdict, save_judged
from nanobanana_batch.collection.named import Named
from nanobanana_batch.collection.preferences import Better, Choice, save_choices
from nanobanana_batch.collection.rated import Rated
from nanobanana_batch.errors import ManifestError, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import find
from nanobanana_batch.manifest import Manifest, open_manifest
from nanobanana_batch.model import Draft
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.results import (
    read_results,
    results_now,
    standing,
    write_for_spreadsheets,
    write_results,
)
from tests.unit.earlier_run import MODEL, Earlier, make_run

HEAD = f"defaults: {{model: {MODEL}}}\nfrom: first\nimages: '{{image}}'\n"
CATALOG = load_catalog()


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A run with three images and a failed row; two images are judged."""
    folder = tmp_path / "first"
    make_run(folder, [Earlier("a"), Earlier("b"), Earlier("c"), Earlier("d", end="failed")])
    return folder


def judge(folder: Path) -> None:
    """As a page does it."""
    entries = {entry.id: entry for entry in Collection([folder]).entries()}
    judged = [
        Judged(
            id_, entries[id_].pictures[0].path, entries[id_].row_key, entries[id_].pictures[0].sha256, said
        )
        for id_, said in (("a", Judgement(5, Verdict.ACCEPTED)), ("b", Judgement(2, None, "=six legs")))
    ]
    save_judged(folder, judged, Disk())


def table(path: Path) -> list[dict[str, str]]:
    """As a program reads it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_results_have_them_at_the_end_once_there_are_any(first: Path) -> None:
    """Without ratings.csv not a byte is another one."""
    path = write_results(find(first), Disk())
    before = path.read_bytes()
    judge(first)
    write_results(find(first), Disk())
    lines = table(path)
    assert list(lines[0])[-4:] == ["other_images", "rating", "verdict", "rating_note"]
    assert [list(line.values())[-3:] for line in lines] == [
        *(["5", "accepted", ""], ["2", "", "=six legs"], ["", "", ""], ["", "", ""])
    ]
    assert table(write_for_spreadsheets(find(first), Disk()))[1]["rating_note"] == "'=six legs"
    assert read_results(first)["rating"].fillna(0).tolist() == [5, 2, 0, 0]
    assert results_now(find(first))["rating"].dtype == "Int64"
    first.joinpath("ratings.csv").unlink()
    assert write_results(find(first), Disk()).read_bytes() == before


def test_a_variable_of_that_name_keeps_its_value(tmp_path: Path) -> None:
    """Under `var_` once there is a rating; under its own name before."""
    make_run(tmp_path / "out", [Earlier("a", {"rating": "R"})], ("rating",))
    assert table(write_results(find(tmp_path / "out"), Disk()))[0]["rating"] == "R"
    judge_one = [Judged("a", "", "", "", Judgement(4))]
    save_judged(tmp_path / "out", judge_one, Disk())
    line = table(write_results(find(tmp_path / "out"), Disk()))[0]
    assert (line["rating"], line["var_rating"]) == ("4", "R")


def test_a_file_that_cannot_be_read_does_not_fail_a_run(first: Path) -> None:
    """Images were paid for; `results` and `status` say what is wrong with it."""
    before = write_results(find(first), Disk()).read_bytes()
    first.joinpath("ratings.csv").write_text("id,rating\na,many\n")
    with pytest.raises(UsageError, match=r"ratings\.csv:2"):
        write_results(find(first), Disk())
    told: list[str] = []
    assert write_results(find(first), Disk(), None, told.append).read_bytes() == before
    assert "ratings.csv:2: rating is 'many'" in told[0]
    assert "  ratings: " in standing_text(standing(find(first)))


@pytest.mark.parametrize("name", ["ratings.csv", "preferences.csv", "checks.csv", "report.html"])
def test_what_people_have_made_of_these_files_keeps_nobody_from_collecting(first: Path, name: str) -> None:
    """A link is not followed, and no reason to leave images where they are that were paid for."""
    before = write_results(find(first), Disk()).read_bytes()
    first.joinpath(name).symlink_to("/etc/passwd")
    told: list[str] = []
    assert write_results(find(first), Disk(), None, told.append).read_bytes() == before
    assert [("symbolic link" in line) for line in told] == ([True] if name == "ratings.csv" else [])


def test_status_says_how_many_are_rated(first: Path) -> None:
    """And how many pairs; nothing where nobody has said anything."""
    assert standing(find(first)).ratings is None
    assert "rated" not in standing_text(standing(find(first)))
    judge(first)
    save_choices(first, [Choice("p", Named("a"), Named("b"), Better.FIRST)], Disk())
    found = standing(find(first))
    assert found.ratings == Rated(3, 2, 1, 0, 1)
    assert "\n  rated: 2 of 3 images (1 accepted); 1 pair judged" in standing_text(found)


def opened(first: Path, text: str) -> Manifest:
    """A manifest beside the folder."""
    path = first.parent / "edit.yaml"
    path.write_text(HEAD + text)
    return open_manifest(path, catalog=CATALOG, dialect="evolink")


def read(first: Path, text: str) -> tuple[list[Draft], list[str], list[str]]:
    """Rows, what is wrong, and what is warned of."""
    manifest, log = opened(first, text), ProblemLog()
    return list(manifest.drafts(log)), [str(problem) for problem in log], list(map(str, manifest.warnings))


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("{rating: [4, 5]}", ["a"]),
        ("{rating: ['', 2]}", ["b", "c"]),
        ("{row.rating: 5, verdict: accepted}", ["a"]),
        ("{rating_note: =six legs}", ["b"]),
    ],
)
def test_a_next_manifest_takes_what_is_rated_so(first: Path, where: str, ids: list[str]) -> None:
    """By the names of ratings.csv; a number that nobody has given is no slip."""
    judge(first)
    drafts, problems, _ = read(first, f"where: {where}\nprompt: '{{row.prompt}}'\n")
    assert (problems, [draft.id for draft in drafts]) == ([], ids)


def test_what_was_said_can_stand_in_a_prompt(first: Path) -> None:
    """Where it was said."""
    judge(first)
    drafts, problems, _ = read(first, "where: {rating: 2}\nprompt: 'mend this: {row.rating_note}'\n")
    assert (problems, [draft.request.prompt for draft in drafts]) == ([], ["mend this: =six legs"])


def test_before_anybody_has_rated_nothing_is_left(first: Path) -> None:
    """Said as such, and not as a name that is not known."""
    _, problems, _ = read(first, "where: {rating: [4, 5]}\nprompt: x\n")
    assert len(problems) == 1
    assert "`where` leaves none of the 3 completed rows of first; there rating is ''" in problems[0]


def test_a_rating_file_that_cannot_be_read_is_a_problem_of_the_manifest(first: Path) -> None:
    """With its line; nothing is sent."""
    first.joinpath("ratings.csv").write_text("id,rating\na,many\n")
    with pytest.raises(ManifestError) as caught:
        opened(first, "prompt: x\n")
    assert "ratings.csv:2: rating is 'many'" in caught.value.problems[0].what
