"""A model may call our fields otherwise and have settings of its own: data, read without guessing."""

from __future__ import annotations

import re

import pytest

from nanobanana_batch.catalog import Catalog, Extra, Finding, ModelRules, load_catalog, read_extra

SPLIT = {"values": {"1K": {"model": "y"}}}
PATH = "models.m.dialects.d"


def merged(**entry: object) -> tuple[Catalog, list[Finding]]:
    """A catalogue with one more model, and what is wrong with it."""
    return load_catalog().merged({"m": {"dialects": {"d": entry}}}, "mine.yaml")


def own(**entry: object) -> ModelRules:
    """A model in which nothing is wrong."""
    catalog, findings = merged(**entry)
    rules = catalog.rules("m", "d")
    assert findings == []
    assert rules is not None
    return rules


def setting(entry: object) -> Extra:
    """One setting in which nothing is wrong."""
    return own(extra={"x": entry}).extra["x"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("text", "a text"),
        ("integer", "a whole number"),
        ({"type": "integer", "min": "1", "max": "4294967295"}, "a whole number from 1 to 4294967295"),
        ({"type": "number", "min": "0.5"}, "a number, at least 0.5"),
        ({"type": "number", "max": "20", "default": "7.5"}, "a number, at most 20; 7.5 if not given"),
        ({"type": "boolean", "field": "model_params.raw"}, "true or false; sent as model_params.raw"),
        ("url", "a public URL"),
        (["low", "high"], "low high"),
        ({"allowed": ["low", "high"], "default": "low"}, "low high; low if not given"),
    ],
)
def test_a_setting_has_a_kind_a_range_or_a_list(entry: object, said: str) -> None:
    """The forms of a profile, as `models` tells them."""
    assert setting(entry).said_in_full == said


@pytest.mark.parametrize(
    ("allowed", "values"),
    [
        (["1", "2"], (1, 2)),
        (["0.5", "1"], (0.5, 1)),
        (["true", "false"], (True, False)),
        (["1", "auto"], ("1", "auto")),
        (["yes", "no"], ("yes", "no")),
    ],
)
def test_a_list_is_of_what_yaml_would_read(allowed: list[str], values: tuple[object, ...]) -> None:
    """A profile's texts have lost their quotes; who means texts that look like numbers gives the type."""
    found = setting(allowed).allowed
    assert [(type(value), value) for value in found] == [(type(value), value) for value in values]
    assert setting({"allowed": allowed, "type": "text"}).allowed == tuple(allowed)


@pytest.mark.parametrize(
    ("entry", "text", "value"),
    [
        ("integer", "7", 7),
        ("integer", "-7", -7),
        ("integer", "7.0", 7),
        ("integer", "9007199254740993", 9007199254740993),
        ("integer", "7.5", None),
        ("integer", "1e3", None),
        ("integer", "seven", None),
        ("integer", "\u0667", None),
        ("integer", "1_000", None),
        ({"type": "integer", "min": "1", "max": "4"}, "5", None),
        ({"type": "integer", "min": "1", "max": "4"}, "0", None),
        ("number", "7", 7),
        ("number", "7.50", 7.5),
        ("number", ".5", 0.5),
        ("number", "1e-05", 1e-05),
        ("number", "1e999", None),
        ("number", "nan", None),
        ("number", "inf", None),
        ("boolean", "Yes", True),
        ("boolean", "0", False),
        ("boolean", "maybe", None),
        (["low", "high"], "high", "high"),
        (["low", "high"], "HIGH", None),
        (["1", "2"], "2", 2),
        (["1", "2"], "3", None),
        ("text", "{7}", "{7}"),
    ],
)
def test_a_text_is_what_it_surely_means_or_nothing(entry: object, text: str, value: object) -> None:
    """What is sent is paid for: 7.0 of a table is 7, and nothing else is bent into shape."""
    found = setting(entry).read(text)
    assert (type(found), found) == (type(value), value)


