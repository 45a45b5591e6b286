"""Seconds that nobody sets: for lengths of time that have to be right whatever becomes of the clock."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_s() -> float:
    """Seconds since some moment; they go on while this machine sleeps, as far as the system counts that."""
    return time.clock_gettime(_CLOCK)
