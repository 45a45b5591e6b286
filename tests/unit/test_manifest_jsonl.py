"""JSON Lines as programs write them: one object a line; what cannot be a row is named by line and key."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from nanobanana_batch.errors import ManifestError
from nanobanana_batch.manifest.read.records import MAX_COLUMNS
from tests.unit.tables import complaints, opened, read

URL = "https://x.org/1.png"


def table(folder: Path, *lines: str, name: str = "t.jsonl") -> Path:
    """A file of these lines."""
    path = folder / name
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_columns_are_the_keys_of_all_lines(tmp_path: Path) -> None:
    """In the order in which they first stand, also those that only a late line has."""
    path = table(
        tmp_path,
        '{"prompt": "one", "city": "Lagos"}',
        "",
        '{"id": "b", "prompt": "two", "mood": "busy", "aspect_ratio": "16:9"}',
    )
    manifest = opened(path)
    assert manifest.variables == ("city", "mood")
    first, second = read(path)
    assert (first.source, first.variables, first.id) == ("t.jsonl:1", (("city", "Lagos"),), None)
    assert (second.source, second.variables, second.id) == ("t.jsonl:3", (("mood", "busy"),), "b")
    assert second.request.aspect_ratio == "16:9"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("1", "1"),
        ("1.50", "1.50"),
        ("1E5", "1E5"),
        ("-0", "-0"),
        ("9" * 5000, "9" * 5000),
        ("true", "true"),
        ("false", "false"),
        (r'"a\tb\nc é \ud83c\udfa8"', "a\tb\nc é 🎨"),
        ('" "', None),
        ('""', None),
        ("null", None),
    ],
)
def test_values_are_text_as_written(tmp_path: Path, written: str, text: str | None) -> None:
    """A number keeps its digits, and what gives nothing is not given."""
    (draft,) = read(table(tmp_path, f'{{"prompt": "a", "n": {written}}}'))
    assert dict(draft.variables).get("n") == text


def test_prompt_is_literal_and_fields_are_fields(tmp_path: Path) -> None:
    """Braces are braces, flags may be booleans, and a count a number."""
    line = '{"prompt": "a {cat}", "web_search": false, "variants": 2, "id": "x"}'
    drafts = read(table(tmp_path, line, name="t.ndjson"), model="gemini-3-pro-image-preview")
    assert [(draft.id, draft.variant) for draft in drafts] == [("x", 1), ("x-v2", 2)]
    assert {(draft.request.prompt, draft.request.web_search) for draft in drafts} == {("a {cat}", False)}


def test_images_may_be_a_list(tmp_path: Path) -> None:
    """Or one text with bars, as in every table."""
    drafts = read(
        table(
            tmp_path,
            f'{{"prompt": "a", "images": ["{URL}", "https://x.org/a|b.png"]}}',
            f'{{"prompt": "b", "images": "{URL}|{URL}"}}',
            '{"prompt": "c", "images": []}',
        )
    )
    assert [draft.request.images for draft in drafts] == [(URL, "https://x.org/a|b.png"), (URL, URL), ()]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"prompt": "a", "images": [true]}', "t.jsonl: images: a column of type 'list'; one that is used"),
        ('{"prompt": "a", "images": [["x"]]}', "t.jsonl: images: a column of type 'list'; one that is used"),
        ('{"prompt": {"x": 1}}', "t.jsonl: prompt: a column of type 'object'; one that is used"),
        ('{"prompt": ["x", "y"]}', "t.jsonl:2: prompt: a list; only `images` may be one"),
        ('{"prompt": "a", "prompt": "b"}', "t.jsonl:2: the key 'prompt' stands there twice"),
        ('{"prompt": "a", "n": NaN}', "t.jsonl:2: NaN is no number that JSON knows"),
        ('["a"]', "t.jsonl:2: expected an object"),
        ('"a"', "t.jsonl:2: expected an object"),
        ('{"prompt": "a",}', "t.jsonl:2:16: not valid JSON"),
        ("{'prompt': 'a'}", "t.jsonl:2:2: not valid JSON"),
        ('{"prompt": "a"} {"prompt": "b"}', "t.jsonl:2:17: not valid JSON: Extra data"),
        (r'{"prompt": "a\u0000"}', "t.jsonl:2: prompt: the control character '\\x00' is not allowed"),
        (r'{"prompt": "a\ud83c"}', "t.jsonl:2: prompt: the half of a surrogate pair"),
        ('{"prompt": ' + "[" * 100_000, "t.jsonl:2: nested far too deeply"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str, problem: str) -> None:
    """With its column or key; the lines around it are read."""
    path = table(tmp_path, '{"prompt": "first"}', line, '{"prompt": "last"}')
    (found,) = complaints(path)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "t.jsonl: the table is empty"),
        (["{}"], "t.jsonl: the table is empty"),
        (["{", '  "prompt": "a"', "}"], "t.jsonl: objects over several lines"),
        (["prompt,city", "a,b"], "t.jsonl:1:1: not valid JSON"),
    ],
)
def test_what_is_no_table_at_all_is_said_once(tmp_path: Path, lines: list[str], problem: str) -> None:
    """Not once for every line of a file that is something else."""
    (found,) = [text for text in complaints(table(tmp_path, *lines)) if "no row can have" not in text]
    assert found.startswith(problem)


def test_a_misspelt_key_is_named_where_it_first_stands(tmp_path: Path) -> None:
    """Which may be far down in the file."""
    path = table(tmp_path, *['{"prompt": "a"}'] * 50, '{"promt": "a"}', '{"promt": "b"}')
    with pytest.raises(ManifestError, match=r"t\.jsonl:51: promt: .* did you mean 'prompt'"):
        opened(path)


def test_keys_without_end_are_refused(tmp_path: Path) -> None:
    """Where each line has keys of its own, the keys are data and no columns."""
    lines = [json.dumps({"prompt": "a", f"key {n}": "x"}) for n in range(MAX_COLUMNS + 10)]
    (problem, *_) = complaints(table(tmp_path, *lines))
    assert f"t.jsonl:{MAX_COLUMNS}: more than {MAX_COLUMNS} different keys" in problem


def test_a_file_that_gets_new_keys_while_it_is_read_is_a_problem(tmp_path: Path) -> None:
    """Never a row without what was added to it."""
    path = table(tmp_path, '{"prompt": "a"}')
    manifest = opened(path)
    table(tmp_path, '{"prompt": "a"}', '{"prompt": "b", "model": "other"}')
    log = manifest.problem_log()
    assert [draft.request.prompt for draft in manifest.drafts(log)] == ["a"]
    assert ["changed while it was read" in problem.message for problem in log] == [True]
    path.unlink()
    log = manifest.problem_log()
    assert list(manifest.drafts(log)) == []
    assert "cannot be read" in next(iter(log)).message


def test_what_pandas_writes_is_read(tmp_path: Path) -> None:
    """With gaps, numbers and characters that it escapes."""
    frame = pd.DataFrame({"prompt": ["a/b", "日本"], "n": [1.0, None], "ok": [True, False], "x": ["é", None]})
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    first, second = read(tmp_path / "t.jsonl")
    assert (first.request.prompt, dict(first.variables)) == ("a/b", {"n": "1.0", "ok": "true", "x": "é"})
    assert (second.request.prompt, dict(second.variables)) == ("日本", {"ok": "false"})


def test_columns_and_where_in_yaml(tmp_path: Path) -> None:
    """A table of any kind under our own names, and only the rows that are wanted, one value or several."""
    table(
        tmp_path,
        *[json.dumps({"Prompt": f"cat {n}", "year": 2020 + n, "photos": [URL]}) for n in range(4)],
        '{"Prompt": "no year"}',
    )
    (tmp_path / "m.yaml").write_text(
        "table: t.jsonl\ncolumns: {text: Prompt, images: photos}\n"
        'where: {year: [2021, 2023, ~]}\nprompt: "{text}!"\n'
    )
    drafts = read(tmp_path / "m.yaml")
    assert [draft.request.prompt for draft in drafts] == ["cat 1!", "cat 3!", "no year!"]
    assert [draft.request.images for draft in drafts] == [(URL,), (URL,), ()]
    assert drafts[0].source == "t.jsonl:2"
    (tmp_path / "m.yaml").write_text('table: t.jsonl\nwhere: {yaer: 1}\nprompt: "x"\n')
    assert any(
        "no column 'yaer'" in problem and "'year'" in problem for problem in complaints(tmp_path / "m.yaml")
    )
