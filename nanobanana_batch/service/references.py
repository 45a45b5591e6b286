"""A reference image is fetched from this machine or not at all: no URL makes the service call out.

Only loopback addresses are contacted, without proxies and without following redirects; every other URL
becomes a labelled tile.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from nanobanana_batch.service.network import is_loopback

_TIMEOUT_S = 5.0
_FORMATS = ("JPEG", "PNG", "WEBP")
_CHUNK = 256 * 1024


class ReferenceProblem(Exception):
    """The task fails: `code` is its task error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Reference:
    """`image` is None for a URL that was not contacted."""

    host: str
    name: str
    image: Image.Image | None


def load_references(
    urls: Sequence[str], max_bytes: int, own: Mapping[str, Path | None]
) -> tuple[Reference, ...]:
    """The images behind `urls`; `own` are URLs of files that this service holds, None: they are gone.

    Raises:
        ReferenceProblem: one cannot be had, is no image, or has more than `max_bytes`.
    """
    return tuple(_load(url, max_bytes, own) for url in urls)


def _load(url: str, max_bytes: int, own: Mapping[str, Path | None]) -> Reference:
    parts = urlsplit(url)
    host, name = parts.hostname or "", parts.path.rpartition("/")[2]
    if url in own:
        return Reference(host, name, _decode(_read(own[url], max_bytes), name))
    if not is_loopback(host):
        return Reference(host, name, None)
    return Reference(host, name, _decode(_fetch(url, max_bytes), name))


def _read(path: Path | None, max_bytes: int) -> bytes:
    if path is None or not path.exists():
        raise ReferenceProblem("resource_not_found", "A reference image has expired or was deleted.")
    return _bounded(path.read_bytes(), max_bytes)


def _fetch(url: str, max_bytes: int) -> bytes:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme.lower() == "https" else HTTPConnection
    deadline = time.monotonic() + _TIMEOUT_S
    body = bytearray()
    try:
        with closing(kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)) as connection:
            connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
            reply = connection.getresponse()
            while (chunk := reply.read1(_CHUNK)) and len(body) <= max_bytes and time.monotonic() < deadline:
                body += chunk
        if reply.status != 200 or time.monotonic() > deadline:
            raise TimeoutError
    except (OSError, ValueError, HTTPException) as exc:
        raise ReferenceProblem("resource_not_found", "A reference image could not be downloaded.") from exc
    return _bounded(bytes(body), max_bytes)


def _bounded(body: bytes, max_bytes: int) -> bytes:
    if len(body) > max_bytes:
        raise ReferenceProblem("image_processing_error", "A reference image is too large.")
    return body


def _decode(body: bytes, name: str) -> Image.Image:
    try:
        image = Image.open(BytesIO(body), formats=_FORMATS)
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        message = f"The reference image {name} is no readable JPEG, PNG or WebP."
        raise ReferenceProblem("image_processing_error", message) from exc
    return image
