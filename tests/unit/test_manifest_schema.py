"""The JSON Schema that editors use: made from the code, true to what `plan` accepts, and of help."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.cli import commands
from nanobanana_batch.errors import UsageError
from nanobanana_batch.jobs.connection import known_models
from nanobanana_batch.manifest import open_manifest
from nanobanana_batch.manifest.schema import manifest_schema
from nanobanana_batch.manifest.words.names import BLOCK_KEYS, is_secret
from nanobanana_batch.model import REQUEST_FIELDS
from nanobanana_batch.problems import ProblemLog
from tests.unit.bad_manifests import Case, cases

ROOT = Path(__file__).parents[2]
CATALOG = load_catalog()
SCHEMA = manifest_schema(known_models(None))
VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA)
MANIFESTS = sorted([*ROOT.glob("manifests/*.yaml"), *ROOT.glob("pipelines/**/*.yaml")])
FLASH = "gemini-3.1-flash-image-preview"


class EditorLoader(yaml.SafeLoader):
    """Reads YAML 1.2 with its core types, as editors do."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for tag, pattern, first in (
    ("null", r"^(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    ("float", r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("merge", r"^<<$", ["<"]),
):
    EditorLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)
EditorLoader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def with_text_keys(value: Any) -> Any:
    """A key is always a text in an editor."""
    if isinstance(value, dict):
        return {_key(key): with_text_keys(item) for key, item in value.items()}
    return [with_text_keys(item) for item in value] if isinstance(value, list) else value


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def faults(text: str) -> list[str]:
    """What an editor marks in this manifest."""
    content = with_text_keys(yaml.load(text, Loader=EditorLoader))
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in faults_in(content)]


def faults_in(content: object) -> list[jsonschema_rs.ValidationError]:
    return list(VALIDATOR.iter_errors(content))


def plan_refuses(path: Path) -> bool:
    """Whether `plan` finds a problem with this manifest; anything else than problems is an error here."""
    log = ProblemLog()
    try:
        manifest = open_manifest(path, catalog=CATALOG, dialect="evolink")
        for number, _ in enumerate(manifest.drafts(log)):
            if number > 200:
                break
    except UsageError:
        return True
    return bool(log)


