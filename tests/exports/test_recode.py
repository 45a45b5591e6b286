"""Pictures for trainers: pixels as people see them, whatever a decoder makes of the rest."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from nanobanana_batch.exports.leaving_out import LeftOut
from nanobanana_batch.exports.options import Encoding
from nanobanana_batch.exports.recode import Recoding

RED, WHITE = (255, 0, 0), (255, 255, 255)
SIZE = (64, 32)


def file_of(image: Image.Image, format: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **how)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    """As kohya's and diffusers' loaders take them: no rotation, no profile, no alpha."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def left_red() -> Image.Image:
    """Red on the left, white on the right."""
    image = Image.new("RGB", SIZE, WHITE)
    image.paste(RED, (0, 0, 32, 32))
    return image


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return file_of(left_red(), "JPEG", exif=exif, quality=95)


def clear() -> bytes:
    """Black where nothing is to be seen."""
    image = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 32, 32))
    return file_of(image, "PNG")


def palette() -> bytes:
    image = left_red().quantize(2)
    return file_of(image, "PNG", transparency=int(np.asarray(image)[0, 63]))


def deep() -> bytes:
    levels = np.zeros((32, 64), np.uint16)
    levels[:, :32] = 65535
    return file_of(Image.fromarray(levels), "PNG")


def moving() -> bytes:
    frames = [left_red(), Image.new("RGB", SIZE, RED)]
    return file_of(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)


def four_colours() -> bytes:
    return file_of(left_red().convert("CMYK"), "JPEG", quality=95)


def swapped_profile() -> bytes:
    """Of a screen whose red is green, and the other way round."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"----"), (b"gXYZ", b"rXYZ"), (b"----", b"gXYZ")):
        profile = profile.replace(old, new)
    return profile.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def as_left_red(data: bytes) -> bool:
    seen = pixels(data).astype(int)
    wanted = np.asarray(left_red()).astype(int)
    return seen.shape == wanted.shape and float(abs(seen - wanted).mean()) < 4


@pytest.mark.parametrize("make", [clear, palette, moving, four_colours])
@pytest.mark.parametrize("to", [None, *Encoding])
def test_what_loaders_would_show_otherwise_is_drawn_as_people_see_it(
    make: Callable[[], bytes], to: Encoding | None
) -> None:
    """Without any conversion asked for, too."""
    found = Recoding(to).of(make())
    assert found.is_changed
    assert as_left_red(found.data)
    with Image.open(io.BytesIO(found.data)) as image:
        assert (image.mode, getattr(image, "n_frames", 1)) == ("RGB", 1)


def test_a_rotation_is_carried_out_and_forgotten() -> None:
    """Else one trainer sees the picture lying and the next one standing."""
    data = Recoding(Encoding.PNG).of(rotated()).data
    seen = pixels(data)
    assert seen.shape == (64, 32, 3)
    assert seen[0, 0, 1] < 60 < 200 < seen[63, 0, 1]
    with Image.open(io.BytesIO(data)) as image:
        assert not image.getexif()


def test_sixteen_bits_become_eight() -> None:
    """A plain conversion would make them all white."""
    seen = pixels(Recoding().of(deep()).data)
    assert (seen[:, :32] == 255).all()
    assert (seen[:, 32:] == 0).all()


def test_another_colour_space_becomes_srgb() -> None:
    """No trainer looks at a profile."""
    data = file_of(Image.new("RGB", SIZE, (100, 150, 200)), "PNG", icc_profile=swapped_profile())
    found = Recoding().of(data)
    assert found.is_changed
    red, green, blue = pixels(found.data)[0, 0].tolist()
    assert (red, green) == pytest.approx((150, 100), abs=4)
    assert blue == pytest.approx(200, abs=4)
    with Image.open(io.BytesIO(found.data)) as image:
        assert "icc_profile" not in image.info


@pytest.mark.parametrize("profile", ["srgb", "damaged", None])
def test_what_all_read_alike_stays_as_it_was_saved(profile: str | None) -> None:
    """Byte for byte, with its profile."""
    kept = {
        "srgb": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "damaged": b"no profile at all",
        None: None,
    }[profile]
    data = file_of(left_red(), "JPEG", icc_profile=kept)
    found = Recoding().of(data)
    assert (found.data, found.encoding, found.is_changed) == (data, Encoding.JPG, False)


def test_a_format_that_is_not_allowed_becomes_one_without_losses() -> None:
    """So does none that is."""
    data = file_of(left_red(), "WEBP", lossless=True)
    found = Recoding(allowed=frozenset({Encoding.JPG, Encoding.PNG})).of(data)
    assert found.encoding is Encoding.PNG
    assert (pixels(found.data) == np.asarray(left_red())).all()
    assert not Recoding().of(data).is_changed


def test_the_same_picture_gives_the_same_bytes() -> None:
    """Also with a quality of one's own, which makes others."""
    one = Recoding(Encoding.JPG, 80)
    assert one.of(clear()).data == one.of(clear()).data != Recoding(Encoding.JPG, 95).of(clear()).data


@pytest.mark.parametrize("data", [b"", b"no picture", clear()[:90]])
def test_what_cannot_be_decoded_is_left_out(data: bytes) -> None:
    """A run has saved whole files; somebody may have changed them since."""
    with pytest.raises(LeftOut):
        Recoding(Encoding.JPG).of(data)
