"""What samples are called: by the ids of their rows, but portable, and unique over all folders.

A key has no dot (WebDataset takes what follows the first one for the kind of a file), is ASCII (names with
accents are spelt in two ways on disks), and differs from every other one by more than upper and lower case.
Who comes first in the manifest has the plain name, so that rows that are added later change no key.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from itertools import count

from nanobanana_batch.collection.entries import Entry, Picture
from nanobanana_batch.digests import Digests
from nanobanana_batch.file_names import RESERVED, are_plain_ids

_MOST = 100
_OTHERS = re.compile(r"[^A-Za-z0-9_-]+")
_NAMELESS = "row"
_BYTES = 8


class Keys:
    """Gives each sample its key; eight bytes of each are remembered.

    Where two keys have the same eight, the second is taken for one that is there: it gets a longer name, as
    in any other run over the same samples.
    """

    def __init__(self) -> None:
        self._taken = Digests(_BYTES)

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
        _, is_new = self._taken.add(hashlib.blake2b(key.lower().encode(), digest_size=_BYTES).digest())
        return is_new


def _slug(text: str) -> str:
    return text if are_plain_ids((text,)) and text[-1] != "-" and len(text) <= _MOST else _portable(text)


def _portable(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    name = _OTHERS.sub("-", plain).strip("-")[:_MOST].strip("-")
    if not name:
        return f"{_NAMELESS}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return f"{name}-" + _NAMELESS if RESERVED.fullmatch(name) else name
