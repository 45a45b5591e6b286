"""A variable that the row's model has as a setting is checked, typed, and part of the row's request."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.catalog import Catalog, load_catalog
from nanobanana_batch.errors import ManifestError
from nanobanana_batch.manifest import Beside, Manifest, open_manifest
from nanobanana_batch.model import Draft, Request, row_key
from tests.unit.earlier_run import Earlier, make_run

OWN = {
    "seed": "integer",
    "quality": ["low", "high"],
    "n": {"type": "integer", "min": "1", "max": "4"},
    "negative_prompt": "text",
    "mask_url": "url",
    "mode": ["fast", "slow"],
    "raw": "boolean",
}
HEAD = "defaults: {model: own}\nprompt: a\n"
Open = Callable[..., Manifest]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """One model that takes some settings, another that takes one of them, and the built-in ones."""
    models = {
        "own": {"dialects": {"evolink": {"aspect_ratios": ["1:1"], "extra": OWN}}},
        "other": {"dialects": {"evolink": {"extra": {"seed": {"type": "integer", "max": "9"}}}}},
    }
    found, findings = load_catalog().merged(models)
    assert findings == []
    return found


@pytest.fixture
def opened(tmp_path: Path, catalog: Catalog) -> Open:
    """A manifest of this text."""

    def opened(text: str, name: str = "m.yaml", **options: object) -> Manifest:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        beside = Beside(**options)  # type: ignore[arg-type]
        return open_manifest(path, catalog=catalog, dialect="evolink", beside=beside)

    return opened


def read(manifest: Manifest) -> list[Draft]:
    """Its rows, which have to be sound."""
    log = manifest.problem_log()
    drafts = list(manifest.drafts(log))
    assert list(log) == []
    return drafts


def only(manifest: Manifest) -> Draft:
    (draft,) = read(manifest)
    return draft


def faults(opened: Open, text: str, name: str = "m.yaml", **options: object) -> list[str]:
    """All that is wrong with its form and its rows."""
    try:
        manifest = opened(text, name, **options)
    except ManifestError as error:
        return [str(problem) for problem in error.problems]
    log = manifest.problem_log()
    list(manifest.drafts(log))
    return [str(problem) for problem in log]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "rows: [{seed: 7, quality: high}]\n",
        "defaults: {model: own, seed: 7, quality: high}\nprompt: a\n",
        HEAD + "matrix: {seed: [7], quality: [high]}\n",
        HEAD + "zip: {seed: [7], quality: [high]}\n",
        HEAD + "matrix: {seed: {from: 7, to: 7}}\nrows: [{quality: high}]\n",
        HEAD + "matrix: {quality: [high]}\nrows: [{seed: 7.0}]\n",
    ],
)
def test_a_setting_is_written_like_a_field(opened: Open, text: str) -> None:
    """In rows, defaults and factors; it stays a variable for templates and results."""
    draft = only(opened(text))
    assert draft.request.extra == (("quality", "high"), ("seed", 7))
    assert dict(draft.variables).keys() == {"seed", "quality"}


def test_a_setting_is_a_column(opened: Open) -> None:
    """An empty cell gives none; numbers that pandas wrote with a point are whole."""
    manifest = opened("model,prompt,seed,quality\nown,a,7.0,\nown,b,,low\n", "t.csv")
    assert [draft.request.extra for draft in read(manifest)] == [(("seed", 7),), (("quality", "low"),)]
    assert manifest.variables == ("seed", "quality")
    assert manifest.warnings == []


def test_a_setting_is_a_default_of_the_command_line(opened: Open) -> None:
    """Also where the table has no such column; it is carried to the results."""
    manifest = opened("model,prompt\nown,a\n", "t.csv", defaults={"seed": "7"})
    draft = only(manifest)
    assert draft.request.extra == (("seed", 7),)
    assert (manifest.variables, draft.variables) == (("seed",), (("seed", "7"),))


def test_a_template_uses_it_as_any_variable(opened: Open) -> None:
    """As it was written."""
    draft = only(opened('defaults: {model: own}\nprompt: "no {seed}"\nrows: [{seed: 07}]\n'))
    assert (draft.request.prompt, draft.request.extra) == ("no 07", (("seed", 7),))


def test_it_identifies_the_row_by_its_value(opened: Open) -> None:
    """Another seed is another image, 7 and 7.0 are the same one, and none is as it was before."""
    rows = "rows: [{seed: 7}, {seed: 7.0}, {seed: 8}, {seed: ''}]\n"
    seven, same, eight, none = (row_key(draft.request, 1) for draft in read(opened(HEAD + rows)))
    assert seven == same
    assert len({seven, eight, none}) == 3
    assert none == row_key(Request("own", "a"), 1)


def test_for_a_model_without_it_it_is_a_variable_as_ever(opened: Open) -> None:
    """The row is the one that it was before another model had it; that it is not sent is said once."""
    manifest = opened(
        "model,prompt,quality\nnano-banana-beta,a,high\nnano-banana-beta,b,low\nown,c,low\n", "t.csv"
    )
    first, _, own = read(manifest)
    assert first.request == Request("nano-banana-beta", "a")
    assert own.request.extra == (("quality", "low"),)
    assert manifest.warnings == [
        "quality: is not sent for nano-banana-beta, which has no such setting (own takes it)"
    ]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("defaults: {model: nano-banana-beta, seed: 7}\nprompt: a {seed}\n", {}),
        ("defaults: {model: nano-banana-beta, seed: 7}\nprompt: a\nvariables: [seed]\n", {}),
        ("defaults: {model: nano-banana-beta, seed: 7}\nprompt: a\n", {"variables": ("seed",)}),
    ],
)
def test_a_variable_that_is_known_to_be_one_needs_no_word(
    opened: Open, text: str, options: dict[str, object]
) -> None:
    """A template uses it, or the person has said so."""
    manifest = opened(text, **options)
    assert only(manifest).request.extra == ()
    assert manifest.warnings == []


def test_a_model_that_nobody_knows_gets_no_settings(opened: Open) -> None:
    """What they would be called there is not known; it is said."""
    manifest = opened("defaults: {model: new, seed: 7}\nprompt: a\n", allow_unknown_model=True)
    assert only(manifest).request == Request("new", "a")
    assert any("seed: is not sent for new" in warning for warning in manifest.warnings)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            "{seed: seven}",
            "^m.yaml:3:15: .*seed: 'seven' is not allowed by own at evolink; allowed: a whole",
        ),
        ("{quality: hihg}", "'hihg' is not allowed by own at evolink; did you mean 'high'?"),
        ("{n: 5}", "'5' is not allowed .*a whole number from 1 to 4"),
        (
            "{n: 2}",
            "2 images of one task are all paid for, and only the first can be fetched yet; .*`variants: 2`",
        ),
        ("{mask_url: mask.png}", "'mask.png' is a local file; mask_url takes a public URL"),
        ("{raw: perhaps}", "'perhaps' is not allowed"),
        ("{model: other, seed: 10}", "'10' is not allowed by other"),
    ],
)
def test_what_a_model_does_not_allow_is_told_with_its_place(opened: Open, row: str, said: str) -> None:
    """Before anything is sent; the ranges are the model's."""
    (found,) = faults(opened, HEAD + f"rows: [{row}]\n")
    assert re.search(said, found)


