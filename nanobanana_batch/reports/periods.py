"""When runs were at work, and what held them up, as run.log and its older parts tell it.

The log may be gone, cut, of another version, or somebody else's: what makes no sense is counted and left out,
and nothing is guessed about times of which it does not tell. It is read line by line.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from nanobanana_batch.files.log import LOG_NAMES
from nanobanana_batch.files.plain import open_own

_LINE_BYTES = 128 << 10
_MOST_PERIODS = 500
"""Of one kind; more are counted."""
_SAME_S = 30.0
"""Two of a kind so close to each other are one."""
_EASES_S = 60.0
"""Who was not asked to slow down for so long is not slowed, where the log says nothing of a pace."""
_HEAD = re.compile(rb'\{"time":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?)Z","event":"([a-z_]{1,40})"')
_STATUS = re.compile(rb'"status":(\d{3})\b')
_LONGEST_WORDS = 300


class What(StrEnum):
    """What was going on."""

    RUN = "run"
    OUTAGE = "outage"
    """The provider gave no usable answers."""
    SLOWED = "slowed"
    """It asked to slow down, and new requests went out at a pace, or waited."""
    WAIT = "wait"
    """It asked to wait so long."""
    QUOTA = "quota"
    """A daily quota was used up."""
    BLOCKED = "blocked"
    """Finished images could not be fetched or saved; nothing new was paid for."""


@dataclass(frozen=True, slots=True)
class Period:
    """One stretch of it; times in Unix seconds."""

    what: What
    began: float
    ended: float
    is_whole: bool = True
    """The log says when it ended; else this is the last that it tells of it."""
    said: str = ""
    folder: str = ""

    @property
    def length_s(self) -> float:
        """How long it was."""
        return max(self.ended - self.began, 0.0)


@dataclass(frozen=True, slots=True)
class LogRead:
    """What the log of one folder tells."""

    periods: tuple[Period, ...] = ()
    left_out: int = 0
    """Periods, since there are too many."""
    first_at: float | None = None
    """Of its first line, Unix seconds; None: there is no log."""
    last_at: float | None = None
    lines: int = 0
    broken: int = 0
    """Lines that nobody understands."""
    dropped: int = 0
    """Lines that a run could not write."""
    replies: Mapping[str, int] | None = None
    """Requests by the status of the reply, such as `200`; `no reply` without one."""
    events: Mapping[str, int] | None = None
    """How often each was told."""
    clock_ahead_s: float = 0.0
    """By how much the provider's clock was ahead of this machine's, at most; negative: behind."""


def read_log(folder: Path, name: str = "") -> LogRead:
    """What the log of an output folder tells; `name` is what to call the folder."""
    reading = _Reading(name)
    for part in reversed(LOG_NAMES):
        with suppress(OSError), os.fdopen(open_own(folder / part), "rb") as file:
            for line in _lines(file):
                reading.line(line)
    return reading.told()


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Each line, never more of it than one may have: what follows is a broken one."""
    while line := file.readline(_LINE_BYTES):
        yield line


