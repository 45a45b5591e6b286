"""Rows that come from Python are read as those of a file are: the same rows are the same everywhere."""

from __future__ import annotations

import csv
import datetime
import enum
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

import nanobanana_batch as nb
from tests.unit.fake_provider import picture

MODEL = "gemini-3.1-flash-image-preview"
Rows = list[dict[str, Any]]

ROWS: Rows = [
    {
        "id": "a",
        "prompt": 'a cat, "so"\nand a dog',
        "model": MODEL,
        "resolution": "1K",
        "mood": "calm",
    },
    {"id": "b", "prompt": "ein Mädchen mit 🎈", "model": MODEL, "resolution": "2K", "mood": None},
    {"id": "c", "prompt": "null", "model": MODEL, "resolution": None, "mood": "007"},
    {"id": "d", "prompt": "a cat", "model": MODEL, "resolution": "1K", "mood": "true"},
]


class Colour(str, enum.Enum):  # noqa: UP042 - as people still write it
    """A text by another name."""

    RED = "red"


@pytest.fixture(autouse=True)
def somewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder of its own; what is written in between is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spool))
    yield
    assert list(spool.iterdir()) == []


def keys(manifest: Any, **options: Any) -> list[str]:
    """The row keys of a manifest, in its order."""
    made = nb.plan(manifest, out="out", provider="local", rows=1000, **options)
    return [row.row_key for row in made.first_rows]


