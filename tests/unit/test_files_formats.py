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