def test_one_number_is_one_row() -> None:
    """However it is written: the row key holds the value."""
    for text in ("7", "7.0", "7.00", "07", "+7", "70e-1"):
        assert repr(setting("number").read(text)) == "7"


def wrong(entry: object, text: str, name: str = "x") -> Finding:
    """What is said of a text that cannot be sent."""
    rules = own(extra={name: entry})
    found = read_extra(rules.extra[name], text, rules)
    assert isinstance(found, Finding)
    assert found.field == name
    return found


def test_what_is_not_allowed_is_told_with_what_is() -> None:
    """The list, or the range; and what was probably meant."""
    found = wrong(["low", "medium"], "Medum")
    assert (found.allowed, found.suggestion) == (("low", "medium"), "medium")
    assert wrong({"type": "integer", "min": "1", "max": "4"}, "9").allowed == ("a whole number from 1 to 4",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mask.png", "is a local file"),
        ("{image}", "is a local file"),
        ("ftp://x.example/m.png", "is not an http or https URL"),
        ("data:image/png;base64,AAAA", "is not an http or https URL"),
        ("https://me:hunter2@x.example/m.png", "user name or password"),
        ("https:///m.png", "not a complete URL"),
    ],
)
def test_an_address_is_public_and_complete(text: str, said: str) -> None:
    """A local mask is not uploaded yet, and a path that is sent as a URL would be paid for."""
    found = wrong("url", text)
    assert re.search(said, found.message)
    assert "hunter2" not in found.message


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("n", "integer"),
        ("copies", {"type": "integer", "field": "n"}),
        ("copies", {"type": "integer", "field": "model_params.num_images"}),
        ("x", {"type": "integer", "images": "true"}),
        ("n", ["1", "2", "4"]),
    ],
)
def test_several_images_of_a_task_are_refused_while_only_one_is_fetched(name: str, entry: object) -> None:
    """All of them would be paid for."""
    rules = own(extra={name: entry})
    assert read_extra(rules.extra[name], "1", rules) == 1
    assert "`variants: 2`" in wrong(entry, "2", name).message


@pytest.mark.parametrize(
    ("entry", "path", "said"),
    [
        ("whole", "", "is not allowed"),
        ({}, "", "says not what it may be"),
        ({"typ": "text"}, ".typ", "unknown key"),
        ({"type": "float"}, ".type", "not allowed"),
        ({"type": ["text"]}, ".type", "not allowed"),
        ([], ".allowed", "not a list of values"),
        (["a", None], ".allowed", "not a list of values"),
        (["a", "a"], ".allowed", "twice"),
        (["1", "1.0"], ".allowed", "twice"),
        ({"type": "integer", "allowed": ["1", "many"]}, ".allowed", "not a whole number"),
        ({"type": "text", "min": "1"}, ".min", "goes with"),
        ({"min": "1", "max": "4"}, "", "says not what it may be"),
        ({"type": "integer", "min": "few"}, ".min", "not a whole number"),
        ({"type": "integer", "min": "4", "max": "1"}, ".max", "below min"),
        ({"type": "integer", "max": "4", "default": "5"}, ".default", "not allowed"),
        ({"type": "integer", "default": ["5"]}, ".default", "not allowed"),
        ({"type": "text", "field": "a..b"}, ".field", "not allowed"),
        ({"type": "text", "images": "true"}, ".images", "whole number"),
        ({"type": "integer", "images": "maybe"}, ".images", "neither true nor false"),
        ({"type": "integer", "priced": "2"}, ".priced", "neither true nor false"),
    ],
)
def test_what_is_wrong_with_a_setting_is_told_by_its_path(entry: object, path: str, said: str) -> None:
    """A misread setting would refuse or send the wrong values."""
    catalog, findings = merged(extra={"x": entry})
    (found, *_) = findings
    assert (found.field, said in found.message) == (f"{PATH}.extra.x{path}", True)
    rules = catalog.rules("m", "d")
    assert rules is not None
    assert rules.extra == {}


