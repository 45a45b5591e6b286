"""Where shards are made, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fleet:
    """Where shards are made, and how many there are."""

    address: str
    """Of the cluster; `cluster.HERE` for one of this machine."""
    shards: int
    bring_to: str | None = None
    """Where each shard's folder goes when it ends; None: it stays where it was made."""
