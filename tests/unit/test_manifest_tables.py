"""Tables as people really have them: read line by line, and every damaged line is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.errors import ManifestError, UsageError
from nanobanana_batch.manifest import open_manifest
from nanobanana_batch.problems import ProblemLog
from tests.unit.tables import complaints, opened, read

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_columns_are_id_fields_and_variables(write: Write) -> None:
    """An empty cell is not given; images are separated by bars; other columns are variables."""
    path = write(
        "t.csv",
        "id,prompt,aspect_ratio,images,city,mood\n"
        "a,one,16:9,https://x.org/1.png | https://x.org/2.png,Lagos,\n"
        ",two,,,,busy\n",
    )
    first, second = read(path)
    assert (first.id, first.source, first.request.aspect_ratio) == ("a", "t.csv:2", "16:9")
    assert first.request.images == ("https://x.org/1.png", "https://x.org/2.png")
    assert first.variables == (("city", "Lagos"),)
    assert (second.id, second.request.aspect_ratio, second.request.images) == (None, None, ())
    assert second.variables == (("mood", "busy"),)
    assert opened(path).variables == ("city", "mood")
    assert opened(path).name == "t"


def test_prompt_of_a_table_is_literal(write: Write) -> None:
    """Braces are braces, spaces stay."""
    assert read(write("t.csv", "prompt\n a {cat} }{ \n"))[0].request.prompt == " a {cat} }{ "


def test_bom_crlf_and_quoted_newlines(write: Write) -> None:
    """A row's source is the line where it begins."""
    path = write("t.csv", b'\xef\xbb\xbfprompt,city\r\n"two\r\nlines",a\r\n\r\n"say ""hi""",b\r\n')
    first, second = read(path)
    assert first.request.prompt == "two\r\nlines"
    assert (second.request.prompt, second.source) == ('say "hi"', "t.csv:5")


def test_tsv_has_no_quotes(write: Write) -> None:
    """A prompt may begin with a quote character."""
    path = write("t.tsv", '\ufeffprompt\tcity\r\n"G I G G L E" painted in\ta\r\n"open\tb\r\n')
    assert [d.request.prompt for d in read(path)] == ['"G I G G L E" painted in', '"open']


def test_quoted_tsv_is_recognised(write: Write) -> None:
    """A spreadsheet's export with quotes breaks rows apart; the message says what to do."""
    (first, *_) = complaints(write("t.tsv", 'prompt\tcity\n"two\nlines"\ta\n'))
    assert "t.tsv:2" in first
    assert "save it as CSV" in first


def test_ragged_rows_are_reported_and_the_rest_is_read(write: Write) -> None:
    """Cells where no column is, each with its line; missing last cells and empty ones more are none."""
    path = write("t.csv", "prompt,city\na\nb,c,d\ne,f\ng,h,,\n")
    log = ProblemLog()
    manifest = opened(path)
    assert [d.request.prompt for d in manifest.drafts(log)] == ["a", "e", "g"]
    assert [p.source for p in log] == ["t.csv:3"]
    assert any("1 row with fewer cells than the header" in said for said in manifest.warnings)
    assert all("header has 2" in p.message for p in log)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("prompt;price, EUR", ["prompt", "price, EUR"]),
        ("prompt,style;mood", ["prompt", "style;mood"]),
        ('prompt,"size; cm"', ["prompt", "size; cm"]),
        ("prompt\tcity, country", ["prompt", "city, country"]),
        ("sep=,\nprompt,a;b", ["prompt", "a;b"]),
        ("sep=;\r\nprompt;a,b", ["prompt", "a,b"]),
        ("sep=\t\nprompt\ta,b", ["prompt", "a,b"]),
        ('"sep=;"\nprompt;a,b', ["prompt", "a,b"]),
        ("\n\nprompt;city", ["prompt", "city"]),
        ("prompt", ["prompt"]),
    ],
)
def test_separator_is_told_from_the_header(write: Write, header: str, columns: list[str]) -> None:
    """The fields that are known tell which of several it is; a first line as Excel writes it says so."""
    assert ["prompt", *opened(write("t.csv", header + "\n")).variables] == columns


