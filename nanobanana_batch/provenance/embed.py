"""Puts a record into a whole image file, or says why not: an image is never worse off for it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import StrEnum

from nanobanana_batch.errors import ImageRejected
from nanobanana_batch.files.formats import identify
from nanobanana_batch.provenance import jpeg, png, webp
from nanobanana_batch.provenance.record import NoRecord, Record, read_text
from nanobanana_batch.provenance.xmp import BadPacket


class Why(StrEnum):
    """Why a file was left as it is."""

    SIGNED = "it is signed (C2PA), and a change would break the signature"
    NO_ROOM = "what is in it leaves no place for more"
    NO_IMAGE = "it is no whole image"


class NotEmbedded(Exception):
    """The file stays as it is."""

    def __init__(self, why: Why) -> None:
        super().__init__(why.value)
        self.why = why


class Unreadable(Exception):
    """No record can be read from a file; the words say why."""


def embedded(data: bytes, record: Record, *, also_signed: bool = False) -> bytes:
    """The file with the record in it; pixels, profiles and all that others wrote are as they were.

    The same file and record give the same bytes. `also_signed`: also into files with content credentials,
    whose signature then does not hold any more.

    Raises:
        NotEmbedded: it is signed, has no place for it, or is no whole image.
    """
    try:
        found = identify(memoryview(data))
        if not also_signed and _is_signed(data, found.extension):
            raise NotEmbedded(Why.SIGNED)
        match found.extension:
            case "png":
                result = png.embedded(data, record, found.width, found.height)
            case "jpg":
                result = jpeg.embedded(data, record)
            case _:
                result = webp.embedded(data, record, found.width, found.height)
        if identify(memoryview(result)) != found:
            raise NotEmbedded(Why.NO_ROOM)
    except (ImageRejected, struct.error, IndexError) as error:
        raise NotEmbedded(Why.NO_IMAGE) from error
    except BadPacket as error:
        raise NotEmbedded(Why.NO_ROOM) from error
    return result


def record_in(data: bytes) -> Record | None:
    """The record of a file; None: it has none.

    Raises:
        Unreadable: it is no whole image, or what it says of itself cannot be read.
    """
    try:
        kind = identify(memoryview(data)).extension
        text = _TEXTS[kind](data)
        return read_text(text) if text else None
    except ImageRejected as error:
        raise Unreadable(error.message) from error
    except BadPacket as error:
        raise Unreadable(f"its XMP cannot be read: {error}") from error
    except NoRecord as error:
        raise Unreadable(f"its record cannot be read: {error}") from error


def _is_signed(data: bytes, extension: str) -> bool:
    return _SIGNED[extension](data)


_TEXTS: dict[str, Callable[[bytes], str]] = {
    "png": png.record_text,
    "jpg": jpeg.record_text,
    "webp": webp.record_text,
}
_SIGNED: dict[str, Callable[[bytes], bool]] = {
    "png": png.is_signed,
    "jpg": jpeg.is_signed,
    "webp": webp.is_signed,
}