def test_it_is_a_schema() -> None:
    """Of the draft that it names, and found under no address of anyone's."""
    jsonschema_rs.meta.validate(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"].startswith("urn:")


def patterns_in(rule: Any) -> Iterator[str]:
    if isinstance(rule, list):
        for item in rule:
            yield from patterns_in(item)
    elif isinstance(rule, dict):
        yield from (rule["pattern"],) if isinstance(rule.get("pattern"), str) else ()
        yield from rule.get("patternProperties", ())
        for item in rule.values():
            yield from patterns_in(item)


def test_its_patterns_are_read_alike_everywhere() -> None:
    """JavaScript takes no escape that is not needed, and an editor that finds one takes no schema at all."""
    patterns = set(patterns_in(SCHEMA))
    assert len(patterns) > 5
    escaped = {escape for pattern in patterns for escape in re.findall(r"\\(.)", pattern)}
    assert escaped <= set("sSx-.{}\\")


def test_what_is_shipped_is_what_the_command_prints() -> None:
    """`nanobanana-batch schema > nanobanana_batch/manifest/manifest.schema.json` brings it up to date."""
    printed = CliRunner().invoke(commands, ["schema"]).stdout
    shipped = resources.files("nanobanana_batch.manifest").joinpath("manifest.schema.json")
    assert shipped.read_text(encoding="utf-8") == printed
    assert json.loads(printed) == SCHEMA


def test_every_key_is_there_and_explained() -> None:
    """A key that is added to the language without a word for editors is noticed here."""
    assert set(SCHEMA["properties"]) == {*BLOCK_KEYS, "name", "blocks"}
    assert set(SCHEMA["$defs"]["block"]["properties"]) == set(BLOCK_KEYS)
    assert set(REQUEST_FIELDS) < set(SCHEMA["$defs"]["row"]["properties"])
    for name in {*BLOCK_KEYS, *REQUEST_FIELDS, "name", "blocks"}:
        assert SCHEMA["$defs"][name]["description"].endswith(".")
        assert SCHEMA["$defs"][name]["examples"]


def test_every_example_in_it_is_valid() -> None:
    """What an editor shows as an example may be copied."""
    for name in {*SCHEMA["properties"], *REQUEST_FIELDS, "levels"}:
        rule = {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
        for example in SCHEMA["$defs"][name]["examples"]:
            jsonschema_rs.Draft202012Validator(rule).validate(example)


def test_every_key_is_in_the_manual() -> None:
    """And the manual's list of them names no key that an editor would refuse."""
    text = (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8")
    listed = text.partition("\n## YAML\n")[2].partition("\n- `")[2].partition("\n\n")[0]
    heads = [line.partition(":")[0] for line in f"- `{listed}".splitlines() if line.startswith("- ")]
    named = {name for head in heads for name in re.findall(r"`(\w+)`", head)}
    assert named == set(SCHEMA["properties"])


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_are_valid_and_name_it(path: Path) -> None:
    """In the first line, where editors look, by a path that leads to the shipped file."""
    text = path.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named
    assert (
        path.parent / named[1]
    ).resolve() == ROOT / "nanobanana_batch" / "manifest" / "manifest.schema.json"
    assert faults(text) == []


@pytest.mark.parametrize("page", ["README.md", "docs/manifest.md"])
def test_what_the_pages_show_is_valid(page: str) -> None:
    """Each block of YAML that is a manifest or a part of one; a provider's profile begins with `extends`."""
    shown = re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    manifests = [text for text in shown if not text.startswith("extends:")]
    assert manifests
    assert [faults(text) for text in manifests] == [[] for _ in manifests]


WRONG = {
    "a misspelt key": ("modle: x", "'modle'"),
    "a field at the top": ("model: x", "model:"),
    "a field beside blocks": ("blocks: [{resolution: 1K, rows: [{a: b}]}]", "blocks.0.resolution"),
    "a key of the top in a block": ("blocks: [{name: x}]", "'name'"),
    "a list where one text stands": ("rows: [{city: [Tokyo, Lagos]}]", "rows.0.city"),
    "a row that is a text": ("rows: [Tokyo]", "rows.0"),
    "no rows": ("rows: []", "rows"),
    "rows without a list": ("rows: {id: a}", "rows"),
    "two sources": ("rows: [{a: b}]\ntable: x.csv", "table"),
    "two other sources": ("table: x.csv\nfrom: ../outputs/a", "from"),
    "two sources in a block": ("blocks: [{rows: [{a: b}], from: x}]", "blocks.0.from"),
    "columns of nothing": ("columns: {a: b}", "columns"),
    "where of nothing, in a block": ("blocks: [{where: {a: b}, rows: [{a: b}]}]", "blocks.0.where"),
    "a table of another kind": ("table: x.xls", "table"),
    "an id for all rows": ("defaults: {id: a}", "defaults.id"),
    "an id with a slash": ("rows: [{id: a/b}]", "rows.0.id"),
    "a name with a slash": ("name: a/b", "name"),
    "variants by the word": ("variants: two", "variants"),
    "no variants": ("variants: 0", "variants"),
    "half a variant": ("rows: [{variants: 1.5}]", "rows.0.variants"),
    "the number of the variant as a variable": ("rows: [{variant: 1}]", "rows.0.variant"),
    "a name with a brace": ("rows: [{'a{b': 1}]", "rows.0"),
    "a key": ("defaults: {API-Key: x}", "defaults.API-Key"),
    "a password in a row": ("rows: [{passwords: x}]", "rows.0.passwords"),
    "neither yes nor no": ("defaults: {web_search: maybe}", "defaults.web_search"),
    "a factor without values": ("matrix: {style: []}", "matrix.style"),
    "a factor of one text": ("matrix: {style: ink}", "matrix.style"),
    "a factor with an empty value": ("matrix: {style: [ink, ]}\nzip: {a: [~]}", "zip.a"),
    "variants as a factor": ("matrix: {variants: [1, 2]}", "matrix.variants"),
    "a misspelt file": ("matrix: {style: {fiel: x.txt}}", "matrix.style"),
    "a range without an end": ("matrix: {n: {from: 1}}", "matrix.n"),
    "a range of words": ("zip: {n: {from: a, to: b}}", "zip.n"),
    "exclude without a list": ("exclude: {style: ink}", "exclude"),
    "exclude of no value": ("matrix: {a: [b, c]}\nexclude: [{a: []}]", "exclude.0.a"),
    "include of several values": ("matrix: {a: [b, c]}\ninclude: [{a: [d, e]}]", "include.0.a"),
    "an empty entry": ("rows: [{a: b}]\nexclude: [{}]", "exclude.0"),
    "a sample without a number": ("sample: {seed: 1}", "sample"),
    "a sample of none": ("sample: {n: 0}", "sample.n"),
    "a sample with another key": ("sample: {n: 1, size: 3}", "'size'"),
    "a seed that is a word": ("sample: {n: 2, seed: lucky}", "sample.seed"),
    "a lone brace": ("prompt: 'a {city'\nrows: [{city: Tokyo}]", "prompt"),
    "braces around nothing": ("prompt: a {} door", "prompt"),
    "a field as a variable": ("variables: [model]", "variables.0"),
    "variables without a list": ("variables: modell", "variables"),
    "blocks without a list": ("blocks: {rows: [{a: b}]}", "blocks"),
    "nothing in the manifest": ("[]", "[] is not"),
}
SOUND = {
    "numbers, truths and nothing": "rows: [{a: 1, b: 2.5, c: true, d: ~, variants: 2}]",
    "other spellings of yes": "defaults: {web_search: ' YES ', image_search: 0}",
    "a size that looks like a number": "defaults: {resolution: 512}",
    "models that a profile adds": "defaults: {model: next-year, resolution: 8K}",
    "words that may be declared": "variables: [key, modell]\nrows: [{key: C, modell: x, monkey: 1}]",
    "what blocks have from above": "table: x.CSV\nblocks: [{where: {a: [b, 1]}}, {columns: {b: c}}]",
    "texts that are one number": "matrix: {a: [1, 1.0]}",
    "a range down": "zip: {n: {from: '1', to: 0.5, step: -.1}}",
    "braces": "prompt: '{{{a}}} {b:upper} {{ }}'\nid: '{a}'\nimages: ['{{1}}.png', '{a}.png']",
    "what a block takes back": "exclude: [{a: b}]\nblocks: [{exclude: ~, include: ~, sample: ~}]",
    "exclude of several values": "matrix: {a: [b, c]}\nexclude: [{a: [b, 1], aspect_ratio: [1:1, 16:9]}]",
    "merged defaults": "blocks: [{defaults: &d {model: x}}, {defaults: {<<: *d, style: ink}}]",
}


@pytest.mark.parametrize("name", WRONG)
def test_an_editor_marks(name: str, tmp_path: Path) -> None:
    """The place that is wrong; `plan` refuses it as well, so an editor is never the stricter one."""
    text, place = WRONG[name]
    found = faults(text)
    assert [fault for fault in found if place in fault]
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    assert plan_refuses(path)


def first_file(case: Case) -> bytes | None:
    """The YAML manifest of a case, if it is one."""
    name = case.command[0]
    return case.files.get(name) if name.endswith((".yaml", ".yml")) else None


def is_marked(data: bytes) -> bool:
    """Whether an editor marks something, be it that it is no YAML."""
    try:
        return bool(faults(data.decode("utf-8-sig")))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return True


BOMB = "Laughs by the billion"
"""Editors give up on its aliases before any schema is asked; a validator would write them all out."""


@pytest.mark.parametrize("case", [c for c in cases() if first_file(c) and BOMB not in str(c)], ids=str)
def test_the_table_of_bad_manifests_says_what_an_editor_marks(case: Case) -> None:
    """The rest only `plan` finds."""
    data = first_file(case)
    assert data is not None
    assert is_marked(data) == case.marked


@pytest.mark.parametrize("name", SOUND)
def test_an_editor_lets_through(name: str) -> None:
    """What is text for a manifest may look like something else to an editor."""
    assert faults(SOUND[name]) == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "api",
                "x",
                "Key",
                "keys",
                "token",
                "Access",
                "SECRET",
                "s",
                "password",
                "-",
                "_",
                " ",
                ".",
                "mon",
            ]
        ),
        min_size=1,
        max_size=4,
    ).map("".join)
)
def test_secret_names_are_the_same_to_both(name: str) -> None:
    """But for `key` and `token`, which may be words."""
    may_be_words = re.fullmatch(r"[\W_]*(key|token)s?[\W_]*", name, re.I)
    marked = any(error.instance_path for error in faults_in({"rows": [{name: "x"}]}) if name.strip())
    if name.strip():
        assert marked == (is_secret(name) and not may_be_words)


