"""What may be submitted, exactly: the tables of the contract, written out once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.service.conftest import Api, Start

FLASH, PRO, BETA = "gemini-3.1-flash-image-preview", "gemini-3-pro-image-preview", "nano-banana-beta"
LITE = "gemini-3.1-flash-lite-image"
WIDE = "1:1 1:4 4:1 1:8 8:1 2:3 3:2 3:4 4:3 4:5 5:4 9:16 16:9 21:9"
NARROW = "1:1 2:3 3:2 3:4 4:3 4:5 5:4 9:16 16:9 21:9"
ALL_RATIOS = f"auto match_input_image 1:3 2:1 {WIDE}".split()
ALL_RESOLUTIONS = ["512", "0.5K", "1K", "2K", "4K", "8K", "1k"]
TABLE = [  # prefix, model, ratios, resolutions, most images
    ("", FLASH, f"auto {WIDE}", "0.5K 1K 2K 4K", 14),
    ("/unified", FLASH, f"{WIDE} match_input_image", "512 0.5K 1K 2K 4K", 14),
    ("", PRO, f"auto {NARROW}", "1K 2K 4K", 14),
    ("/unified", PRO, f"{NARROW} match_input_image", "1K 2K 4K", 14),
    ("", BETA, "auto 1:1 2:3 3:2 4:3 3:4 16:9 9:16", "", 5),
    ("", LITE, f"auto {WIDE}", "1K", 14),
    ("", "nano-banana-2-beta", f"auto {WIDE}", "1K 2K 4K", 14),
    ("", "nano-banana-pro-beta", f"auto {NARROW}", "1K 2K 4K", 10),
    ("", "nano-banana-2-lite-beta", f"auto {WIDE}", "1K", 14),
    ("", "nano-banana-2-lite", f"auto {WIDE}", "1K", 14),
]
IMAGE = "https://images.example.com/cat.png"


@pytest.fixture(scope="module")
def checks() -> Any:
    """The checks themselves, for tables too long to send row by row."""
    from nanobanana_batch.service import openapi
    from nanobanana_batch.service.contract import ApiError

    def check(prefix: str, body: dict[str, Any]) -> str:
        try:
            openapi.submit("unified" if prefix else "evolink", body)
        except ApiError as error:
            return f"{error.status} {error.code} {error.param}"
        return "ok"

    return check


@pytest.mark.parametrize(("prefix", "model", "ratios", "resolutions", "most"), TABLE)
def test_a_model_takes_exactly_its_ratios(
    checks: Any, prefix: str, model: str, ratios: str, resolutions: str, most: int
) -> None:
    name = "aspect_ratio" if prefix else "size"
    body = {"model": model, "prompt": "x", "image_urls": [IMAGE]}
    taken = {one for one in ALL_RATIOS if checks(prefix, {**body, name: one}) == "ok"}
    assert taken == set(ratios.split())
    assert checks(prefix, {**body, name: "2:1"}) == f"400 invalid_request {name}"


@pytest.mark.parametrize(("prefix", "model", "ratios", "resolutions", "most"), TABLE)
def test_a_model_takes_exactly_its_resolutions(
    checks: Any, prefix: str, model: str, ratios: str, resolutions: str, most: int
) -> None:
    name = "resolution" if prefix else "quality"
    body = {"model": model, "prompt": "x"}
    taken = {one for one in ALL_RESOLUTIONS if checks(prefix, {**body, name: one}) == "ok"}
    assert taken == set(resolutions.split())


@pytest.mark.parametrize(("prefix", "model", "ratios", "resolutions", "most"), TABLE)
def test_a_model_takes_no_more_than_its_images(
    checks: Any, prefix: str, model: str, ratios: str, resolutions: str, most: int
) -> None:
    body = {"model": model, "prompt": "x"}
    assert checks(prefix, {**body, "image_urls": [IMAGE] * most}) == "ok"
    assert checks(prefix, {**body, "image_urls": [IMAGE] * (most + 1)}) == "400 invalid_request image_urls"


@pytest.mark.parametrize(
    "model", [BETA, LITE, "nano-banana-2-beta", "nano-banana-pro-beta", "nano-banana-2-lite"]
)
def test_unified_has_two_models_only(checks: Any, model: str) -> None:
    assert checks("/unified", {"model": model, "prompt": "x"}) == "404 model_not_found model"


OFFERED = {  # model_params.NAME: the models of evolink that offer it
    "web_search": {FLASH, PRO},
    "image_search": {FLASH},
    "thinking_level": {FLASH, LITE, "nano-banana-2-beta"},
}


@pytest.mark.parametrize("model", [row[1] for row in TABLE if not row[0]])
@pytest.mark.parametrize("name", OFFERED)
def test_model_params_only_where_offered(checks: Any, model: str, name: str) -> None:
    value: object = "min" if name == "thinking_level" else True
    verdict = checks("", {"model": model, "prompt": "x", "model_params": {name: value}})
    assert verdict == ("ok" if model in OFFERED[name] else f"400 invalid_request model_params.{name}")


@pytest.mark.parametrize(
    ("prefix", "more", "verdict"),
    [
        ("/unified", {"google_search": True}, "ok"),
        ("/unified", {"google_search": "yes"}, "400 invalid_request google_search"),
        ("/unified", {"image_search": True}, "ok"),
        ("/unified", {"image_search": True, "model": PRO}, "400 invalid_request image_search"),
        ("/unified", {"output_format": "webp"}, "ok"),
        ("/unified", {"output_format": "gif"}, "400 invalid_request output_format"),
        ("/unified", {"size": "1:1"}, "400 invalid_request size"),
        ("/unified", {"quality": "1K"}, "400 invalid_request quality"),
        ("/unified", {"model_params": {}}, "400 invalid_request model_params"),
        ("/unified", {"thinking_level": "min"}, "400 invalid_request thinking_level"),
        ("/unified", {"callback_url": "https://example.com/x"}, "400 invalid_request callback_url"),
        ("/unified", {"aspect_ratio": "match_input_image"}, "400 invalid_request aspect_ratio"),
        ("/unified", {"aspect_ratio": 1}, "400 invalid_request aspect_ratio"),
        ("", {"output_format": "png"}, "400 invalid_request output_format"),
        ("", {"aspect_ratio": "1:1"}, "400 invalid_request aspect_ratio"),
        ("", {"resolution": "1K"}, "400 invalid_request resolution"),
        ("", {"google_search": True}, "400 invalid_request google_search"),
        ("", {"n": 1}, "400 invalid_request n"),
        ("", {"model_params": {"steps": 3}}, "400 invalid_request model_params.steps"),
        ("", {"model_params": []}, "400 invalid_request model_params"),
        ("", {"model_params": {"thinking_level": "max"}}, "400 invalid_request model_params.thinking_level"),
        ("", {"model_params": {"web_search": 1}}, "400 invalid_request model_params.web_search"),
        ("", {"size": None}, "400 invalid_request size"),
        ("", {"model": 5}, "400 invalid_request model"),
        ("", {"model": "gpt-image"}, "404 model_not_found model"),
        ("", {"prompt": ""}, "400 invalid_request prompt"),
        ("", {"prompt": " \n"}, "400 invalid_request prompt"),
        ("", {"prompt": ["x"]}, "400 invalid_request prompt"),
        ("", {"prompt": "é" * 2000}, "ok"),
        ("", {"prompt": "é" * 2001}, "400 invalid_request prompt"),
        ("", {"prompt": "\ud800"}, "400 invalid_request prompt"),
        ("", {"image_urls": IMAGE}, "400 invalid_request image_urls"),
        ("", {"image_urls": []}, "ok"),
        ("", {"callback_url": "https://example.com/hook"}, "ok"),
        ("", {"callback_url": "https://93.184.216.34/hook"}, "ok"),
        ("", {"callback_url": "http://example.com/hook"}, "400 invalid_request callback_url"),
        ("", {"callback_url": "https://example.com/" + "a" * 2029}, "400 invalid_request callback_url"),
        ("", {"callback_url": "https://example.com/" + "a" * 2028}, "ok"),
        *(
            ("", {"callback_url": f"https://{host}/"}, "400 invalid_request callback_url")
            for host in (
                "localhost",
                "127.0.0.1",
                "10.1.2.3",
                "172.16.0.1",
                "192.168.1.1",
                "[::1]",
                "[fd00::1]",
            )
        ),
    ],
)
def test_a_field_is_checked(checks: Any, prefix: str, more: dict[str, Any], verdict: str) -> None:
    assert checks(prefix, {"model": FLASH, "prompt": "x", **more}) == verdict


@pytest.mark.parametrize("url", [IMAGE, "http://example.com/a/b.JPEG?x=1", "https://example.com:8443/c.webp"])
def test_an_image_url_that_is_taken(checks: Any, url: str) -> None:
    assert checks("", {"model": FLASH, "prompt": "x", "image_urls": [url]}) == "ok"


@pytest.mark.parametrize(
    "url",
    [
        "cat.png",
        "ftp://example.com/cat.png",
        "https://example.com/cat.gif",
        "https://example.com/cat",
        "https:///cat.png",
        "https://example.com:port/cat.png",
        "https://user:pass@example.com/cat.png",
        "https://example.com/a cat.png",
        "data:image/png;base64,AAAA",
        "https://example.com/" + "a" * 2048 + ".png",
        7,
        None,
    ],
)
def test_an_image_url_that_is_not(checks: Any, url: Any) -> None:
    verdict = checks("", {"model": FLASH, "prompt": "x", "image_urls": [url]})
    assert verdict == "400 invalid_request image_urls[0]"


@pytest.mark.parametrize("missing", ["model", "prompt"])
def test_model_and_prompt_are_required(checks: Any, missing: str) -> None:
    body = {"model": FLASH, "prompt": "x"}
    del body[missing]
    assert checks("", body) == f"400 invalid_request {missing}"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"\xff{}", b"[" * 100_000, b'{"model":"a","model":"b"}', b'{"prompt": NaN}'],
)
def test_a_body_that_is_no_json_object_is_400(api: Api, body: bytes) -> None:
    reply = api.post(body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["type"]) == ("invalid_request", "invalid_request_error")


def test_a_rejected_request_charges_nothing(api: Api) -> None:
    """And its field is named in the envelope."""
    before = api.http.get("/v1/credits").json()
    reply = api.post({"model": FLASH, "prompt": "x", "size": "3:1"})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "size"
    assert "21:9" in reply.json()["error"]["message"]
    assert api.http.get("/v1/credits").json() == before
    assert api.http.get("/v1/tasks").json()["total"] == 0


def test_an_unknown_model_is_404(api: Api) -> None:
    reply = api.post({"model": "gpt-image", "prompt": "x"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("header", ["", "Bearer", "Basic abc", "token"])
@pytest.mark.parametrize("path", ["/v1/credits", "/unified/v1/tasks", "/v1/tasks/x"])
def test_every_call_needs_a_key(api: Api, header: str, path: str) -> None:
    reply = api.http.get(path, headers={"Authorization": header})
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "unauthorized")


def test_a_large_body_is_413(start: Start) -> None:
    """Whether its length is announced or only found out."""
    api = start(max_body_bytes=1000)
    big = b'{"prompt":"' + b"x" * 1000
    announced = api.post(big)
    chunked = api.http.post("/v1/images/generations", content=iter([big[:500], big[500:]]))
    for reply in (announced, chunked):
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large_error")


def test_error_codes_can_be_integers(start: Start) -> None:
    api = start(integer_codes=True)
    assert api.post(b"{").json()["error"]["code"] == 400
    assert api.http.get("/v1/credits", headers={"Authorization": ""}).json()["error"]["code"] == 401


def test_only_the_keys_of_the_key_file_are_known(start: Start, tmp_path: Any) -> None:
    (tmp_path / "keys").write_text("key-of-this-test\n\nanother\n")
    api = start(key_file=tmp_path / "keys")
    assert api.http.get("/v1/credits").status_code == 200
    assert api.http.get("/v1/credits", headers={"Authorization": "Bearer another"}).status_code == 200
    assert api.http.get("/v1/credits", headers={"Authorization": "Bearer third"}).status_code == 401
