"""Templates in whole manifests: filters, images, what is unknown, and what is unused and still paid for."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.errors import ManifestError
from nanobanana_batch.manifest import Manifest, open_manifest
from nanobanana_batch.model import Draft
from nanobanana_batch.problems import ProblemLog

HEAD = "defaults: {model: nano-banana-beta}\n"
Load = Callable[[str], Manifest]
Rows = Callable[[str], list[Draft]]
Texts = Callable[[str], list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str) -> Manifest:
        path = tmp_path / "m.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return open_manifest(path, catalog=load_catalog(), dialect="evolink")

    return load


@pytest.fixture
def rows(load: Load) -> Rows:
    def rows(text: str) -> list[Draft]:
        log = ProblemLog()
        found = list(load(text).drafts(log))
        assert list(log) == []
        return found

    return rows


@pytest.fixture
def faults(load: Load) -> Texts:
    def faults(text: str) -> list[str]:
        log = ProblemLog()
        try:
            list(load(text).drafts(log))
        except ManifestError as error:
            return [str(problem) for problem in error.problems]
        return [str(problem) for problem in log]

    return faults


@pytest.fixture
def warnings(load: Load) -> Texts:
    def warnings(text: str) -> list[str]:
        manifest = load(text)
        log = ProblemLog()
        assert list(manifest.drafts(log))
        assert list(log) == []
        return manifest.warnings

    return warnings


def test_filters_in_prompt_images_and_id(rows: Rows) -> None:
    """The same everywhere; an id's values are made portable first."""
    text = (
        'prompt: "{style:a} of {city:upper}"\nimages: "https://x.org/{city:slug}.png"\nid: "{city:title}"\n'
    )
    (row,) = rows(HEAD + text + "rows: [{city: São Paulo, style: ink drawing}]\n")
    assert row.request.prompt == "an ink drawing of SÃO PAULO"
    assert row.request.images == ("https://x.org/sao-paulo.png",)
    assert row.id == "São-Paulo"


def test_a_row_may_have_a_name_with_a_colon(rows: Rows) -> None:
    """It stays the name that it was before there were filters."""
    (row,) = rows(HEAD + 'prompt: "{a:upper} {a}"\nrows: [{"a:upper": x, a: y}]\n')
    assert row.request.prompt == "x y"


def test_a_name_with_a_colon_that_a_row_lacks_is_no_filter(faults: Texts) -> None:
    """Or the row would silently be another request than its neighbours."""
    (found,) = faults(HEAD + 'prompt: "{a:upper} {a}"\nrows: [{"a:upper": x, a: y}, {a: y}]\n')
    assert "this row gives no a:upper" in found


def test_images_are_a_template_in_yaml(rows: Rows) -> None:
    """In defaults, rows and factors, as a text, a text of several, or a list."""
    base = "https://x.org/"
    (one,) = rows(
        f'prompt: x\ndefaults: {{model: nano-banana-beta, images: "{base}{{id}}.png"}}\nrows: [{{id: a}}]\n'
    )
    assert one.request.images == (f"{base}a.png",)
    text = HEAD + f'prompt: x\nrows: [{{n: 1, images: ["{base}{{n}}.png", "{base}{{{{n}}}}.png"]}}]\n'
    assert rows(text)[0].request.images == (f"{base}1.png", f"{base}{{n}}.png")
    text = (
        HEAD
        + f'prompt: x\nrows: [{{n: 1, m: 2}}]\nmatrix: {{images: ["{base}{{n}}.png|{base}{{m}}.png", ""]}}\n'
    )
    assert [row.request.images for row in rows(text)] == [(f"{base}1.png", f"{base}2.png"), ()]


def test_images_know_the_variant_and_the_prompt_knows_the_images(rows: Rows) -> None:
    """Images are written out first."""
    text = 'prompt: "like {images}"\nimages: "https://x.org/{variant}.png"\nvariants: 2\n'
    assert [row.request.prompt for row in rows(HEAD + text)] == [
        "like https://x.org/1.png",
        "like https://x.org/2.png",
    ]


def test_images_from_a_table_are_literal(tmp_path: Path, rows: Rows) -> None:
    """Like its prompts; a template beside the table fills them from its columns."""
    url = "https://x.org/{ref}.png"
    (tmp_path / "t.csv").write_text(f"ref,images\na,{url}\n")
    (row,) = rows(HEAD + 'table: t.csv\nprompt: "{ref}"\n')
    assert row.request.images == (url,)
    (tmp_path / "t.csv").write_text("ref\na\n")
    (row,) = rows(HEAD + f'table: t.csv\nprompt: "{{ref}}"\nimages: "{url}"\n')
    assert row.request.images == ("https://x.org/a.png",)


