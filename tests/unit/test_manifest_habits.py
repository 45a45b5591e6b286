"""Habits of other tools that a manifest takes otherwise: each is warned of, once, before anything is paid."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.errors import UsageError
from nanobanana_batch.manifest import Beside, Manifest, open_manifest
from tests.unit.tables import complaints, opened, read

HEAD = "defaults: {model: nano-banana-beta}\n"
Said = Callable[..., list[str]]


@pytest.fixture
def said(tmp_path: Path) -> Said:
    """The warnings of a manifest whose rows are sound."""

    def said(text: str, name: str = "m.yaml", *variables: str) -> list[str]:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        manifest: Manifest = open_manifest(
            path,
            catalog=load_catalog(),
            dialect="evolink",
            beside=Beside(variables=variables, defaults={"model": "nano-banana-beta"}),
        )
        log = manifest.problem_log()
        assert list(manifest.drafts(log))
        assert list(log) == []
        return manifest.warnings

    return said


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("size", "the field is `aspect_ratio`"),
        ("Ratio", "the field is `aspect_ratio`"),
        ("quality", "the field is `resolution`"),
        ("res", "the field is `resolution`"),
        ("thinking", "the field is `thinking_level`"),
        ("google_search", "the field is `web_search`"),
        ("num-images", "the field is `variants`"),
        ("n", "the field is `variants`"),
        ("negative_prompt", "no model known here has such a setting"),
        ("seed", "no model known here has such a setting"),
        ("cfg_scale", "no model known here has such a setting"),
    ],
)
def test_a_column_that_means_a_setting_elsewhere_is_not_sent(said: Said, name: str, why: str) -> None:
    """Who names it so believes that it is obeyed, and pays for images of another shape."""
    (warning,) = said(f"prompt,{name}\nx,1\ny,2\n", "t.csv")
    assert re.fullmatch(rf"t\.csv:1: {name}: is a variable here and is not sent.*{why}.*", warning)
    assert said(f"prompt,{name}\nx,1\n", "t.csv", name) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("prompt: x\nrows: [{id: a}, {size: 1:1}]\n", "m.yaml:3:18"),
        ("blocks: [{prompt: x, defaults: {size: 1:1}}]\n", "m.yaml:2:39"),
        ("prompt: x\nmatrix: {size: [1:1]}\n", "m.yaml:3:10"),
    ],
)
def test_so_is_one_in_rows_defaults_and_factors(said: Said, text: str, place: str) -> None:
    """It is told where it stands first, and once."""
    (warning,) = [warning for warning in said(HEAD + text) if "is not sent" in warning]
    assert warning.startswith(f"{place}: size: ")


@pytest.mark.parametrize(
    "text",
    [
        'prompt: "a {size} cat"\nrows: [{size: small}]\n',
        "prompt: x\nvariables: [size]\nrows: [{size: small}]\n",
        'prompt: x\nid: "{size}"\nrows: [{size: small}]\n',
        "table: t.csv\nwhere: {size: small}\n",
        "table: t.csv\ncolumns: {shape: size}\n",
        "prompt: x\nrows: [{style: ink}]\n",
    ],
)
def test_a_name_that_is_used_is_only_a_name(tmp_path: Path, said: Said, text: str) -> None:
    """It is in the prompt, picks rows, or was declared."""
    (tmp_path / "t.csv").write_text("prompt,size\nx,small\n")
    assert said(HEAD + text) == []


def test_a_default_of_the_command_line_that_means_a_setting_elsewhere(tmp_path: Path) -> None:
    """It is no column, and the field that is meant does not look like it."""
    path = tmp_path / "t.csv"
    path.write_text("prompt\nx\n")
    with pytest.raises(UsageError, match="Did you mean 'aspect_ratio'"):
        open_manifest(path, catalog=load_catalog(), dialect="evolink", beside=Beside({"size": "1:1"}))


def test_a_prompt_of_a_table_is_no_template(tmp_path: Path, said: Said) -> None:
    """The first that names a column in braces is told, else the first with any."""
    text = "prompt,style\na {cat},ink\na {style:upper} cat,ink\na {style} dog,oil\n"
    (warning,) = said(text, "t.csv")
    assert warning.startswith("t.csv:3: prompt: '{style}' is sent as it stands")
    (warning,) = said(HEAD + "table: t.csv\n")
    assert warning.startswith("t.csv:3: prompt: ")
    (warning,) = said("prompt,style\na {cat},ink\n", "t.csv")
    assert "in 1 prompt of a table" in warning


def test_plain_text_that_a_comment_cuts_off(said: Said) -> None:
    """YAML ends plain text at a blank with # behind it."""
    text = HEAD + "prompt: poster of team #1 in paris\nrows:\n  - {id: é} # fine\n  - colour: #ff0\n"
    cut, empty = said(text)
    assert cut.startswith("m.yaml:2:9: 'poster of team' is all there is here")
    assert empty.startswith("m.yaml:5:")
    assert said(HEAD + 'prompt: "team #1" #one\nrows:\n  - {id: a}  # b\n  - {id: c#d}\n') == []