def test_header_is_not_split_at_other_separators_in_rows(write: Write) -> None:
    """Only the header decides: a prompt may hold any of them."""
    (draft,) = read(write("t.csv", "prompt;city\na cat, a dog;Rome\n"))
    assert (draft.request.prompt, draft.source) == ("a cat, a dog", "t.csv:2")
    assert "2 cells, but the header has 1" in complaints(write("u.csv", "prompt\na cat, a dog\n"))[0]


def test_blank_rows_are_skipped(write: Write) -> None:
    """Empty lines, and the empty cells that spreadsheets leave behind."""
    assert len(read(write("t.csv", "prompt,city\n\na,b\n,\n\n"))) == 1
    assert len(read(write("t.tsv", "prompt\tcity\n\na\tb\n\t\n\n"))) == 1


def test_malformed_quote_names_the_line(write: Write) -> None:
    """The next row is read all the same."""
    path = write("t.csv", 'prompt,city\n"a "b" c",d\ne,f\n')
    (problem,) = complaints(path)
    assert problem.startswith("t.csv:2")
    assert "twice" in problem


def test_quote_that_is_never_closed_names_where_the_row_begins(write: Write) -> None:
    """Also when the rest of the file is longer than a cell may be."""
    for rest in ("b,c\n", "b,c\n" * 100_000):
        first = complaints(write("t.csv", 'prompt,city\nx,y\n"a,d\n' + rest))[0]
        assert first.startswith("t.csv:3")
        assert "never closed" in first


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_undecodable_and_control_characters_name_the_line(write: Write, name: str) -> None:
    """One bad line costs that row only."""
    path = write(name, b"prompt\ngood\nbad \xff\nnul \x00\ngood again\n")
    log = ProblemLog()
    assert [d.request.prompt for d in opened(path).drafts(log)] == ["good", "good again"]
    assert [p.source for p in log] == [f"{name}:3", f"{name}:4"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("prompt,prompt\na,b\n", "twice"),
        (",\na,b\n", "column 2 has no name"),
        ("prompt|city\na|b\n", "separated by bars; this kind of file needs commas, semicolons or tabs"),
        ("sep=|\nprompt|city\n", "'|' cannot separate columns"),
        ("city;mood,time\na;b,c\n", "commas and semicolons, so that it cannot be told"),
        ("city\na\n", "no row can have a prompt"),
        ("prompt,api_key\na,b\n", "holds no key"),
        ("prompt,variant\na,1\n", "choose another name"),
    ],
)
def test_header_has_to_make_sense(write: Write, content: str, part: str) -> None:
    """Found on opening, before any row is read."""
    path = write("t.csv", content)
    with pytest.raises(ManifestError, match=part):
        opened(path)


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("promt", "prompt"),
        ("prompts", "prompt"),
        ("apsect_ratio", "aspect_ratio"),
        ("images_url", "images"),
        ("image_urls", "images"),
        ("modle", "model"),
        ("output_fromat", "output_format"),
    ],
)
def test_a_slip_is_an_error_unless_it_is_declared(write: Write, column: str, meant: str) -> None:
    """A misspelt field that became a variable would silently change what is paid for."""
    path = write("t.csv", f"{column},city\na,b\n")
    with pytest.raises(ManifestError) as caught:
        opened(path)
    assert meant in [problem.suggestion for problem in caught.value.problems]
    assert opened(path, (column,), prompt="a cat").variables == (column, "city")


def test_a_field_in_another_case_or_with_other_gaps_is_that_field(write: Write) -> None:
    """Said once; never called a typo; and a person may keep it as a variable."""
    path = write("t.csv", "ID,PROMPT,Aspect Ratio\nfox,a cat,16:9\n")
    manifest = opened(path)
    (draft,) = manifest.drafts(ProblemLog())
    assert (draft.id, draft.request.prompt, draft.request.aspect_ratio) == ("fox", "a cat", "16:9")
    said = "t.csv: columns are taken for our fields: ID is id, PROMPT is prompt, Aspect Ratio is aspect_ratio"
    assert manifest.warnings == [said]
    assert opened(path, ("PROMPT",), prompt="a dog").variables == ("PROMPT",)
    both = opened(write("t.csv", "prompt,Category,category\na cat,x,y\n"))
    assert both.variables == ("Category", "category")


