"""Whether a manifest would give the rows that a state has already: known from all that decides them, unread.

A program that reads the same gives the same rows. So the state remembers, with the rows of its manifest, what
they were made from: the order, the program, and each file that was read with a hash of what was in it. Where
something else decides (the names in a folder, another run's state), nothing is remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nanobanana_batch.errors import NanobananaError
from nanobanana_batch.files.contents import Contents, are_the_same
from nanobanana_batch.files.folder import Folder
from nanobanana_batch.files.program import program
from nanobanana_batch.jobs.order import Order
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.rebuild import JOURNAL
from nanobanana_batch.state.taking import MADE_DIGEST, MADE_FROM

_MOST_CHARS = 1 << 20
"""What decides rows takes no more room in the state than this."""


class Making:
    """What an order's rows are made from, noted while they are read."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._contents = Contents()
        self._program = program()  # before anything is read: it may be exchanged meanwhile

    @contextmanager
    def noted(self) -> Iterator[None]:
        """For the length of the block, what is read is noted."""
        with self._contents.noted():
            yield

    def text(self, warnings: Sequence[str]) -> str:
        """All of it, with what there is to say of the rows; empty where that cannot be told."""
        known = self._contents.known()
        if known is None or os.path.abspath(self._order.spool or self._order.manifest) not in known:
            return ""
        said = {
            "order": _said(self._order),
            "program": self._program,
            "files": known,
            "warnings": list(warnings),
        }
        text = json.dumps(said)
        return text if len(text) <= _MOST_CHARS else ""


def as_before(order: Order, folder: Folder) -> tuple[str, ...] | None:
    """The warnings of the rows that a folder's state has, if they are those of this order; None: who knows.

    What is wrong with the state is told by who opens it for work.
    """
    try:
        with open_reader(folder.state) as reader:
            if reader.meta(MADE_DIGEST) != reader.meta("digest"):
                return None
            if order.journal is not None or reader.meta(JOURNAL):
                return None  # the journal may know more than the state, which is made anew then, without rows
            return warnings_if_same(order, reader.meta(MADE_FROM) or "")
    except NanobananaError:
        return None


def warnings_if_same(order: Order, made_from: str) -> tuple[str, ...] | None:
    """The same for what `Making.text` has said; in a state of somebody else's anything may stand there."""
    try:
        known = json.loads(made_from or "{}")
        files = {str(path): (str(led_to), str(sha256)) for path, (led_to, sha256) in known["files"].items()}
        warnings = tuple(map(str, known["warnings"]))
        is_same = known["order"] == _said(order) and known["program"] == program()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    is_read = os.path.abspath(order.spool or order.manifest) in files
    return warnings if is_same and is_read and are_the_same(files) else None


def _said(order: Order) -> str:
    """All that an order says of rows, and where it is said: paths are relative to that."""
    said = (
        str(order.manifest),
        order.connection.provider,
        sorted(order.defaults.items()),
        sorted(order.columns.items()),
        order.id,
        order.skip,
        order.variables,
        order.allow_unknown_model,
        order.format,
        order.called,
        str(order.shard),
        [os.path.realpath(folder) for folder in order.allow_outside],
        os.path.realpath(order.manifest.parent),
        os.path.realpath("."),
        os.getcwd(),
        sys.getfilesystemencoding(),
    )
    return hashlib.sha256(repr(said).encode("utf-8", "surrogateescape")).hexdigest()
