"""A stored request is read as JSON says, also where it shares all but its prompt with others."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobanana_batch.model import LocalImage, Request, request_as_json, request_from_json

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
FILES = st.builds(LocalImage, TEXTS, TEXTS, TEXTS, st.integers(0, 9), st.just("image/png"))
EXTRA = st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, True, 1.0, "1"]), max_size=2)


@given(
    st.lists(TEXTS, min_size=1, max_size=4),
    TEXTS.filter(bool),
    st.lists(FILES, max_size=2),
    st.lists(TEXTS, max_size=2),
    EXTRA,
)
def test_what_was_stored_comes_back(
    prompts: list[str], model: str, files: list[LocalImage], images: list[str], extra: dict[str, object]
) -> None:
    """Whatever stands in a prompt; 1, 1.0 and true stay what they are."""
    for prompt in prompts:
        pairs = tuple(sorted(extra.items()))
        request = Request(model, prompt, images=tuple(images), files=tuple(files), extra=pairs)  # type: ignore[arg-type]
        found = request_from_json(request_as_json(request))
        assert found == request
        assert repr(found) == repr(request)


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt": "a',
        '{"prompt": "a"',
        '{"prompt": "a", "model": "m"} more',
        '{"prompt": "a", "other": 1, "model": "m"}',
        '{"prompt": "a"}',
        '{"prompt": "\\ud8"}',
        "[]",
        b"{",
        None,
    ],
)
def test_what_no_run_has_stored_is_not_understood(text: object) -> None:
    """By one of the errors that say so."""
    with pytest.raises((ValueError, TypeError, AttributeError)):
        request_from_json(text)  # type: ignore[arg-type]


def test_fields_may_stand_in_another_order() -> None:
    """A prompt that stands twice, or last, is read as JSON reads it."""
    stored = {"model": "m", "prompt": "a"}
    assert request_from_json(json.dumps(stored)) == Request("m", "a")
    assert request_from_json('{"prompt": "a", "model": "m", "prompt": "b"}') == Request("m", "b")
