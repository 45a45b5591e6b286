"""A record in a PNG: texts in UTF-8 (iTXt), directly behind its header.

`nanobanana-batch` has the record, `Description` the prompt, and `parameters` prompt and settings in the form
that viewers of generated images show. Texts of these names that are there already stay the only ones.
"""

from __future__ import annotations

import struct
import zlib

from nanobanana_batch.provenance.containers import png_parts
from nanobanana_batch.provenance.record import MOST_BYTES, NAME, Record

_TEXT_KINDS = (b"iTXt", b"tEXt", b"zTXt")
_MOST_KEYWORD = 80
_IS_PACKED = 1


def is_signed(data: bytes) -> bool:
    """Whether it has content credentials (C2PA), which hold for the file as it is."""
    return any(part.kind == b"caBX" for part in png_parts(data))


def embedded(data: bytes, record: Record, width: int, height: int) -> bytes:
    """The file with the record in it; all other bytes as they were."""
    parts = list(png_parts(data))
    there = {part.body(data, _MOST_KEYWORD).partition(b"\0")[0] for part in parts if part.kind in _TEXT_KINDS}
    texts = {
        NAME: record.as_text(),
        "Description": record.request.prompt,
        "parameters": _parameters(record, width, height),
    }
    chunks = [
        _chunk(name.encode(), text)
        for name, text in texts.items()
        if name == NAME or name.encode() not in there
    ]
    at = parts[0].end
    return b"".join((data[:at], *chunks, data[at:]))


def record_text(data: bytes) -> str:
    """The text of the first record; empty: there is none."""
    for part in png_parts(data):
        if part.kind == b"iTXt" and part.body(data, len(NAME) + 1) == NAME.encode() + b"\0":
            return _text(part.body(data, MOST_BYTES))
    return ""


def _text(body: bytes) -> str:
    _, _, rest = body.partition(b"\0")
    is_packed, languages = rest[:1] == bytes([_IS_PACKED]), rest[2:].split(b"\0", 2)
    if len(languages) < 3:
        return ""
    told = languages[2]
    if is_packed:
        try:
            told = zlib.decompressobj().decompress(told, MOST_BYTES)
        except zlib.error:
            return ""
    return told.decode("utf-8", "replace")


def _parameters(record: Record, width: int, height: int) -> str:
    request = record.request
    told = {
        "Model": request.model,
        "Size": f"{width}x{height}",
        "Aspect ratio": request.aspect_ratio,
        "Resolution": request.resolution,
        **dict(request.extra),
        "Task": record.task_id,
        "Row key": record.row_key,
    }
    settings = ", ".join(f"{name}: {value}" for name, value in told.items() if value not in (None, ""))
    return f"{request.prompt}\n{settings}"


def _chunk(keyword: bytes, text: str) -> bytes:
    body = keyword + b"\0\0\0\0\0" + text.replace("\0", "\ufffd").encode("utf-8", "replace")
    return (
        struct.pack(">I", len(body))
        + b"iTXt"
        + body
        + struct.pack(">I", zlib.crc32(body, zlib.crc32(b"iTXt")))
    )
