"""A file for the length of one command that is read by its name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO


@contextmanager
def temporary_file() -> Iterator[IO[bytes]]:
    """Gone with the block. What did not fit fails where it is written, and not once more when it is closed.

    Raises:
        OSError: there is no place for it.
    """
    file = tempfile.NamedTemporaryFile(prefix="nanobanana-batch-")  # noqa: SIM115 - closed below
    try:
        yield file
    finally:
        with suppress(OSError):
            file.close()
