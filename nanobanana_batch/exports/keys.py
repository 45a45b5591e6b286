"""What samples are called: by the ids of their rows, but portable, and unique over all folders.

A key has no dot (WebDataset takes what follows the first one for the kind of a file), is ASCII (names with
accents are spelt in two ways on disks), and differs from every other one by more than upper and lower case.
Who comes first in the manifest has the plain name, so that rows that are added later change no key.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from itertools import count

from nanobanana_batch.collection.entries import Entry, Picture
from nanobanana_batch.file_names import RESERVED

_MOST = 100
_OTHERS = re.compile(r"[^A-Za-z0-9_-]+")
_NAMELESS = "row"


class Keys:
    """Gives each sample its key; eight bytes of each are remembered.

    Where two keys have the same eight, the second is taken for one that is there: it gets a longer name, as
    in any other run over the same samples.
    """

    def __init__(self) -> None:
        self._taken = Numbers()

    def of(self, entry: Entry, picture: Picture | None) -> str:
        """The key of the next sample."""
        number = picture.number if picture else 1
        stem = _slug(entry.id) if number == 1 else f"{_slug(entry.id)}-{number}"
        if self._takes(stem):
            return stem
        facts = f"{entry.row_key}\0{number}\0{picture.sha256 if picture else ''}"
        tail = hashlib.sha256(facts.encode()).hexdigest()
        for more in count(1):
            key = f"{stem}-{tail[:8]}" if more == 1 else f"{stem}-{tail[:8]}-{more}"
            if self._takes(key):
                return key
        raise AssertionError("numbers do not end")

    def _takes(self, key: str) -> bool:
        digest = hashlib.blake2b(key.lower().encode(), digest_size=8).digest()
        return self._taken.add(int.from_bytes(digest, "big"))


class Numbers:
    """A set of whole numbers below 2^64 that look random: 12 to 24 bytes each, of which `set` needs 100."""

    def __init__(self, size: int = 1 << 10) -> None:
        self._table, self._count = _zeros(size), 0

    def add(self, number: int) -> bool:
        """Whether it was not there yet."""
        place = self._place(number)
        if self._table[place]:
            return False
        self._table[place] = number or _INSTEAD_OF_0
        self._count += 1
        if self._count * 3 > len(self._table) * 2:
            self._grow()
        return True

    def _place(self, number: int) -> int:
        """Where it stands, or belongs."""
        table, last, number = self._table, len(self._table) - 1, number or _INSTEAD_OF_0
        place = number & last
        while table[place] not in (0, number):
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        before, self._table = self._table, _zeros(2 * len(self._table))
        for number in before:
            if number:
                self._table[self._place(number)] = number


_INSTEAD_OF_0 = 1


def _zeros(count: int) -> array[int]:
    return array("Q", bytes(8 * count))


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    name = _OTHERS.sub("-", plain).strip("-")[:_MOST].strip("-")
    if not name:
        return f"{_NAMELESS}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return f"{name}-" + _NAMELESS if RESERVED.fullmatch(name) else name
