"""One process, accounted for alone: its seconds, its CPU, the most memory that it ever held."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LOOK_S = 0.02
PRODUCT = ("-c", "from nanobanana_batch.cli import main; main()")
"""What Python is given to be the command line of this program."""


@dataclass(frozen=True)
class Ended:
    """How it went."""

    seconds: float
    cpu_s: float
    """Of user and system, with all threads, and children that it has waited for."""
    peak_mib: float
    exit_code: int
    said: str
    """What it printed, both streams."""


def carried_out(
    words: Sequence[str], environment: Mapping[str, str] | None = None, cpu: int | None = None
) -> Ended:
    """Run a command to its end, on one core if one is named (`taskset`); Linux.

    What Python compiles is kept, as it is where a program is installed: else each run compiles it anew.
    The peak is read from the process itself while it lives: what the system adds up for children that have
    ended begins with the memory of who started them.
    """
    pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
    known = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [*pinned, *words], env={**known, **(environment or {})}, stdout=output, stderr=output
        )
        peak = Peak(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        peak.join()
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Ended(seconds, cpu_s, peak.mib, process.returncode, said)


class Peak:
    """Looks again and again until the process has ended; the mark only rises: the last look counts."""

    def __init__(self, pid: int) -> None:
        """Begin to look at a process (Linux)."""
        self._status = Path(f"/proc/{pid}/status")
        self.mib = 0.0
        """The most memory that it held so far."""
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _look(self) -> None:
        while (found := self._now()) is not None:
            self.mib = found
            time.sleep(_LOOK_S)

    def _now(self) -> float | None:
        """None once it has ended."""
        try:
            lines = self._status.read_text().splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)
