"""From a YAML manifest to rows: templates, matrices, tables, ids, blocks, and what mistakes are told."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.errors import ManifestError, UsageError
from nanobanana_batch.manifest import Beside, Manifest, open_manifest
from nanobanana_batch.manifest.form.where import Condition
from nanobanana_batch.model import Draft
from nanobanana_batch.problems import ProblemLog

HEAD = "defaults: {model: nano-banana-beta}\n"
Load = Callable[..., Manifest]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str, **options: object) -> Manifest:
        path = tmp_path / "m.yaml"
        path.write_text(textwrap.dedent(text))
        dialect = str(options.pop("dialect", "evolink"))
        beside = Beside(**options)  # type: ignore[arg-type]
        return open_manifest(path, catalog=load_catalog(), dialect=dialect, beside=beside)

    return load


@pytest.fixture
def rows(load: Load) -> Callable[..., list[Draft]]:
    def rows(text: str, **options: object) -> list[Draft]:
        log = ProblemLog()
        found = list(load(text, **options).drafts(log))
        assert list(log) == []
        return found

    return rows


@pytest.fixture
def faults(load: Load) -> Callable[..., list[str]]:
    def faults(text: str, **options: object) -> list[str]:
        log = ProblemLog()
        try:
            list(load(text, **options).drafts(log))
        except ManifestError as error:
            return [str(problem) for problem in error.problems]
        return [str(problem) for problem in log]

    return faults


Rows = Callable[..., list[Draft]]
Faults = Callable[..., list[str]]


def test_rows_override_defaults(rows: Rows) -> None:
    """Fields, variables and the template itself; null means not given."""
    one, two, three = rows(
        """\
prompt: "{city} at {time}"
defaults: {model: nano-banana-beta, time: night, aspect_ratio: 16:9}
rows:
  - {id: a, city: Lagos}
  - {city: Tokyo, time: noon, aspect_ratio: 1:1}
  - {city: Oslo, prompt: "only {city}", time: ~}
