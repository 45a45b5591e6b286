"""Data as scripts: a page that was opened from disk may load these, and no other kind of file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from nanobanana_batch.galleries.values import Columns

IN_A_CHUNK = 100
"""Whole records; a page loads those that are looked at."""
IN_A_BLOCK = 10_000
"""Of the index, which a page loads whole, and of the texts, which it loads to search in them."""


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


class _Numbers:
    """Numbers texts as they come, without keeping them."""

    def __init__(self) -> None:
        self._of: dict[bytes, int] = {}

    def of(self, text: str) -> tuple[int, bool]:
        """The number of a text, and whether it is a new one."""
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        count = len(self._of)
        number = self._of.setdefault(key, count)
        return number, number == count


class _Blocks:
    """Makes the index and what is searched, block by block."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._texts, self._groups = _Numbers(), _Numbers()

    def files(self, number: int, block: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, bytes]]:
        """`#text`: the number of its prompt, which stands in the block where it came first; `#group`: the
        same for all that were asked for with the same prompt and pictures; `#edit`: 1 if one of these can
        be shown.
        """
        new: list[str] = []
        texts, groups = [], []
        for record in block:
            text = str(record.get("prompt", ""))
            code, is_new = self._texts.of(text)
            if is_new:
                new.append(text)
            texts.append(code)
            groups.append(self._groups.of(as_script([text, record.get("images")]))[0])
        edits = [int(any("thumb" in each for each in record.get("sources", ()))) for record in block]
        index = self._columns.coded(block) | {"#text": texts, "#group": groups, "#edit": edits}
        yield f"index-{number}.js", call("index", number, index)
        ids = [record.get("id", "") for record in block]
        yield f"find-{number}.js", call("find", number, {"texts": new, "ids": ids})


def data_files(records: Iterable[dict[str, Any]], columns: Columns) -> Iterator[tuple[str, bytes]]:
    """Every file of data but the summary, by name."""
    blocks = _Blocks(columns)
    for number, block in enumerate(_pieces(records, IN_A_BLOCK)):
        yield from blocks.files(number, block)
        first = number * (IN_A_BLOCK // IN_A_CHUNK)
        for offset, chunk in enumerate(_pieces(block, IN_A_CHUNK)):
            yield f"items-{first + offset}.js", call("items", first + offset, chunk)


def _pieces(records: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    walk = iter(records)
    while piece := list(islice(walk, size)):
        yield piece
