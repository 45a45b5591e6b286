"""A file gets a new name in one step that never takes another's: renameat2, which Python does not offer.

A hard link and the removal of the old name do the same in two, which a journal keeps as two changes.
"""

from __future__ import annotations

import ctypes
import errno
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

_AT_CWD = -100
_NO_REPLACE = 1
_NOT_OFFERED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}
"""By this system, or by this file system."""


def rename_unless_taken(source: Path, target: Path) -> bool:
    """Whether `source` has the name `target` now; False where this system cannot do it so.

    Raises:
        FileExistsError: something has that name.
        OSError: the file system refuses.
    """
    rename = _renameat2()
    if rename is None:
        return False
    if rename(_AT_CWD, os.fsencode(source), _AT_CWD, os.fsencode(target), _NO_REPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_OFFERED:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


@lru_cache(maxsize=1)
def _renameat2() -> Any:
    """The system's own (Linux, glibc 2.28); None where there is none."""
    try:
        found = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return found