@pytest.mark.parametrize(
    "name", ["model", "resolution", "id", "variants", "variant", "image", "a.b", "", "1st"]
)
def test_a_setting_has_a_name_that_means_nothing_else(name: str) -> None:
    """In a manifest it is written like a field."""
    _, (finding,) = merged(extra={name: "text"})
    assert finding.field == f"{PATH}.extra.{name}"
    assert "`field:`" in finding.message


def test_a_profile_takes_away_a_setting_by_null() -> None:
    """What another profile has said of a model need not hold here."""
    catalog, _ = merged(extra={"seed": "integer", "n": "integer"})
    later, findings = catalog.merged({"m": {"dialects": {"d": {"extra": {"seed": None}}}}})
    rules = later.rules("m", "d")
    assert findings == []
    assert rules is not None
    assert list(rules.extra) == ["n"]
    assert later.extra_names("d") == {"n"}


@pytest.mark.parametrize(
    ("field", "values", "entry", "written"),
    [
        ("resolution", ["1K"], "size", {"size": "1K"}),
        ("resolution", ["1K"], {"field": "out.size"}, {"out.size": "1K"}),
        ("resolution", ["1K"], {"field": "size", "values": {"1K": "1024x1024"}}, {"size": "1024x1024"}),
        (
            "resolution",
            ["1K"],
            {"values": {"1K": {"width": "1024", "mode": "fast"}}},
            {"width": 1024, "mode": "fast"},
        ),
        ("resolution", ["1K"], {"field": "size", "type": "text", "values": {"1K": "1024"}}, {"size": "1024"}),
        ("resolution", ["1K"], {"values": {"1K": None}}, {}),
    ],
)
def test_a_field_is_renamed_mapped_or_split(
    field: str, values: list[str], entry: object, written: dict[str, object]
) -> None:
    """One value of ours may be another there, several fields, or nothing at all."""
    wire = own(resolutions=values, fields={field: entry}).fields[field]
    assert wire is not None
    assert wire.written("1K") == written


def test_a_flag_has_values_to_be_mapped_as_well() -> None:
    """Some models take a word where others take true."""
    table = {"field": "grounding", "values": {"true": "web", "false": None}}
    wire = own(web_search="true", fields={"web_search": table}).fields["web_search"]
    assert wire is not None
    assert (wire.written(True), wire.written(False)) == ({"grounding": "web"}, {})


@pytest.mark.parametrize(
    ("fields", "path", "said"),
    [
        ({"resolutoin": "x"}, ".resolutoin", "unknown key"),
        ({"resolution": "a b"}, ".resolution", "not allowed"),
        ({"resolution": ["x"]}, ".resolution", "not allowed"),
        ({"resolution": {"field": "2K"}}, ".resolution.field", "not allowed"),
        ({"resolution": {}}, ".resolution.field", "not allowed"),
        ({"resolution": {"field": "x", "value": {}}}, ".resolution.value", "unknown key"),
        ({"resolution": {"field": "x", "values": ["1K"]}}, ".resolution.values", "key: value"),
        ({"resolution": {"values": {"1K": "a", "2K": "b"}}}, ".resolution.values.1K", "under which name"),
        (
            {"resolution": {"values": {"1K": {"a b": "1"}, "2K": None}}},
            ".resolution.values.1K.a b",
            "not allowed",
        ),
        ({"resolution": {"values": {"1K": {"a": {}}}}}, ".resolution.values.1K.a", "not a text"),
        ({"resolution": {"field": "x", "values": {"1K": "a"}}}, ".resolution.values", "nothing of 2K"),
        (
            {"resolution": {"field": "x", "values": {"1K": "a", "2K": "b", "8K": "c"}}},
            ".resolution.values.8K",
            "no resolution of m",
        ),
        (
            {"resolution": {"field": "x", "type": "integer", "values": {"1K": "a", "2K": "2"}}},
            ".resolution.values.1K",
            "not a whole number",
        ),
        ({"resolution": {"field": "x", "type": "int", "values": {}}}, ".resolution.type", "not allowed"),
        (
            {"aspect_ratio": {"field": "x", "values": {"1:1": "a"}}},
            ".aspect_ratio.values.1:1",
            "aspect_ratios",
        ),
        ({"model": None}, ".model", "left out"),
        ({"prompt": {"field": "x", "values": {"a": "b"}}}, ".prompt.values", "only be renamed"),
        ({"images": {"field": "x", "values": {"a": "b"}}}, ".images.values", "only be renamed"),
    ],
)
def test_what_is_wrong_with_a_field_is_told_by_its_path(fields: object, path: str, said: str) -> None:
    """A value that the table forgets could be asked for, and not be said."""
    _, findings = merged(resolutions=["1K", "2K"], fields=fields)
    found = [finding for finding in findings if finding.field == f"{PATH}.fields{path}"]
    assert said in found[0].message
    assert all(finding.field.startswith(f"{PATH}.fields") for finding in findings)


