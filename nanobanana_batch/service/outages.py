"""For some time nothing works: no call reaches the service, whatever it asks and whoever asks it.

Times are monotonic and count from the start of the process; a restart begins the schedule anew.
"""

from __future__ import annotations

import time
from collections.abc import Sequence


class Outages:
    """Those that were planned, and the one that was asked for."""

    def __init__(self, planned: Sequence[tuple[float, float]]) -> None:
        self._began = time.monotonic()
        self._planned = planned
        self._until = self._began

    def begin(self, length_s: float) -> None:
        """From now on, for that long; 0 ends one that was asked for."""
        self._until = time.monotonic() + length_s

    def left_s(self) -> float:
        """How long the present outage goes on; 0 when there is none."""
        now = time.monotonic()
        begun = [self._began + at + length for at, length in self._planned if now >= self._began + at]
        return max(0.0, *(end - now for end in (self._until, *begun)))