def test_a_wrong_value_that_rows_share_is_told_once_where_it_stands(opened: Open) -> None:
    """In the default or the factor, not in each row."""
    (found,) = faults(opened, "defaults: {model: own, seed: x}\nprompt: a\nrows: [{id: b}, {id: c}]\n")
    assert found.startswith("m.yaml:1:30: ")
    (found,) = faults(opened, HEAD + "matrix: {quality: [low, best]}\nrows: [{id: b}, {id: c}]\n")
    assert found.startswith("m.yaml:3:25: ")


def test_a_name_that_looks_like_a_field_is_none_where_a_model_has_it(opened: Open) -> None:
    """`mode` is one slip from `model`."""
    assert only(opened(HEAD + "rows: [{mode: fast}]\n")).request.extra == (("mode", "fast"),)
    assert only(opened("model,prompt,mode\nown,a,fast\n", "t.csv")).request.extra == (("mode", "fast"),)
    assert "misspelt" in faults(opened, HEAD + "rows: [{models: own}]\n")[0]


@pytest.mark.parametrize("name", ["Seed", "seeds", "negativ_prompt", "Negative-Prompt"])
def test_a_name_near_to_a_setting_is_told(opened: Open, name: str) -> None:
    """It is a variable, and nobody would notice that it is not sent."""
    setting = "seed" if "eed" in name else "negative_prompt"
    said = f"is a variable here and is not sent; a setting is called `{setting}`"
    assert [said in warning for warning in opened(f"model,prompt,{name}\nown,a,7\n", "t.csv").warnings] == [
        True
    ]
    assert [said in warning for warning in opened(HEAD + f"rows: [{{{name}: 7}}]\n").warnings] == [True]
    found = opened(f"defaults: {{model: own, {name}: 7}}\nprompt: a\n").warnings
    assert [said in warning for warning in found] == [True]