def test_a_row_without_what_its_images_want_is_never_sent_without_them(load: Load, faults: Texts) -> None:
    """An edit without its picture would be paid for as something else."""
    text = 'prompt: x\nimages: "https://x.org/{ref}.png"\nrows:\n  - {ref: a}\n  - {note: b}\n'
    drafts = load(HEAD + text).drafts(ProblemLog())
    assert [draft.request.images for draft in drafts] == [("https://x.org/a.png",)]
    (found,) = faults(HEAD + text)
    assert found.startswith("m.yaml:6: ")
    assert "the template wants {ref}, and this row gives no ref" in found


@pytest.mark.parametrize(
    ("images", "part"),
    [
        ("photos/{idd}.jpg", "unknown variable {idd}; variables here: city; did you mean '{id}'"),
        ("photos/{city.jpg", "lone '{'"),
        ("photos/{city:slog}.jpg", "did you mean 'slug'"),
        ("{images}", "images cannot hold {images}"),
        ("{prompt}.png", "images cannot hold {prompt}"),
    ],
)
@pytest.mark.parametrize("place", ["defaults", "row"])
def test_wrong_images_are_reported_once_where_they_stand(
    faults: Texts, images: str, part: str, place: str
) -> None:
    """Not as files that are missing."""
    if place == "defaults":
        text = f'images: "{images}"\nrows: [{{id: a, city: x}}, {{id: b, city: y}}]\n'
    else:
        text = f'rows:\n  - {{id: a, city: x, images: "{images}"}}\n'
    (found,) = faults(HEAD + 'prompt: "{city}"\n' + text)
    assert found.startswith("m.yaml:3:9: " if place == "defaults" else "m.yaml:4:30: ")
    assert part in found


def test_an_unknown_variable_lists_what_is_there(faults: Texts) -> None:
    """Also beside a suggestion, and a method of Python is understood as a filter."""
    (found,) = faults(HEAD + 'prompt: "{ctiy}"\nrows: [{city: a, mood: b}]\n')
    assert "unknown variable {ctiy}; variables here: city, mood; did you mean '{city}'?" in found
    (found,) = faults(HEAD + 'prompt: "{city.upper()}"\nrows: [{city: a}]\n')
    assert "did you mean '{city:upper}'?" in found


def test_a_factor_that_no_template_uses_is_paid_for_several_times(warnings: Texts) -> None:
    """Its place and a suggestion are named; it is still sent."""
    text = 'prompt: "a {colour} door"\nmatrix:\n  colour: [red]\n  colours: [red, green]\n'
    (warning,) = warnings(HEAD + text)
    assert warning == (
        "m.yaml:5:3: colours: no prompt, images or id uses it: its values make equal requests, and each is"
        " paid for; did you mean 'colour'?"
    )


@pytest.mark.parametrize(
    "text",
    [
        'prompt: "{a}"\nmatrix: {a: [x, y]}\n',
        "prompt: x\nmatrix: {a: [x]}\n",
        'prompt: x\nmatrix: {a: [x, y]}\nid: "{a}"\n',
        'prompt: x\nmatrix: {a: [x, y]}\nimages: "https://x.org/{a}.png"\n',
        "prompt: x\nmatrix: {aspect_ratio: [1:1, 16:9]}\n",
        'prompt: x\nmatrix: {a: [x, y]}\nrows: [{prompt: "{a}"}]\n',
        'matrix: {a: [x, y], prompt: ["{a}", "b {a}"]}\n',
        'prompt: "{a}"\nzip: {a: [x, y], label: [one, two]}\n',
        'prompt: "{view1}"\nrows: [{view1: x, view2: y, category: z, note: w}]\n',
        'prompt: "x {a}"\nrows: [{a: x, sub: y}, {a: z, b: w}]\n',
        'prompt: "{a}"\nblocks: [{rows: [{a: x}]}]\n',
        'prompt: "in {{braces}} and a__b__c __ __init"\n',
        'matrix: {a: [x, y]}\nrows: [{prompt: "{{{{a}}}}"}, {prompt: "{a}"}]\n',
    ],
)
def test_what_is_used_or_just_carried_is_no_warning(warnings: Texts, text: str) -> None:
    """Variables may be there for results.csv alone."""
    assert warnings(HEAD + text) == []


def test_nothing_of_a_zip_is_used(warnings: Texts) -> None:
    """Its names go together, so one used name is enough, and none is too few."""
    found = warnings(HEAD + "prompt: x\nzip: {a: [x, y], b: [z, w]}\n")
    assert [warning.split(": ")[1] for warning in found] == ["a", "b"]


def test_a_factor_beside_a_tables_own_prompts(tmp_path: Path, warnings: Texts) -> None:
    """It cannot change a literal prompt."""
    (tmp_path / "t.csv").write_text("prompt\nx\n")
    (warning,) = warnings(HEAD + "table: t.csv\nmatrix: {take: [a, b]}\n")
    assert "each is paid for" in warning


