"""Whether a colour profile can be used: viewers and trainers leave out a broken one, each in its own way."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageCms

_SIZE_AT_LEAST = 128
"""Bytes of a header."""
_REMEMBERED = 64
_KEY = "icc_profile"


class Profile(StrEnum):
    """What a file says of its colours."""

    NONE = "none"
    """As nearly always: they are sRGB."""
    OK = "ok"
    BROKEN = "broken"


def profile_of(image: Image.Image) -> Profile:
    """That of an image that was opened; Pillow tells of one that it cannot put together as None."""
    if _KEY not in image.info:
        return Profile.NONE
    found = image.info[_KEY]
    return Profile.OK if isinstance(found, bytes) and _is_usable(found, image.mode) else Profile.BROKEN


@lru_cache(_REMEMBERED)
def _is_usable(profile: bytes, mode: str) -> bool:
    """Whether colours can be made of it; a run has a few different ones at most."""
    if len(profile) < _SIZE_AT_LEAST or int.from_bytes(profile[:4]) > len(profile):
        return False
    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        kind = opened.profile.xcolor_space.strip()
        inside = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(kind)
        if inside is None or (inside == "CMYK") != (mode == "CMYK"):
            return False
        ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), inside, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return False
    return True
