"""A picture as a trainer sees it: upright, in the colours of sRGB, eight bits deep, with nothing transparent.

Trainers decode a file and take its pixels as they are stored: one applies the rotation that a camera noted
and the next does not, none looks at a colour profile, and where a picture is transparent they show whatever
colour happens to stand there. A file that all of them read alike is left as it is, byte for byte; any other
is drawn anew from its pixels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from nanobanana_batch.exports.leaving_out import LeftOut, Why
from nanobanana_batch.exports.options import QUALITY, Encoding

_ORIENTATION = 0x0112
_UPRIGHT = 1
_PLAIN = frozenset({"RGB", "L"})
_DEEP = frozenset({"I", "F"})
_WHITE = (255, 255, 255, 255)
_MOST_PROFILE_NAME = 200


_READ_AS = {"JPEG": Encoding.JPG, "MPO": Encoding.JPG, "PNG": Encoding.PNG, "WEBP": Encoding.WEBP}
"""By what Pillow calls them; an MPO is a JPEG with further pictures behind it."""
_SAYS_HOW_TO_READ = ("icc_profile", "exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_FORMATS = {Encoding.JPG: "JPEG", Encoding.PNG: "PNG", Encoding.WEBP: "WEBP"}


@dataclass(frozen=True, slots=True)
class Recoded:
    """The bytes of a file for trainers."""

    data: bytes
    encoding: Encoding
    is_changed: bool
    """It was drawn anew; else these are the bytes that were saved."""


@dataclass(frozen=True, slots=True)
class Recoding:
    """How pictures are to be written.

    `to`: all of them as this; None: each as it is, if that is one of `allowed`, and else as PNG, which loses
    nothing.
    """

    to: Encoding | None = None
    quality: int = QUALITY
    allowed: frozenset[Encoding] = frozenset(Encoding)

    def of(self, data: bytes) -> Recoded:
        """A picture, by the bytes of its file.

        Raises:
            LeftOut: it cannot be decoded.
        """
        try:
            with Image.open(io.BytesIO(data)) as image:
                return self._of(data, image)
        except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
            raise LeftOut(Why.UNFIT) from None

    def _of(self, data: bytes, image: Image.Image) -> Recoded:
        found = _READ_AS.get(image.format or "")
        wanted = self.to or (found if found in self.allowed else Encoding.PNG)
        if wanted is found and not _is_read_in_other_ways(image):
            return Recoded(data, wanted, is_changed=False)
        return Recoded(_encoded(as_trained(image), wanted, self.quality), wanted, is_changed=True)


def as_trained(image: Image.Image) -> Image.Image:
    """The first picture of a file, as red, green and blue, and nothing beside its pixels."""
    image.seek(0)
    plain = _in_srgb(ImageOps.exif_transpose(_on_white(_eight_bits(image))))
    told = Image.new("RGB", plain.size)
    told.paste(plain)
    return told


def _is_read_in_other_ways(image: Image.Image) -> bool:
    return (
        image.mode not in _PLAIN
        or "transparency" in image.info
        or getattr(image, "n_frames", 1) > 1
        or image.getexif().get(_ORIENTATION, _UPRIGHT) not in (0, _UPRIGHT)
        or not _is_srgb(image.info.get("icc_profile"))
    )


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.partition(";")[0] in _DEEP:
        deep = image.convert("I")
        shallow = deep.point(lambda level: level / 257).convert("L")
        return _with_info(shallow, image)
    return image


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    clear = image.convert("RGBA")
    white = Image.new("RGBA", clear.size, _WHITE)
    return _with_info(Image.alpha_composite(white, clear).convert("RGB"), image)


def _in_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile and not _is_srgb(profile):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            flat = image if image.mode in ("RGB", "L", "CMYK") else image.convert("RGB")
            done = ImageCms.profileToProfile(flat, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if done is not None:
                return done
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a profile that is damaged, or of other channels: the pixels count
    return image.convert("RGB")


def _is_srgb(profile: bytes | None) -> bool:
    if not profile:
        return True
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return True  # nobody could say what else its colours are
    return "srgb" in name[:_MOST_PROFILE_NAME].replace(" ", "").casefold()


def _with_info(image: Image.Image, original: Image.Image) -> Image.Image:
    """What says how the pixels are to be read goes along."""
    image.info |= {name: original.info[name] for name in _SAYS_HOW_TO_READ if name in original.info}
    return image


def _encoded(image: Image.Image, encoding: Encoding, quality: int) -> bytes:
    buffer = io.BytesIO()
    if encoding is Encoding.JPG:
        image.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=False)
    elif encoding is Encoding.WEBP:
        image.save(buffer, "WEBP", quality=quality, method=4)
    else:
        image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
