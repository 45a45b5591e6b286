"""The placeholder: exact size and format, references in it, the same for the same seed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from nanobanana_batch.service import contract, openapi
from nanobanana_batch.service.contract import SIZES_1K, matching_size, nearest_ratio, pixel_size
from nanobanana_batch.service.render import Reference, RenderSpec, drawable, render

if TYPE_CHECKING:
    from tests.service.conftest import Api, Start

FLASH, PRO = "gemini-3.1-flash-image-preview", "gemini-3-pro-image-preview"
RATIOS = openapi.ratios("evolink", FLASH)[1:]


def _spec(**changes: Any) -> RenderSpec:
    values: dict[str, Any] = {
        "prompt": "a lighthouse in fog",
        "model": FLASH,
        "ratio": "1:1",
        "width": 512,
        "height": 512,
        "seed": 1,
        "output_format": "png",
    }
    return RenderSpec(**{**values, **changes})


def _picture(**changes: Any) -> Image.Image:
    return Image.open(BytesIO(render(_spec(**changes)))).convert("RGB")


def _share(image: Image.Image, colour: tuple[int, int, int], slack: int = 24) -> float:
    """Of the pixels, those about this colour."""
    counted = image.getcolors(image.width * image.height) or []
    near = sum(
        n
        for n, rgb in counted
        if isinstance(rgb, tuple) and all(abs(a - b) <= slack for a, b in zip(rgb, colour, strict=True))
    )
    return near / (image.width * image.height)


def test_the_size_table_covers_every_ratio() -> None:
    offered = {
        ratio
        for dialect in contract.DIALECTS
        for model in openapi.models(dialect)
        for ratio in openapi.ratios(dialect, model)
    }
    assert offered - {"auto", "match_input_image"} == set(SIZES_1K)


@pytest.mark.parametrize("ratio", RATIOS)
def test_sizes_are_about_their_megapixels_and_of_their_ratio(ratio: str) -> None:
    width, height = pixel_size(ratio, "1K")
    across, down = map(int, ratio.split(":"))
    assert width % 16 == height % 16 == 0
    assert abs(width / height / (across / down) - 1) < 0.01
    assert abs(width * height / 2**20 - 1) < 0.06
    assert pixel_size(ratio, "2K") == (2 * width, 2 * height)
    assert pixel_size(ratio, "4K") == (4 * width, 4 * height)
    assert pixel_size(ratio, "512") == pixel_size(ratio, "0.5K") == (width // 2, height // 2)


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_picture_of_every_ratio_has_its_size(api: Api, ratio: str) -> None:
    body = {"model": FLASH, "prompt": "x", "size": ratio, "quality": "0.5K"}
    assert Image.open(BytesIO(api.image(body))).size == pixel_size(ratio, "0.5K")


@pytest.mark.parametrize(
    ("prefix", "more", "size"),
    [
        ("", {"quality": "0.5K", "size": "1:1"}, 512),
        ("", {"quality": "1K"}, 1024),
        ("", {}, 2048),
        ("", {"quality": "4K"}, 4096),
        ("", {"model": PRO}, 2048),
        ("", {"model": "nano-banana-beta"}, 1024),
        ("/unified", {"resolution": "512"}, 512),
        ("/unified", {"resolution": "0.5K"}, 512),
        ("/unified", {}, 1024),
    ],
)
def test_a_picture_of_every_resolution_has_its_size(
    api: Api, prefix: str, more: dict[str, str], size: int
) -> None:
    """`auto` and no ratio at all are square without images."""
    assert Image.open(BytesIO(api.image({"model": FLASH, "prompt": "x", **more}, prefix))).size == (
        size,
        size,
    )


@pytest.mark.parametrize(("kind", "name"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_the_output_format_is_the_one_asked_for(api: Api, kind: str, name: str) -> None:
    body = {"model": FLASH, "prompt": "x", "resolution": "512", "output_format": kind}
    task = api.finished(api.submit(body, prefix="/unified"), "/unified")
    link = task["results"][0]
    reply = api.http.get(link)
    assert link.endswith(f".{kind}")
    assert reply.headers["Content-Type"] == f"image/{'jpeg' if kind == 'jpg' else kind}"
    assert Image.open(BytesIO(reply.content)).format == name


def test_the_same_spec_is_the_same_bytes() -> None:
    assert render(_spec()) == render(_spec())


def test_other_seeds_and_prompts_look_different() -> None:
    pictures = [_picture(seed=seed) for seed in range(6)] + [_picture(prompt="another")]
    small = [picture.resize((16, 16)).tobytes() for picture in pictures]
    for number, one in enumerate(small):
        for other in small[number + 1 :]:
            assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one) > 10


def test_a_picture_says_that_it_is_a_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageDraw

    written: list[str] = []
    original = ImageDraw.ImageDraw.text

    def text(self: Any, at: Any, words: str, *more: Any, **options: Any) -> None:
        written.append(words)
        original(self, at, words, *more, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    _picture(width=1024, height=1024)
    everything = " ".join(written)
    for words in (
        "P L A C E H O L D E R",
        "placeholder",
        "a lighthouse in fog",
        FLASH,
        "1024 x 1024",
        "seed 1",
    ):
        assert words in everything


@pytest.mark.parametrize(("width", "height"), [(368 // 2, 2944 // 2), (2944 // 2, 368 // 2), (256, 256)])
@pytest.mark.parametrize("prompt", ["x" * 2000, "word " * 400, "東京" * 1000, "\x00\n\t", "🦊" * 3])
def test_any_prompt_fits_any_shape(width: int, height: int, prompt: str) -> None:
    references = tuple(Reference("host", "name.png", None) for _ in range(14))
    picture = _picture(prompt=prompt, width=width, height=height, references=references)
    assert picture.size == (width, height)


def test_what_the_font_lacks_is_named() -> None:
    assert drawable("plain  text\n") == "plain text"
    assert drawable("東京の夜 at night") == "[CJK x 4] at night"
    assert drawable("дом") == "[CYRILLIC x 3]"
    assert "?" not in drawable("Škoda café")


def test_match_input_image_keeps_the_ratio() -> None:
    width, height = matching_size((700, 300), "1K")
    assert abs(width / height / (7 / 3) - 1) < 0.02
    assert abs(width * height / 2**20 - 1) < 0.05
    assert matching_size((10_000, 10), "1K")[0] <= 8 * matching_size((10_000, 10), "1K")[1] * 1.05


def test_the_nearest_ratio_is_one_that_the_model_has() -> None:
    beta = openapi.ratios("evolink", "nano-banana-beta")
    assert nearest_ratio((1920, 1080), beta) == "16:9"
    assert nearest_ratio((100, 800), beta) == "9:16"
    assert nearest_ratio((100, 800), RATIOS) == "1:8"


class TestReferences:
    """A request's images, served by this test on loopback."""

    @pytest.fixture
    def host(self) -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
        files: dict[str, bytes] = {}
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                body = files.get(self.path)
                if self.path == "/redirect.png":
                    self.send_response(302)
                    self.send_header("Location", "/red.png")
                else:
                    self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", files, asked
        server.shutdown()
        thread.join()
        server.server_close()

    @staticmethod
    def _png(colour: str, size: tuple[int, int], kind: str = "PNG") -> bytes:
        out = BytesIO()
        Image.new("RGB", size, colour).save(out, kind)
        return out.getvalue()

    def test_they_are_visible(self, api: Api, host: Any) -> None:
        base, files, _ = host
        files["/red.png"] = self._png("#ff1400", (300, 300))
        files["/green.jpg"] = self._png("#00e61e", (300, 200), "JPEG")
        files["/blue.webp"] = self._png("#1e14ff", (64, 64), "WEBP")
        urls = [f"{base}/red.png", f"{base}/green.jpg", f"{base}/blue.webp"]
        body = {"model": "nano-banana-beta", "prompt": "x", "size": "16:9", "image_urls": urls}
        picture = Image.open(BytesIO(api.image(body))).convert("RGB")
        for colour in ((255, 20, 0), (0, 230, 30), (30, 20, 255)):
            assert _share(picture, colour) > 0.02
        plain = Image.open(BytesIO(api.image({**body, "image_urls": []}))).convert("RGB")
        assert _share(plain, (255, 20, 0)) < 0.005

    def test_auto_takes_the_ratio_nearest_to_the_first(self, api: Api, host: Any) -> None:
        base, files, _ = host
        files["/wide.png"] = self._png("red", (1600, 920))
        body = {"model": "nano-banana-beta", "prompt": "x", "image_urls": [f"{base}/wide.png"]}
        assert Image.open(BytesIO(api.image(body))).size == pixel_size("16:9", "1K")

    def test_match_input_image_takes_the_ratio_of_the_first(self, api: Api, host: Any) -> None:
        base, files, _ = host
        files["/odd.png"] = self._png("red", (700, 300))
        body = {"model": PRO, "prompt": "x", "image_urls": [f"{base}/odd.png"]}
        image = api.image({**body, "aspect_ratio": "match_input_image"}, "/unified")
        assert Image.open(BytesIO(image)).size == matching_size((700, 300), "1K")

    def test_a_link_of_this_service_is_a_reference(self, api: Api) -> None:
        link = api.finished(api.submit())["results"][0]
        task = api.finished(api.submit({"model": "nano-banana-beta", "prompt": "x", "image_urls": [link]}))
        assert task["status"] == "completed"

    def test_no_other_host_is_contacted(self, api: Api, host: Any) -> None:
        """Nor by a redirect from a host that may be."""
        base, _, asked = host
        elsewhere = "http://images.invalid/cat.png"
        assert api.image({"model": "nano-banana-beta", "prompt": "x", "image_urls": [elsewhere]})
        body = {"model": "nano-banana-beta", "prompt": "x", "image_urls": [f"{base}/redirect.png"]}
        assert api.finished(api.submit(body))["error"]["code"] == "resource_not_found"
        assert asked == ["/redirect.png"]

    @pytest.mark.parametrize(
        ("name", "content", "code"),
        [
            ("/missing.png", None, "resource_not_found"),
            ("/text.png", b"no image", "image_processing_error"),
            ("/empty.png", b"", "image_processing_error"),
            ("/gif.png", "GIF", "image_processing_error"),
            ("/cut.png", "cut", "image_processing_error"),
            ("/large.png", "large", "image_processing_error"),
            ("/bomb.png", "bomb", "image_processing_error"),
        ],
    )
    def test_one_that_cannot_be_used_fails_the_task(
        self, api: Api, host: Any, name: str, content: Any, code: str
    ) -> None:
        base, files, _ = host
        made = {
            "GIF": lambda: self._png("red", (8, 8), "GIF"),
            "cut": lambda: self._png("red", (800, 800))[:-200],
            "large": lambda: self._png("red", (8, 8)) + bytes(10_000_001),
            "bomb": lambda: _bomb(),
        }
        if content is not None:
            files[name] = made[content]() if isinstance(content, str) else content
        body = {"model": "nano-banana-beta", "prompt": "x", "image_urls": [base + name]}
        task = api.finished(api.submit(body))
        assert (task["status"], task["error"]["code"]) == ("failed", code)


