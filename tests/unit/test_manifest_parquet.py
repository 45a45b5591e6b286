"""Parquet as pandas and pyarrow write it; what no text can be made of is left out, or refused if named."""

from __future__ import annotations

import datetime
import decimal
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanobanana_batch.manifest.read.parquet import ParquetTable
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import shown
from tests.unit.tables import complaints, opened, read

URL = "https://x.org/1.png"


def table(folder: Path, rows_per_group: int = 1000, **columns: Any) -> Path:
    """A file of these columns."""
    path = folder / "t.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return path


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array(["a {cat}", None, "", " "]), ["a {cat}", None, None, None]),
        (pa.array(["x", "y"], pa.large_string()), ["x", "y"]),
        (pa.array(["x", "y"], pa.string_view()), ["x", "y"]),
        (pa.array(["x", None, "x"]).dictionary_encode(), ["x", None, "x"]),
        (pa.array([1, -2, None], pa.int8()), ["1", "-2", None]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([1.0, 0.5, 0.1, 1e20, float("nan"), None]), ["1", "0.5", "0.1", "1e+20", None, None]),
        (pa.array([1.0, 0.1, 16777217.0, 3.4e38], pa.float32()), ["1", "0.1", "16777216", "3.4e+38"]),
        (pa.array([1.0, 0.1], pa.float16()), ["1", "0.1"]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (
            pa.array([decimal.Decimal("1.50"), decimal.Decimal("1000")], pa.decimal128(9, 2)),
            ["1.50", "1000.00"],
        ),
        (pa.array([datetime.date(2026, 1, 2)]), ["2026-01-02"]),
        (pa.nulls(2), [None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values_become_the_text_that_a_person_would_write(
    tmp_path: Path, column: pa.Array, texts: list[str | None]
) -> None:
    """This text is part of a row's identity: it must never change."""
    path = table(tmp_path, prompt=["p"] * len(texts), n=column)
    assert [dict(draft.variables).get("n") for draft in read(path)] == texts


def test_rows_have_numbers_across_groups_and_batches(tmp_path: Path) -> None:
    """From 1; rows without anything are left out and counted."""
    prompts = [None if n == 2000 else f"cat {n}" for n in range(3000)]
    drafts = read(table(tmp_path, rows_per_group=700, prompt=prompts))
    assert len(drafts) == 2999
    assert [drafts[n].source for n in (0, 1999, 2000)] == [
        "t.parquet row 1",
        "t.parquet row 2000",
        "t.parquet row 2002",
    ]


def test_images_may_be_a_list(tmp_path: Path) -> None:
    """Other columns may not."""
    images = [[URL, None, URL], [], None]
    drafts = read(table(tmp_path, prompt=["a", "b", "c"], images=images))
    assert [draft.request.images for draft in drafts] == [(URL, URL), (), ()]
    path = table(tmp_path, prompt=["a"], tags=[["x"]])
    assert complaints(path) == []
    assert "tags: a column of type 'list', which gives no text, is left out" in opened(path).warnings[0]
    (tmp_path / "m.yaml").write_text("table: t.parquet\ncolumns: {style: tags}\n")
    assert "t.parquet: tags: a list; only `images` may be one" in complaints(tmp_path / "m.yaml")
    (tmp_path / "m.yaml").write_text("table: t.parquet\ncolumns: {images: tags}\n")
    assert "ends in" not in str(complaints(tmp_path / "m.yaml"))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"x"]),
        pa.array([{"bytes": b"x"}]),
        pa.array([[1.5]]),
        pa.array([datetime.datetime(2026, 1, 2)]),
        pa.array([[["x"]]]),
        pa.array([datetime.timedelta(1)]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda column: str(column.type),
)
def test_columns_of_other_types_are_left_out_with_a_warning(tmp_path: Path, column: pa.Array) -> None:
    """An embedding or an image's bytes cannot be a text, and nobody has asked for them."""
    path = table(tmp_path, thing=column, prompt=["a"], note=["b"])
    kind = shown(str(pq.read_schema(path).field("thing").type))
    manifest = opened(path)
    assert manifest.warnings == [
        f"t.parquet: thing: a column of type {kind}, which gives no text, is left out"
    ]
    (draft,) = manifest.drafts(manifest.problem_log())
    assert (draft.request.prompt, draft.variables) == ("a", (("note", "b"),))
    assert complaints(path) == []


@pytest.mark.parametrize(
    "text",
    [
        'prompt: "{text} {thing}"\n',
        'prompt: "{text} {thing:upper}"\n',
        'prompt: "{text}"\nid: "{thing}"\n',
        'prompt: "{text}"\nwhere: {thing: x}\n',
        'prompt: "{text} {other}"\ncolumns: {other: thing}\n',
        'prompt: "{text}"\nexclude: [{thing: x}]\n',
    ],
)
def test_a_column_of_another_type_that_something_names_is_refused(tmp_path: Path, text: str) -> None:
    """With its type, and not as a name that nobody knows."""
    table(tmp_path, text=["a"], thing=pa.array([b"x"]))
    (tmp_path / "m.yaml").write_text(f"table: t.parquet\n{text}")
    assert complaints(tmp_path / "m.yaml") == [
        "t.parquet: thing: a column of type 'binary'; one that is used holds texts, numbers, booleans, dates"
        " or lists of texts"
    ]


def test_a_name_may_be_given_by_something_else_than_its_column(tmp_path: Path) -> None:
    """A factor, a default or another column."""
    table(tmp_path, text=["a"], thing=pa.array([b"x"]))
    path, head = tmp_path / "m.yaml", 'table: t.parquet\nprompt: "{thing}"\n'
    for text in ("matrix: {thing: [b]}", "defaults: {thing: b}", "columns: {thing: text}"):
        path.write_text(head + text)
        assert [draft.request.prompt for draft in read(path)] == ["a" if "columns" in text else "b"]


def test_images_as_bytes_are_not_silently_forgotten(tmp_path: Path) -> None:
    """Who has `images` in a table means to send them; an `image` may be something else, and is told of."""
    path = table(tmp_path, prompt=["a"], image=pa.array([{"bytes": b"x", "path": "p"}]))
    (warning,) = opened(path).warnings
    assert "image: a column of type 'struct<bytes: binary, path: string>'" in warning
    assert len(list(opened(path, ("image",)).drafts(ProblemLog()))) == 1
    path = table(tmp_path, prompt=["a"], images=pa.array([[b"x"]]))
    (problem,) = complaints(path)
    assert "images: a column of type 'list<element: binary>'; one that is used holds" in problem


def test_what_pandas_writes_is_read(tmp_path: Path) -> None:
    """Whole numbers with gaps, categories, and the index of a filtered frame."""
    frame = pd.DataFrame(
        {
            "prompt": ["a", "b", "c", "d"],
            "variants": [2, None, 1, None],
            "style": pd.Categorical(["ink", "oil", None, "ink"]),
            "drop": [False, True, False, False],
        }
    )
    frame[~frame["drop"]].to_parquet(tmp_path / "t.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "t.parquet").names
    manifest = opened(tmp_path / "t.parquet")
    assert manifest.variables == ("style", "drop")
    drafts = read(tmp_path / "t.parquet")
    assert [(draft.request.prompt, draft.variant) for draft in drafts] == [
        ("a", 1),
        ("a", 2),
        ("c", 1),
        ("d", 1),
    ]


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (b"a\x00b", "the control character '\\x00'"),
        (b"a\xffb", "half of a surrogate pair"),
    ],
)
def test_texts_that_are_none_are_named_by_row(tmp_path: Path, value: bytes, part: str) -> None:
    """Other rows of the same batch are read."""
    damaged = pa.array([b"good", value, b"good too"]).view(pa.string())
    path = table(tmp_path, prompt=damaged)
    (problem,) = complaints(path)
    assert problem.startswith("t.parquet row 2: ")
    assert part in problem
    assert len(list(opened(path).drafts(opened(path).problem_log()))) == 2