def test_an_anchor_that_nothing_refers_to(said: Said) -> None:
    """`&cat in hat` is the text `in hat`."""
    (warning,) = said(HEAD + "prompt: &cat in hat\n")
    assert warning.startswith("m.yaml:2:9: &cat is no text")
    first, second = said(HEAD + "prompt: &a x\nrows: &a [{id: q, x: &b z}, {x: *b}]\n")
    assert (first[:11], second[:11]) == ("m.yaml:2:9:", "m.yaml:3:7:")


def test_anchors_that_are_used_are_none_of_its_business(said: Said) -> None:
    """Of a text, a list and a mapping."""
    head = "defaults: &d {model: nano-banana-beta, a: &x y}\n"
    text = head + "prompt: '{a}'\nblocks: [{defaults: *d}, {rows: [{a: *x}]}]\n"
    assert said(text) == []


@pytest.mark.parametrize(("slip", "used"), [("cty", "city"), ("mod", "mood"), ("citty", "city")])
def test_a_short_name_one_slip_away_although_a_default_covers_it(said: Said, slip: str, used: str) -> None:
    """Each row would be made with the default."""
    head = f"defaults: {{model: nano-banana-beta, {used}: there}}\n"
    (warning,) = said(head + f"prompt: 'a {{{used}}}'\nrows: [{{{slip}: x}}]\n")
    assert warning.endswith(f"{slip}: no template uses it; did you mean {used!r}?")


def test_two_words_of_three_letters_are_two_names(said: Said) -> None:
    """`cat` is no `car`."""
    assert said(HEAD + "prompt: '{car}'\nrows: [{car: x, cat: y}]\n") == []


def test_empty_columns_without_a_name_are_none(tmp_path: Path) -> None:
    """Spreadsheets write them behind the last one, and pandas may write one before the first."""
    path = tmp_path / "t.csv"
    path.write_text("prompt,,city,\na,,x,\n,,,\nb, ,y,\n")
    assert [(d.request.prompt, dict(d.variables)) for d in read(path)] == [
        ("a", {"city": "x"}),
        ("b", {"city": "y"}),
    ]


def test_a_column_without_a_name_that_has_cells_is_refused(tmp_path: Path) -> None:
    """Once, with its number; the first is an index that pandas writes, and is left out."""
    path = tmp_path / "t.csv"
    path.write_text("prompt,\na,\nb,c\nd,e\n")
    assert complaints(path) == ["t.csv:1: column 2 has no name, and it has cells"]
    path.write_text(",prompt\n0,a\n1,b\n")
    manifest = opened(path)
    assert [draft.request.prompt for draft in manifest.drafts(manifest.problem_log())] == ["a", "b"]
    assert manifest.warnings == ["t.csv: column 1 has no name and is left out (pandas writes its index so)"]


def test_cells_that_begin_with_a_space_are_told(said: Said) -> None:
    """They are taken as written, and few mean that; one of many is none of a habit."""
    (warning,) = said("prompt, city\na, x\nb, y\nc,z\n", "t.csv")
    assert warning.startswith("t.csv: cells begin with a space")
    assert said("prompt,city\na, x\nb,y\nc,z\n", "t.csv") == []
    assert said("prompt\tcity\na\t x\n", "t.tsv") == []
    assert said("prompt, city\na, x\n", "t.csv") == said(HEAD + "table: t.csv\n") == [warning]
