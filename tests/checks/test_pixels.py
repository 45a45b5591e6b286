"""What is seen of one file: blank ones, hostile ones, and those with colours that nobody can read."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image, ImageCms

from nanobanana_batch.checks.pixels import Blank, FileIs, Seen, look_at
from nanobanana_batch.checks.profiles import Profile
from tests.checks.drawn import encoded, photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def look(folder: Path, data: bytes) -> Seen:
    path = folder / "one"
    path.write_bytes(data)
    return look_at(path, hashlib.sha256(data).hexdigest())


def noisy(level: int, spread: float = 1.0) -> Image.Image:
    noise = numpy.random.default_rng(1).normal(level, spread, (64, 64, 3))
    return Image.fromarray(noise.clip(0, 255).astype("uint8"))


def dotted(ground: int) -> Image.Image:
    """A small picture on an empty ground: one part of a hundred."""
    image = Image.new("RGB", (200, 200), (ground,) * 3)
    image.paste((200, 60, 60), (90, 90, 110, 110))
    return image


@pytest.mark.parametrize(
    ("image", "blank"),
    [
        (noisy(2), Blank.BLACK),
        (noisy(253), Blank.WHITE),
        (noisy(120), Blank.UNIFORM),
        (Image.new("RGB", (64, 64), (250, 10, 10)), Blank.UNIFORM),
        (Image.new("RGBA", (64, 64), (250, 10, 10, 0)), Blank.TRANSPARENT),
        (photo(1), Blank.NO),
        (dotted(255), Blank.NO),
        (dotted(0), Blank.NO),
    ],
)
def test_blank(tmp_path: Path, image: Image.Image, blank: Blank) -> None:
    """A little noise is nothing to see; a small thing is."""
    assert look(tmp_path, encoded(image)).blank is blank


@pytest.mark.parametrize("ink", ["white", "black"])
def test_a_drawing_on_nothing_is_seen(tmp_path: Path, ink: str) -> None:
    """Whatever its colour: on white paper a white one would be none."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste(ink, (20, 20, 40, 40))
    assert look(tmp_path, encoded(image)).blank is Blank.NO


def test_brightness(tmp_path: Path) -> None:
    """Of 255; half black and half white has both in the middle."""
    image = Image.new("L", (64, 64), 0)
    image.paste(255, (0, 0, 32, 64))
    found = look(tmp_path, encoded(image))
    assert (found.mean, found.stddev) == (127.5, 127.5)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_it_is_encoded_as_changes_little(tmp_path: Path, kind: str) -> None:
    """Fingerprints of the same picture are near, those of another are not."""
    one = look(tmp_path, encoded(photo(1, 512)))
    again = look(tmp_path, encoded(photo(1, 512).resize((300, 300)), kind, quality=60))
    other = look(tmp_path, encoded(photo(2, 512), kind))
    assert one.fingerprint is not None
    assert again.fingerprint is not None
    assert other.fingerprint is not None
    assert (one.fingerprint ^ again.fingerprint).bit_count() <= 6
    assert (one.fingerprint ^ other.fingerprint).bit_count() > 16


def modes() -> list[Any]:
    deep = numpy.asarray(photo(3).convert("L")).astype("uint16") * 257
    return [
        pytest.param(encoded(Image.fromarray(deep)), id="16 bits"),
        pytest.param(encoded(photo(3).convert("L")), id="grey"),
        pytest.param(encoded(photo(3).convert("1")), id="two colours"),
        pytest.param(encoded(photo(3).convert("LA")), id="grey with alpha"),
        pytest.param(encoded(photo(3).quantize(16), transparency=3), id="palette with alpha"),
        pytest.param(encoded(photo(3).convert("CMYK"), "JPEG"), id="CMYK"),
        pytest.param(encoded(photo(3), "WEBP", save_all=True, append_images=[photo(4)]), id="animated WebP"),
        pytest.param(encoded(photo(3), "PNG", save_all=True, append_images=[photo(4)]), id="animated PNG"),
    ]


