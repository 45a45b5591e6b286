"""What each model allows is data, and everything wrong with a request is said at once."""

from __future__ import annotations

import pytest

from nanobanana_batch.catalog import PROMPT_LIMIT, Catalog, Finding, ModelRules, closest, load_catalog
from nanobanana_batch.errors import ProfileError
from nanobanana_batch.model import Request

FLASH = "gemini-3.1-flash-image-preview"
PRO = "gemini-3-pro-image-preview"
BETA = "nano-banana-beta"
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
        "nano-banana-2-lite",
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
        ("ref.png", "uploaded"),
        ("C:\\pictures\\ref.png", "uploaded"),
        ("file:///pictures/ref.png", "uploaded"),
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
    """Local files, other schemes, other types and broken URLs are told apart."""
    found = only(catalog.check(Request(FLASH, "a cat", images=(image,)), "evolink"))
    assert found.field == "images"
    assert part in found.message


def test_password_in_a_url_is_not_repeated(catalog: Catalog) -> None:
    """A message may end up in a log."""
    request = Request(FLASH, "a cat", images=("https://me:hunter2@example.org/a.png",))
    assert "hunter2" not in only(catalog.check(request, "evolink")).message


@pytest.mark.parametrize("image", [URL, "http://example.org/render?id=7", "https://example.org/a.JPEG"])
def test_image_urls_pass(catalog: Catalog, image: str) -> None:
    """No ending passes: many services have none."""
    assert catalog.check(Request(FLASH, "a cat", images=(image,)), "evolink") == []


def test_match_input_image_needs_an_image(catalog: Catalog) -> None:
    """There is no ratio to match without one."""
    request = Request(FLASH, "a cat", aspect_ratio="match_input_image")
    assert "reference image" in only(catalog.check(request, "unified")).message


def test_merged_overrides_and_adds(catalog: Catalog) -> None:
    """A profile changes what it names and leaves the rest."""
    merged = catalog.merged(
        {
            FLASH: {"dialects": {"evolink": {"max_images": 3}}},
            "new-one": {"title": "New", "dialects": {"mine": {"resolutions": ["1K"], "web_search": "true"}}},
        }
    )
    assert rules(merged, FLASH, "evolink").max_images == 3
    assert rules(merged, FLASH, "evolink").aspect_ratios == rules(catalog, FLASH, "evolink").aspect_ratios
    assert rules(merged, FLASH, "unified") == rules(catalog, FLASH, "unified")
    assert rules(merged, "new-one", "mine").web_search
    assert merged.dialects == ("evolink", "unified", "mine")
    assert catalog.rules("new-one", "mine") is None


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {},
        {"dialect": {}},
        {"dialects": {"evolink": {"resolution": ["1K"]}}},
        {"dialects": {"evolink": {"resolutions": "1K"}}},
        {"dialects": {"evolink": {"aspect_ratios": [969]}}},
        {"dialects": {"evolink": {"max_images": "many"}}},
        {"dialects": {"evolink": {"max_images": True}}},
        {"dialects": {"evolink": {"web_search": "maybe"}}},
        {"title": 1, "dialects": {"evolink": {}}},
    ],
)
def test_merged_refuses_what_it_does_not_understand(catalog: Catalog, entry: object) -> None:
    """A misread entry would refuse or let through the wrong rows."""
    with pytest.raises(ProfileError, match="new-one"):
        catalog.merged({"new-one": entry})


def test_closest_suggests_nothing_far_away() -> None:
    """A wrong suggestion is worse than none."""
    assert closest("flash", [FLASH]) == ""
    assert closest("PNG", ["png", "jpg"]) == "png"
