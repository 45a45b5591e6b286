"""A wall clock that is set wrong, for one process: the provider's, and the monotonic one, stay right."""

from __future__ import annotations

import sys
import time
from datetime import datetime, tzinfo

_true_time, _true_time_ns = time.time, time.time_ns
_ahead_s = 0.0


def install() -> None:
    """Let everything that is imported from now on, and the program itself, tell the time by this clock."""
    time.time, time.time_ns = _time, _time_ns
    for name, module in list(sys.modules.items()):
        if name.startswith("nanobanana_batch") and getattr(module, "datetime", None) is datetime:
            module.datetime = _Datetime  # type: ignore[attr-defined]


def set_ahead(seconds: float) -> None:
    """From now on it is so much later here; earlier, if that is negative."""
    global _ahead_s
    _ahead_s = seconds


def _time() -> float:
    return _true_time() + _ahead_s


def _time_ns() -> int:
    return _true_time_ns() + int(_ahead_s * 1e9)


class _Datetime(datetime):
    """Of which only the present is another."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> _Datetime:
        return cls.fromtimestamp(_time(), tz)
