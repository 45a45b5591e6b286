"""Lists from files of any kind, tables of styles, rows that are left out, and pictures as rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from nanobanana_batch.catalog import PROMPT_LIMIT
from nanobanana_batch.cli import main
from nanobanana_batch.errors import UsageError
from nanobanana_batch.manifest import Manifest
from nanobanana_batch.model import Draft
from tests.unit.tables import complaints, opened, read

A1111 = """\
name,prompt,negative_prompt
Ink,"ink drawing of {prompt}, fine lines",photo,
- No Text,"","text, watermark",
Plain,highly detailed
Ink,twice,
"""
"""As people share them: trailing commas, short rows, styles that are only negative."""


def planned(path: Path) -> tuple[Manifest, list[Draft]]:
    """A manifest whose rows are sound, and they."""
    manifest = opened(path)
    log = manifest.problem_log()
    drafts = list(manifest.drafts(log))
    assert list(log) == []
    return manifest, drafts


@pytest.mark.parametrize(
    ("name", "content", "how"),
    [
        ("s.txt", "# two\nink\n photo \n\nink\n", ""),
        ("styles", "ink\nphoto\n", ""),
        ("s.yaml", "- ink\n- photo\n", ""),
        ("s.csv", "n,style\n1,ink\n2,photo\n3,ink\n", ", column: style"),
        ("s.json", '["ink", "photo"]', ""),
        ("s.jsonl", '{"a": {"b": "ink"}}\n{"a": {"b": "photo"}}\n', ", column: a.b"),
    ],
)
def test_a_list_is_read_as_what_its_file_is(tmp_path: Path, name: str, content: str, how: str) -> None:
    """Repeated values once; what was left out is counted."""
    (tmp_path / name).write_text(content)
    (tmp_path / "m.yaml").write_text(f'matrix: {{style: {{file: {name}{how}}}}}\nprompt: "a {{style}} cat"\n')
    manifest, drafts = planned(tmp_path / "m.yaml")
    assert [draft.request.prompt for draft in drafts] == ["a ink cat", "a photo cat"]
    said = "\n".join(manifest.warnings)
    assert ("1 value that stands there already is left out" in said) == (content.count("ink") > 1)
    read = f"{name} (left out: 1 line that begins with #, blanks around 1 line)" if "#" in content else name
    assert manifest.reads == (read,)


def test_a_list_whose_first_line_names_its_column_says_so(tmp_path: Path) -> None:
    """Else the first value of a list without a header would be missed by nobody."""
    (tmp_path / "m.yaml").write_text('matrix: {style: {file: s.csv}}\nprompt: "a {style} cat"\n')
    (tmp_path / "s.csv").write_text("ink\nphoto\n")
    manifest, drafts = planned(tmp_path / "m.yaml")
    assert [draft.request.prompt for draft in drafts] == ["a photo cat"]
    (said,) = manifest.warnings
    assert said.startswith("s.csv: ink: its first row names the column, and is no value")
    (tmp_path / "s.csv").write_text("style\nphoto\n")
    manifest, drafts = planned(tmp_path / "m.yaml")
    assert (len(drafts), manifest.warnings) == (1, [])


@pytest.mark.parametrize(
    ("name", "content", "how", "problem"),
    [
        ("s.yaml", "styles:\n  - ink\n", "", "s.yaml:1:1: style: expected a list"),
        ("s.ini", "[a]\nink\n", "", "s.ini: style: a list has one value a line (.txt), or is a YAML list"),
        (
            "s.csv",
            "a,b\nink,x\n",
            "",
            "s.csv: style: `column:` says which column holds the values; allowed: a b",
        ),
        (
            "s.csv",
            "mood,b\nink,x\n",
            ", column: modo",
            "s.csv: style: no column 'modo'; did you mean 'mood'?",
        ),
        ("s.txt", "ink\n", ", column: a", "s.txt: style: it has no columns"),
        ("s.txt", "# none\n", "", "s.txt: style: the list is empty"),
    ],
)
def test_a_list_of_another_kind_is_refused(
    tmp_path: Path, name: str, content: str, how: str, problem: str
) -> None:
    """A YAML file read as lines would make paid rows of its dashes."""
    (tmp_path / name).write_text(content)
    (tmp_path / "m.yaml").write_text(f'matrix: {{style: {{file: {name}{how}}}}}\nprompt: "a {{style}} cat"\n')
    assert [each for each in complaints(tmp_path / "m.yaml") if each.startswith(problem)]


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_every_row_is_made_in_every_style(tmp_path: Path, ending: str) -> None:
    """`{prompt}` is filled, and a style without it is put behind, as the programs do that made the table."""
    content = A1111
    if ending == "json":
        rows = csv.DictReader(A1111.splitlines())
        content = json.dumps(
            [{key: each[key] or "" for key in ("name", "prompt", "negative_prompt")} for each in rows]
        )
    (tmp_path / f"styles.{ending}").write_text(content)
    (tmp_path / "prompts.txt").write_text("a {cat}\n")
    (tmp_path / "m.yaml").write_text(f"table: prompts.txt\nstyles: styles.{ending}\n")
    manifest, drafts = planned(tmp_path / "m.yaml")
    assert [(draft.request.prompt, draft.variables) for draft in drafts] == [
        ("ink drawing of a {cat}, fine lines", (("style", "Ink"),)),
        ("a {cat}, highly detailed", (("style", "Plain"),)),
    ]
    said = "\n".join(manifest.warnings)
    assert "1 style without a text or a name is left out" in said
    assert "1 style with a name that stands there already is left out" in said
    assert "negative_prompt: of 2 styles is not sent" in said


def test_a_style_makes_no_prompt_of_nothing(tmp_path: Path) -> None:
    """A blank prompt is refused or left out as it is without styles, and braces of another kind are told."""
    (tmp_path / "s.csv").write_text('name,prompt\nInk,"ink drawing of {prompt}"\nOdd,in the {Prompt} style\n')
    rows = 'rows: [{prompt: a}, {prompt: " "}, {prompt: "\\u200b"}]\n'
    path = tmp_path / "m.yaml"
    path.write_text(rows + "styles: {table: s.csv, only: Ink}\n")
    assert len(complaints(path)) == 2
    path.write_text(rows + "styles: s.csv\nskip: {empty_prompt: yes}\n")
    manifest, drafts = planned(path)
    assert [draft.request.prompt for draft in drafts] == ["ink drawing of a", "a, in the {Prompt} style"]
    assert "s.csv: styles: 1 style with braces around something else than prompt" in "\n".join(
        manifest.warnings
    )
    path.write_text(rows + "styles: {table: s.csv, only: []}\n")
    assert "expected at least one style" in complaints(path)[0]


def test_styles_are_chosen_named_and_combined_as_any_factor(tmp_path: Path) -> None:
    """With a template of one's own, and ids."""
    (tmp_path / "s.csv").write_text("title,text\nInk,ink {prompt}\nOil,oil {prompt}\nPen,pen {prompt}\n")
    (tmp_path / "m.yaml").write_text(
        "styles: {table: s.csv, template: text, name: title, only: [Ink, Pen]}\n"
        'prompt: "a {what}"\nrows: [{id: one, what: cat}, {id: two, what: dog}]\n'
        "exclude: [{what: dog, style: Ink}]\n"
    )
    _, drafts = planned(tmp_path / "m.yaml")
    assert [(draft.id, draft.request.prompt) for draft in drafts] == [
        ("one-ink", "ink a cat"),
        ("one-pen", "pen a cat"),
        ("two-pen", "pen a dog"),
    ]
    (tmp_path / "m.yaml").write_text("styles: {table: s.csv, only: [Inc]}\nprompt: a cat\n")
    assert any(
        "`template` and `name` say which are meant" in each for each in complaints(tmp_path / "m.yaml")
    )


