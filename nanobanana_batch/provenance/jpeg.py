"""A record in a JPEG: in its XMP segment, which stands behind JFIF and EXIF."""

from __future__ import annotations

import struct

from nanobanana_batch.provenance import xmp
from nanobanana_batch.provenance.containers import Part, jpeg_parts
from nanobanana_batch.provenance.record import Record
from nanobanana_batch.provenance.xmp import BadPacket

_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_EXIF = b"Exif\0\0"
_APP0, _APP1, _APP2, _APP11 = b"\xe0", b"\xe1", b"\xe2", b"\xeb"
_MOST_PACKET = 0xFFFF - 2 - len(_HEAD)


def is_signed(data: bytes) -> bool:
    """Whether it has content credentials (C2PA), which hold for the file as it is."""
    for part in jpeg_parts(data):
        if part.kind == _APP11 and part.body(data, 2) == b"JP" and b"c2pa" in part.body(data):
            return True
    packet = _packet(data)
    return packet is not None and _is_signed_elsewhere(packet.body(data)[len(_HEAD) :])


def embedded(data: bytes, record: Record) -> bytes:
    """The file with the record in it; all other bytes as they were.

    Raises:
        BadPacket: it has XMP to which nothing can be added, or there is no room.
    """
    there = _packet(data)
    if there is None:
        at = _place(data)
        packet = xmp.fitting(lambda describes: xmp.new_packet(record, describes=describes), _MOST_PACKET)
        return data[:at] + _segment(packet) + data[at:]
    if any(
        p.kind == _APP2 and p.body(data, 4) == b"MPF\0" and p.start < there.start for p in jpeg_parts(data)
    ):
        raise BadPacket("pictures behind the first one are found by their distance from a part before it")
    before = there.body(data)[len(_HEAD) :]
    packet = xmp.fitting(lambda describes: xmp.added(before, record, describes=describes), _MOST_PACKET)
    return data[: there.start] + _segment(packet) + data[there.end :]


def record_text(data: bytes) -> str:
    """The text of the record; empty: there is none.

    Raises:
        BadPacket: its XMP cannot be read.
    """
    part = _packet(data)
    return "" if part is None else xmp.parsed(part.body(data)[len(_HEAD) :]).record


def _packet(data: bytes) -> Part | None:
    return next(
        (part for part in jpeg_parts(data) if part.kind == _APP1 and part.body(data, len(_HEAD)) == _HEAD),
        None,
    )


def _place(data: bytes) -> int:
    """Behind JFIF and EXIF, which readers look for first."""
    at = 2
    for part in jpeg_parts(data):
        if part.kind != _APP0 and not (part.kind == _APP1 and part.body(data, len(_EXIF)) == _EXIF):
            break
        at = part.end
    return at


def _segment(packet: bytes) -> bytes:
    return b"\xff" + _APP1 + struct.pack(">H", len(packet) + len(_HEAD) + 2) + _HEAD + packet


def _is_signed_elsewhere(packet: bytes) -> bool:
    try:
        return xmp.parsed(packet).is_signed_elsewhere
    except BadPacket:
        return False