def test_a_setting_that_is_used_needs_no_template(opened: Open) -> None:
    """Its values make different requests, and a default of it does something."""
    assert opened(HEAD + "matrix: {seed: [1, 2], quality: [low, high]}\n").warnings == []
    assert opened("defaults: {model: own, seed: 1}\nprompt: a\n").warnings == []


def test_a_setting_at_the_top_is_told_where_it_belongs(opened: Open) -> None:
    """As a field is."""
    (found,) = faults(opened, HEAD + "seed: 7\n")
    assert "'seed' is a setting of some models; it belongs under `defaults`" in found


def test_braces_in_a_setting_are_text(opened: Open) -> None:
    """A variable is no template; who takes it for one is told, once."""
    text = (
        HEAD + 'rows: [{negative_prompt: "no {city}", city: Rome}, {negative_prompt: "{city}", city: Oslo}]\n'
    )
    manifest = opened(text)
    assert read(manifest)[0].request.extra == (("negative_prompt", "no {city}"),)
    assert [warning for warning in manifest.warnings if "sent as it stands" in warning] == [
        "negative_prompt: '{city}' is sent as it stands; templates are `prompt`, `images` and `id`"
    ]
    assert opened(HEAD + 'rows: [{negative_prompt: "{x}"}]\n').warnings == []


@pytest.mark.parametrize(
    ("row", "priced_by"),
    [
        ("{seed: 7}", ""),
        ("{quality: high, seed: 7}", '{"quality": "high"}'),
        ("{raw: yes, mask_url: https://x.example/a.png}", '{"mask_url": true, "raw": true}'),
    ],
)
def test_a_request_says_what_its_price_may_depend_on(opened: Open, row: str, priced_by: str) -> None:
    """What chooses, not what varies; of an address, that there is one."""
    assert only(opened(HEAD + f"rows: [{row}]\n")).request.priced_by == priced_by


def test_what_comes_with_rows_of_another_run_is_told(opened: Open, tmp_path: Path) -> None:
    """Nobody has written it here, and it is sent; mapped to another name it is a variable again."""
    make_run(tmp_path / "first", [Earlier("a", {"seed": "7"})], ("seed",))
    text = 'from: first\ndefaults: {model: own}\nprompt: "{row.prompt}"\nimages: "{image}"\n'
    manifest = opened(text)
    assert only(manifest).request.extra == (("seed", 7),)
    (warning,) = [warning for warning in manifest.warnings if "seed" in warning]
    assert "comes with the other run's rows" in warning
    manifest = opened(text + "columns: {their_seed: seed}\n")
    assert only(manifest).request.extra == ()
    assert not [warning for warning in manifest.warnings if "seed" in warning]
