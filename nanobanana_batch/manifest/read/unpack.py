"""A compressed file is read as what it holds, in bounded steps; how it begins says so, and not its name."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from nanobanana_batch.manifest.read.encoding import Unusable

ENDINGS = (".gz", ".zst")
MAX_UNPACKED = 16 << 30
"""Nobody has so much text in one file, and a few megabytes can be packed to hold far more."""
STEP_BYTES = 1 << 16
_MAX_WINDOW = 128 << 20
_FED_BYTES = 1 << 10
"""So little can hold thirty megabytes, and more at once would hold more."""
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPED = tuple(bytes([mark]) + b"\x2a\x4d\x18" for mark in range(0x50, 0x60))
"""A frame of zstd that holds no content; some programs begin with one."""
_NEEDS = "a file packed by zstd needs zstandard: `pip install 'nanobanana-batch[zstd]'`"


def bare_name(name: str) -> str:
    """A file's name without what says that it is compressed."""
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def unpacked(stream: io.BufferedReader) -> io.BufferedReader:
    """What a stream holds: itself where it is not compressed.

    Raises:
        Unusable: what unpacks it is not installed.
    """
    head = stream.peek(len(_ZSTD))
    if head.startswith(_GZIP):
        packed: Any = gzip.GzipFile(fileobj=stream)
    elif head.startswith((_ZSTD, *_SKIPPED)):
        packed = _zstd(stream)
    else:
        return stream
    return io.BufferedReader(_Bounded(packed, stream), STEP_BYTES)


def _zstd(stream: IO[bytes]) -> Any:
    with suppress(ImportError):
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14

        return zstd.ZstdFile(stream)
    try:
        from zstandard import ZstdDecompressor
    except ImportError:
        raise Unusable(_NEEDS) from None
    return _Frames(lambda: ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj(), stream)


class _Frames:
    """Reads frame by frame, and knows whether the last one is whole, as the library's own reader does not."""

    def __init__(self, decompressor: Callable[[], Any], stream: IO[bytes]) -> None:
        self._decompressor = decompressor
        self._stream = stream
        self._frame: Any = None
        self._packed = b""
        self._ready = b""

    def read(self, size: int) -> bytes:
        while not self._ready:
            self._packed = self._packed or self._stream.read(_FED_BYTES)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError
                return b""
            self._frame = self._frame or self._decompressor()
            self._ready = self._frame.decompress(self._packed)
            self._packed = b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        found, self._ready = self._ready[:size], self._ready[size:]
        return found


class _Bounded(io.RawIOBase):
    """Fills what it is asked to fill, so that a look ahead sees a whole step; ends where it is too much."""

    def __init__(self, packed: Any, stream: IO[bytes]) -> None:
        self._packed = packed
        self._stream = stream
        self._total = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer)
        filled = 0
        while filled < len(room):
            piece = self._read(len(room) - filled)
            if not piece:
                break
            room[filled : filled + len(piece)] = piece
            filled += len(piece)
        self._total += filled
        if self._total > MAX_UNPACKED:
            raise OSError(f"it holds more than {MAX_UNPACKED >> 30} GiB")
        return filled

    def _read(self, size: int) -> bytes:
        try:
            return bytes(self._packed.read(size))
        except (OSError, EOFError, zlib.error) as error:
            raise OSError("the compressed file is damaged, or not whole") from error
        except Exception as error:
            if type(error).__name__ == "ZstdError":  # also of a dictionary that is not there
                raise OSError(f"the compressed file is damaged, or not whole: {error}") from error
            raise

    def close(self) -> None:
        self._stream.close()
        super().close()
