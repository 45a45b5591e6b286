"""Only whole images are taken for images: real files of every kind, cut at every byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from nanobanana_batch.errors import ImageRejected
from nanobanana_batch.files.formats import Format, identify

WIDTH, HEIGHT = 23, 17


def scene(mode: str = "RGB", shift: int = 0) -> Picture.Image:
    """A picture with some structure in it."""
    picture = Picture.new("RGB", (WIDTH, HEIGHT))
    for x in range(WIDTH):
        for y in range(HEIGHT):
            picture.putpixel((x, y), ((x * 11 + shift) % 256, (y * 13) % 256, (x * y * 7) % 256))
    return picture.convert(mode)


def encoded(kind: str, picture: Picture.Image | None = None, **options: Any) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    (picture or scene()).save(buffer, kind, **options)
    return buffer.getvalue()


def in_mode(mode: str) -> bytes:
    """A PNG as Pillow writes it."""
    return encoded("PNG", scene(mode))


def chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deep_png() -> bytes:
    """16 bits a channel, which Pillow does not write: RGB samples of two bytes."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + bytes(range(WIDTH * 6)) for _ in range(HEIGHT))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def interlaced_png() -> bytes:
    """Adam7, which Pillow reads but does not write: one gray pixel of each of the seven passes."""
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    lines = b""
    for x, y, dx, dy in passes:
        across, down = len(range(x, WIDTH, dx)), len(range(y, HEIGHT, dy))
        lines += (b"\0" + b"\x80" * across) * down
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 1)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_thumbnail() -> bytes:
    """A JPEG whose EXIF holds a whole little JPEG, end marker included."""
    small = encoded("JPEG", scene().resize((8, 6)))
    assert small.endswith(b"\xff\xd9")
    app1 = b"Exif\0\0" + b"MM\0*\0\0\0\x08\0\0\0\0\0\0" + small
    whole = encoded("JPEG")
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + whole[2:]


def clear() -> bytes:
    """A lossy WebP with an alpha plane."""
    picture = scene("RGBA")
    picture.putalpha(scene("L"))
    return encoded("WEBP", picture, quality=70)


def animated() -> bytes:
    """A WebP of three frames."""
    return encoded("WEBP", save_all=True, append_images=[scene(shift=40), scene(shift=90)], duration=50)


