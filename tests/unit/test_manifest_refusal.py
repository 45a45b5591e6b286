"""All that is wrong with a manifest is told in one round, by its path, and without what only follows."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.errors import ManifestError, Problem
from nanobanana_batch.jobs.order import Order, expanded, open_ordered
from nanobanana_batch.manifest import open_manifest, refusal
from nanobanana_batch.manifest.read import nodes
from nanobanana_batch.manifest.read.nodes import find_paths
from nanobanana_batch.manifest.read.yaml_file import parse_nodes
from nanobanana_batch.manifest.rows.settle import Settler

HEAD = "defaults: {model: nano-banana-beta}\n"
Told = Callable[..., list[str]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """What a person is told of a manifest, without the line that counts."""

    def told(text: str, name: str = "m.yaml") -> list[str]:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        with pytest.raises(ManifestError) as caught, expanded(open_ordered(Order(path))):
            pass
        return [line.strip() for line in str(caught.value).splitlines()[1:]]

    return told


def paths(text: str, *places: str, field: str = "") -> list[str]:
    root, problems = parse_nodes(text.encode(), "m.yaml")
    assert root is not None
    assert problems == []
    return find_paths(root, "m.yaml", [Problem(f"m.yaml:{place}", "", field) for place in places])


def test_a_place_has_a_path() -> None:
    """Of keys and of values, at any depth, with quotes where a key is no plain word."""
    text = "a: 1\nblocks:\n  - {}\n  - matrix:\n      s: [x, {y z: w}]\n'b c': [d]\n"
    assert paths(text, "1:4", "3:5", "5:14", "5:15", "6:9", "9:9") == [
        "a",
        "blocks[0]",
        "blocks[1].matrix.s[1]",
        'blocks[1].matrix.s[1]."y z"',
        '"b c"[0]',
        "",
    ]


def test_a_mapping_and_its_first_key_begin_at_one_place() -> None:
    """The problem's own name tells which of them is meant."""
    text = "rows:\n  - city: Tokyo\n"
    assert paths(text, "2:5") == ["rows[0]"]
    assert paths(text, "2:5", field="city") == ["rows[0].city"]


def test_an_alias_and_a_merge_lead_to_where_it_was_written() -> None:
    """However often it is repeated, and without walking there again."""
    text = "base: &b {m: x}\nrows:\n  - {<<: *b, n: 1}\n  - *b\n"
    assert paths(text, "1:11", "1:14", "3:14") == ["base.m", "base.m", "rows[0].n"]