def _bomb() -> bytes:
    """A PNG that says it has 400 megapixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_two_services_with_a_seed_agree_in_any_order(start: Start) -> None:
    """On ids and on every byte of the pictures; repeats of a body count up."""
    bodies = [{"model": "nano-banana-beta", "prompt": prompt} for prompt in ("one", "two", "one")]
    first, second = start(seed=7, data="first"), start(seed=7, data="second", key="another-key")
    other = start(seed=8, data="third")
    made = [(api.submit(body), api.image(body)) for api in (first,) for body in bodies]
    ids = [one.id for one in first.ledger().tasks]
    for body in [*bodies, *bodies][::-1]:
        second.submit(body)
    assert sorted(one.id for one in second.ledger().tasks) == sorted(ids)
    assert len(set(ids)) == len(ids) == 6
    for task, _ in made:
        left, right = first.finished(task), second.finished(task)
        assert left["results"] != right["results"]
        assert first.http.get(left["results"][0]).content == second.http.get(right["results"][0]).content
    assert other.submit(bodies[0]) not in ids
    assert other.image(bodies[0]) not in [image for _, image in made]


def test_two_accounts_with_the_same_seeded_request_have_two_tasks(start: Start) -> None:
    api = start(seed=7)
    first = api.submit()
    headers = {"Authorization": "Bearer another"}
    reply = api.http.post(
        "/v1/images/generations",
        json={"model": "nano-banana-beta", "prompt": "a lighthouse in fog"},
        headers=headers,
    )
    assert reply.status_code == 200
    assert reply.json()["id"] != first


def test_without_a_seed_nothing_repeats(start: Start) -> None:
    api = start()
    assert api.image() != api.image()
