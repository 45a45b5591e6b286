"""Real small pictures of the ratio that was asked for, each of its own bytes."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

from PIL import Image

_AREA = {"0.5K": 512**2, "512": 512**2, "1K": 1024**2, "2K": 2048**2, "4K": 4096**2}
TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def picture(form: str, ratio: str, resolution: str, mark: str) -> bytes:
    """A picture as PNG, JPEG or WebP; `mark` makes its bytes differ from those of any other."""
    plain = _plain(form, ratio, resolution)
    return _MARKED[form](plain, mark.encode())


@cache
def _plain(form: str, ratio: str, resolution: str) -> bytes:
    across, _, down = ("1:1" if ratio == "auto" else ratio).partition(":")
    share = int(across) / int(down)
    area = _AREA[resolution]
    width, height = round((area * share) ** 0.5), round((area / share) ** 0.5)
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 180, 40)).save(file, form.upper())
    return file.getvalue()


def _png(plain: bytes, mark: bytes) -> bytes:
    text = b"tEXtComment\0" + mark
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return plain[:33] + chunk + plain[33:]


def _jpeg(plain: bytes, mark: bytes) -> bytes:
    return plain[:2] + b"\xff\xfe" + struct.pack(">H", len(mark) + 2) + mark + plain[2:]


def _webp(plain: bytes, mark: bytes) -> bytes:
    """A chunk of our own behind the picture, which every reader has to skip."""
    even = mark + b" " * (len(mark) % 2)
    whole = plain + b"NOTE" + struct.pack("<I", len(even)) + even
    return b"RIFF" + struct.pack("<I", len(whole) - 8) + whole[8:]


_MARKED = {"png": _png, "jpeg": _jpeg, "webp": _webp}
