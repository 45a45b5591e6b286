"""What each model allows is data, and everything wrong with a request is said at once."""

from __future__ import annotations

import pytest

from nanobanana_batch.catalog import PROMPT_LIMIT, Catalog, Finding, ModelRules, check_prompt, load_catalog
from nanobanana_batch.model import Request

FLASH = "gemini-3.1-flash-image-preview"
PRO = "gemini-3-pro-image-preview"
BETA = "nano-banana-beta"
LITE, LITE_BETA = "nano-banana-2-lite", "nano-banana-2-lite-beta"
URL = "https://example.org/a.png"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


def rules(catalog: Catalog, model: str, dialect: str) -> ModelRules:
    found = catalog.rules(model, dialect)
    assert found is not None
    return found


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def test_holds_the_models_of_the_contract(catalog: Catalog) -> None:
    """Both dialects, with exactly the models of the contract's table."""
    assert catalog.dialects == ("evolink", "unified")
    assert [m.name for m in catalog.models("unified")] == [FLASH, PRO]
    assert {m.name for m in catalog.models("evolink")} == {
        FLASH,
        PRO,
        BETA,
        "gemini-3.1-flash-lite-image",
        "nano-banana-2-beta",
        "nano-banana-pro-beta",
        "nano-banana-2-lite-beta",
    }


def test_limits_that_are_not_stated_are_none(catalog: Catalog) -> None:
    """The unified page says nothing of image counts and sizes."""
    assert {(m.max_images, m.max_image_bytes) for m in catalog.models("unified")} == {(None, None)}
    many = Request(FLASH, "a cat", images=(URL,) * 50)
    assert catalog.check(many, "unified") == []


def test_values_of_the_contract_are_all_allowed(catalog: Catalog) -> None:
    """Every listed value passes for its model."""
    for dialect in catalog.dialects:
        for entry in catalog.models(dialect):
            for ratio in entry.aspect_ratios:
                request = Request(entry.name, "a cat", aspect_ratio=ratio, images=(URL,))
                assert catalog.check(request, dialect) == []
            for resolution in entry.resolutions:
                assert catalog.check(Request(entry.name, "a cat", resolution=resolution), dialect) == []


def test_alias_becomes_its_model(catalog: Catalog) -> None:
    """An alias is another spelling, so it must not make another row key."""
    assert catalog.canonical("gemini-2.5-flash-image") == BETA
    assert catalog.normalised(Request("gemini-2.5-flash-image", "a cat"), "evolink").model == BETA
    assert catalog.check(Request("gemini-2.5-flash-image", "a cat"), "evolink") == []


def test_an_older_name_stays_as_it_is_written(catalog: Catalog) -> None:
    """It stands in row keys of earlier versions: if it were replaced, all would be paid for anew."""
    request = Request(LITE, "a cat", resolution="1K")
    assert catalog.normalised(request, "evolink") is request
    assert catalog.canonical(LITE) == LITE
    assert catalog.rules(LITE, "evolink") == catalog.rules(LITE_BETA, "evolink")
    assert catalog.check(request, "evolink") == []
    assert only(catalog.check(Request(LITE, "a cat", resolution="2K"), "evolink")).field == "resolution"


def test_an_entry_under_an_older_name_is_about_the_model(catalog: Catalog) -> None:
    """A profile of before the name changed still means what it meant."""
    found = merged(catalog, {LITE: {"dialects": {"evolink": {"max_images": "3"}}}})
    assert rules(found, LITE_BETA, "evolink").max_images == 3
    assert found.canonical(LITE) == LITE


WIDE = "auto 1:1 1:4 4:1 1:8 8:1 2:3 3:2 3:4 4:3 4:5 5:4 9:16 16:9 21:9"
NARROW = "auto 1:1 2:3 3:2 3:4 4:3 4:5 5:4 9:16 16:9 21:9"