PNGS: dict[str, Callable[[], bytes]] = {
    "png-animated": lambda: encoded("PNG", save_all=True, append_images=[scene(shift=40)], duration=50),
    **{f"png-{mode}": partial(in_mode, mode) for mode in ("1", "L", "RGB", "RGBA", "P")},
    "png-16-bit-gray": lambda: encoded("PNG", scene("L").convert("I;16")),
    "png-16-bit": deep_png,
    "png-interlaced": interlaced_png,
}
JPEGS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded("JPEG"),
    "jpeg-gray": lambda: encoded("JPEG", scene("L")),
    "jpeg-cmyk": lambda: encoded("JPEG", scene("CMYK")),
    "jpeg-444": lambda: encoded("JPEG", subsampling=0, quality=95),
    "jpeg-progressive": lambda: encoded("JPEG", progressive=True),
    "jpeg-restarts": lambda: encoded("JPEG", restart_marker_blocks=1),
    "jpeg-thumbnail": with_thumbnail,
}
WEBPS: dict[str, Callable[[], bytes]] = {
    "webp": lambda: encoded("WEBP", quality=70),
    "webp-lossless": lambda: encoded("WEBP", lossless=True),
    "webp-alpha": clear,
    "webp-exif": lambda: encoded("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    "webp-animated": animated,
}
KINDS = {**PNGS, **JPEGS, **WEBPS}


def identified(data: bytes) -> Format:
    """`identify` over bytes."""
    return identify(memoryview(data))


def found_in(data: bytes) -> Format | None:
    """The format, or None for what is rejected; any other error comes through."""
    try:
        return identified(data)
    except ImageRejected:
        return None


def expected_type(name: str) -> tuple[str, str]:
    """Media type and extension by the name of a kind."""
    kind = name.partition("-")[0]
    return f"image/{kind}", {"png": "png", "jpeg": "jpg", "webp": "webp"}[kind]


@pytest.mark.parametrize("name", KINDS)
def test_a_real_image_is_known_with_its_type_and_size(name: str) -> None:
    """What Pillow can open is accepted, with Pillow's width and height."""
    data = KINDS[name]()
    Picture.open(io.BytesIO(data)).load()
    assert identified(data) == Format(*expected_type(name), WIDTH, HEIGHT, "animated" in name)


def test_the_special_features_are_really_in_the_files() -> None:
    """The kinds above are what their names say, so that the tests over them mean something."""
    assert b"\xff\xd9" in with_thumbnail()[:-2]
    assert b"\xff\xdd" in KINDS["jpeg-restarts"]()
    assert KINDS["jpeg-progressive"]().count(b"\xff\xda") > 1
    assert b"VP8L" in KINDS["webp-lossless"]()
    assert b"ALPH" in clear()
    assert b"ANMF" in animated()
    assert interlaced_png()[28] == 1


@pytest.mark.parametrize("name", KINDS)
def test_no_beginning_of_an_image_is_taken_for_the_whole(name: str) -> None:
    """Every single prefix is rejected."""
    data = KINDS[name]()
    for length in range(len(data)):
        with pytest.raises(ImageRejected):
            identified(data[:length])


@pytest.mark.parametrize("name", KINDS)
def test_bytes_after_the_end_do_no_harm(name: str) -> None:
    """Some encoders append padding or a second picture."""
    data = KINDS[name]()
    assert identified(data + b"\0" * 5 + data[:20]) == identified(data)


@pytest.mark.parametrize("name", PNGS)
def test_a_flipped_bit_anywhere_in_a_png_is_noticed(name: str) -> None:
    """Each chunk has a checksum, and all of them are looked at."""
    data = PNGS[name]()
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        with pytest.raises(ImageRejected):
            identified(bytes(damaged))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", "web page"),
        (b"\r\n  <html>", "web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
        (b'{"error": {"code": "link_expired"}}', "JSON"),
        (b"[]", "JSON"),
        (encoded("GIF"), "GIF8"),
        (encoded("BMP"), "not a PNG, JPEG or WebP"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not a PNG, JPEG or WebP"),
    ],
)
def test_what_is_no_image_is_named(body: bytes, said: str) -> None:
    """The message says what came instead."""
    with pytest.raises(ImageRejected, match=said):
        identified(body)


@pytest.mark.parametrize(
    "body",
    [
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"IEND", b""),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""),
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b""),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xfe\0\x04hi\xff\xd9",
        b"RIFF\x04\0\0\0WEBP",
        b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(10),
        b"RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\0\0\0\0",
    ],
)
def test_a_shell_without_pixels_is_no_image(body: bytes) -> None:
    """A right frame around nothing, or a picture of no width, is rejected."""
    with pytest.raises(ImageRejected):
        identified(body)


@settings(max_examples=300, deadline=None)
@given(
    head=st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x40\0\0\0WEBP", b"RIFF\xff\xff\xff\xffWEBPVP8X"]
    ),
    rest=st.binary(max_size=200),
)
def test_garbage_is_rejected_and_nothing_else_happens(head: bytes, rest: bytes) -> None:
    """Whatever follows a signature: one error type, no other."""
    found = found_in(head + rest)
    assert found is None or (found.width > 0 and found.height > 0)


SMALL = {name: make() for name, make in KINDS.items()}


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(sorted(SMALL)),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=4)), min_size=1, max_size=4),
)
def test_a_damaged_image_is_rejected_or_still_has_a_size(name: str, edits: list[tuple[int, bytes]]) -> None:
    """Bytes overwritten or dropped in a real file never lead to another error, nor to an empty picture."""
    data = bytearray(SMALL[name])
    for place, new in edits:
        at = place % len(data) if data else 0
        data[at : at + 2] = new
    found = found_in(bytes(data))
    assert found is None or (found.width > 0 and found.height > 0)


def changed_header(depth: int = 8, colours: int = 2, methods: bytes = b"\0\0\0", size: int = 8) -> bytes:
    """A PNG's first chunk."""
    return chunk(b"IHDR", struct.pack(">IIBB", size, size, depth, colours) + methods)