@pytest.mark.parametrize("name", ["image", "input_image", "Image", "key", "token"])
def test_what_other_tools_call_a_picture_or_a_key_is_a_variable_with_a_hint(write: Write, name: str) -> None:
    """A table from elsewhere is not refused for it."""
    manifest = opened(write("t.csv", f"prompt,{name}\na cat,x.png\n"))
    assert manifest.variables == (name,)
    (warning,) = manifest.warnings
    ours = "images" if "mage" in name else "id"
    assert f"`--columns {ours}={name}`" in warning


@pytest.mark.parametrize("column", ["size", "style", "it", "seed", "role", "node", "text", "width"])
def test_other_names_are_variables(write: Write, column: str) -> None:
    """Words that only look a little like a field are the person's own."""
    assert opened(write("t.csv", f"prompt,{column}\na,b\n")).variables == (column,)


def test_booleans_in_any_usual_form(write: Write) -> None:
    """And what is neither is an error of its row."""
    words = ["true", "NO", "Yes", "off", "ON", "0", "1", "False"]
    path = write("t.csv", "prompt,web_search\n" + "".join(f"p,{w}\n" for w in words))
    model = "gemini-3-pro-image-preview"
    values = [d.request.web_search for d in read(path, model=model)]
    assert values == [True, False, True, False, True, False, True, False]
    assert "neither yes nor no" in complaints(write("u.csv", "prompt,web_search\np,maybe\n"))[0]


def test_variants_repeat_a_row(write: Write) -> None:
    """The first keeps the id, the others carry their number."""
    drafts = read(write("t.csv", "id,prompt,variants\na,one,3\n,two,2\n"))
    assert [(d.id, d.variant) for d in drafts] == [("a", 1), ("a-v2", 2), ("a-v3", 3), (None, 1), (None, 2)]


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "two", "²", "9999999999"])
def test_wrong_variants_are_reported(write: Write, count: str) -> None:
    """With everything else that is wrong in the row."""
    problems = complaints(write("t.csv", f"prompt,variants,aspect_ratio\np,{count},7:7\n"))
    assert [p.split(": ")[1] for p in problems] == ["variants", "aspect_ratio"]


def test_bad_id_says_what_is_allowed(write: Write) -> None:
    """It is not changed behind the person's back."""
    (problem,) = complaints(write("t.csv", "id,prompt\na/b,one\n"))
    assert problem.startswith("t.csv:2: id: 'a/b' cannot be an id")
    assert '/ \\ : * ? " < > |' in problem


def test_defaults_fill_what_is_not_given(write: Write) -> None:
    """A cell wins over the command line; an unknown name is a usage error."""
    path = write("t.csv", "prompt,aspect_ratio,city\na,1:1,\nb,,x\n")
    drafts = read(path, aspect_ratio="16:9", city="Oslo")
    assert [d.request.aspect_ratio for d in drafts] == ["1:1", "16:9"]
    assert [d.variables for d in drafts] == [(("city", "Oslo"),), (("city", "x"),)]
    with pytest.raises(UsageError, match="aspect_ratio"):
        opened(path, apsect_ratio="1:1")
    with pytest.raises(UsageError, match="no such field"):
        opened(path, id="x")


def test_no_model_anywhere_is_said_once(write: Write) -> None:
    """Not once for every row, and with the way to give one."""
    path = write("t.csv", "prompt\n" + "a\n" * 50)
    with pytest.raises(ManifestError, match="--defaults model") as caught:
        open_manifest(path, catalog=load_catalog(), dialect="evolink")
    assert caught.value.total == 1