@pytest.mark.parametrize(
    ("model", "ratios", "resolutions", "images", "megabytes", "thinks"),
    [
        (FLASH, WIDE, "0.5K 1K 2K 4K", 14, 20, True),
        (PRO, NARROW, "1K 2K 4K", 14, 20, False),
        (BETA, "auto 1:1 2:3 3:2 4:3 3:4 16:9 9:16", "", 5, 10, False),
        ("gemini-3.1-flash-lite-image", WIDE, "1K", 14, 20, True),
        ("nano-banana-pro-beta", NARROW, "1K 2K 4K", 10, 10, False),
        ("nano-banana-2-beta", WIDE, "1K 2K 4K", 14, 20, True),
        (LITE_BETA, WIDE, "1K", 14, 20, False),
    ],
)
def test_a_model_allows_what_the_contract_says(
    catalog: Catalog, model: str, ratios: str, resolutions: str, images: int, megabytes: int, thinks: bool
) -> None:
    """The table, with the newer pages: line by line."""
    found = rules(catalog, model, "evolink")
    assert found.aspect_ratios == tuple(ratios.split())
    assert found.resolutions == tuple(resolutions.split())
    assert (found.max_images, found.max_image_bytes) == (images, megabytes * 1_000_000)
    assert found.thinking_levels == (("auto", "min", "high") if thinks else ())
    assert found.web_search == (model in (FLASH, PRO))
    assert found.image_search == (model == FLASH)


def test_names_that_their_maker_has_retired(catalog: Catalog) -> None:
    """The day stands in the catalogue; the model is offered all the same."""
    retired = {
        entry.name: (entry.retired_on, entry.maker)
        for dialect in catalog.dialects
        for entry in catalog.models(dialect)
        if entry.retired_on
    }
    assert retired == {FLASH: ("2026-06-25", "Google"), PRO: ("2026-06-25", "Google")}


def test_512_is_half_k_where_it_is_offered(catalog: Catalog) -> None:
    """Unified takes both spellings and means the same; evolink takes one."""
    request = Request(FLASH, "a cat", resolution="512")
    assert catalog.normalised(request, "unified").resolution == "0.5K"
    assert catalog.check(request, "unified") == []
    assert catalog.normalised(request, "evolink") == request
    assert only(catalog.check(request, "evolink")).suggestion == "0.5K"


def test_every_problem_of_a_request_is_found(catalog: Catalog) -> None:
    """Not only the first one."""
    request = Request(
        BETA,
        " ",
        aspect_ratio="21:9",
        resolution="1K",
        images=(*(URL,) * 5, "ref.png"),
        output_format="png",
        web_search=True,
        image_search=True,
        thinking_level="high",
    )
    fields = [finding.field for finding in catalog.check(request, "evolink")]
    assert sorted(fields) == sorted(
        [
            "prompt",
            "aspect_ratio",
            "resolution",
            "output_format",
            "web_search",
            "image_search",
            "thinking_level",
            "images",
        ]
    )


@pytest.mark.parametrize(
    ("value", "suggestion"),
    [("16/9", "16:9"), ("16x9", "16:9"), ("1920x1080", "16:9"), ("AUTO", "auto"), ("5:3", ""), ("0:0", "")],
)
def test_ratio_is_suggested_only_when_it_is_the_same_ratio(
    catalog: Catalog, value: str, suggestion: str
) -> None:
    """5:3 is near to 5:4 as a word, but nothing like it as a picture."""
    found = only(catalog.check(Request(FLASH, "a cat", aspect_ratio=value), "evolink"))
    assert found.suggestion == suggestion
    assert "16:9" in found.allowed


