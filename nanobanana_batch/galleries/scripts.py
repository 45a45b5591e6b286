"""Data as scripts: a page that was opened from disk may load these, and no other kind of file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from nanobanana_batch.digests import Digests
from nanobanana_batch.galleries.values import Columns

IN_A_CHUNK = 100
"""Whole records; a page loads those that are looked at."""
IN_A_BLOCK = 10_000
"""Of the index, which a page loads whole, and of the texts, which it loads to search in them."""


_BYTES = 16
_PROTOTYPE = re.compile(r'(?<!\\)"__proto__":')


def as_script(value: Any) -> str:
    """JSON that stays text wherever it stands in a page: nothing in it ends a script or begins a comment.

    A script takes `"__proto__": 1` for something else than JSON does; in brackets it is a name as any.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return _PROTOTYPE.sub('["__proto__"]:', text)


def call(kind: str, number: int, value: Any) -> bytes:
    """One file of data: it hands itself to the page."""
    text = f"Gallery.data({json.dumps(kind)},{number},{as_script(value)});\n"
    return text.encode("utf-8", "replace")  # half a surrogate pair is no text


class _Blocks:
    """Makes the index and what is searched, block by block; of a record it keeps what stands there."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._texts, self._groups = Digests(_BYTES), Digests(_BYTES)
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        self._cells = self._columns.block()
        self._new: list[str] = []
        self._ids: list[str] = []
        self._of_text: list[int] = []
        self._of_group: list[int] = []
        self._edits: list[int] = []

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """The next ones of this block."""
        for record in records:
            text = str(record.get("prompt", ""))
            code, is_new = self._texts.add(_digest(text))
            if is_new:
                self._new.append(text)
            self._of_text.append(code)
            self._of_group.append(self._groups.add(_digest(as_script([text, record.get("images")])))[0])
            self._edits.append(int(any("thumb" in each for each in record.get("sources", ()))))
            self._ids.append(record.get("id", ""))
            self._cells.add(record)

    @property
    def is_whole(self) -> bool:
        """There is no room for another."""
        return len(self._ids) >= IN_A_BLOCK

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Those of this block, if it has anything; then the next one begins.

        `#text`: the number of its prompt, which stands in the block where it came first; `#group`: the same
        for all that were asked for with the same prompt and pictures; `#edit`: 1 if one of these can be
        shown.
        """
        if not self._ids:
            return
        numbers = {"#text": self._of_text, "#group": self._of_group, "#edit": self._edits}
        yield f"index-{self._number}.js", call("index", self._number, self._cells.told() | numbers)
        found = {"texts": self._new, "ids": self._ids}
        yield f"find-{self._number}.js", call("find", self._number, found)
        self._number += 1
        self._begin()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()


def data_files(records: Iterable[dict[str, Any]], columns: Columns) -> Iterator[tuple[str, bytes]]:
    """Every file of data but the summary, by name."""
    blocks = _Blocks(columns)
    for number, chunk in enumerate(_pieces(records, IN_A_CHUNK)):
        yield f"items-{number}.js", call("items", number, chunk)
        blocks.add(chunk)
        if blocks.is_whole:
            yield from blocks.files()
    yield from blocks.files()


def _pieces(records: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    walk = iter(records)
    while piece := list(islice(walk, size)):
        yield piece
