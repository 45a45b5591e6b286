"""Which program this is, to the letter: what another one has worked out may not hold for this one."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_ENDINGS = (".py", ".yaml", ".json")


@cache
def program(package: Path = _PACKAGE) -> str:
    """A hash over this program as it is installed, with what it is run by: another may make other rows.

    Where it cannot be read, such as out of an archive or while it is exchanged, it is like no other.
    """
    import yaml

    digest = hashlib.sha256(f"{sys.version}\0{yaml.__version__}\0".encode())
    try:
        contents = [
            (path, path.read_bytes()) for path in sorted(package.rglob("*")) if path.suffix in _ENDINGS
        ]
    except OSError:
        contents = []
    if not contents:
        return os.urandom(32).hex()
    for path, content in contents:
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