def test_unknown_model_names_the_likely_one(catalog: Catalog) -> None:
    """A slip in the model's name is a manifest error with the right name."""
    found = only(catalog.check(Request("nano-bananna-beta", "a cat"), "evolink"))
    assert (found.field, found.suggestion) == ("model", BETA)
    assert PRO in found.allowed


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Nano Banana 2", "gemini-3.1-flash-image-preview"),
        ("nano-banana-2", "gemini-3.1-flash-image-preview"),
        ("Nano Banana Pro", PRO),
        ("nano banana", BETA),
        ("gemini-2.5-flash-image-preview", BETA),
        ("gemini-3-pro-image", PRO),
        ("nano-banana-2-lite-2027", LITE_BETA),
    ],
)
def test_an_unknown_model_may_be_a_title_or_go_on_from_an_alias(
    catalog: Catalog, said: str, meant: str
) -> None:
    """What people know a model as is nearer than a name that only looks alike; aliases are allowed, too."""
    found = only(catalog.check(Request(said, "a cat"), "evolink"))
    assert found.suggestion == meant
    assert "gemini-2.5-flash-image" in found.allowed


@pytest.mark.parametrize("prompt", ["\u200b", " \ufeff\n", "\u2060\u00ad", "\u3164\ufe0f"])
def test_a_prompt_that_shows_nothing_is_empty(prompt: str) -> None:
    """Characters without a form come along when text is copied, and would be paid for."""
    assert [found.message for found in check_prompt(prompt)] == ["the prompt is empty"]
    assert list(check_prompt(prompt + "7")) == []


def test_model_of_another_dialect_is_named_as_such(catalog: Catalog) -> None:
    """It exists, only not here."""
    found = only(catalog.check(Request(BETA, "a cat"), "unified"))
    assert "evolink" in found.message


def test_unknown_model_may_be_let_through(catalog: Catalog) -> None:
    """What holds for every model is still checked."""
    request = Request("brand-new", "", resolution="9K")
    assert only(catalog.check(request, "evolink", allow_unknown_model=True)).field == "prompt"


def test_prompt_says_how_long_it_is(catalog: Catalog) -> None:
    """At the limit it passes, one more does not."""
    assert catalog.check(Request(FLASH, "x" * PROMPT_LIMIT), "evolink") == []
    assert "2001" in only(catalog.check(Request(FLASH, "x" * 2001), "evolink")).message


@pytest.mark.parametrize(
    ("image", "part"),
    [
        ("file:///pictures/ref.png", "its path"),
        ("ftp://example.org/a.png", "http"),
        ("s3://bucket/a.png", "http"),
        ("data:image/png;base64,AAAA", "http"),
        ("https://example.org/a.GIF", ".jpeg .jpg .png .webp"),
        ("https://example.org/a.pdf?download=1", ".jpeg .jpg .png .webp"),
        ("https:///a.png", "complete"),
        ("https:example.org/a.png", "complete"),
        ("http://[::1", "complete"),
        ("http://example.org:port/a.png", "complete"),
        ("https://example.org/a b.png", "complete"),
    ],
)
def test_image_has_to_be_a_url_of_an_image(catalog: Catalog, image: str, part: str) -> None:
    """Other schemes, other types and broken URLs are told apart."""
    found = only(catalog.check(Request(FLASH, "a cat", images=(image,)), "evolink"))
    assert found.field == "images"
    assert part in found.message


def test_password_in_a_url_is_not_repeated(catalog: Catalog) -> None:
    """A message may end up in a log."""
    request = Request(FLASH, "a cat", images=("https://me:hunter2@example.org/a.png",))
    assert "hunter2" not in only(catalog.check(request, "evolink")).message


@pytest.mark.parametrize("image", ["ref.png", "C:\\pictures\\ref.png", "data", "a:b.png", "../x/y.webp"])
def test_local_files_are_not_looked_at_here(catalog: Catalog, image: str) -> None:
    """The catalogue knows no folder; they count, though."""
    assert catalog.check(Request(FLASH, "a cat", images=(image,)), "evolink") == []
    many = Request(BETA, "a cat", images=(image, *(URL,) * 5))
    assert "6 images" in only(catalog.check(many, "evolink")).message


@pytest.mark.parametrize("image", [URL, "http://example.org/render?id=7", "https://example.org/a.JPEG"])
def test_image_urls_pass(catalog: Catalog, image: str) -> None:
    """No ending passes: many services have none."""
    assert catalog.check(Request(FLASH, "a cat", images=(image,)), "evolink") == []


