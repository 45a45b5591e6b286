"""A record in a WebP: in its XMP chunk; a simple file gets the header that says there is one."""

from __future__ import annotations

import struct

from nanobanana_batch.provenance import xmp
from nanobanana_batch.provenance.containers import Part, riff_end, webp_parts
from nanobanana_batch.provenance.record import Record
from nanobanana_batch.provenance.xmp import BadPacket

_XMP = b"XMP "
_EXTENDED, _LOSSLESS = b"VP8X", b"VP8L"
_HAS_XMP, _HAS_ALPHA = 0x04, 0x10
_ALPHA_OF_LOSSLESS = 0x10
"""In the fifth byte, behind two sides of 14 bits."""


def is_signed(data: bytes) -> bool:
    """Whether it has content credentials (C2PA), which hold for the file as it is."""
    if any(part.kind == b"C2PA" for part in webp_parts(data)):
        return True
    packet = _packet(data)
    if packet is None:
        return False
    try:
        return xmp.parsed(packet.body(data)).is_signed_elsewhere
    except BadPacket:
        return False


def embedded(data: bytes, record: Record, width: int, height: int) -> bytes:
    """The file with the record in it; all other chunks as they were.

    Raises:
        BadPacket: it has XMP to which nothing can be added.
    """
    there = _packet(data)
    packet = xmp.new_packet(record) if there is None else xmp.added(there.body(data), record)
    inside = b"".join(
        (
            _header(data, width, height),
            *(_whole(part, data) for part in webp_parts(data) if part.kind not in (_EXTENDED, _XMP)),
            _chunk(_XMP, packet),
        )
    )
    return b"RIFF" + struct.pack("<I", len(inside) + 4) + b"WEBP" + inside + data[riff_end(data) :]


def record_text(data: bytes) -> str:
    """The text of the record; empty: there is none.

    Raises:
        BadPacket: its XMP cannot be read.
    """
    part = _packet(data)
    return "" if part is None else xmp.parsed(part.body(data)).record


def _packet(data: bytes) -> Part | None:
    return next((part for part in webp_parts(data) if part.kind == _XMP), None)


def _header(data: bytes, width: int, height: int) -> bytes:
    """The one that is there, or one for the only chunk, which says that there is XMP."""
    first = next(webp_parts(data))
    body = bytearray(first.body(data)) if first.kind == _EXTENDED else bytearray(10)
    if first.kind != _EXTENDED:
        is_clear = first.kind == _LOSSLESS and data[first.body_at + 4] & _ALPHA_OF_LOSSLESS
        body[0] = _HAS_ALPHA if is_clear else 0
        body[4:7] = (width - 1).to_bytes(3, "little")
        body[7:10] = (height - 1).to_bytes(3, "little")
    body[0] |= _HAS_XMP
    return _chunk(_EXTENDED, bytes(body))


def _whole(part: Part, data: bytes) -> bytes:
    """With the byte that makes its length even, which the last one of a file may lack."""
    found = data[part.start : part.end]
    return found + b"\0" if len(found) & 1 else found


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)