def test_a_default_that_no_template_uses(warnings: Texts) -> None:
    """Said once; not if one of several blocks uses it, nor without any template."""
    head = "defaults: {model: nano-banana-beta, mood: calm}\n"
    (warning,) = warnings(head + "prompt: x\nblocks: [{rows: [{a: b}]}, {rows: [{a: c}]}]\n")
    assert warning.startswith("m.yaml:1:43: mood: no template uses it")
    assert warnings(head + 'prompt: x\nblocks: [{rows: [{a: b}]}, {prompt: "{mood}"}]\n') == []


def test_a_default_beside_literal_prompts_is_only_carried(tmp_path: Path, warnings: Texts) -> None:
    """There is no template that could use it."""
    (tmp_path / "t.csv").write_text("prompt\nx\n")
    assert warnings("defaults: {model: nano-banana-beta, source: me}\ntable: t.csv\n") == []


def test_a_name_in_rows_one_slip_away_from_a_used_one(tmp_path: Path, warnings: Texts) -> None:
    """The row would be made with the default, and paid for."""
    head = 'defaults: {model: nano-banana-beta, mood: calm}\nprompt: "{mood}"\n'
    (warning,) = warnings(head + "rows:\n  - {a: x}\n  - {moood: wild}\n")
    assert warning == "m.yaml:5:6: moood: no template uses it; did you mean 'mood'?"
    (tmp_path / "t.csv").write_text("Mood\nx\n")
    (warning,) = warnings(head + "table: t.csv\n")
    assert warning == "m.yaml:3:1: Mood: no template uses it; did you mean 'mood'?"


def test_doubled_braces_around_a_variable(warnings: Texts, rows: Rows) -> None:
    """Literal braces by the format, a value in Jinja: said once, whichever row it is in."""
    text = (
        HEAD
        + 'rows:\n  - {city: x, prompt: "a {{ city|upper }}"}\n  - {city: y, prompt: "b {{ city|upper }}"}\n'
    )
    (warning,) = warnings(text)
    assert warning.startswith("m.yaml:3:23: prompt: '{{city|upper}}' stands for braces")
    assert warning.endswith("did you mean '{city}'?")
    assert rows(text)[0].request.prompt == "a { city|upper }"


def test_what_looks_like_a_wildcard_is_sent_as_it_stands(warnings: Texts, rows: Rows) -> None:
    """With a way to have it."""
    text = HEAD + 'prompt: "a __colour__ door"\n'
    (warning,) = warnings(text)
    assert "'__colour__' is sent as it stands" in warning
    assert "`matrix: {colour: {file: colour.txt}}`" in warning
    assert rows(text)[0].request.prompt == "a __colour__ door"


def test_alternatives_are_refused_with_a_way_to_have_them(faults: Texts) -> None:
    """A prompt with a literal bar in braces is never sent by mistake."""
    for prompt in ("a {red|green} door", "a {2$$red|green|blue}", "{a {style} door|an arch}"):
        (found,) = faults(HEAD + f'prompt: "{prompt}"\nrows: [{{style: x}}]\n')
        assert "list them under `matrix`" in found


def test_values_are_never_read_as_templates(rows: Rows) -> None:
    """Of a variable, a factor or an image's name."""
    text = (
        'prompt: "{a} {b}"\nimages: "https://x.org/{a}"\nrows: [{a: "{b:upper}"}]\nmatrix: {b: ["{{a}}"]}\n'
    )
    (row,) = rows(HEAD + text)
    assert (row.request.prompt, row.request.images) == ("{b:upper} {{a}}", ("https://x.org/{b:upper}",))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("rows: [{city: a}, {city: b, images: ~}, {city: c, images: null}]\n", "m.yaml:4:37: images"),
        ("rows: [{city: a}]\nblocks: [{}, {images: }, {images: x}]\n", "m.yaml:5:23: images"),
        ("rows: [{city: a}]\nblocks: [{defaults: {images: ~}}]\n", "m.yaml:5:30: images"),
        ("rows: [{city: ~, images: ''}, {city: b, note: ~}]\n", ""),
    ],
)
def test_null_over_a_default_is_worth_a_warning(load: Load, text: str, place: str) -> None:
    """It takes nothing back: who means no image would pay for one that is edited."""
    manifest = load(f'{HEAD}images: "https://x.org/1.png"\nprompt: x\n{text}')
    list(manifest.drafts(ProblemLog()))
    said = [warning for warning in manifest.warnings if "null gives nothing" in warning]
    assert said == (
        [f'{place}: null gives nothing, so that the default holds; write "" for an empty text']
        if place
        else []
    )