def png_of(*chunks: bytes) -> bytes:
    """A PNG with bytes enough for any 8 x 8 pixels."""
    whole = b"".join(chunks) + chunk(b"IDAT", bytes(100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + whole


LEGAL = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PLTE = chunk(b"PLTE", b"\0\0\0")


@pytest.mark.parametrize("colours", range(8))
@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 32])
def test_a_png_has_one_of_fifteen_kinds_of_pixels(depth: int, colours: int) -> None:
    """As the standard says; what is another has no decoder."""
    body = memoryview(png_of(changed_header(depth, colours), PLTE))
    if depth in LEGAL.get(colours, ()):
        assert identify(body).width == 8
    else:
        with pytest.raises(ImageRejected, match="asks for what no PNG has"):
            identify(body)


def frame_control(across: int, down: int, left: int, top: int) -> bytes:
    """Of an animated PNG."""
    return chunk(b"fcTL", struct.pack(">5I", 0, across, down, left, top) + bytes(6))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (png_of(changed_header(), changed_header(size=60_000)), "two headers"),
        (png_of(PLTE, changed_header()), "does not begin with its header"),
        (png_of(changed_header(methods=b"\0\0\x09")), "asks for what no PNG has"),
        (png_of(changed_header(methods=b"\x01\0\0")), "asks for what no PNG has"),
        (png_of(changed_header(methods=b"\0\x01\0")), "asks for what no PNG has"),
        (png_of(changed_header(colours=3)), "no palette"),
        (png_of(changed_header(), frame_control(60_000, 60_000, 0, 0)), "not inside of its picture"),
        (png_of(changed_header(), frame_control(8, 4, 0, 5)), "not inside of its picture"),
        (png_of(changed_header(), frame_control(0, 8, 0, 0)), "not inside of its picture"),
    ],
)
def test_a_png_that_nobody_draws_is_none(body: bytes, said: str) -> None:
    """Programs differ in which of two headers counts, and some crash."""
    with pytest.raises(ImageRejected, match=said):
        identify(memoryview(body))


def test_a_jpeg_has_one_frame() -> None:
    """Which of two would count is not for us to guess."""
    whole = encoded("JPEG")
    frame = b"\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00"
    for body in (whole[:2] + frame + whole[2:], whole[:-2] + frame + whole[-2:]):
        with pytest.raises(ImageRejected, match="two frames"):
            identify(memoryview(body))
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    with pytest.raises(ImageRejected, match="no picture"):
        identify(memoryview(b"\xff\xd8" + scan + bytes(80) + frame + b"\xff\xd9"))


def riff(kind: bytes, body: bytes) -> bytes:
    """A chunk of a WebP."""
    return struct.pack("<4sI", kind, len(body)) + body + bytes(len(body) % 2)


