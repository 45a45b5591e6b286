"""The one description: what it says of models has a size and a price, and each of its calls has an answer."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from nanobanana_batch.service import contract, openapi
from nanobanana_batch.service.contract import DIALECTS, Dialect

if TYPE_CHECKING:
    from tests.service.conftest import Api

NEED_AN_IMAGE = {"match_input_image"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_whatever_is_offered_can_be_drawn_and_charged(dialect: Dialect) -> None:
    """Every model by each of its names, ratios and resolutions."""
    ratio_name, resolution_name = {"evolink": ("size", "quality"), "unified": ("aspect_ratio", "resolution")}[
        dialect
    ]
    for name, schema in openapi.models(dialect).items():
        offered = schema["properties"]
        resolutions = offered.get(resolution_name, {"enum": ["1K"]})["enum"]
        for ratio, resolution in product(openapi.ratios(dialect, schema["title"]), resolutions):
            values = {"model": name, "prompt": "x", ratio_name: ratio}
            values |= {resolution_name: resolution} if resolution_name in offered else {}
            images = {"image_urls": ["https://example.com/a.png"]} if ratio in NEED_AN_IMAGE else {}
            checked = openapi.submit(dialect, values | images)
            assert (checked.model, checked.ratio, checked.resolution) == (schema["title"], ratio, resolution)
            assert contract.price(checked.model, resolution) > 0
            if ratio not in {"auto", *NEED_AN_IMAGE}:
                assert min(contract.pixel_size(ratio, resolution)) > 100


def test_every_alias_is_charged_as_its_model() -> None:
    names = {name: schema["title"] for name, schema in openapi.models("evolink").items()}
    assert {name: model for name, model in names.items() if name != model} == {
        "gemini-2.5-flash-image": "nano-banana-beta",
        "nano-banana-2-lite": "nano-banana-2-lite-beta",
    }


def test_every_call_of_the_description_asks_for_a_key_or_is_a_link(api: Api) -> None:
    """None is described that nobody answers, and none answers without a key."""
    for path, methods in api.http.get("/openapi.json").json()["paths"].items():
        for method in methods:
            address = path.format(task_id="x", file_id="x", name="x.png")
            reply = api.http.request(method, address, headers={"Authorization": ""})
            is_link = path.startswith(("/files/", "/uploads/"))
            assert reply.status_code == (404 if is_link else 401), path


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/tasks/batch", "POST"),
        ("DELETE", "/api/v1/files/quota", "GET"),
        ("PUT", "/v1/credits", "GET"),
        ("HEAD", "/v1/credits", "GET"),
    ],
)
def test_no_method_is_taken_that_is_not_described(api: Api, method: str, path: str, allowed: str) -> None:
    """Nor taken for one about an id of that name."""
    reply = api.http.request(method, path)
    assert (reply.status_code, reply.headers["Allow"]) == (405, allowed)
