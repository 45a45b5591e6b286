"""On which kind of file system a folder stands: locks and shared memory do not work on all of them.

SQLite's write-ahead log needs memory shared between processes, and the folder's lock needs flock;
network file systems promise neither (SQLite's documentation, "Write-Ahead Logging").
"""

from __future__ import annotations

import os
import re
from pathlib import Path

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "9p", "ncpfs", "coda", "lustre", "ceph"}
    | {"glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.ceph"}
    | {"beegfs", "gpfs", "orangefs", "davfs", "fuse.davfs2", "virtiofs"}
)
"""Types, as Linux names them, on which another machine may write unseen."""

_MOUNTS = Path("/proc/self/mountinfo")


def type_of(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that holds a path, as Linux names it; empty where that cannot be told.

    The path need not exist yet. `mounts` is the text of a mountinfo file, this process's own by default.
    """
    try:
        text = _MOUNTS.read_text(encoding="utf-8", errors="replace") if mounts is None else mounts
    except OSError:
        return ""
    place = os.path.realpath(path)
    best, found = -1, ""
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields = head.split(" ")
        if len(fields) < 5 or not tail:
            continue
        point = _unescaped(fields[4])
        if _is_below(place, point) and len(point) >= best:
            best, found = len(point), tail.split(" ")[0]
    return found


def _is_below(place: str, point: str) -> bool:
    return point == "/" or place == point or place.startswith(point + "/")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
