"""Hours of steady work in one process: does anything grow?

    python -m benchmarks.soak [--minutes M] [--in-flight N] [--image-bytes N] [--every S] [--json FILE]

A run of more rows than can be made in that time works against the stub server in C. Its memory, descriptors
and threads are looked at every few seconds; when the time is over it is interrupted, as a person would, and
has to end in order. After a quarter of the time, in which caches fill, a line is fitted through memory over
rows.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.process import Peak
from benchmarks.row import command
from benchmarks.stub import Manner, Stub, serving

MOST_MIB = 114.0
MOST_MIB_IN_10_000_ROWS = 0.5
_WARM = 0.25
"""The share of the time that is not part of the line."""
_ROWS_A_SECOND = 900
"""More than any run makes."""
_ENDS_WITHIN_S = 900.0
"""Results of all rows are written at the end, millions of them here."""
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the process."""

    at_s: float
    """Since its beginning."""
    rows: int
    """Whose images the server has sent so far."""
    rss_mib: float
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True)
class Soak:
    """What became of a stretch of work."""

    minutes: float
    rows: int
    rows_a_second: float
    cpu_ms_a_row: float
    first_mib: float
    """When the caches were full."""
    last_mib: float
    peak_mib: float
    mib_in_10_000_rows: float
    """By how much memory grows."""
    most_descriptors: int
    descriptors_grown: int
    """Of the last quarter beyond the second one, medians."""
    most_threads: int
    exit_code: int
    samples: tuple[Sample, ...]

    @property
    def is_within(self) -> bool:
        """Whether it keeps what is promised."""
        is_steady = self.mib_in_10_000_rows <= MOST_MIB_IN_10_000_ROWS and self.descriptors_grown <= _FEW
        return self.exit_code == _INTERRUPTED and self.peak_mib <= MOST_MIB and is_steady


_FEW = 8
"""Descriptors that come and go with what is in flight just now."""
_ENOUGH_ROWS = 10_000
"""A line through fewer says little of how memory grows."""


def soak(minutes: float, in_flight: int = 256, image_bytes: int = 2_000, every_s: float = 10.0) -> Soak:
    """Let a run work for so long, and look at it.

    Raises:
        SystemExit: it ended before its time, or there is no C compiler.
    """
    with tempfile.TemporaryDirectory() as name, serving(Manner(1.0, 0.4, image_bytes=image_bytes)) as stub:
        rows = max(1_000, int(minutes * 60 * _ROWS_A_SECOND))
        words = command(Path(name), rows, in_flight, stub)
        environment = {**os.environ, "EVOLINK_API_KEY": "benchmark-key"}
        with subprocess.Popen(
            words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            most = Peak(process.pid)
            try:
                _wait_for_work(process, stub)
                samples = tuple(_samples(process, stub, minutes * 60, every_s))
            finally:
                process.send_signal(signal.SIGINT)
                code, cpu_s = _ended(process)
        most.join()
    return _soak(minutes, samples, code, cpu_s, most.mib)


def _wait_for_work(process: subprocess.Popen[bytes], stub: Stub) -> None:
    """A manifest of millions of rows is read first."""
    while stub.counts()["submits"] == 0:
        _refuse_the_end(process)
        time.sleep(0.2)


def _samples(
    process: subprocess.Popen[bytes], stub: Stub, lasts_s: float, every_s: float
) -> Iterator[Sample]:
    began = time.monotonic()
    while (at := time.monotonic() - began) < lasts_s:
        time.sleep(min(every_s, lasts_s - at))
        _refuse_the_end(process)
        yield look(process.pid, time.monotonic() - began, stub.counts()["downloads"])


def look(pid: int, at_s: float, rows: int) -> Sample:
    """How a process stands now (Linux).

    Raises:
        FileNotFoundError: it has ended.
    """
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    rss = int(status["VmRSS"].split()[0]) / 1024
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(round(at_s, 1), rows, round(rss, 2), descriptors, int(status["Threads"]))


def _refuse_the_end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise SystemExit(f"the run ended before its time, with exit code {process.returncode}")


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Exit code and seconds of CPU."""
    if process.returncode is not None:
        return process.returncode, 0.0
    until = time.monotonic() + _ENDS_WITHIN_S
    while True:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, used.ru_utime + used.ru_stime
        if time.monotonic() > until:
            process.kill()
        time.sleep(0.1)


def grown(samples: Sequence[Sample]) -> float:
    """MiB in 10,000 rows, by the line of least squares through memory over rows."""
    if len({one.rows for one in samples}) < 2:
        return 0.0
    line = statistics.linear_regression([one.rows for one in samples], [one.rss_mib for one in samples])
    return line.slope * 10_000


def _soak(minutes: float, samples: tuple[Sample, ...], code: int, cpu_s: float, peak: float) -> Soak:
    warm = samples[int(len(samples) * _WARM) :]
    quarter = max(1, len(warm) // 3)
    few = [statistics.median(one.descriptors for one in some) for some in (warm[:quarter], warm[-quarter:])]
    rows, lasted_s = samples[-1].rows, samples[-1].at_s
    return Soak(
        minutes=minutes,
        rows=rows,
        rows_a_second=round(rows / lasted_s, 1),
        cpu_ms_a_row=round(cpu_s / max(1, rows) * 1000, 2),
        first_mib=warm[0].rss_mib,
        last_mib=warm[-1].rss_mib,
        peak_mib=round(max(peak, *(one.rss_mib for one in samples)), 1),
        mib_in_10_000_rows=round(grown(warm), 3),
        most_descriptors=max(one.descriptors for one in samples),
        descriptors_grown=int(few[1] - few[0]),
        most_threads=max(one.threads for one in samples),
        exit_code=code,
        samples=samples,
    )


def _verdict(found: Soak) -> str:
    few = "" if found.rows >= _ENOUGH_ROWS else " (too few rows to say how memory grows)"
    return ("ok" if found.is_within else "MISSED") + few


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--image-bytes", type=int, default=2_000)
    parser.add_argument("--every", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also as JSON, to this file")
    given = parser.parse_args()
    found = soak(given.minutes, given.in_flight, given.image_bytes, given.every)
    print(
        f"{found.minutes:g} min: {found.rows:,} rows, {found.rows_a_second} a second,"
        f" {found.cpu_ms_a_row} ms of CPU each; exit {found.exit_code}\n"
        f"memory {found.first_mib:.1f} -> {found.last_mib:.1f} MiB, at most {found.peak_mib:.1f} of"
        f" {MOST_MIB:.0f}; {found.mib_in_10_000_rows:+.2f} MiB in 10,000 rows of {MOST_MIB_IN_10_000_ROWS}\n"
        f"descriptors at most {found.most_descriptors}, {found.descriptors_grown:+d};"
        f" threads at most {found.most_threads}\n{_verdict(found)}"
    )
    if given.json:
        given.json.write_text(json.dumps(asdict(found), indent=2) + "\n")


if __name__ == "__main__":
    main()