def test_drafts_can_be_read_again(write: Write) -> None:
    """`plan` reads before `run` does."""
    manifest = opened(write("t.csv", "prompt\na\nb\n"))
    assert list(manifest.drafts(ProblemLog())) == list(manifest.drafts(ProblemLog()))


def test_a_file_that_changed_or_went_away_is_a_problem(write: Write) -> None:
    """Never a traceback, and never rows under wrong names."""
    path = write("t.csv", "prompt,city\na,b\n")
    manifest = opened(path)
    path.write_text("city,prompt\na,b\n")
    log = ProblemLog()
    assert list(manifest.drafts(log)) == []
    path.unlink()
    assert list(manifest.drafts(log)) == []
    assert log.total == 2


def test_rows_are_read_lazily(write: Write) -> None:
    """The first row is there before the last line is looked at."""
    path = write("t.csv", b"prompt\na\n" + b"b\n" * 100_000 + b"\xff\n")
    log = ProblemLog()
    drafts = opened(path).drafts(log)
    assert next(drafts).request.prompt == "a"
    assert not log


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A folder, a missing file, an ending that means nothing."""
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="a folder without rows"):
        opened(tmp_path / "folder.csv")
    with pytest.raises(UsageError, match="There is no manifest"):
        opened(tmp_path / "missing.csv")
    (tmp_path / "rows.xls").touch()
    with pytest.raises(UsageError, match=r"save it as .xlsx or as CSV \(UTF-8\)"):
        opened(tmp_path / "rows.xls")
    (tmp_path / "rows.doc").touch()
    with pytest.raises(UsageError, match=r"\.csv .*--format"):
        opened(tmp_path / "rows.doc")


@pytest.mark.parametrize("text", ["{Motiv} bei Nacht", "{ Motiv:upper }", "{{motiv}}", "a {Motiv:a} b {id}"])
@pytest.mark.parametrize("field", ["prompt", "images"])
def test_a_template_over_columns_is_not_sent_as_it_stands(write: Write, field: str, text: str) -> None:
    """Each row would be paid for with the name of its column in braces."""
    path = write("tiere.csv", "Motiv,prompt\nFuchs,a fox\n")
    with pytest.raises(ManifestError) as caught:
        opened(path, (), **{field: text})
    problem = next(problem for problem in caught.value.problems if problem.source == "--defaults")
    assert "otiv}' would be sent as it stands" in str(problem)
    assert f'needs a YAML manifest: `table: tiere.csv` with `{field}: "{text}"`' in str(problem)


def test_braces_that_name_no_column_are_a_default_as_written(write: Write) -> None:
    """A table's prompts are no templates, and neither is what stands for them."""
    (row,) = read(write("t.csv", "Motiv\nFuchs\n"), prompt='{"a": {}} {nichts}')
    assert row.request.prompt == '{"a": {}} {nichts}'


def test_a_table_without_prompts_is_told_both_ways_to_give_them(write: Write) -> None:
    """Another column, or a template; and no default that would be the same for every row."""
    path = write("tiere.csv", "id,Motiv,Ort\na,Fuchs,Wald\n")
    (problem,) = complaints(path)
    assert "in a YAML manifest with `table: tiere.csv`" in problem
    assert "`--columns prompt=YOURS`" in problem
    assert '`prompt: "{Motiv}, ..."`' in problem
    assert "--defaults" not in problem
    (problem,) = complaints(write("m.yaml", "table: tiere.csv\n"))
    assert "a YAML manifest" not in problem
    assert "`columns: {prompt: YOURS}`" in problem


def test_a_misspelt_column_says_how_to_keep_it(write: Write) -> None:
    """As it is typed: the name in quotes where it needs them."""
    (one, two) = complaints(write("t.csv", "prompt,Modle,Aspect Rato\na,b,c\n"))
    assert "take it by `--columns model=Modle`, or keep it as a variable by `--variables Modle`" in one
    assert "by `--variables 'Aspect Rato'`; did you mean 'aspect_ratio'?" in two