def extended(*chunks: bytes, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A WebP with a header of its own."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    is_moving = any(inner.startswith(b"ANMF") for inner in chunks)
    header = riff(b"VP8X", bytes([2 * is_moving, 0, 0, 0]) + size)
    return riff(b"RIFF", b"WEBP" + header + riff(b"ANIM", bytes(6)) * is_moving + b"".join(chunks))


def moved(inner: bytes, left: int = 0, top: int = 0, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A frame of an animation."""
    numbers = (left // 2, top // 2, width - 1, height - 1, 50)
    return riff(b"ANMF", b"".join(number.to_bytes(3, "little") for number in numbers) + b"\0" + inner)


LOSSY = encoded("WEBP", quality=70)[12:]
LOSSLESS = encoded("WEBP", lossless=True)[12:]


def test_the_parts_of_a_webp_may_be_put_together_anew() -> None:
    """What the attacks below are made of is sound."""
    for inner in (LOSSY, LOSSLESS):
        for body in (extended(inner), extended(moved(inner), moved(inner, 2, 4), width=50, height=50)):
            with Picture.open(io.BytesIO(body)) as picture:
                assert identify(memoryview(body)).width == picture.size[0]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (extended(riff(b"ANMF", b""), width=5000, height=5000), "cut off"),
        (extended(moved(b"")), "has no picture"),
        (extended(moved(riff(b"JUNK", b"x"))), "has no picture"),
        (extended(moved(LOSSY), riff(b"ANMF", bytes(16))), "has no picture"),
        (extended(moved(LOSSY, width=WIDTH + 1), width=50), "another size"),
        (extended(moved(LOSSY), width=WIDTH - 1), "not inside"),
        (extended(moved(LOSSY, 2, 0)), "not inside"),
        (extended(LOSSY, width=5000, height=5000), "another size"),
        (extended(LOSSLESS, height=HEIGHT + 1), "another size"),
        (extended(), "no picture"),
        (extended(riff(b"VP8X", bytes(10)), LOSSY), "two headers"),
        (riff(b"RIFF", b"WEBP" + moved(LOSSY)), "no picture"),
        (riff(b"RIFF", b"WEBP" + riff(b"JUNK", b"") + LOSSY), "no picture"),
        (riff(b"RIFF", b"WEBP" + riff(b"VP8 ", LOSSY[8:18])), "cut off"),
        (riff(b"RIFF", b"WEBP" + riff(b"VP8 ", LOSSY[8:40])), "cut off"),
        (riff(b"RIFF", b"WEBP" + riff(b"VP8 ", b"\x01" + LOSSY[9:])), "damaged"),
        (
            riff(b"RIFF", b"WEBP" + riff(b"VP8 ", LOSSY[8:14] + b"\xa0\x16\xa0\x16" + LOSSY[18:])),
            "too short for 5792 x 5792 pixels",
        ),
        (riff(b"RIFF", b"WEBP" + riff(b"VP8L", LOSSLESS[8:13])), "damaged"),
        (riff(b"RIFF", b"WEBP" + riff(b"VP8L", b"\x2e" + LOSSLESS[9:])), "damaged"),
    ],
)
def test_a_webp_that_nobody_draws_is_none(body: bytes, said: str) -> None:
    """A frame has data, the size that was announced, and its place inside of the picture."""
    with pytest.raises(ImageRejected, match=said):
        identify(memoryview(body))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (17, 33), (1000, 700)])
@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        *(("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        ("PNG", "P", {"bits": 2}),
        ("PNG", "RGB", {"optimize": True}),
        *(("JPEG", mode, {}) for mode in ("L", "RGB", "CMYK")),
        *(("JPEG", "RGB", {"quality": quality, "progressive": True}) for quality in (1, 50, 100)),
        ("JPEG", "L", {"progressive": True}),
        ("JPEG", "RGB", {"subsampling": 2, "optimize": True, "restart_marker_rows": 1}),
        *(
            ("WEBP", "RGB", {"quality": quality, "method": method})
            for quality in (0, 80)
            for method in (0, 4)
        ),
        *(("WEBP", mode, {"lossless": True}) for mode in ("RGB", "RGBA")),
        ("WEBP", "RGBA", {"quality": 20, "alpha_quality": 10}),
        ("WEBP", "RGBA", {"icc_profile": b"x" * 200, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
    ],
    ids=str,
)
def test_what_pillow_writes_is_an_image(
    kind: str, mode: str, options: dict[str, Any], is_plain: bool, size: tuple[int, int]
) -> None:
    """Of one colour, which is as short as an image can be, and of many."""
    picture = Picture.new("RGB", size) if is_plain else scene().resize(size)
    if mode == "I;16":
        picture = picture.convert("L")
    found = identify(memoryview(encoded(kind, picture.convert(mode), **options)))
    assert (found.width, found.height, found.is_animated) == (*size, False)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 30}, {"allow_mixed": True}, {"kmin": 1}])
@pytest.mark.parametrize("is_plain", [True, False])
def test_an_animation_that_pillow_writes_is_an_image(
    kind: str, options: dict[str, Any], is_plain: bool
) -> None:
    """Its frames hold what changes, and may be small."""
    others = [scene("RGBA").resize((200, 150)) for _ in range(4)]
    for number, picture in enumerate(others):
        picture.paste((255, number, 0, 90), (10 * number, 20, 10 * number + 1, 21 + number))
    if is_plain:
        others = [Picture.new("RGBA", (200, 150), (80 * number, 0, 0, 255)) for number in range(4)]
    body = encoded(kind, others[0], save_all=True, append_images=others[1:], duration=40, **options)
    found = identify(memoryview(body))
    assert (found.width, found.height, found.is_animated) == (200, 150, True)


@pytest.mark.parametrize("options", [{"quality": 0}, {"quality": 80, "method": 0}, {"lossless": True}])
@pytest.mark.parametrize("colour", ["black", "white", "#8090a0"])
def test_a_large_webp_of_one_colour_is_an_image(colour: str, options: dict[str, Any]) -> None:
    """The least that is said of 16 million pixels."""
    body = encoded("WEBP", Picture.new("RGB", (4096, 4096), colour), **options)
    assert identify(memoryview(body)).width == 4096
