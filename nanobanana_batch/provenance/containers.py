"""The parts that an image file consists of, and where each stands; the file is known to be whole.

PNG: chunks. JPEG: segments in front of the picture. WebP: chunks of its RIFF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
RIFF_HEAD = 12
_SOS, _EOI = 0xDA, 0xD9


@dataclass(frozen=True, slots=True)
class Part:
    """One of them, with its head, length and what checks it."""

    kind: bytes
    """Of a JPEG its marker, one byte."""
    start: int
    body_at: int
    body_end: int
    end: int

    def body(self, data: bytes, most: int | None = None) -> bytes:
        """What is in it, or its beginning."""
        end = self.body_end if most is None else min(self.body_end, self.body_at + most)
        return data[self.body_at : end]


def png_parts(data: bytes) -> Iterator[Part]:
    """All chunks."""
    at = len(PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        yield Part(kind, at, at + 8, at + 8 + length, at + 12 + length)
        at += 12 + length


def jpeg_parts(data: bytes) -> Iterator[Part]:
    """Segments up to the first scan; what follows is the picture."""
    at = 2
    while True:
        marker_at = at
        while data[marker_at + 1] == 0xFF:  # filling
            marker_at += 1
        marker = data[marker_at + 1]
        if marker in (_SOS, _EOI):
            return
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:  # those have no length
            at = marker_at + 2
            continue
        (length,) = struct.unpack_from(">H", data, marker_at + 2)
        end = marker_at + 2 + length
        yield Part(bytes([marker]), at, marker_at + 4, end, end)
        at = end


def webp_parts(data: bytes) -> Iterator[Part]:
    """All chunks of the RIFF; bytes behind it are none of them."""
    at, end = RIFF_HEAD, riff_end(data)
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        body_end = at + 8 + length
        yield Part(kind, at, at + 8, body_end, min(body_end + (length & 1), len(data)))
        at = body_end + (length & 1)


def riff_end(data: bytes) -> int:
    """Where the RIFF ends."""
    (length,) = struct.unpack_from("<I", data, 4)
    return int(length) + 8
