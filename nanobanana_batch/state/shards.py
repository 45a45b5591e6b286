"""A manifest divided among output folders: each row belongs to one shard, by what it asks for alone.

Whoever divides the same manifest by the same number gets the same parts, on any machine and at any time,
and a row that is inserted moves no other one. Rows that ask for the very same belong together, since which
of them is which follows what was made for them (`twins`): so the key decides that the first of them has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nanobanana_batch.state.clashes import mark_of

SHARD = "shard"
"""Under which a state remembers which part of a manifest it is of."""
SENT_KEYS = """
SELECT rows.row_key, twins.base_key FROM rows LEFT JOIN twins ON twins.row_key = rows.row_key
WHERE rows.attempt IS NOT NULL
"""
"""Which rows something was sent for: their keys, and the key of the first that asks for the same."""
_FOLDER = re.compile(r"shard-([1-9][0-9]{0,5})-of-([1-9][0-9]{0,5})")
_TEXT = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of so many parts; the first has the number 1."""

    number: int
    of: int

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.number}/{self.of}"

    @property
    def folder_name(self) -> str:
        """What its output folder is called, if nobody says otherwise."""
        return f"shard-{self.number}-of-{self.of}"

    @property
    def condition(self) -> str:
        """Which marks of keys are in it; a term of SQL over the column `mark`."""
        return f"mark % {self.of} = {self.number - 1}"

    def holds(self, key: str) -> bool:
        """Whether a row is in it that would have this key if it were the only one that asks for the same."""
        return mark_of(key) % self.of == self.number - 1


def read_shard(text: str) -> Shard:
    """`I/N` as people write it.

    Raises:
        ValueError: it is none.
    """
    found = _TEXT.fullmatch(text.strip())
    if found is None or int(found[1]) > int(found[2]):
        raise ValueError(f"{text!r} is no shard such as 1/4, the first of four, or 4/4, the last")
    return Shard(int(found[1]), int(found[2]))


def shard_of_folder(name: str) -> Shard | None:
    """Which shard a folder is of that is called as they are if nobody says otherwise."""
    found = _FOLDER.fullmatch(name)
    if found is None or int(found[1]) > int(found[2]):
        return None
    return Shard(int(found[1]), int(found[2]))


def outside(shard: Shard, keys: Iterable[tuple[str, str | None]]) -> int:
    """How many of these rows (`SENT_KEYS`) are not in a shard."""
    return sum(not shard.holds(key if base is None else base) for key, base in keys)
