"""Who is told how far an export is."""

from __future__ import annotations

from typing import Protocol


class Watch(Protocol):
    """A bar on a screen, or nobody."""

    def begin(self, what: str, total: int) -> None:
        """A piece of work of so many steps begins; the one before is done."""

    def step(self) -> None:
        """One of them is done."""


class Nobody:
    """Hears it all and says nothing."""

    def begin(self, what: str, total: int) -> None:
        """Nothing."""

    def step(self) -> None:
        """Nothing."""