def test_prompts_that_look_like_templates_are_sent_and_counted_once(tmp_path: Path) -> None:
    """In one warning; a table of styles taken for prompts is told what it is."""
    (tmp_path / "t.txt").write_text("a {red|green} door\na __colour__ door\na {} door\na door\n")
    manifest, drafts = planned(tmp_path / "t.txt")
    assert drafts[0].request.prompt == "a {red|green} door"
    assert manifest.warnings == [
        "t.txt:1: prompt: {…} or __…__ in 2 prompts of a table are sent as they stand"
    ]
    (tmp_path / "s.csv").write_text("name,prompt\nInk,ink {prompt}\nOil,oil {prompt}\n")
    (warning,) = planned(tmp_path / "s.csv")[0].warnings
    assert "filled by `styles:` of a YAML manifest; so are braces or __names__ in 1 more" in warning


def test_rows_without_a_usable_prompt_are_left_out_on_request(tmp_path: Path) -> None:
    """Counted with their places; else each is a problem that says how to leave it out."""
    (tmp_path / "t.csv").write_text(f"id,prompt\na,a cat\nb,\nc,{'x' * (PROMPT_LIMIT + 1)}\nd, \n")
    said = complaints(tmp_path / "t.csv")
    assert "t.csv:3: prompt: the prompt is empty; `--skip empty` leaves such rows out" in said
    assert said[1].endswith("; `--skip too-long` leaves such rows out")
    (tmp_path / "m.yaml").write_text("table: t.csv\nskip: {empty_prompt: true, too_long: yes}\n")
    manifest, drafts = planned(tmp_path / "m.yaml")
    assert [draft.id for draft in drafts] == ["a"]
    assert [(each.reason, each.rows, each.places) for each in manifest.skipped] == [
        ("empty_prompt", 2, "t.csv:3, 5"),
        ("too_long", 1, "t.csv:4"),
    ]
    assert "skip: 2 rows with an empty prompt are left out: t.csv:3, 5" in manifest.warnings
    (tmp_path / "m.yaml").write_text("table: t.csv\nskip: {emty_prompt: true, too_long: perhaps}\n")
    assert "did you mean 'empty_prompt'" in complaints(tmp_path / "m.yaml")[0]