def test_match_input_image_needs_an_image(catalog: Catalog) -> None:
    """There is no ratio to match without one."""
    request = Request(FLASH, "a cat", aspect_ratio="match_input_image")
    assert "reference image" in only(catalog.check(request, "unified")).message


def merged(catalog: Catalog, models: object, source: str = "mine.yaml") -> Catalog:
    """With entries in which nothing is wrong."""
    found, findings = catalog.merged(models, source)
    assert findings == []
    return found


def priced(catalog: Catalog, prices: object, dialect: str = "evolink") -> Catalog:
    """With prices in which nothing is wrong."""
    found, findings = catalog.priced(prices, dialect, "2026-11-01")
    assert findings == []
    return found


def test_merged_overrides_and_adds(catalog: Catalog) -> None:
    """A profile changes what it names and leaves the rest."""
    found = merged(
        catalog,
        {
            FLASH: {"dialects": {"evolink": {"max_images": "3"}}},
            "new-one": {"title": "New", "dialects": {"mine": {"resolutions": ["1K"], "web_search": "true"}}},
        },
    )
    assert rules(found, FLASH, "evolink").max_images == 3
    assert rules(found, FLASH, "evolink").aspect_ratios == rules(catalog, FLASH, "evolink").aspect_ratios
    assert rules(found, FLASH, "unified") == rules(catalog, FLASH, "unified")
    assert rules(found, "new-one", "mine").web_search
    assert found.dialects == ("evolink", "unified", "mine")
    assert catalog.rules("new-one", "mine") is None


def test_every_entry_says_where_it_is_from(catalog: Catalog) -> None:
    """The contract, a file, or one after the other."""
    found = merged(
        catalog,
        {
            FLASH: {"dialects": {"evolink": {"max_images": "3"}}},
            "new-one": {"dialects": {"evolink": {"resolutions": ["1K"]}}},
        },
    )
    assert {entry.source for entry in catalog.models("evolink")} == {"built in"}
    assert rules(found, FLASH, "evolink").source == "built in, changed by mine.yaml"
    assert rules(found, FLASH, "unified").source == "built in"
    assert rules(found, "new-one", "evolink").source == "mine.yaml"


@pytest.mark.parametrize(
    ("entry", "path", "said"),
    [
        ([], "", "key: value"),
        ({}, "", "dialect"),
        ({"dialect": {}, "title": "x", "dialects": {"evolink": {}}}, ".dialect", "unknown key"),
        ({"dialects": {"evolink": {"resolution": ["1K"]}}}, ".dialects.evolink.resolution", "unknown key"),
        ({"dialects": {"evolink": {"resolutions": "1K"}}}, ".dialects.evolink.resolutions", "list"),
        ({"dialects": {"evolink": {"aspect_ratios": [None]}}}, ".dialects.evolink.aspect_ratios", "list"),
        ({"dialects": {"evolink": {"max_images": "many"}}}, ".dialects.evolink.max_images", "whole number"),
        ({"dialects": {"evolink": {"max_images": "-1"}}}, ".dialects.evolink.max_images", "whole number"),
        ({"dialects": {"evolink": {"web_search": "maybe"}}}, ".dialects.evolink.web_search", "true"),
        (
            {"dialects": {"evolink": {"default_resolution": []}}},
            ".dialects.evolink.default_resolution",
            "text",
        ),
        ({"dialects": {"evolink": []}}, ".dialects.evolink", "key: value"),
        ({"dialects": []}, ".dialects", "key: value"),
        ({"retired_on": "last year", "dialects": {"evolink": {}}}, ".retired_on", "not a day"),
        ({"older_names": [BETA], "dialects": {"evolink": {}}}, ".older_names", "already means"),
        ({"title": ["x"], "dialects": {"evolink": {}}}, ".title", "text"),
        ({"aliases": [FLASH], "dialects": {"evolink": {}}}, ".aliases", "already means"),
        ({"aliases": ["gemini-2.5-flash-image"], "dialects": {"evolink": {}}}, ".aliases", "already means"),
    ],
)
def test_merged_lists_what_it_does_not_understand(
    catalog: Catalog, entry: object, path: str, said: str
) -> None:
    """A misread entry would refuse or let through the wrong rows."""
    _, findings = catalog.merged({"new-one": entry})
    assert f"models.new-one{path}" in [finding.field for finding in findings]
    assert any(said in finding.message for finding in findings)


