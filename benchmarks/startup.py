"""How long it takes until a page of help is there, beside a Python that does nothing.

    python -m benchmarks.startup [--times N] [--json FILE]

Each command is a process of its own, by the installed script, with what Python compiles kept; all of them
take turns. CPU is that of the process and of the kernel for it: a busy machine moves it less than wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import sysconfig
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

MOST_MS = 60.0
"""So much longer than Python itself a page may take."""
_PAGES = (("--help",), (), ("--version",), ("status", "--help"), ("run", "--help"), ("export", "--help"))

_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True, slots=True)
class Startup:
    """Medians of one command, in ms."""

    name: str
    wall_ms: float
    cpu_ms: float
    least_cpu_ms: float
    over_python_ms: float
    """Wall time beyond that of `python -c pass` in the same round."""
    cpu_over_python_ms: float
    least_cpu_over_python_ms: float
    """The least CPU of all rounds beyond Python's: what others do on the machine only adds to that."""

    @property
    def is_within(self) -> bool:
        """Whether it keeps what is promised."""
        return self.least_cpu_over_python_ms <= MOST_MS


def measure(times: int = 30) -> list[Startup]:
    """Each page so many times, and bare Python as the first of the list.

    Raises:
        FileNotFoundError: the program is not installed where this Python is.
    """
    script = Path(sysconfig.get_path("scripts")) / "nanobanana-batch"
    commands = {"python": [sys.executable, "-c", "pass"]}
    commands |= {_name(words): [sys.executable, str(script.resolve(strict=True)), *words] for words in _PAGES}
    for words in commands.values():
        _took(words)
    rounds = [{name: _took(words) for name, words in commands.items()} for _ in range(times)]
    return [_startup(name, rounds) for name in commands]


def _name(words: Iterable[str]) -> str:
    return " ".join(("nanobanana-batch", *words))


def _took(words: list[str]) -> tuple[float, float]:
    """Wall time and CPU of a process, in ms; what it prints goes nowhere."""
    began = time.perf_counter()
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    pid = os.posix_spawn(words[0], words, _ENVIRONMENT, file_actions=nowhere)
    _, _, used = os.wait4(pid, 0)
    return (time.perf_counter() - began) * 1000, (used.ru_utime + used.ru_stime) * 1000


def _startup(name: str, rounds: Sequence[dict[str, tuple[float, float]]]) -> Startup:
    wall, cpu = zip(*(one[name] for one in rounds), strict=True)
    over = [[one[name][of] - one["python"][of] for one in rounds] for of in (0, 1)]
    least = min(cpu) - min(one["python"][1] for one in rounds)
    figures = statistics.median(wall), statistics.median(cpu), min(cpu), *map(statistics.median, over), least
    return Startup(name, *(round(figure, 1) for figure in figures))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also as JSON, to this file")
    given = parser.parse_args()
    found = measure(given.times)
    for one in found:
        verdict = "" if one.name == "python" else "ok" if one.is_within else "MISSED"
        over = f"over Python {one.cpu_over_python_ms:5.1f}, least {one.least_cpu_over_python_ms:5.1f}"
        print(
            f"{one.name:<30} wall {one.wall_ms:6.1f} ms, CPU {one.cpu_ms:6.1f},"
            f" least {one.least_cpu_ms:5.1f}; {over} of {MOST_MS:.0f} {verdict}"
        )
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