def test_a_damaged_file_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    """Cut short, of another kind, or with bytes changed in its data."""
    path = table(tmp_path, prompt=[f"a very long prompt number {n}" for n in range(500)])
    whole = path.read_bytes()
    for damaged in (b"", b"prompt\n", b"PAR1PAR1", whole[:-5], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        (problem,) = complaints(path)
        assert problem.startswith("t.parquet: damaged, or no Parquet file: ")
    for place in range(4, len(whole) // 2, 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert all(problem.startswith("t.parquet") for problem in complaints(path))


def test_changed_pages_are_noticed_where_the_file_has_checksums(tmp_path: Path) -> None:
    """A prompt with a flipped bit would be paid for."""
    path = tmp_path / "t.parquet"
    prompts = pa.table({"prompt": ["a red door"]})
    pq.write_table(
        prompts,
        path,
        write_page_checksum=True,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
    )
    data = path.read_bytes()
    assert data.count(b"a red door") >= 1
    path.write_bytes(data.replace(b"a red door", b"a rad door", 1))
    assert ["damaged" in problem for problem in complaints(path)] == [True]


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install, and no traceback."""
    path = table(tmp_path, prompt=["a"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert complaints(path) == [
        "t.parquet: a Parquet table needs pyarrow: `pip install 'nanobanana-batch[parquet]'`"
    ]


def test_a_file_that_is_missing_or_changed_is_a_problem(tmp_path: Path) -> None:
    """As with every other table."""
    path = table(tmp_path, prompt=["a"])
    manifest = opened(path)
    table(tmp_path, prompt=["a"], model=["other"])
    log = manifest.problem_log()
    assert list(manifest.drafts(log)) == []
    path.unlink()
    assert list(manifest.drafts(log)) == []
    assert [problem.message.split(":")[0] for problem in log] == [
        "the table's columns changed while it was read",
        "cannot be read",
    ]


def test_duplicate_and_misspelt_columns_are_named(tmp_path: Path) -> None:
    """Parquet allows both."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["prompt", "prompt", ""]), path)
    assert complaints(path) == [
        "t.parquet: column 3 has no name",
        "t.parquet: the column 'prompt' stands there twice",
    ]
    assert "did you mean 'prompt'" in complaints(table(tmp_path, promt=["a"]))[0]


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    """Opening a table costs its footer, whatever its length."""
    path = table(tmp_path, prompt=["a"])
    assert ParquetTable(path, "t.parquet").header().names == ("prompt",)