TEXTS = st.sampled_from(["ink", "{city}", "{a|b}", "1K", "16:9", FLASH, "", "x.csv", "1", "{", "no", "a/b"])
SCALARS = st.one_of(TEXTS, st.integers(-2, 5), st.booleans(), st.none(), st.floats(0, 3))
LEVELS = st.one_of(
    st.lists(SCALARS, max_size=3),
    st.fixed_dictionaries({"from": SCALARS, "to": SCALARS}, optional={"step": SCALARS}),
    st.fixed_dictionaries({"file": TEXTS}),
    SCALARS,
)
NAMES = st.sampled_from(
    ["city", "style", "prompt", "model", "id", "variants", "images", "aspect_ratio", "a b"]
)
ROWS = st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(SCALARS, max_size=2)), max_size=4)
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "name": SCALARS,
    "defaults": ROWS,
    "prompt": SCALARS,
    "images": SCALARS,
    "variants": SCALARS,
    "rows": st.lists(ROWS, max_size=3),
    "table": TEXTS,
    "from": TEXTS,
    "columns": st.dictionaries(NAMES, SCALARS, max_size=2),
    "where": st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(SCALARS, max_size=2)), max_size=2),
    "zip": st.dictionaries(NAMES, LEVELS, max_size=2),
    "matrix": st.dictionaries(NAMES, LEVELS, max_size=3),
    "exclude": st.lists(ROWS, max_size=2),
    "include": st.lists(ROWS, max_size=2),
    "sample": st.dictionaries(st.sampled_from(["n", "seed"]), SCALARS, max_size=2),
    "id": SCALARS,
    "variables": st.lists(SCALARS, max_size=2),
}
KEYS = {name: st.one_of(values, st.none()) for name, values in KEYS.items()}
BLOCK = st.fixed_dictionaries({}, optional=KEYS)
ANYTHING = st.fixed_dictionaries({}, optional={**KEYS, "blocks": st.lists(BLOCK, max_size=2)})
USED = ("rows", "matrix", "zip", "include", "id", "images", "variables")
LIKELY = st.fixed_dictionaries(
    {"defaults": st.just({"model": FLASH}), "prompt": st.just("a door")},
    optional={name: KEYS[name] for name in USED},
)
any_number = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)


def test_what_plan_accepts_an_editor_does_not_mark(tmp_path: Path) -> None:
    """Where all is used; what is overridden or taken out may be wrong without `plan` looking at it."""
    path = tmp_path / "likely.yaml"
    accepted = 0

    @any_number
    @given(LIKELY)
    def agree(content: dict[str, Any]) -> None:
        nonlocal accepted
        path.write_text(json.dumps(content))
        if not plan_refuses(path):
            accepted += 1
            assert [error.message for error in faults_in(content)] == []

    agree()
    assert accepted


def test_what_an_editor_does_not_mark_never_makes_plan_stumble(tmp_path: Path) -> None:
    """It is accepted, or refused with problems."""
    path = tmp_path / "any.yaml"
    told = []

    @any_number
    @given(ANYTHING)
    def ends_well(content: dict[str, Any]) -> None:
        if not faults_in(content):
            path.write_text(json.dumps(content))
            told.append(plan_refuses(path))

    ends_well()
    assert told
