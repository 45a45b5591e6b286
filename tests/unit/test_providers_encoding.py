"""What is sent has the provider's names and nothing that was not asked for."""

from __future__ import annotations

import json

import pytest

from nanobanana_batch.model import Request
from nanobanana_batch.providers.encoding import encode
from nanobanana_batch.providers.profile import load_profile

FULL = Request(
    model="m",
    prompt='say "é"\n東京',
    aspect_ratio="16:9",
    resolution="2K",
    images=("https://x/a.png", "https://x/b.png"),
    web_search=True,
    image_search=False,
)


def test_evolink_names() -> None:
    """Every field that this dialect offers, where it belongs."""
    request = Request(
        FULL.model, FULL.prompt, FULL.aspect_ratio, FULL.resolution, FULL.images, None, True, False, "high"
    )
    assert json.loads(encode(request, load_profile("evolink"))) == {
        "model": "m",
        "prompt": 'say "é"\n東京',
        "size": "16:9",
        "quality": "2K",
        "image_urls": ["https://x/a.png", "https://x/b.png"],
        "model_params": {"web_search": True, "image_search": False, "thinking_level": "high"},
    }


def test_unified_names() -> None:
    """Every field that this dialect offers, where it belongs."""
    request = Request(
        FULL.model, FULL.prompt, FULL.aspect_ratio, FULL.resolution, FULL.images, "webp", True, False
    )
    assert json.loads(encode(request, load_profile("unified"))) == {
        "model": "m",
        "prompt": 'say "é"\n東京',
        "aspect_ratio": "16:9",
        "resolution": "2K",
        "image_urls": ["https://x/a.png", "https://x/b.png"],
        "output_format": "webp",
        "google_search": True,
        "image_search": False,
    }


@pytest.mark.parametrize("name", ["evolink", "unified", "local", "local-unified"])
def test_what_is_not_given_is_not_sent(name: str) -> None:
    """An optional field with a null in it is another request."""
    assert encode(Request("m", "p"), load_profile(name)) == b'{"model":"m","prompt":"p"}'


def test_false_is_not_the_same_as_not_given() -> None:
    """Who writes no gets a no."""
    body = json.loads(encode(Request("m", "p", web_search=False), load_profile("unified")))
    assert body == {"model": "m", "prompt": "p", "google_search": False}


def test_the_same_request_has_the_same_bytes() -> None:
    """A repeat under an idempotency key must be identical; text is UTF-8, as it was written."""
    body = encode(FULL, load_profile("evolink"))
    assert encode(FULL, load_profile("evolink")) == body
    assert "東京".encode() in body


@pytest.mark.parametrize(
    ("profile", "request_"),
    [
        ("evolink", Request("m", "p", output_format="png")),
        ("unified", Request("m", "p", thinking_level="min")),
    ],
)
def test_a_field_that_is_not_offered_is_never_dropped_silently(profile: str, request_: Request) -> None:
    """Paying for something else than was asked is worse than an error."""
    with pytest.raises(ValueError, match="does not offer"):
        encode(request_, load_profile(profile))
