"""What is sent has the provider's names and nothing that was not asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nanobanana_batch.model import Request
from nanobanana_batch.providers.base import NotOffered
from nanobanana_batch.providers.profile import load_profile
from nanobanana_batch.providers.tasks.encoding import encode

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
    with pytest.raises(NotOffered, match="does not offer"):
        encode(request_, load_profile(profile))


OWN = """
extends: evolink
models:
  own:
    dialects:
      evolink:
        aspect_ratios: [1:1]
        resolutions: [1K]
        web_search: true
        fields:
          images: model_params.image
          resolution: {values: {1K: {width: 1024, height: 1024}}}
          web_search: {field: model_params.grounding, values: {true: web, false: null}}
        extra: {seed: integer, raw: {type: boolean, field: model_params.raw}}
"""


def test_a_model_may_have_names_and_settings_of_its_own(tmp_path: Path) -> None:
    """Everything else is called as the profile says, and another model's body is as ever."""
    (tmp_path / "mine.yaml").write_text(OWN)
    profile = load_profile(str(tmp_path / "mine.yaml"))
    request = Request(
        "own", "p", "1:1", "1K", ("https://x/a.png",), web_search=True, extra=(("raw", False), ("seed", 7))
    )
    assert json.loads(encode(request, profile, "https://x/back")) == {
        "model": "own",
        "prompt": "p",
        "size": "1:1",
        "width": 1024,
        "height": 1024,
        "model_params": {"image": ["https://x/a.png"], "grounding": "web", "raw": False},
        "seed": 7,
        "callback_url": "https://x/back",
    }
    assert encode(Request("own", "p", web_search=False), profile) == b'{"model":"own","prompt":"p"}'
    assert encode(FULL, profile) == encode(FULL, load_profile("evolink"))


@pytest.mark.parametrize(
    "request_",
    [
        Request("own", "p", extra=(("steps", 7),)),
        Request("m", "p", extra=(("seed", 7),)),
        Request("own", "p", resolution="8K"),
    ],
)
def test_what_the_profile_cannot_say_is_not_sent(tmp_path: Path, request_: Request) -> None:
    """A profile may have changed since the row was checked."""
    (tmp_path / "mine.yaml").write_text(OWN)
    with pytest.raises(NotOffered):
        encode(request_, load_profile(str(tmp_path / "mine.yaml")))