def test_all_that_is_wrong_with_entries_is_listed(catalog: Catalog) -> None:
    """With what was probably meant."""
    _, findings = catalog.merged(
        {FLASH: {"tittle": "x", "dialects": {"evolink": {"max_imgaes": "1", "web_search": "2"}}}}
    )
    assert [(finding.field, finding.suggestion) for finding in findings] == [
        (f"models.{FLASH}.tittle", "title"),
        (f"models.{FLASH}.dialects.evolink.max_imgaes", "max_images"),
        (f"models.{FLASH}.dialects.evolink.web_search", ""),
    ]


def test_the_contract_names_no_prices(catalog: Catalog) -> None:
    """None is invented."""
    assert {entry.credits for dialect in catalog.dialects for entry in catalog.models(dialect)} == {None}
    assert catalog.price(Request(FLASH, "a cat"), "evolink") is None


@pytest.mark.parametrize(
    ("model", "resolution", "price"),
    [
        (FLASH, "1K", 2.0),
        (FLASH, "4K", 7.5),
        (FLASH, None, 3.0),
        (FLASH, "0.5K", 1.0),
        (FLASH, "8K", 1.0),
        (BETA, None, 4.0),
        ("gemini-2.5-flash-image", None, 4.0),
        (PRO, "1K", 5.0),
        (PRO, "2K", None),
        (PRO, None, None),
        ("unheard-of", "1K", None),
    ],
)
def test_a_request_has_its_price(
    catalog: Catalog, model: str, resolution: str | None, price: float | None
) -> None:
    """By model and resolution, the default one where none is given; aliases cost what their model does."""
    found = priced(
        catalog,
        {FLASH: {"1K": "2", "2K": "3", "4K": "7.5", "any": "1"}, BETA: "4", PRO: {"1K": "5"}},
    )
    assert found.price(Request(model, "a cat", resolution=resolution), "evolink") == price
    assert found.price(Request(model, "a cat", resolution=resolution), "unified") is None


def test_two_names_of_one_resolution_cost_the_same(catalog: Catalog) -> None:
    """512 and 0.5K, whichever of them the list names."""
    for name in ("512", "0.5K"):
        found = priced(catalog, {FLASH: {name: "2"}}, "unified")
        prices = [
            found.price(found.normalised(Request(FLASH, "a cat", resolution=size), "unified"), "unified")
            for size in ("512", "0.5K")
        ]
        assert prices == [2.0, 2.0]


@pytest.mark.parametrize(
    ("prices", "path", "suggestion"),
    [
        ({"nano-bananna-beta": "1"}, "prices.nano-bananna-beta", BETA),
        ({FLASH: {"3K": "1"}}, f"prices.{FLASH}.3K", ""),
        ({FLASH: {"1K": "cheap"}}, f"prices.{FLASH}.1K", ""),
        ({FLASH: {"1K": "-1"}}, f"prices.{FLASH}.1K", ""),
        ({FLASH: {"1K": None}}, f"prices.{FLASH}.1K", ""),
        ({FLASH: {"1K": "inf"}}, f"prices.{FLASH}.1K", ""),
        ({FLASH: ["1"]}, f"prices.{FLASH}", ""),
        (["1"], "prices", ""),
    ],
)
def test_a_price_that_is_none_is_listed(catalog: Catalog, prices: object, path: str, suggestion: str) -> None:
    """A budget would rest on it."""
    _, (finding,) = catalog.priced(prices, "evolink", "")
    assert (finding.field, finding.suggestion) == (path, suggestion)