def test_what_is_left_out_is_listed_by_plan_and_in_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And that table with the same option asks for the same rows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("id,prompt,city\na,a cat,Rome\nb,,Oslo\n")
    given = ("--provider", "local", "--defaults", "model=nano-banana-beta", "--skip", "empty")

    def plan(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["nanobanana-batch", "plan", *words, *given])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        return printed.out

    assert "1 row with an empty prompt is left out: t.csv:3" in plan("t.csv")
    assert json.loads(plan("t.csv", "--json"))["skipped"] == [
        {"reason": "empty_prompt", "rows": 1, "places": "t.csv:3"}
    ]
    assert "give a run of it the same --skip" in plan("t.csv", "--out-csv", "all.csv")
    with Path("all.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["id"], row["status"], row["skipped"], row["city"]) for row in rows] == [
        ("a", "new", "", "Rome"),
        ("b", "skipped", "empty_prompt", "Oslo"),
    ]
    assert "all: 1 row" in plan("all.csv")


def test_an_unknown_reason_is_refused(tmp_path: Path) -> None:
    """On the command line as well."""
    from nanobanana_batch.manifest.form.skips import skips_of

    assert skips_of(("empty,too-long",)) == {"empty_prompt", "too_long"}
    with pytest.raises(UsageError, match="it takes empty and too-long"):
        skips_of(("emtpy",))


def test_pictures_of_a_folder_are_rows_of_an_edit_run(tmp_path: Path) -> None:
    """With those below it, or those that a pattern finds; each named by its file."""
    for name in ("photos/a.png", "photos/a.jpg", "photos/trip/b 1.PNG", "photos/.c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name), 0, 0)).save(
            tmp_path / name, "PNG" if name.lower().endswith("g") else None
        )
    (tmp_path / "photos" / "notes.txt").write_text("not meant")
    (tmp_path / "m.yaml").write_text('images_from: photos/\nprompt: "{file} in ink"\n')
    _, drafts = planned(tmp_path / "m.yaml")
    assert [(draft.id, draft.request.images, draft.request.prompt) for draft in drafts] == [
        ("a", ("photos/a.jpg",), "a.jpg in ink"),
        ("a-png", ("photos/a.png",), "a.png in ink"),
        ("trip-b 1", ("photos/trip/b 1.PNG",), "b 1.PNG in ink"),
    ]
    (tmp_path / "m.yaml").write_text('images_from: photos/*.png\nprompt: "in ink"\nwhere: {file: a.png}\n')
    assert [draft.id for draft in read(tmp_path / "m.yaml")] == ["a"]
    (tmp_path / "photos" / "notes.txt").unlink()
    assert [draft.id for draft in read(tmp_path / "photos", prompt="in ink")] == ["a", "a-png", "trip-b 1"]
    (tmp_path / "m.yaml").write_text("images_from: fotos\nprompt: in ink\n")
    assert "did you mean 'photos'" in complaints(tmp_path / "m.yaml")[0]
    (tmp_path / "m.yaml").write_text("images_from: photos/*.webp\nprompt: in ink\n")
    assert complaints(tmp_path / "m.yaml")[0].startswith("photos/*.webp: there are no pictures")
