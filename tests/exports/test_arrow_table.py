"""A table made of its buffers is the one that Arrow itself makes of the same rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nanobanana_batch.exports.arrow_table import table_of
from nanobanana_batch.exports.features import Feature, arrow_schema
from tests.exports.finished import Made, make_folder

FEATURES = (
    Feature("image", "image"),
    Feature("raw", "binary"),
    Feature("text", "string"),
    Feature("whole", "int64"),
    Feature("number", "float64"),
    Feature("truth", "bool"),
)


def row(number: int) -> dict[str, Any]:
    """One whose values differ from those of its neighbours, with one that is not there."""
    made: dict[str, Any] = {
        "image": {"bytes": bytes([number % 256]) * number, "path": f"{number}.png"},
        "raw": b"\0" * (number % 3),
        "text": "häuser 🏠"[: number % 9],
        "whole": (-1) ** number * 2**40 + number,
        "number": number / 3,
        "truth": number % 3 == 0,
    }
    missing = [*made, "bytes", "all are there"][number % 8]
    if missing == "bytes":
        made["image"]["bytes"] = None
    elif missing in made:
        made[missing] = None
    return made


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64, 100])
def test_it_is_what_arrow_makes_of_the_same_rows(count: int) -> None:
    """Nulls, empty texts and numbers below zero included."""
    rows, schema = [row(number) for number in range(count)], arrow_schema(FEATURES)
    made = table_of(rows, schema)
    made.validate(full=True)
    assert made.equals(pa.Table.from_pylist(rows, schema), check_metadata=True)


def test_a_value_that_a_row_does_not_have_is_null() -> None:
    """As in a line of JSON without it."""
    made = table_of([{"whole": 1}, {}], arrow_schema(FEATURES))
    made.validate(full=True)
    assert made["whole"].to_pylist() == [1, None]
    assert made["image"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("text", 5, TypeError),
        ("raw", "text", TypeError),
        ("whole", 1.5, TypeError),
        ("whole", 2**63, OverflowError),
        ("number", "1", TypeError),
        ("text", "\ud800", UnicodeEncodeError),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: object, error: type[Exception]) -> None:
    """It is never written as something else."""
    with pytest.raises(error):
        table_of([{name: value}], arrow_schema(FEATURES))


def test_an_export_does_without_pandas(tmp_path: Path) -> None:
    """Which would be half of the memory that it takes."""
    run = make_folder(tmp_path / "out", [Made(f"r{number}") for number in range(3)])
    words = [str(run), "parquet", str(tmp_path / "set")]
    program = (
        "import json, sys, nanobanana_batch as nb; nb.export(*json.loads(sys.argv[1]));"
        " print({'pandas', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(words)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{'pyarrow'}"
