"""Templates and filters by themselves: what they make of a text never changes, and no text breaks them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobanana_batch.manifest.words.filters import FILTERS, slug, title, with_article
from nanobanana_batch.manifest.words.template import Template, TemplateFault, compiled

PIECES = st.sampled_from(
    ["{", "}", "{{", "}}", "{a}", "{a:upper}", "{a|b}", ":", "|", "a", " ", "__x__", "é"]
)

ARTICLES = (
    """
    a cat, an owl, an hour, an honest face, an heir, a Honolulu skyline, a house, an eagle, an onion, an igloo
    a university, a unicorn, a unique vase, an unidentified object, an unimportant man, a unidirectional sign
    a unanimous vote, an uncle, an umbrella, a used car, a ukulele, an Uber, an Übermensch, a union hall
    a European street, a eucalyptus, a one-eyed cat, a once famous man, a Ukrainian egg, a Ugandan drum
    an 8-bit fox, an 80s disco, an 11th hour, an 1890s photo, a 180 degree turn, a 7th wave
    an X-ray, a T-shirt, an HDR photo, a PNG file, a NASA logo, an INK DRAWING, a SKY, an L, a U-boat
    an FBI agent, an SUV, an LED lamp, an MRI scan, an x-ray, an n-gon, an M16, a USB stick, a UK street
    a URL, a UFO, an EU flag, an NYC street, a t-shirt, a s'mores bar, a RED FOX, a LLAMA, a RHINO
    an UGLY DUCK, a MR FOX
    an étude, an "old" map, a (green) door, a 東京 street, an 11.000 m dive, a 110 year old man
""".strip()
    .replace("\n    ", ", ")
    .split(", ")
)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("lower", "old tokyo"),
        ("upper", "OLD TOKYO"),
        ("title", "Old Tokyo"),
        ("capitalize", "Old tokyo"),
        ("slug", "old-tokyo"),
        ("a", "an old Tokyo"),
    ],
)
def test_what_filters_make(name: str, made: str) -> None:
    """As the page on manifests says; a change here would be paid for by everyone who uses the filter."""
    assert Template("{x:" + name + "}", {"x"}).render({"x": "old Tokyo"}) == made


def test_every_filter_is_documented_here() -> None:
    """A new one needs its line above."""
    assert sorted(FILTERS) == ["a", "capitalize", "lower", "slug", "title", "upper"]


def test_filters_in_a_row() -> None:
    """From left to right, with or without spaces."""
    assert (
        Template("{x:upper:slug}-{ x : slug : title }", {"x"}).render({"x": "Old Tokyo"})
        == "old-tokyo-Old-Tokyo"
    )


@pytest.mark.parametrize("text", ARTICLES)
def test_the_article(text: str) -> None:
    """By spelling, with the usual exceptions."""
    assert with_article(text.partition(" ")[2]) == text


def test_nothing_gets_no_article() -> None:
    """An empty value stays empty."""
    assert (with_article(""), with_article(" ")) == ("", " ")


def test_title_knows_apostrophes_and_combining_accents() -> None:
    """Python's own would make Don'T of don't."""
    assert title("don't look\tback, été e\u0301te\u0301 o\u2019brien's in-law") == (
        "Don't Look\tBack, Été E\u0301te\u0301 O\u2019brien's In-Law"
    )


def test_a_slug_is_a_path_in_every_script() -> None:
    """Accents go, letters stay, everything else is one dash."""
    assert slug("  São Paulo / 東京_ガ! ") == "sao-paulo-東京-ガ"
    assert slug("e\u0301") == slug("\u00e9") == "e"
    assert slug("!?") == ""


def test_a_name_may_hold_colons_and_bars() -> None:
    """All between braces is a name if there is such a name; else the longest beginning that is one."""
    known = frozenset({"a:b", "a", "c|d", "a:upper"})
    values = {"a:b": "x y", "a": "z", "c|d": "v", "a:upper": "u"}
    template = compiled("{a:b} {a:b:slug} {a:lower} {c|d:upper} {a:upper}", known)
    assert template.render(values) == "x y x-y z V u"
    assert template.names == ("a:b", "a", "c|d", "a:upper")


@pytest.mark.parametrize(
    ("text", "part", "suggestion"),
    [
        ("{city:uper}", "unknown filter 'uper' in '{city:uper}'", "upper"),
        ("{city:}", "unknown filter ''", ""),
        ("{model:uper}", "unknown filter", "upper"),
        ("{city|upper}", "behind a colon", "{city:upper}"),
        ("{city | title:slug}", "behind a colon", "{city:title:slug}"),
        ("{city:lower|upper}", "behind a colon", "{city:lower:upper}"),
        ("{city|photo}", "under `matrix`", ""),
        ("{red|green}", "under `matrix`", ""),
        ("{upper|lower}", "under `matrix`", ""),
        ("{red|a}", "under `matrix`", ""),
        ("{2$$ and $$red|green}", "under `matrix`", ""),
        ("{3::red|1::green}", "under `matrix`", ""),
        ("{a {city} door|an arch}", "under `matrix`", ""),
        ("{ink|a {city}}", "under `matrix`", ""),
        ("a | {city", "lone '{'", ""),
    ],
)
def test_slips_of_other_languages(text: str, part: str, suggestion: str) -> None:
    """Each is refused, and says how it is written here."""
    with pytest.raises(TemplateFault) as caught:
        Template(text, {"city"})
    assert part in caught.value.message
    assert caught.value.suggestion == suggestion


def test_an_unknown_filter_names_those_there_are() -> None:
    """In the finding that a person sees."""
    with pytest.raises(TemplateFault) as caught:
        Template("{city:shout}", {"city"})
    found = caught.value.finding("prompt")
    assert (found.field, found.allowed) == ("prompt", ("lower", "upper", "title", "capitalize", "slug", "a"))


@given(
    st.lists(PIECES | st.text(max_size=5)).map("".join), st.sets(st.sampled_from(["a", "a:b", "a|b", "b"]))
)
def test_any_text_is_a_template_or_a_fault(text: str, known: set[str]) -> None:
    """Nothing else is ever raised, and what can be read can be rendered."""
    try:
        template = Template(text, known)
    except TemplateFault:
        return
    assert isinstance(template.render(dict.fromkeys(template.names, "v")), str)


@given(st.text())
def test_escaped_text_comes_through(text: str) -> None:
    """Every brace doubled: the text itself, byte for byte."""
    template = Template(text.replace("{", "{{").replace("}", "}}"))
    assert (template.names, template.render({})) == ((), text)


@given(st.text(), st.sampled_from(sorted(FILTERS)))
def test_filters_take_any_text(text: str, name: str) -> None:
    """A value comes from anywhere."""
    assert isinstance(FILTERS[name](text), str)


@given(st.text())
def test_a_value_is_never_read_as_a_template(text: str) -> None:
    """Braces, colons and bars in it are only characters."""
    assert Template("<{x}>").render({"x": text}) == f"<{text}>"
