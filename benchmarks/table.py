"""The lines of all benchmarks as one table, and as JSON, with the machine they were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.lines import Line, Scale

_NAME, _TARGET, _FIGURE, _VERDICT = 52, 18, 18, 17
_SMALL, _HUNDRED = 10.0, 100.0


@dataclass(frozen=True)
class Table:
    """What was measured, where and when."""

    scale: Scale
    machine: str
    began_at: str
    commit: str
    lines: dict[str, list[Line]]
    """By benchmark."""
    seconds: dict[str, float] = field(default_factory=dict)
    """That each benchmark took, making what it needs included."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        lines = [{"benchmark": name, **asdict(line)} for name, some in self.lines.items() for line in some]
        return {**{key: value for key, value in vars(self).items() if key != "lines"}, "lines": lines}

    @property
    def summary(self) -> str:
        """How many lines have which verdict."""
        counts = Counter(line.verdict for some in self.lines.values() for line in some)
        return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def machine() -> str:
    """What this was measured on, and how busy that was besides."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cores = len(os.sched_getaffinity(0))
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    load = os.getloadavg()[0]
    return (
        f"{cores} cores ({model}), {memory_gb:.0f} GB, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, load {load:.1f} at the beginning"
    )


def now() -> str:
    """The time, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def commit() -> str:
    """What was measured, as git says."""
    words = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def number_text(number: float) -> str:
    """Three digits that matter."""
    if abs(number) >= _HUNDRED:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= _SMALL else f"{number:.3g}"


def line_text(line: Line) -> str:
    """One line; what is longer than its column moves the rest."""
    figure = "" if line.figure is None else f"{number_text(line.figure)} {line.unit}"
    cells = f"{line.name:<{_NAME}} {line.target:<{_TARGET}} {figure:<{_FIGURE}} {line.verdict:<{_VERDICT}}"
    return f"{cells} {line.note}".rstrip()


def head_text(table: Table) -> str:
    """What stands above the lines."""
    head = f"{'':<{_NAME}} {'target':<{_TARGET}} {'figure':<{_FIGURE}} {'verdict':<{_VERDICT}} how"
    return f"{table.began_at}, {table.commit}, {table.scale} sizes; {table.machine}\n{head}"


def texts(title: str, lines: Sequence[Line]) -> Iterator[str]:
    """A benchmark's part of the table."""
    yield f"-- {title}"
    yield from map(line_text, lines)
