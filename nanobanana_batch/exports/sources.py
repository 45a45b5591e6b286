"""The pictures that edits were made from, with the bytes that they had when their manifest was read.

A file that was moved or changed since is looked for, by its content, among the pictures of the folders that
are exported. What is behind a link cannot be had: nobody knows whether it is what it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from nanobanana_batch.collection.lineage import Lineage, Source, sources_of
from nanobanana_batch.exports.leaving_out import LeftOut, Why
from nanobanana_batch.files.plain import reading
from nanobanana_batch.model import Request

_MOST_BYTES = 1 << 30


def read_sources(request: Request, lineage: Lineage) -> tuple[bytes, ...]:
    """The bytes of each, in the order in which they were given; none: the row is no edit.

    Raises:
        LeftOut: one of them cannot be had.
    """
    return tuple(read_source(source, lineage) for source in sources_of(request))


def could_be_had(source: Source, lineage: Lineage) -> bool:
    """Whether there is a file at all, whatever is in it."""
    if source.path is None or source.sha256 is None:
        return False
    return any(path.is_file() for path in _places(source.path, source.sha256, lineage))


def read_source(source: Source, lineage: Lineage) -> bytes:
    """The bytes of one.

    Raises:
        LeftOut: it cannot be had.
    """
    if source.path is None or source.sha256 is None:
        raise LeftOut(Why.LINKED_SOURCE)
    for path in _places(source.path, source.sha256, lineage):
        try:
            with reading(path) as file:
                data = file.read(_MOST_BYTES)
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest() == source.sha256:
            return data
    raise LeftOut(Why.LOST_SOURCE)


def _places(path: Path, sha256: str, lineage: Lineage) -> Iterator[Path]:
    yield path
    yield from lineage.files_with(sha256)
