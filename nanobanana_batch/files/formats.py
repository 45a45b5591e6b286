"""A body is accepted as an image only when its own structure says that it is whole.

The type is read from the bytes, never from a name or a header; a PNG is walked to its IEND (each
chunk's CRC checked), a JPEG to its end marker, a WebP to its RIFF length. Pixels are not decoded:
that would cost 100 times as much; but there must be bytes enough for a decoder to make so many of them.
Bytes after the end are tolerated, missing ones never are.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nanobanana_batch.errors import ImageRejected


@dataclass(frozen=True, slots=True)
class Format:
    """What a whole image is: its media type, the extension its file gets, width and height in pixels."""

    media_type: str
    extension: str
    width: int
    height: int
    is_animated: bool = False


def identify(data: memoryview) -> Format:
    """The format of a whole image.

    Args:
        data: all bytes of the body.

    Raises:
        ImageRejected: the bytes are no PNG, JPEG or WebP, or the image is cut or damaged.
    """
    for matches, read in _READERS:
        if matches(data):
            try:
                return read(data)
            except (struct.error, IndexError) as error:
                raise ImageRejected("the image is cut off") from error
    raise ImageRejected(_what_it_is_instead(bytes(data[:64])))


def _what_it_is_instead(head: bytes) -> str:
    if not head:
        return "the body is empty"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "the body is a web page, not an image"
    if text.startswith((b"{", b"[")):
        return "the body is JSON, not an image"
    return f"the body is not a PNG, JPEG or WebP image (it begins with {head[:8]!r})"


_MOST_PARTS = 200_000


def _parts() -> Iterator[int]:
    """Of a whole image there are not so many that walking them takes long.

    Raises:
        ImageRejected: it has more.
    """
    yield from range(_MOST_PARTS)
    raise ImageRejected(f"the image has more than {_MOST_PARTS:,} parts, as no picture does")


def _refuse_hollow(kind: str, width: int, height: int, *, most_pixels: int) -> None:
    if width * height > most_pixels:
        raise ImageRejected(f"the {kind} is too short for {width} x {height} pixels")


def _refuse_outside(kind: str, frame: tuple[int, ...], width: int, height: int) -> None:
    across, down, left, top = frame
    if not across or not down or left + across > width or top + down > height:
        raise ImageRejected(f"the {kind} has a frame that is not inside of its picture")


# --- PNG -------------------------------------------------------------------------------------------

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""By colour type."""
_PALETTE = 3
_PNG_PIXELS = (b"IDAT", b"fdAT")
_MOST_INFLATED = 1040
"""A byte of deflate becomes at most 258 bytes for each two bits."""


def _is_png(data: memoryview) -> bool:
    return bytes(data[:8]) == _PNG_SIGNATURE


