"""What can be seen of one image file. Whatever is wrong with it is a finding, and never an error.

A JPEG is decoded at the size that is looked at, which costs an eighth and still reads all of it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path

import imagehash
import numpy
from PIL import Image, ImageStat

from nanobanana_batch.checks.profiles import Profile, profile_of
from nanobanana_batch.errors import ImageRejected
from nanobanana_batch.files.formats import identify
from nanobanana_batch.files.images import MAX_IMAGE_BYTES
from nanobanana_batch.files.plain import open_own

FORMATS = ("PNG", "JPEG", "WEBP")
"""What a run saves. A folder may be somebody else's, and Pillow reads formats that start programs."""
MOST_PIXELS = 1 << 26
"""Four times the largest picture of the contract: more is not decoded."""

_SIDE = 256
_DARK, _BRIGHT = 16, 240
_MOST = 0.995
"""So much of a picture is dark, or bright, or not there, before it is called so."""
_FLAT = 3.0
"""Standard deviation, of 255, of the most lively channel: what JPEG makes of one colour stays below it."""
_FAINT = 8
_GREY = (128, 128, 128, 255)
"""What stands behind transparent pictures: on it white and black drawings can both be seen."""


class Blank(StrEnum):
    """In which way there is nothing to see."""

    NO = ""
    BLACK = "black"
    WHITE = "white"
    UNIFORM = "uniform"
    TRANSPARENT = "transparent"


class FileIs(StrEnum):
    """How a file is."""

    AS_SAVED = "as_saved"
    CHANGED = "changed"
    """It was changed since, and is a picture still: what is measured is what stands there now."""
    BROKEN = "broken"
    """No picture can be made of it."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one file; without a fingerprint nothing more is known than how the file is."""

    file: FileIs
    detail: str = ""
    """What is wrong, in the words of who found it."""
    blank: Blank = Blank.NO
    mean: float = 0.0
    """Brightness, 0 to 255."""
    stddev: float = 0.0
    """Its standard deviation."""
    width: int = 0
    height: int = 0
    profile: Profile = Profile.NONE
    fingerprint: int | None = None
    """64 bits, of which few differ between pictures that look alike (ImageHash's phash)."""


def look_at(path: Path, sha256: str, known: Seen | None = None) -> Seen:
    """What is to be seen of a file that was saved with this content; `known`: what is, if it still has it."""
    try:
        with os.fdopen(open_own(path), "rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        return Seen(FileIs.UNREADABLE, error.strerror or str(error))
    is_same = hashlib.sha256(data).hexdigest() == sha256
    if len(data) > MAX_IMAGE_BYTES:
        return Seen(FileIs.BROKEN, f"it has more than {MAX_IMAGE_BYTES:,} bytes")
    if known is not None and is_same:
        return known
    try:
        return _seen(data, FileIs.AS_SAVED if is_same else FileIs.CHANGED)
    except ImageRejected as error:
        return Seen(FileIs.BROKEN, error.message)
    except Exception as error:  # decoders meet files of anybody, and raise what they like
        return Seen(FileIs.BROKEN, " ".join(str(error).split())[:200] or type(error).__name__)


def opened(data: bytes) -> Image.Image:
    """A whole image, whose pixels are not read yet.

    Raises:
        ImageRejected: it is none, it is cut or damaged, or has more pixels than are looked at.
    """
    found = identify(memoryview(data))
    if found.width * found.height > MOST_PIXELS:  # Pillow warns where it opens one
        raise ImageRejected(f"{found.width} x {found.height} pixels are more than are looked at")
    return Image.open(BytesIO(data), formats=FORMATS)


def in_8_bits(image: Image.Image) -> Image.Image:
    """Pillow cuts off what is brighter than the darkest part of 16 bits, and does not scale it."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((numpy.asarray(image).clip(0, 0xFFFF) >> 8).astype("uint8"))


def _seen(data: bytes, file: FileIs) -> Seen:
    with opened(data) as image:
        width, height = image.size
        profile = profile_of(image)
        image.draft("RGB", (_SIDE, _SIDE))
        small, alpha = _small(image)
    grey = small.convert("L")
    statistics = ImageStat.Stat(grey)
    return Seen(
        file,
        blank=_blank(small, grey, alpha),
        mean=round(statistics.mean[0], 1),
        stddev=round(statistics.stddev[0], 1),
        width=width,
        height=height,
        profile=profile,
        fingerprint=int(str(imagehash.phash(grey)), 16),
    )


def _small(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture as RGB, small, and how much of it is there where it is transparent; decodes all of it."""
    image.load()
    shrink = max(1, min(image.size) // _SIDE)
    if not image.has_transparency_data:
        image = in_8_bits(image)
        image = image.convert("RGB") if image.mode not in ("RGB", "L") else image
        return image.reduce(shrink).convert("RGB"), None
    image = image.convert("RGBA").reduce(shrink)
    behind = Image.new("RGBA", image.size, _GREY)
    return Image.alpha_composite(behind, image).convert("RGB"), image.getchannel("A")


def _blank(small: Image.Image, grey: Image.Image, alpha: Image.Image | None) -> Blank:
    if alpha is not None and _share(alpha, 0, _FAINT) >= _MOST:
        return Blank.TRANSPARENT
    if _share(grey, 0, _DARK) >= _MOST:
        return Blank.BLACK
    if _share(grey, _BRIGHT, 256) >= _MOST:
        return Blank.WHITE
    return Blank.UNIFORM if max(ImageStat.Stat(small).stddev) < _FLAT else Blank.NO


def _share(channel: Image.Image, least: int, below: int) -> float:
    """How much of it is as bright as this."""
    counts = channel.histogram()
    return sum(counts[least:below]) / sum(counts)