def as_csv(rows: Rows) -> str:
    """The rows in a file, as a spreadsheet writes them."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open("rows.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, lineterminator="\r\n")
        table.writeheader()
        table.writerows(rows)
    return "rows.csv"


def as_jsonl(rows: Rows) -> str:
    """The rows in a file, an object a line."""
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return "rows.jsonl"


@pytest.mark.parametrize(
    "form",
    [as_csv, as_jsonl, pandas.DataFrame, iter, tuple],
    ids=["csv", "jsonl", "table", "iterator", "tuple"],
)
def test_the_same_rows_have_the_same_keys(form: Callable[[Rows], Any]) -> None:
    """So a run of the one goes on from the other."""
    assert keys(form(ROWS)) == keys(ROWS)
    assert len(set(keys(ROWS))) == len(ROWS)


def test_what_a_dataframe_is_written_to_is_the_same_manifest() -> None:
    """By pandas itself, be it as CSV or as JSON lines."""
    table = pandas.DataFrame(ROWS)
    table.to_csv("rows.csv", index=False)
    table.to_json("rows.jsonl", orient="records", lines=True)
    assert keys(table) == keys("rows.csv") == keys("rows.jsonl")


def variables(rows: Any) -> list[dict[str, str]]:
    """What is not a field, of each row."""
    made = nb.plan(rows, out="out", provider="local", rows=1000)
    return [dict(row.variables) for row in made.first_rows]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (7, "7"),
        (10**30, str(10**30)),
        (0.1, "0.1"),
        (1.0, "1.0"),
        (True, "true"),
        (False, "false"),
        (numpy.int64(7), "7"),
        (numpy.float32(0.1), "0.1"),
        (numpy.float64(0.5), "0.5"),
        (numpy.bool_(True), "true"),
        (numpy.str_("x"), "x"),
        (Path("a/b.png"), "a/b.png"),
        (Colour.RED, "red"),
    ],
    ids=repr,
)
def test_a_value_becomes_the_text_that_a_table_would_have(value: Any, text: str) -> None:
    """Numbers as people write them."""
    (found,) = variables([{"prompt": "a cat", "model": MODEL, "what": value}])
    assert found["what"] == text


@pytest.mark.parametrize(
    "value", [None, float("nan"), numpy.nan, numpy.float32("nan"), pandas.NA, pandas.NaT]
)
def test_a_missing_value_is_an_empty_cell(value: Any) -> None:
    """And no text "nan" that would be paid for."""
    rows = [{"prompt": "a cat", "model": MODEL, "resolution": value, "what": value}]
    (found,) = variables(rows)
    assert found.get("what", "") == ""
    assert keys(rows) == keys([{"prompt": "a cat", "model": MODEL}])


def test_columns_of_every_kind_of_pandas_are_read_as_they_are_shown() -> None:
    """A column of numpy's or of pandas' own; missing numbers make other columns of some."""
    table = pandas.DataFrame(
        {
            "prompt": pandas.array(["a", "b"], dtype="string"),
            "model": pandas.Categorical([MODEL, MODEL]),
            "small": numpy.array([0.1, 0.25], dtype="float32"),
            "whole": pandas.array([1, None], dtype="Int64"),
            "fact": pandas.array([True, None], dtype="boolean"),
            "gap": [1, None],
        },
        index=["x", "y"],
    )
    assert variables(table) == [
        {"small": "0.1", "whole": "1", "fact": "true", "gap": "1.0"},
        {"small": "0.25"},
    ]


def test_texts_are_prompts() -> None:
    """With the rest from `defaults`; a prompt twice is two rows."""
    rows = ["a cat", "a dog", "a cat"]
    assert keys(rows, defaults={"model": MODEL}) == keys([{"prompt": text, "model": MODEL} for text in rows])


def test_reference_images_are_found_from_the_working_directory(tmp_path: Path) -> None:
    """By name, as a file name, or several in a list."""
    Path("photos").mkdir()
    for n in range(2):
        Path(f"photos/{n}.png").write_bytes(picture(str(n)))
    one = {"prompt": "as a drawing", "model": MODEL}
    rows = [
        {**one, "images": "photos/0.png|photos/1.png"},
        {**one, "images": ["photos/0.png", Path("photos/1.png")]},
        {**one, "images": numpy.array(["photos/0.png", "photos/1.png"])},
        {**one, "images": (pathlib.PurePosixPath("photos/0.png"), "photos/1.png")},
    ]
    assert keys([rows[0]]) == keys([rows[1]]) == keys([rows[2]]) == keys([rows[3]])
    assert keys([rows[0]]) != keys([one])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": 1}, "a dict is no text"),
        (datetime.date(2026, 1, 2), "a datetime.date is no text"),
        (pandas.Timestamp(2026, 1, 2), "Timestamp is no text"),
        (numpy.datetime64("2026-01-02"), "a numpy.datetime64 is no text"),
        (Decimal("1.5"), "a decimal.Decimal is no text"),
        (b"x", "a bytes is no text"),
        (..., "a ellipsis is no text"),
        (float("inf"), "an infinite number"),
        (numpy.float64("-inf"), "an infinite number"),
        (["a", 1], "a list has texts in it"),
        ([["a"]], "a list has texts in it"),
        (numpy.zeros((2, 2)), "a list has texts in it"),
        ("half \ud83d of it", "half of a character"),
        pytest.param(10**5000, "a number of so many digits", id="many digits"),
    ],
    ids=repr,
)
def test_what_can_be_no_cell_is_told_with_row_and_column(value: Any, words: str) -> None:
    """All of it at once, and nothing is guessed at."""
    rows = [{"prompt": "a"}, {"prompt": "b", "what": value}, {"prompt": value}]
    with pytest.raises(nb.ManifestError) as told:
        nb.plan(rows, name="mine", provider="local", defaults={"model": MODEL})
    if isinstance(value, str):
        value = None
    assert [problem.source for problem in told.value.problems] == ["mine:2", "mine:3"]
    assert [problem.field for problem in told.value.problems] == ["what", "prompt"]
    assert words in told.value.problems[0].message


def test_problems_of_the_rows_themselves_name_them_as_a_file_would() -> None:
    """By the name that was given, and the number of the row."""
    rows = [{"prompt": "a", "model": MODEL}, {"prompt": "b", "model": MODEL, "resolution": "9K"}]
    with pytest.raises(nb.ManifestError, match=r"mine:2.*9K"):
        nb.plan(rows, name="mine", provider="local")
    with pytest.raises(nb.ManifestError, match=r"rows:2.*9K"):
        nb.plan(rows, out="out", provider="local")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ([], "mine has no rows"),
        (pandas.DataFrame(), "mine has no rows"),
        ({"prompt": "a"}, "One dict is no manifest"),
        (b"prompt\n", "of the type bytes is no manifest"),
        (3, "of the type int is no manifest"),
        ([3], "mine:1: a row is a dict, or the text of a prompt; this is of the type int"),
        ([{3: "x"}], "mine:1: the name of a column is a text, and not 3"),
        (pandas.DataFrame([["a cat"]]), "the name of a column is a text, and not 0"),
        (pandas.DataFrame([["a", "b"]], columns=["prompt", "prompt"]), "two columns 'prompt'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_manifest_is_told_in_a_sentence(manifest: Any, words: str) -> None:
    """And never becomes one by chance."""
    with pytest.raises(nb.UsageError) as told:
        nb.plan(manifest, name="mine", provider="local")
    assert words in str(told.value)


@pytest.mark.parametrize("name", ["cats", "v1.2"])
def test_a_name_is_that_of_the_output_folder(name: str) -> None:
    """The whole of it, a dot or not."""
    made = nb.plan(ROWS, name=name, provider="local")
    assert (made.manifest, made.folder) == (name, f"outputs/{name}")
    assert nb.plan(ROWS, name=name, out="there", provider="local").folder == "there"


@pytest.mark.parametrize("name", ["", "a/b", "..", "con", "x\n"])
def test_a_name_that_no_folder_can_have_is_refused(name: str) -> None:
    """Before anything is read."""
    with pytest.raises(nb.UsageError, match="cannot name an output folder"):
        nb.plan(ROWS, name=name, provider="local")


def test_rows_need_a_place_and_a_file_needs_no_name() -> None:
    """Where the output goes is never guessed."""
    with pytest.raises(nb.UsageError, match='Give one with out="outputs/mine"'):
        nb.plan(ROWS, provider="local")
    with pytest.raises(nb.UsageError, match="name= is for rows"):
        nb.plan(as_csv(ROWS), name="mine", provider="local")


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are kept in a file for the length of the call."""
    full = Path("/dev/full").open("wb")  # noqa: SIM115 - who writes to it closes it
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", lambda prefix: full)
    with pytest.raises(nb.UsageError, match=r"The rows cannot be kept: No space left.* where TMPDIR"):
        nb.plan(ROWS, name="mine", provider="local")


def test_what_goes_wrong_in_a_generator_is_its_own_error() -> None:
    """The caller is not sent to look at TMPDIR for it."""

    def rows() -> Iterator[str]:
        yield "a cat"
        raise FileNotFoundError(2, "No such file or directory", "prompts.bin")

    with pytest.raises(FileNotFoundError, match=r"prompts\.bin"):
        nb.plan(rows(), out="out", provider="local")


@pytest.mark.parametrize("row", ["", {}, {"prompt": None}, {"prompt": "", "mood": float("nan")}], ids=repr)
def test_a_row_without_anything_is_not_left_out_unasked(row: Any) -> None:
    """As many rows as were given are made, or it is said which are not."""
    how: dict[str, Any] = {"name": "mine", "provider": "local", "defaults": {"model": MODEL}}
    with pytest.raises(nb.ManifestError, match="mine:2: prompt: the prompt is empty"):
        nb.plan([{"prompt": "a cat", "mood": "calm"}, row], **how)
    plan = nb.plan([{"prompt": "a cat", "mood": "calm"}, row], skip="empty", **how)
    assert (plan.rows, len(plan.skipped)) == (1, 1)
