"""How a shard asks what it may do; who answers may be another process, or on another machine."""

from __future__ import annotations

from typing import Protocol

from nanobanana_batch.sharing.values import Grant, Report

EVERY_S = 1.0
"""A shard asks so often."""


PAUSES_AFTER_S = 20.0
"""A shard without answers for so long sends nothing new: soon others have its part (`Limits.silent_s`)."""


class LinkLost(Exception):
    """There is no answer just now. `is_for_good`: there will be none."""

    def __init__(self, why: str, *, is_for_good: bool = False) -> None:
        super().__init__(why)
        self.is_for_good = is_for_good


class Link(Protocol):
    """To a `Coordinator`, wherever that is. One exchange of a shard at a time."""

    @property
    def shard(self) -> int:
        """The number of the shard that asks."""

    async def exchange(self, report: Report) -> Grant:
        """Say how the shard stands, and hear what it may do.

        Raises:
            LinkLost: nobody answers.
        """