class _Reading:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._kept: dict[What, list[Period]] = {what: [] for what in What}
        self._open: dict[What, Period] = {}
        self._left_out = self._lines = self._broken = self._dropped = 0
        self._first: float | None = None
        self._last: float | None = None
        self._slowed_at = 0.0
        self._has_pace = False
        self._replies: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._ahead_s = 0.0
        self._on: dict[str, Callable[[float, dict[str, Any]], None]] = {
            "run_begins": self._run_begins,
            "run_ends": self._run_ends,
            "stop": self._stop,
            "breaker_open": lambda at, line: self._begin(What.OUTAGE, at, line.get("reason")),
            "breaker_closed": lambda at, line: self._end(What.OUTAGE, at),
            "rate_limited": self._rate_limited,
            "pace": self._pace,
            "asked_to_wait": self._asked_to_wait,
            "daily_quota": self._quota,
            "paying_paused": lambda at, line: self._begin(What.BLOCKED, at, line.get("failure")),
            "lines_dropped": self._lines_dropped,
            "clock": self._clock,
        }

    def line(self, line: bytes) -> None:
        """One line, whatever it is."""
        if not line.strip():
            return
        self._lines += 1
        found = _HEAD.match(line)
        if found is None or not line.endswith(b"}\n"):
            self._broken += 1
            return
        try:
            at = datetime.fromisoformat(f"{found[1].decode()}+00:00").timestamp()
            event = found[2].decode()
            if event == "request":
                self._request(line)
            elif event == "saved":
                self._end(What.BLOCKED, at)
            elif event in self._on:
                self._on[event](at, dict(json.loads(line)))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            self._broken += 1
            return
        self._events[event] += 1
        if What.SLOWED in self._open and not self._has_pace and at - self._slowed_at > _EASES_S:
            self._end(What.SLOWED, self._slowed_at)
        self._first = at if self._first is None else self._first
        self._last = at

    def told(self) -> LogRead:
        """All of it; what goes on still has no end."""
        self._cut()
        periods = sorted(
            (one for kept in self._kept.values() for one in kept), key=lambda one: (one.began, one.what)
        )
        return LogRead(
            periods=tuple(periods),
            left_out=self._left_out,
            first_at=self._first,
            last_at=self._last,
            lines=self._lines,
            broken=self._broken,
            dropped=self._dropped,
            replies=dict(self._replies.most_common()),
            events=dict(self._events.most_common()),
            clock_ahead_s=self._ahead_s,
        )

    def _begin(self, what: What, at: float, said: object = "") -> None:
        if what not in self._open:
            self._open[what] = Period(what, at, at, said=_words(said), folder=self._folder)

    def _end(self, what: What, at: float, *, is_whole: bool = True) -> None:
        began = self._open.pop(what, None)
        if began is not None:
            self._keep(replace(began, ended=max(at, began.began), is_whole=is_whole))

    def _keep(self, period: Period) -> None:
        kept = self._kept[period.what]
        is_same = kept and period.what is not What.RUN and 0 <= period.began - kept[-1].ended <= _SAME_S
        if is_same and kept[-1].said == period.said:
            kept[-1] = replace(kept[-1], ended=period.ended, is_whole=period.is_whole)
        elif len(kept) < _MOST_PERIODS:
            kept.append(period)
        else:
            self._left_out += 1

    def _cut(self) -> None:
        """Nothing tells how these ended."""
        for what in tuple(self._open):
            self._end(what, self._last or 0.0, is_whole=False)
        self._no_wait_after(self._last or 0.0)

    def _no_wait_after(self, at: float) -> None:
        """Nobody waited any longer, whatever was asked for."""
        waits = self._kept[What.WAIT]
        if waits and waits[-1].ended > at:
            waits[-1] = replace(waits[-1], ended=max(at, waits[-1].began))

    def _run_begins(self, at: float, line: dict[str, Any]) -> None:
        self._cut()
        self._has_pace = False
        self._begin(What.RUN, at)

    def _run_ends(self, at: float, line: dict[str, Any]) -> None:
        for what in tuple(self._open):
            self._end(what, at)
        self._no_wait_after(at)

    def _stop(self, at: float, line: dict[str, Any]) -> None:
        run = self._open.get(What.RUN)
        if run is not None and not run.said:
            self._open[What.RUN] = replace(run, said=_words(line.get("reason")))

    def _rate_limited(self, at: float, line: dict[str, Any]) -> None:
        self._begin(What.SLOWED, at, line.get("code"))
        self._slowed_at = at

    def _pace(self, at: float, line: dict[str, Any]) -> None:
        self._has_pace = line.get("per_min") is not None or bool(line.get("is_stuck"))
        if self._has_pace:
            self._begin(What.SLOWED, at)
        else:
            self._end(What.SLOWED, at)

    def _asked_to_wait(self, at: float, line: dict[str, Any]) -> None:
        until = at + min(max(float(line["seconds"]), 0.0), 31 * 86400.0)
        self._end(What.WAIT, at)
        self._keep(Period(What.WAIT, at, until, said=_words(line.get("said")), folder=self._folder))

    def _quota(self, at: float, line: dict[str, Any]) -> None:
        if line["is_used_up"]:
            self._begin(What.QUOTA, at, line.get("said"))
        else:
            self._end(What.QUOTA, at)

    def _lines_dropped(self, at: float, line: dict[str, Any]) -> None:
        self._dropped += int(line["lines"])

    def _clock(self, at: float, line: dict[str, Any]) -> None:
        ahead_s = float(line["ahead_s"])
        if abs(ahead_s) > abs(self._ahead_s):
            self._ahead_s = ahead_s

    def _request(self, line: bytes) -> None:
        status = _STATUS.search(line)
        self._replies[status[1].decode() if status else "no reply"] += 1


def _words(said: object) -> str:
    text = said if isinstance(said, str) else ""
    return text if len(text) <= _LONGEST_WORDS else text[: _LONGEST_WORDS - 1] + "…"