@pytest.mark.parametrize(
    ("entry", "path", "other"),
    [
        ({"extra": {"x": {"type": "text", "field": "size"}}}, ".extra.x", "fields.aspect_ratio"),
        ({"extra": {"prompt_2": {"type": "text", "field": "prompt"}}}, ".extra.prompt_2", "fields.prompt"),
        ({"extra": {"x": {"type": "text", "field": "size.w"}}}, ".extra.x", "fields.aspect_ratio"),
        ({"extra": {"callback_url": "url"}}, ".extra.callback_url", "callback_field"),
        ({"extra": {"a": "text", "b": {"type": "text", "field": "a"}}}, ".extra.b", f"{PATH}.extra.a"),
        ({"fields": {"images": "size"}}, ".fields.images", "fields.aspect_ratio"),
        (
            {"resolutions": ["1K"], "fields": {"resolution": SPLIT}},
            ".fields.resolution",
            "fields.model",
        ),
    ],
)
def test_no_name_on_the_wire_means_two_things(entry: dict[str, object], path: str, other: str) -> None:
    """One of them would be sent, and both be paid for."""
    catalog, findings = merged(aspect_ratios=["1:1"], **entry)
    assert findings == []
    _, found = catalog.spoken("d", {"aspect_ratio": "size", "images": "image_urls"}, "callback_url")
    assert [finding.field for finding in found] == [PATH + path]
    assert f"collides with {other} " in found[0].message


def test_a_name_is_free_where_the_model_does_not_offer_the_field() -> None:
    """`quality` is what the profile calls the resolution, and of a model without resolutions a setting."""
    catalog, _ = merged(extra={"quality": ["low", "high"]})
    assert catalog.spoken("d", {"resolution": "quality"}, None)[1] == []
    catalog, _ = merged(resolutions=["1K"], extra={"quality": ["low", "high"]})
    assert [finding.field for finding in catalog.spoken("d", {"resolution": "quality"}, None)[1]] == [
        f"{PATH}.extra.quality"
    ]


@pytest.mark.parametrize(
    ("entry", "decides"),
    [
        (["low", "high"], True),
        ("boolean", True),
        ("url", True),
        ({"type": "integer", "min": "1", "max": "4"}, True),
        ({"type": "integer", "min": "1", "max": "4", "priced": "false"}, False),
        ({"type": "integer", "min": "1", "max": "50"}, False),
        ("integer", False),
        ({"type": "integer", "priced": "true"}, True),
        ("number", False),
        ("text", False),
    ],
)
def test_what_chooses_something_may_change_the_price(entry: object, decides: bool) -> None:
    """A seed does not: each row would be a kind of its own, and its first request go alone."""
    assert setting(entry).decides_price is decides