"""
    )
    assert (one.request.prompt, one.request.aspect_ratio, one.id) == ("Lagos at night", "16:9", "a")
    assert (two.request.prompt, two.request.aspect_ratio, two.id) == ("Tokyo at noon", "1:1", None)
    assert three.request.prompt == "only Oslo"
    assert three.variables == (("time", "night"), ("city", "Oslo"))
    assert one.source == "m.yaml:4"


def test_order_is_rows_then_matrix_then_variants(rows: Rows) -> None:
    """The last factor is the fastest but for variants."""
    drafts = rows(HEAD + 'prompt: "{s}{c}"\nvariants: 2\nmatrix: {s: [a, b], c: [x, y]}\nrows: [{}, {}]\n')
    assert [d.request.prompt for d in drafts[:8]] == ["ax", "ax", "ay", "ay", "bx", "bx", "by", "by"]
    assert [d.variant for d in drafts[:4]] == [1, 2, 1, 2]
    assert len(drafts) == 16


def test_a_product_is_never_built(load: Load) -> None:
    """The first row of 10^12 is there at once."""
    factors = ", ".join(f"f{n}: [{', '.join(str(i) for i in range(10))}]" for n in range(12))
    manifest = load(HEAD + f'prompt: "{{f0}}"\nmatrix: {{{factors}}}\n')
    assert next(manifest.drafts(ProblemLog())).request.prompt == "0"


def test_field_in_the_matrix_sets_the_field(rows: Rows) -> None:
    """It is no variable, but may stand in a template."""
    manifest_rows = rows(HEAD + 'prompt: "in {aspect_ratio}"\nmatrix: {aspect_ratio: [1:1, 16:9]}\n')
    assert [d.request.aspect_ratio for d in manifest_rows] == ["1:1", "16:9"]
    assert [d.request.prompt for d in manifest_rows] == ["in 1:1", "in 16:9"]
    assert manifest_rows[0].variables == ()


def test_template_knows_braces_variant_and_id(rows: Rows) -> None:
    """And nothing else has a meaning in it."""
    text = HEAD + 'prompt: "{{{x}}} {id} {variant} %s $x {{}}"\nvariants: 2\nrows: [{id: a, x: "{y}"}]\n'
    assert [d.request.prompt for d in rows(text)] == ["{{y}} a 1 %s $x {}", "{{y}} a 2 %s $x {}"]


def test_block_scalar_is_the_same_prompt(rows: Rows) -> None:
    """However the text is written, it asks for the same image."""
    (one,) = rows(HEAD + "prompt: >\n  a cat\n  on a mat\n")
    (two,) = rows(HEAD + 'prompt: "a cat on a mat"\n')
    assert one.request == two.request


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("a {ctiy}", "did you mean '{city}'"),
        ("a {city.upper}", "unknown variable {city.upper}"),
        ("a {city!r:>10}", "unknown variable"),
        ("a {0}", "unknown variable {0}"),
        ("a { city", "lone '{'"),
        ("a city }", "lone '}'"),
        ("a {}", "names no variable"),
        ("a {prompt}", "inside of itself"),
        ("a {variants}", "did you mean '{variant}'"),
    ],
)
@pytest.mark.parametrize("place", ["top", "row"])
def test_wrong_templates_are_reported_once(faults: Faults, prompt: str, part: str, place: str) -> None:
    """At the place of the template, however many rows use it."""
    if place == "top":
        found = faults(HEAD + f'prompt: "{prompt}"\nrows: [{{city: a}}, {{city: b}}]\n')
    else:
        found = faults(HEAD + f'\nrows:\n  - {{city: a, prompt: "{prompt}"}}\n')
    assert len(found) == 1
    assert found[0].startswith("m.yaml:2:9: prompt:" if place == "top" else "m.yaml:4:23: prompt:")
    assert part in found[0]


def test_variable_that_a_row_lacks_names_the_row(faults: Faults) -> None:
    """It is the row that is wrong then."""
    (found,) = faults(HEAD + 'prompt: "{city} {mood}"\nrows:\n- {city: a, mood: b}\n- {city: c}\n')
    assert (
        found
        == "m.yaml:5: prompt: the template wants {mood}, and this row gives no mood; `defaults` may give one"
    )


def test_table_with_columns(tmp_path: Path, load: Load, rows: Rows) -> None:
    """Mapped columns go by our names, the others by their own; a mapped prompt is literal."""
    (tmp_path / "t.tsv").write_text('Prompt\tKind\tnote\n"a {b}\tx\t1\nc\ty\t2\n')
    text = HEAD + "table: t.tsv\ncolumns: {prompt: Prompt, tag: Kind}\n"
    assert load(text).variables == ("tag", "note")
    one, _ = rows(text)
    assert (one.request.prompt, one.source) == ('"a {b}', "t.tsv:2")
    assert one.variables == (("tag", "x"), ("note", "1"))
    (only,) = rows(text + "where: {tag: y}\n")
    assert only.request.prompt == "c"
    (only,) = rows(HEAD + 'prompt: "an {s}"\ntable: t.tsv\ncolumns: {s: Prompt}\nwhere: {Kind: x, note: 1}\n')
    assert only.request.prompt == 'an "a {b}'


def test_table_mistakes(tmp_path: Path, faults: Faults) -> None:
    """Each with its place and a suggestion."""
    (tmp_path / "t.csv").write_text("Prompt,tag,Kind,promt\na,b,c,d\n")

    def found(rest: str) -> str:
        return "\n".join(faults(HEAD + rest))

    assert "did you mean 'Prompt'" in found("table: t.csv\ncolumns: {prompt: Prompr}\n")
    assert "did you mean 'prompt'" in found("table: t.csv\nprompt: x\n")
    assert "map it too" in found("table: t.csv\ncolumns: {prompt: Prompt, tag: Kind}\n")
    assert "so does a template" in found("table: t.csv\nprompt: x\ncolumns: {prompt: Prompt}\n")
    assert "did you mean 'Kind'" in found("table: t.csv\ncolumns: {prompt: Prompt}\nwhere: {kind: a}\n")
    assert "there is no file" in found("table: nowhere.csv\n")
    assert "is no table" in found("table: t.doc\n")
    assert "save it as .xlsx or as CSV (UTF-8)" in found("table: t.XLS\n")
    slip = found("table: t.csv\nprompt: x\n")
    assert "`columns: {prompt: promt}`" in slip
    assert "`variables: [promt]`" in slip
    assert "needs a `table`" in found("prompt: x\nwhere: {a: b}\n")
    assert "rows and by the matrix" in found("table: t.csv\ncolumns: {prompt: Prompt}\nmatrix: {tag: [a]}\n")
    assert "one block" in found("table: t.csv\ncolumns: {prompt: Prompt}\nrows: [{}]\n")


@pytest.mark.parametrize(
    "text", ['prompt: "a {tier}"', 'id: "{tier}"\nprompt: x', 'matrix: {prompt: ["a {tier}"]}']
)
def test_a_column_that_is_called_otherwise_here_says_how(tmp_path: Path, faults: Faults, text: str) -> None:
    """Whoever renames a column and writes its old name has not misspelt anything."""
    (tmp_path / "t.csv").write_text("tier\nFuchs\n")
    (found,) = faults(f"{HEAD}table: t.csv\ncolumns: {{animal: tier}}\n{text}\n")
    assert "tier is called animal here (`columns`); did you mean '{animal}'?" in found


def test_ids_of_matrix_rows(rows: Rows) -> None:
    """A row's id grows by the factors' values; different values stay different."""
    matrix = 'matrix: {s: [In Oil, in-oil, "!"], aspect_ratio: [16:9]}\n'
    text = HEAD + 'prompt: "{s}"\nrows: [{id: a}]\nvariants: 2\n' + matrix
    assert [d.id for d in rows(text)] == [
        "a-in-oil-16-9",
        "a-in-oil-16-9-v2",
        "a-in-oil-2-16-9",
        "a-in-oil-2-16-9-v2",
        "a-3-16-9",
        "a-3-16-9-v2",
    ]
    assert [d.id for d in rows(HEAD + 'prompt: "{s}"\nmatrix: {s: [a]}\n')] == [None]


def test_id_template(rows: Rows) -> None:
    """Values are made portable; the variant is added unless the template has it."""
    text = HEAD + 'prompt: x\nvariants: 2\nrows: [{id: A b, city: "São/Paulo"}]\nid: "{id}_{city}"\n'
    assert [d.id for d in rows(text)] == ["A b_são-paulo", "A b_são-paulo-v2"]
    assert [d.id for d in rows(text.replace("_{city}", ".{variant}"))] == ["A b.1", "A b.2"]


def test_id_mistakes(faults: Faults) -> None:
    """A given id is refused as it is, a template like any other."""
    (found,) = faults(HEAD + "prompt: x\nrows:\n- {id: a/b}\n")
    assert found.startswith("m.yaml:4:8: id: 'a/b' cannot be an id")
    (found,) = faults(HEAD + 'prompt: x\nid: "{ctiy}"\nrows: [{city: a}]\n')
    assert "'{city}'" in found
    (found,) = faults(HEAD + 'prompt: x\nid: "{id}-x"\nrows: [{}]\n')
    assert "gives no id" in found
    (found,) = faults("prompt: x\ndefaults: {model: nano-banana-beta, id: a}\n")
    assert "beside `defaults`" in found


def test_exclude_takes_out_combinations(rows: Rows, faults: Faults) -> None:
    """An entry matches when all its values do."""
    text = HEAD + 'prompt: "{s}{c}"\nmatrix: {s: [a, b]}\nrows: [{c: x}, {c: y}]\nexclude: [{s: a, c: y}]\n'
    assert [d.request.prompt for d in rows(text)] == ["ax", "bx", "by"]
    assert "did you mean" in faults(text.replace("exclude: [{s: a", "exclude: [{modle: a"))[0]


def test_matrix_from_a_file(tmp_path: Path, rows: Rows, faults: Faults) -> None:
    """One value a line; comments and empty lines are left out."""
    (tmp_path / "s.txt").write_text("# styles\nink\n\n  oil {x}\r\n")
    text = HEAD + 'prompt: "{s}"\nmatrix: {s: {file: s.txt}}\n'
    assert [d.request.prompt for d in rows(text)] == ["ink", "oil {x}"]
    assert "did you mean 's.txt'" in faults(text.replace("s.txt", "t.txt"))[0]
    (tmp_path / "s.txt").write_text("ink\nink\n")
    assert [d.request.prompt for d in rows(text)] == ["ink"]


def test_blocks_add_up(rows: Rows, load: Load) -> None:
    """Top-level keys are their defaults."""
    text = """\
    prompt: "{city} {style}"
    defaults: {model: nano-banana-beta, style: ink}
    matrix: {aspect_ratio: [1:1, 16:9]}
    blocks:
      - rows: [{city: Lagos}]
      - rows: [{city: Oslo}]
        defaults: {style: oil}
        matrix: {}
      - {prompt: alone, variants: 2, matrix: ~}
    """
    assert [d.request.prompt for d in rows(text)] == ["Lagos ink"] * 2 + ["Oslo oil"] + ["alone"] * 2
    assert load(text).variables == ("style", "city")


def test_a_block_with_its_own_source_drops_that_of_the_top(tmp_path: Path, rows: Rows) -> None:
    """Sources never add up inside of a block."""
    (tmp_path / "t.csv").write_text("a\nx\n")
    text = HEAD + 'prompt: "{a}"\ntable: t.csv\ncolumns: {}\nblocks: [{rows: [{a: y}]}, {}]\n'
    assert [d.request.prompt for d in rows(text)] == ["y", "x"]


def test_images_as_list_or_text(rows: Rows) -> None:
    """In a row, in defaults, as a factor."""
    urls = ("https://x.org/a.png", "https://x.org/b.png")
    for given in (f"[{urls[0]}, {urls[1]}]", f'"{urls[0]}|{urls[1]}"'):
        assert rows(HEAD + f"prompt: x\nrows: [{{images: {given}}}]\n")[0].request.images == urls
    drafts = rows(HEAD + f'prompt: x\nmatrix: {{images: ["{urls[0]}", ""]}}\n')
    assert [d.request.images for d in drafts] == [urls[:1], ()]


def test_normalised_values(rows: Rows) -> None:
    """Spellings that mean the same make the same request, or an edit of spelling would pay again."""
    text = "defaults: {model: gemini-3.1-flash-image-preview, resolution: 512, web_search: no}\nprompt: x\n"
    (draft,) = rows(text, dialect="unified")
    assert (draft.request.resolution, draft.request.web_search) == ("0.5K", False)
    (draft,) = rows("defaults: {model: gemini-2.5-flash-image, web_search: no}\nprompt: x\n")
    assert (draft.request.model, draft.request.web_search) == ("nano-banana-beta", None)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("promt: x\n", "did you mean 'prompt'"),
        ("model: x\nprompt: y\n", "under `defaults`"),
        ("prompt: x\napi_key: sk-123\n", "holds no key"),
        ("prompt: x\nkey: sk-123\n", "holds no key"),
        ("prompt: x\nrows: [{Authorization: sk-123}]\n", "holds no key"),
        ("prompt: x\nrows: [{token: sk-123}]\n", "keep it by `variables: [token]`"),
        ("prompt: x\nfrom: ../outputs/a\n", "there is no folder"),
        ("prompt: x\nmatrix: {a: []}\n", "at least one"),
        ("prompt: x\nmatrix: {a: b}\n", "expected a list"),
        ("prompt: x\nmatrix: {a: [b, ~]}\n", "empty entry"),
        ("prompt: x\nmatrix: {a: [[b]]}\n", "expected a text"),
        ("prompt: x\nmatrix: {id: [a]}\n", "cannot be a factor"),
        ("prompt: x\nmatrix: [a]\n", "`name: value` pairs"),
        ("prompt: x\nrows: []\n", "at least one entry"),
        ("prompt: x\nrows: {a: b}\n", "at least one entry"),
        ("prompt: x\nrows: [a]\n", "`name: value` pairs"),
        ("prompt: x\nrows: [{a: [b]}]\n", "use `matrix`"),
        ("prompt: x\nrows: [{a: b}]\nmatrix: {a: [c]}\n", "rows and by the matrix"),
        ("prompt: x\nrows: [{apsect_ratio: 1:1}]\n", "did you mean 'aspect_ratio'"),
        ("prompt: x\nrows: [{variant: 1}]\n", "choose another name"),
        ("prompt: x\nvariables: [prompt]\n", "is a field"),
        ("prompt: x\nvariables: a\n", "list of names"),
        ("prompt: x\nname: a/b\n", "cannot name an output folder"),
        ("prompt: x\nname: [a]\n", "expected a text"),
        ("prompt: x\nblocks: [{name: a}]\n", "unknown key 'name'"),
        ("prompt: x\nblocks: [{blocks: []}]\n", "unknown key 'blocks'"),
        ("prompt: x\nvariants: many\n", "whole number"),
        ("prompt: x\ntable: [a]\n", "path of a table"),
        ("rows: [{a: b}]\n", "no row can have a prompt"),
        ('prompt: ""\n', "no prompt is given"),
        ("prompt: x\nexclude: [{}]\n", "every row"),
        ("prompt: x\nid: [a]\n", "expected a template"),
    ],
)
def test_mistakes_of_form(faults: Faults, text: str, part: str) -> None:
    """Each is said with its place; none is a traceback."""
    found = faults(HEAD + text)
    assert any(part in message for message in found), found
    assert all(message.startswith("m.yaml") for message in found)
    assert not any("sk-123" in message for message in found)


def test_declared_variables_may_look_like_fields(load: Load) -> None:
    """In the manifest or on the command line."""
    text = HEAD + "prompt: x\nrows: [{mode: a, key: b}]\n"
    assert load(text + "variables: [mode, key]\n").variables == ("mode", "key")
    assert load(text, variables=["mode", "key"]).variables == ("mode", "key")


def test_all_mistakes_of_form_are_found_at_once(faults: Faults) -> None:
    """One run shows them all."""
    found = faults("promt: x\nname: a/b\nrows: [{apsect_ratio: 1:1}]\nmatrix: {a: []}\n")
    assert len(found) == 5  # the four, and that no row can have a model; what `promt` means is plain


def test_shared_wrong_value_is_said_once_where_it_stands(faults: Faults) -> None:
    """A wrong default is one mistake, not one for every row."""
    rows = "".join(f"- {{a: {n}}}\n" for n in range(50))
    (found,) = faults(f"prompt: x\ndefaults:\n  model: nano-banana-beta\n  aspect_ratio: 7:7\nrows:\n{rows}")
    assert found.startswith("m.yaml:4:17: aspect_ratio: '7:7' is not allowed")
    assert "first met in m.yaml:6" in found


def test_unknown_model_needs_leave(load: Load, faults: Faults) -> None:
    """With it there is one warning for a model, not one for a row."""
    text = "prompt: x\nvariants: 5\ndefaults: {model: brand-new, resolution: 9K}\n"
    assert "unknown model 'brand-new'" in faults(text)[0]
    manifest = load(text, allow_unknown_model=True)
    drafts = list(manifest.drafts(ProblemLog()))
    assert {d.request.resolution for d in drafts} == {"9K"}
    assert len(manifest.warnings) == 1


def test_unknown_dialect_is_a_usage_error(load: Load) -> None:
    """It names those that there are."""
    with pytest.raises(UsageError, match="evolink, unified"):
        load("prompt: x\n", dialect="other")


def test_default_from_the_command_line_may_be_a_template(rows: Rows) -> None:
    """As in the manifest; it fills only what is not given."""
    text = HEAD + "rows: [{a: b}, {a: c, prompt: own}]\n"
    assert [d.request.prompt for d in rows(text, defaults={"prompt": "my {a}"})] == ["my b", "own"]


def test_a_value_of_where_that_no_row_has_is_worth_a_warning(tmp_path: Path, load: Load) -> None:
    """Once for each block and name, with what was probably meant; a value that some row has is enough."""
    (tmp_path / "t.csv").write_text("prompt,tag,note\na,Cat,1\nb,Dog,2\n")
    head = f"{HEAD}table: t.csv\n"

    def said(where: str, rows: int) -> list[str]:
        manifest = load(f"{head}{where}")
        assert manifest.warnings == []
        assert len(list(manifest.drafts(ProblemLog()))) == manifest.count() == rows
        return manifest.warnings

    assert said("where: {tag: [Cat, Dog]}\n", 2) == []
    assert said("where: {tag: [Dog, cat, bird]}\n", 1) == [
        "m.yaml:3:9: where: no row of t.csv has tag 'bird', 'cat'; there tag is 'Cat', 'Dog';"
        " did you mean 'Cat'?"
    ]
    assert said("where: {note: 3, tag: Cat}\n", 0) == [
        "m.yaml:3:9: where: no row of t.csv has note '3'; there note is '1', '2'"
    ]
    assert said("blocks: [{where: {tag: bird}}, {where: {tag: Cat}}]\n", 1) == [
        "m.yaml:3:19: where: no row of t.csv has tag 'bird'; there tag is 'Cat', 'Dog'"
    ]
    values = ", ".join(f"v{n}" for n in range(9))
    assert "'v4' and 4 more" in said(f"where: {{tag: [Cat, {values}]}}\n", 1)[0]


def test_what_rows_have_instead_is_remembered_in_small_memory() -> None:
    """A column may hold a million texts of a megabyte each."""
    condition = Condition("m.yaml:1:1", "x", frozenset("v"))
    for n in range(3000):
        assert not condition.holds(f"{n}" + "x" * (n % 3 * 200))
    assert len(condition.others) == 1000
    assert max(map(len, condition.others)) <= 200


def test_where_finds_the_image_of_a_list(tmp_path: Path, load: Load) -> None:
    """As `exclude` does: a list of one text is that text."""
    (tmp_path / "t.jsonl").write_text('{"prompt": "a", "images": ["https://x.org/1.png"]}\n{"prompt": "b"}\n')
    manifest = load(HEAD + 'table: t.jsonl\nwhere: {images: "https://x.org/1.png"}\n')
    assert [draft.request.prompt for draft in manifest.drafts(ProblemLog())] == ["a"]