@pytest.mark.parametrize("data", modes())
def test_any_kind_of_pixels_is_measured(tmp_path: Path, data: bytes) -> None:
    """And looks like the picture that it is, or like its first frame."""
    found = look(tmp_path, data)
    assert (found.file, found.detail, found.blank) == (FileIs.AS_SAVED, "", Blank.NO)
    assert abs(found.mean - look(tmp_path, encoded(photo(3))).mean) < 25


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb() -> bytes:
    """A PNG of 400 million pixels, in as many bytes as its rows of nothing take."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(2501 * 20_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A PNG with a text that swells to more than any decoder takes."""
    data = encoded(photo(1))
    swelling = b"Comment\0\0" + zlib.compress(bytes(64 << 20), 9)
    return data[:33] + chunk(b"zTXt", swelling) + data[33:]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(bomb(), "more than are looked at", id="bomb"),
        pytest.param(text_bomb(), "", id="text bomb"),
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"<html>", "web page", id="web page"),
        pytest.param(b"GIF89a" + bytes(99), "not a PNG, JPEG or WebP", id="another format"),
        pytest.param(encoded(photo(1), "JPEG")[:-200], "cut off", id="cut JPEG"),
        pytest.param(encoded(photo(1))[:-200], "cut off", id="cut PNG"),
        pytest.param(encoded(photo(1), "WEBP")[:-200], "cut off", id="cut WebP"),
    ],
)
def test_what_cannot_be_decoded_is_a_finding(tmp_path: Path, data: bytes, words: str) -> None:
    """In words, and without a measure."""
    found = look(tmp_path, data)
    assert found.file is FileIs.BROKEN
    assert words in found.detail
    assert found.fingerprint is None


def test_pixels_that_break_off_in_a_whole_file(tmp_path: Path) -> None:
    """Its parts are all there, and what is packed in them is not a picture's."""
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    cut = zlib.compress(os.urandom(64 * 193))[:3000]
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", cut) + chunk(b"IEND", b"")
    assert look(tmp_path, data).file is FileIs.BROKEN


def test_links_and_pipes_are_not_read(tmp_path: Path) -> None:
    """A folder may be somebody else's."""
    (tmp_path / "target").write_bytes(encoded(photo(1)))
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "nothing"):
        assert look_at(tmp_path / name, "").file is FileIs.UNREADABLE


def test_what_was_changed_is_seen_as_it_is(tmp_path: Path) -> None:
    """And known for another content than the one that was saved."""
    path = tmp_path / "one"
    path.write_bytes(encoded(noisy(2)))
    found = look_at(path, hashlib.sha256(b"another").hexdigest())
    assert (found.file, found.blank) == (FileIs.CHANGED, Blank.BLACK)


def cut_profile_png() -> bytes:
    """Its packed profile is damaged, and the chunk around it is sound."""
    data = encoded(photo(1))
    return data[:33] + chunk(b"iCCP", b"icc\0\0" + zlib.compress(SRGB)[:-40]) + data[33:]


def half_profile_jpeg() -> bytes:
    """Says that its profile comes in two parts, and has one."""
    data = encoded(photo(1), "JPEG")
    body = b"ICC_PROFILE\0\x01\x02" + SRGB
    return data[:2] + b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body + data[2:]


@pytest.mark.parametrize(
    ("data", "profile"),
    [
        (encoded(photo(1)), Profile.NONE),
        (encoded(photo(1), icc_profile=SRGB), Profile.OK),
        (encoded(photo(1), "JPEG", icc_profile=SRGB), Profile.OK),
        (encoded(photo(1), "WEBP", icc_profile=SRGB), Profile.OK),
        (encoded(photo(1), icc_profile=SRGB[:300]), Profile.BROKEN),
        (encoded(photo(1), "JPEG", icc_profile=SRGB[:-50]), Profile.BROKEN),
        (encoded(photo(1), "WEBP", icc_profile=b"no profile at all"), Profile.BROKEN),
        (encoded(photo(1).convert("CMYK"), "JPEG", icc_profile=SRGB), Profile.BROKEN),
        (cut_profile_png(), Profile.BROKEN),
        (half_profile_jpeg(), Profile.BROKEN),
    ],
)
def test_profiles(tmp_path: Path, data: bytes, profile: Profile) -> None:
    """A broken one is a finding, and the picture is measured all the same."""
    found = look(tmp_path, data)
    assert (found.file, found.profile) == (FileIs.AS_SAVED, profile)


def test_a_picture_is_known_by_its_content(tmp_path: Path) -> None:
    """What is known of it is not found out again."""
    data = io.BytesIO(encoded(photo(1))).getvalue()
    (tmp_path / "one").write_bytes(data)
    known = Seen(FileIs.AS_SAVED, mean=1.0, fingerprint=5)
    assert look_at(tmp_path / "one", hashlib.sha256(data).hexdigest(), known) is known
    assert look_at(tmp_path / "one", "another", known).file is FileIs.CHANGED
