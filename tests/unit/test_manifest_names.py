"""One name in two Unicode forms is one name: macOS writes `ö` as two characters, keyboards as one."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from nanobanana_batch.errors import ManifestError, UsageError
from nanobanana_batch.manifest import Manifest
from nanobanana_batch.model import Draft
from nanobanana_batch.problems import ProblemLog
from tests.unit.tables import opened

ONE = "Höhe"
TWO = unicodedata.normalize("NFD", ONE)
VALUE = unicodedata.normalize("NFD", "fünf")
FORMS = [(ONE, TWO), (TWO, ONE)]
KINDS = ["csv", "tsv", "jsonl", "parquet"]


def table(folder: Path, kind: str, names: list[str], values: list[str]) -> None:
    """The file t.<kind> with one row."""
    path = folder / f"t.{kind}"
    if kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = [pa.array([value]) for value in values]
        parquet.write_table(pa.Table.from_arrays(columns, names), path)
    elif kind == "jsonl":
        pairs = [f"{json.dumps(n)}: {json.dumps(v)}" for n, v in zip(names, values, strict=True)]
        path.write_text("{" + ", ".join(pairs) + "}\n")
    else:
        mark = "," if kind == "csv" else "\t"
        path.write_text(f"{mark.join(names)}\n{mark.join(values)}\n", encoding="utf-8")


def of_yaml(folder: Path, text: str) -> Manifest:
    """The manifest with this text."""
    (folder / "m.yaml").write_text(text, encoding="utf-8")
    return opened(folder / "m.yaml")


def only(manifest: Manifest) -> Draft:
    """Its one row."""
    log = ProblemLog()
    (row,) = manifest.drafts(log)
    assert list(log) == []
    return row


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("theirs", "ours"), FORMS)
def test_a_column_matches_its_name_in_either_form(tmp_path: Path, kind: str, theirs: str, ours: str) -> None:
    """In a template, in `where` and in `columns`; values and prompts stay as they were written."""
    table(tmp_path, kind, [theirs], [VALUE])
    prompt = f'prompt: "{VALUE} {{{ours}:upper}} {{{ours}}}"\n'
    row = only(of_yaml(tmp_path, f"table: t.{kind}\n{prompt}"))
    assert row.request.prompt == f"{VALUE} {VALUE.upper()} {VALUE}"
    assert row.variables == ((ONE, VALUE),)
    row = only(
        of_yaml(tmp_path, f"table: t.{kind}\ncolumns: {{prompt: {ours}}}\nwhere: {{{ours}: {VALUE}}}\n")
    )
    assert (row.request.prompt, row.variables) == (VALUE, ())


@pytest.mark.parametrize(("given", "wanted"), FORMS)
@pytest.mark.parametrize(
    "text",
    [
        "rows: [{GIVEN: x}]",
        "matrix: {GIVEN: [x]}",
        "zip: {GIVEN: [x]}",
        "defaults: {GIVEN: x}",
        "rows: [{GIVEN: x}, {GIVEN: y}]\nexclude: [{WANTED: y}]",
        "matrix: {WANTED: [y]}\ninclude: [{GIVEN: x}]\nexclude: [{GIVEN: y}]",
    ],
)
def test_names_of_yaml_match_in_either_form(tmp_path: Path, text: str, given: str, wanted: str) -> None:
    """Wherever a name may stand."""
    text = text.replace("GIVEN", given).replace("WANTED", wanted)
    assert only(of_yaml(tmp_path, f'prompt: "a {{{wanted}}}"\n{text}\n')).request.prompt == "a x"


@pytest.mark.parametrize("kind", KINDS)
def test_two_columns_of_one_name_are_refused(tmp_path: Path, kind: str) -> None:
    """As they are when they are written alike."""
    table(tmp_path, kind, ["prompt", ONE, TWO], ["a", "b", "c"])
    with pytest.raises(ManifestError, match=f"{ONE}' stands there twice"):
        opened(tmp_path / f"t.{kind}")


def test_two_keys_of_one_name_are_refused(tmp_path: Path) -> None:
    """At the second of them."""
    with pytest.raises(ManifestError, match=rf"m\.yaml:2:18: .*{ONE}' stands here twice"):
        of_yaml(tmp_path, f"prompt: x\nrows: [{{{ONE}: a, {TWO}: b}}]\n")


@pytest.mark.parametrize(("theirs", "ours"), FORMS)
def test_names_of_the_command_line_match_in_either_form(tmp_path: Path, theirs: str, ours: str) -> None:
    """`--defaults` and `--variables`, and `variables` in a manifest."""
    table(tmp_path, "csv", ["prompt", theirs, "n"], ["a", "", "b"])
    assert only(opened(tmp_path / "t.csv", (), **{ours: "x"})).variables == ((ONE, "x"), ("n", "b"))
    with pytest.raises(UsageError, match="two of the names are one name"):
        opened(tmp_path / "t.csv", (), **{ONE: "x", TWO: "y"})
    slip, declared = (unicodedata.normalize(form, "módel") for form in ("NFD", "NFC"))
    pair = (slip, declared) if theirs == TWO else (declared, slip)
    table(tmp_path, "csv", ["prompt", pair[0]], ["a", "b"])
    assert only(opened(tmp_path / "t.csv", (pair[1],))).variables == ((declared, "b"),)
    manifest = of_yaml(tmp_path, f"table: t.csv\nvariables: [{pair[1]}]\n")
    assert only(manifest).variables == ((declared, "b"),)
