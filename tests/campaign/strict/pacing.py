"""Who came too early, and whom a limit turns away."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .ledger import Early, Ledger
from .settings import Settings

_READS = ("read", "batch")
"""Who reads what is paid for is held up by what a read was told only: links die meanwhile."""
_OTHERS = ("submit", "probe", "list", "credits")


@dataclass
class _Wait:
    """Until when who belongs to it is early, since when that is so, and whom it was told."""

    until: float = 0.0
    told_at: float = 0.0
    after: str = ""


class Pacing:
    """What callers were told to wait for, and how close their reads are."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.settings = settings
        self._ledger = ledger
        self._waits = {_READS: _Wait(), _OTHERS: _Wait()}
        self._last_read: dict[str, float] = {}

    def told_to_wait(self, kind: str, now: float, wait_s: float) -> None:
        """From now on a request is early until `wait_s` have passed."""
        for whose, wait in self._waits.items():
            if (kind in _READS or whose is _OTHERS) and now + wait_s > wait.until:
                wait.told_at = now if now >= wait.until else wait.told_at
                wait.until, wait.after = now + wait_s, kind

    def arrived(self, kind: str, now: float) -> None:
        """Write down a request that was told to wait. Those on their way have the time of grace."""
        for whose, wait in self._waits.items():
            if kind in whose and wait.told_at + self.settings.grace_s < now < wait.until - 0.02:
                told_s, too_early_s = round(now - wait.told_at, 3), round(wait.until - now, 3)
                self._ledger.early.append(Early(kind, wait.after, told_s, too_early_s))

    def read(self, task_id: str, now: float) -> None:
        """Write down a read that follows the one before it too closely: less than 0.8 of the gap."""
        gap = now - self._last_read.get(task_id, -1e9)
        self._last_read[task_id] = now
        if gap < 0.8 * self.settings.read_gap_s * self.settings.time_scale:
            self._ledger.close_reads.append(round(gap, 4))


class Limit:
    """So many submits a time."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.faults.most_per_window
        self._window_s = settings.faults.window_s
        self._kind = settings.faults.window_kind
        self._passed: deque[float] = deque()
        self._tokens = float(self._most)
        self._filled_at = 0.0

    def wait_s(self, now: float) -> float:
        """0 if another one may pass (and then it has passed), else seconds until the next may."""
        if not self._most:
            return 0.0
        return self._bucket(now) if self._kind == "bucket" else self._window(now)

    def _window(self, now: float) -> float:
        start = now - self._window_s if self._kind == "sliding" else now - now % self._window_s
        while self._passed and self._passed[0] <= start:
            self._passed.popleft()
        if len(self._passed) < self._most:
            self._passed.append(now)
            return 0.0
        return (self._passed[0] if self._kind == "sliding" else start) + self._window_s - now

    def _bucket(self, now: float) -> float:
        """A tenth of a window's tokens at most are saved up."""
        full, each_s = max(1.0, self._most / 10), self._window_s / self._most
        self._tokens = min(full, self._tokens + (now - self._filled_at) / each_s)
        self._filled_at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) * each_s