@pytest.mark.parametrize(
    "line",
    [
        "x{n}: &x{n} [{many}]",
        "x{n}: &x{n} {{<<: [{many}], k{n}: [a]}}",
    ],
)
def test_what_aliases_repeat_is_not_walked_again(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Ten lines that stand for a hundred thousand values are ten lines."""
    looked: list[int] = []

    def noted(_: str, pos: int) -> str:
        looked.append(pos)
        return ""

    monkeypatch.setattr(nodes, "place", noted)
    lines = ["x0: &x0 {a: [b]}"]
    lines += [line.format(n=n, many=", ".join([f"*x{n - 1}"] * 3)) for n in range(1, 10)]
    assert paths("\n".join(lines) + "\n", "9:9") == [""]
    assert len(looked) < 60


def test_a_row_is_found_by_its_line_where_no_other_begins() -> None:
    """Two rows in one line cannot be told apart by it."""
    assert paths("rows:\n  - {a: 1}\n  - {a: 2}\n", "2", "3") == ["rows[0]", "rows[1]"]
    assert paths("rows: [{a: 1}, {a: 2}]\n", "1") == [""]


def test_form_and_rows_are_told_in_one_round(told: Told) -> None:
    """An unknown key hides no wrong value of a row, and no id that is taken."""
    found = told(
        """
        defaults: {model: nano-banana-beta}
        prompt: a skyline of {city}
        colour: red
        rows:
          - {id: a, city: Tokyo}
          - {id: A, city: Lagos}
          - {id: b, city: Oslo, aspect_ratio: 7:5}
        """
    )
    assert [line.split(": ")[1] for line in found] == ["colour", "rows[1]", "rows[2].aspect_ratio"]


def test_rows_of_a_table_are_checked_although_a_column_is_misspelt(told: Told) -> None:
    """The column is told, and the wrong values of the others."""
    text = "id,promt,model,aspect_ratio\na,x,nano-banana-beta,7:5\nb,y,nano-banana-beta,1:1\n"
    assert [line.partition(" ")[0] for line in told(text, "t.csv")] == ["t.csv:1:", "t.csv:2:"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (HEAD + 'prompt: "{s}"\nmatrix: {s: []}\n', "matrix.s"),
        (HEAD + 'prompt: "{s}"\nmatrix: {s: {file: none.txt}}\n', "matrix.s.file"),
        (HEAD + 'prompt: "{mode}"\nrows: [{mode: a}]\n', "rows[0].mode"),
        (HEAD + 'prompt: "{s}"\nrows: {s: a}\n', "rows"),
        (HEAD + 'prompt: "{s}"\nrows: [s]\n', "rows[0]"),
        (HEAD + 'prompt: "{s}"\nmatirx: {s: [a]}\n', "matirx"),
        (HEAD + 'prompt: "{s}"\ntable: none.csv\n', "table"),
        (HEAD + 'prompt: "{s}"\nrows: [{<<: *base}]\n', "rows[0].<<"),
        (HEAD + 'prompt: "{a}{b}"\nzip: {a: [x], b: [y, z]}\n', "zip"),
        (HEAD + 'prompt: "{a}{b}"\nzip: {a: [x, [w]], b: [y, z]}\n', "zip.a[1]"),
        (HEAD + "promt: x\n", "promt"),
        (HEAD + "prompt: x\nmatrix: {s: []}\nexclude: [{s: a}]\n", "matrix.s"),
        ("prompt: x\ndefaults: {modle: nano-banana-beta, aspect_ratio: 1:1}\n", "defaults.modle"),
        ("prompt: x\ndefualts: {model: nano-banana-beta}\n", "defualts"),
        (HEAD + "prompt: x\nrows: [{modle: gemini-3-pro-image-preview, resolution: 4K}]\n", "rows[0].modle"),
    ],
)
def test_what_only_follows_is_not_told(told: Told, text: str, path: str) -> None:
    """A name that is missing because of the problem above it would hide what is to be mended."""
    (only,) = told(text)
    assert only.partition(": ")[2].startswith(f"{path}: ")


def test_what_does_not_follow_is_told(told: Told) -> None:
    """A factor without values explains its own name, and no other."""
    found = told(HEAD + 'prompt: "{s} {t}"\nmatrix: {s: []}\n')
    assert len(found) == 2
    assert "unknown variable {t}" in found[0]


def test_a_product_with_a_mistake_of_form_is_read_in_part(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten billion rows, all of them wrong: the first are enough to say so."""
    monkeypatch.setattr(refusal, "ROWS_READ", 500)
    settled: list[None] = []
    settle = Settler.settle

    def counted(*given: object) -> object:
        settled.append(None)
        return settle(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Settler, "settle", counted)
    factors = "".join(f"  f{number}: {{from: 1, to: 100}}\n" for number in range(5))
    found = told(HEAD + f"name: a/b\nprompt: x\nmatrix:\n{factors}  aspect_ratio: [7:5]\n")
    assert any("7:5" in line for line in found)
    assert len(settled) == 500


def test_no_manifest_is_opened_whose_form_has_a_problem(tmp_path: Path) -> None:
    """Not even when every problem looks as if it followed from another one."""
    path = tmp_path / "m.yaml"
    for text in ("prompt: '{a}{b}'\ndefaults: {model: nano-banana-beta}\n", "rows: [{a: b}]\n"):
        path.write_text(text)
        with pytest.raises(ManifestError) as caught:
            open_manifest(path, catalog=load_catalog(), dialect="evolink")
        assert caught.value.total == 2


def test_ids_of_bad_rows_are_compared_as_well(tmp_path: Path) -> None:
    """One round tells all of it: the row that has another fault, and that its id is taken."""
    path = tmp_path / "m.csv"
    path.write_text("id,prompt\na,x\nA,\nb,\nb,z\n")
    order = Order(path, defaults={"model": "nano-banana-beta"})
    with pytest.raises(ManifestError) as told, expanded(open_ordered(order)):
        pass
    sources = sorted((problem.source, problem.field) for problem in told.value.problems)
    assert sources == [("m.csv:3", "id"), ("m.csv:3", "prompt"), ("m.csv:4", "prompt"), ("m.csv:5", "id")]


def test_a_file_of_another_encoding_is_one_problem(tmp_path: Path) -> None:
    """However many of its lines have letters that show it."""
    for name, mark in (("m.csv", ""), ("m.txt", ""), ("m.tsv", "\t")):
        lines = "".join(f"größe {number}{mark}\n" for number in range(1320))
        (tmp_path / name).write_bytes(f"prompt{mark}\n{lines}".encode("cp1252"))
        order = Order(tmp_path / name, defaults={"model": "nano-banana-beta"})
        with pytest.raises(ManifestError) as told, expanded(open_ordered(order)):
            pass
        (problem,) = told.value.problems
        assert told.value.total == 1
        assert problem.message.startswith("not UTF-8 text but probably WINDOWS-1252")


def test_a_prompt_of_json_is_taken_as_it_stands_under_raw(tmp_path: Path) -> None:
    """Over several lines as well; without `raw` the way out is in the message."""
    path = tmp_path / "m.yaml"
    head = "defaults: {model: nano-banana-beta}\n"
    asked = '{"subject": "a {cat}",\n  "style": {"name": "ink"}}'
    indented = asked.replace("\n", "\n    ")
    for text in (f"prompt:\n  {indented}\n", f"prompt: {asked}\n"):
        path.write_text(head + text)
        assert "a prompt of JSON stands as it is under `raw`" in said_of(path)
    for text in (f"prompt: |\n  {indented}\n", 'prompt: \'{"a": "b"}\'\n'):
        path.write_text(head + text)
        assert "a prompt of JSON stands as it is by `prompt: {raw: …}`" in said_of(path)
    path.write_text(f"{head}prompt:\n  raw: |\n    {indented}\n")
    with expanded(open_ordered(Order(path))) as roster:
        assert [row.request.prompt for row in roster.rows()] == [indented.replace("\n    ", "\n")]
    path.write_text(f"{head}rows:\n  - prompt: {{raw: '{{a}}'}}\n")
    with expanded(open_ordered(Order(path))) as roster:
        assert [row.request.prompt for row in roster.rows()] == ["{a}"]


def said_of(path: Path) -> str:
    """What is said of a manifest that is refused."""
    with pytest.raises(ManifestError) as told, expanded(open_ordered(Order(path))):
        pass
    return str(told.value)


def test_ids_that_are_no_ids_are_one_more_problem_and_not_a_thousand(tmp_path: Path) -> None:
    """A column of numbers that begin anew in each category has one remedy, which is told."""
    path = tmp_path / "m.csv"
    rows = (f"{number:03},{kind},a {kind} {number}\n" for kind in "abcd" for number in range(250))
    path.write_text("id,kind,prompt\n" + "".join(rows))
    order = Order(path, defaults={"model": "nano-banana-beta"})
    with pytest.raises(ManifestError) as told, expanded(open_ordered(order)):
        pass
    assert told.value.total == 11
    assert "and 740 more rows have ids that are taken" in str(told.value)
    with expanded(open_ordered(replace(order, id="{kind}-{id}"))) as roster:
        assert len(roster) == 1000
