"""The body of a reply as it comes, unpacked here in steps: a library unpacks a piece of the network at once.

A thousandth of what comes out may be on the wire, and of two codings one in another a millionth. So one is
taken, and its bytes are counted by whoever reads them before there are more.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Protocol

ASKED_FOR = "gzip"
"""What is asked for where replies may be packed; whoever packs unasked is understood as well."""
_STEP_BYTES = 1 << 18


class BadCoding(Exception):
    """A body that is packed in a way that is not taken, or that is not packed in the way that it says."""


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...


def unpacked(named: Iterable[str], raw: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A body in pieces of bounded size; one that is not packed is what comes from the network, as it comes.

    `named`: how the reply says that it is packed (`Content-Encoding`).

    Raises:
        BadCoding: see there.
    """
    codings = [coding for name in named if (coding := name.strip().lower()) not in ("", "identity")]
    if not codings:
        return raw
    if len(codings) > 1:
        raise BadCoding("the reply is packed more than once")
    if codings[0] not in ("gzip", "x-gzip", "deflate"):
        raise BadCoding("the reply is packed in a way that was not asked for")
    return _unpacked(raw, is_gzip=codings[0] != "deflate")


async def _unpacked(raw: AsyncGenerator[bytes, None], *, is_gzip: bool) -> AsyncGenerator[bytes, None]:
    """What comes behind the end of what is packed is read and left out."""
    inflater: _Inflater | None = None
    async with aclosing(raw):
        async for chunk in raw:
            if inflater is None and chunk:
                inflater = _inflater(chunk, is_gzip=is_gzip)
            piece = b""
            while inflater is not None and not inflater.eof:
                yield (piece := _next_piece(inflater, chunk))
                chunk = inflater.unconsumed_tail
                if not chunk and len(piece) < _STEP_BYTES:
                    break
            if not piece:
                yield b""  # who counts what comes and for how long hears of it
    if inflater is not None and not inflater.eof:
        raise BadCoding("the reply ends in the middle of what is packed")


def _next_piece(inflater: _Inflater, packed: bytes) -> bytes:
    try:
        return inflater.decompress(packed, _STEP_BYTES)
    except zlib.error as error:
        raise BadCoding(f"the reply cannot be unpacked: {error}") from None


def _inflater(beginning: bytes, *, is_gzip: bool) -> _Inflater:
    """`deflate` is with a head by its standard, and some servers leave that out."""
    if is_gzip:
        return zlib.decompressobj(zlib.MAX_WBITS | 16)
    has_head = beginning[0] & 15 == 8 and (len(beginning) < 2 or int.from_bytes(beginning[:2]) % 31 == 0)
    return zlib.decompressobj(zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS)