def _read_png(data: memoryview) -> Format:
    chunks = _png_chunks(data)
    kind, header = next(chunks)
    if kind != b"IHDR" or len(header) != 13:
        raise ImageRejected("the PNG does not begin with its header")
    width, height, depth, colours, *methods = struct.unpack(">IIBBBBB", header)
    if depth not in _DEPTHS.get(colours, ()) or methods not in ([0, 0, 0], [0, 0, 1]):
        raise ImageRejected("the PNG's header asks for what no PNG has")
    kinds, packed = set(), 0
    for kind, body in chunks:
        if kind == b"IHDR":
            raise ImageRejected("the PNG has two headers")
        if kind == b"fcTL":
            _refuse_outside("PNG", struct.unpack_from(">4I", body, 4), width, height)
        kinds.add(kind)
        packed += len(body) if kind in _PNG_PIXELS else 0
    if b"IDAT" not in kinds or not width or not height:
        raise ImageRejected("the PNG has no pixels")
    if colours == _PALETTE and b"PLTE" not in kinds:
        raise ImageRejected("the PNG has no palette for its colours")
    bits = 8 * packed * _MOST_INFLATED
    _refuse_hollow("PNG", width, height, most_pixels=bits // (depth * _CHANNELS[colours]))
    return Format("image/png", "png", width, height, b"acTL" in kinds)


def _png_chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 8
    for _ in _parts():
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        (crc,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(body, zlib.crc32(kind)) != crc:
            raise ImageRejected(f"the PNG is damaged in its {kind.decode('latin-1')} chunk")
        yield kind, body
        if kind == b"IEND":
            return
        at += 12 + length


# --- JPEG ------------------------------------------------------------------------------------------

_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_RESTARTS = range(0xD0, 0xD8)
_NOT_FILLING = re.compile(rb"[^\xff]")
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)
"""Neither a stuffed byte of the picture nor a restart."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_JPEG_PIXELS = 8 * 64 * 16
"""Of a byte: a block of 8 x 8 takes a bit at least, and stands for 4 x 4 of them if it is most subsampled."""


def _is_jpeg(data: memoryview) -> bool:
    return bytes(data[:3]) == b"\xff\xd8\xff"


def _read_jpeg(data: memoryview) -> Format:
    size: tuple[int, int] | None = None
    scanned = False
    for marker, body in _jpeg_segments(data):
        if marker in _FRAMES:
            if size is not None:
                raise ImageRejected("the JPEG has two frames, of which only one can be its picture")
            height, width = struct.unpack_from(">HH", body, 1)
            size = (width, height)
        scanned = scanned or (marker == _SOS and size is not None)
    if size is None or not scanned or not all(size):
        raise ImageRejected("the JPEG has no picture in it")
    _refuse_hollow("JPEG", *size, most_pixels=len(data) * _MOST_JPEG_PIXELS)
    return Format("image/jpeg", "jpg", *size)


def _jpeg_segments(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 2
    whole = bytes(data)
    for _ in _parts():
        if data[at] != 0xFF:
            raise ImageRejected("the JPEG is damaged between two segments")
        found = _NOT_FILLING.search(whole, at)
        if found is None:
            raise ImageRejected("the JPEG is cut off before its end marker")
        marker = whole[found.start()]
        at = found.end()
        if marker == _EOI:
            return
        if marker in _RESTARTS or marker in (_SOI, _TEM):
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2 or at + length > len(data):
            raise ImageRejected("the JPEG is cut off")
        yield marker, data[at + 2 : at + length]
        at += length
        if marker == _SOS:
            at = _after_scan(whole, at)


def _after_scan(data: bytes, at: int) -> int:
    """Where the first marker after the entropy-coded data stands (stuffed bytes and restarts skipped)."""
    found = _MARKER.search(data, at)
    if found is None:
        raise ImageRejected("the JPEG is cut off before its end marker")
    return found.start()


# --- WebP ------------------------------------------------------------------------------------------


def _is_webp(data: memoryview) -> bool:
    return bytes(data[:4]) == b"RIFF" and bytes(data[8:12]) == b"WEBP"


def _read_webp(data: memoryview) -> Format:
    (riff_length,) = struct.unpack_from("<I", data, 4)
    if riff_length + 8 > len(data):
        raise ImageRejected("the WebP is cut off: shorter than its own length says")
    parts = _parts()
    chunks = _webp_chunks(data[12 : riff_length + 8], parts)
    kind, body = next(chunks, (b"", data[:0]))
    if kind in _WEBP_FRAMES:
        return Format("image/webp", "webp", *_WEBP_FRAMES[kind](body))
    if kind != b"VP8X" or len(body) < 10:
        raise ImageRejected("the WebP has no picture in it")
    size = _int24(body, 4) + 1, _int24(body, 7) + 1
    still, frames = None, 0
    for kind, body in chunks:
        if kind == b"VP8X":
            raise ImageRejected("the WebP has two headers")
        if kind == b"ANMF":
            _check_frame(body, *size, parts)
            frames += 1
        elif kind in _WEBP_FRAMES and still is None:
            still = _WEBP_FRAMES[kind](body)
    if still is None and not frames:
        raise ImageRejected("the WebP has no picture in it")
    if still is not None and still != size:
        raise ImageRejected("the WebP's picture has another size than its header says")
    return Format("image/webp", "webp", *size, frames > 0)


def _check_frame(body: memoryview, width: int, height: int, parts: Iterator[int]) -> None:
    """One picture of an animation."""
    across, down = _int24(body, 6) + 1, _int24(body, 9) + 1
    _refuse_outside("WebP", (across, down, 2 * _int24(body, 0), 2 * _int24(body, 3)), width, height)
    for kind, inner in _webp_chunks(body[16:], parts):
        if kind in _WEBP_FRAMES:
            if _WEBP_FRAMES[kind](inner) != (across, down):
                raise ImageRejected("a frame of the WebP has another size than its header says")
            return
    raise ImageRejected("a frame of the WebP has no picture in it")


def _webp_chunks(data: memoryview, parts: Iterator[int]) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    for _ in parts:
        if at >= len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > len(data):
            raise ImageRejected("the WebP is cut off inside a chunk")
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)


def _lossy_size(body: memoryview) -> tuple[int, int]:
    tag = _int24(body, 0)
    if tag & 1 or bytes(body[3:6]) != b"\x9d\x01\x2a":
        raise ImageRejected("the WebP's key frame is damaged")
    width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", body, 6))
    modes = tag >> 5
    if not width or not height or not modes or _LOSSY_HEADER + modes >= len(body):
        raise ImageRejected("the WebP's key frame is cut off")
    _refuse_hollow("WebP", width, height, most_pixels=_LEAST_WEBP_PIXELS + modes * _MOST_WEBP_PIXELS)
    return width, height


def _lossless_size(body: memoryview) -> tuple[int, int]:
    signature, bits = struct.unpack_from("<BI", body, 0)
    if signature != _LOSSLESS or bits >> 29 or len(body) < _LEAST_LOSSLESS:
        raise ImageRejected("the WebP's picture is damaged")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _int24(body: memoryview, at: int) -> int:
    low, high = struct.unpack_from("<HB", body, at)
    return int(low | high << 16)


_LOSSY_HEADER = 10
_LOSSLESS = 0x2F
_LEAST_LOSSLESS = 8
"""A header, and a code for each of five alphabets."""
_MOST_WEBP_PIXELS = 4 * 256
"""Of a byte: how 16 x 16 of them are predicted takes two bits at least, whatever they are."""
_LEAST_WEBP_PIXELS = 4 * 256
_WEBP_FRAMES: dict[bytes, Callable[[memoryview], tuple[int, int]]] = {
    b"VP8 ": _lossy_size,
    b"VP8L": _lossless_size,
}

_READERS: tuple[tuple[Callable[[memoryview], bool], Callable[[memoryview], Format]], ...] = (
    (_is_png, _read_png),
    (_is_jpeg, _read_jpeg),
    (_is_webp, _read_webp),
)
