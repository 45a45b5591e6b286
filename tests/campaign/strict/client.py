"""Start the strict provider and ask it what happened: for campaigns and tests."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[3]
_END_S = 10


@dataclass(frozen=True)
class Strict:
    """A provider that runs."""

    api: str
    links: str
    admin: str
    pid: int

    def report(self) -> dict[str, Any]:
        """The ledger: tasks, requests, faults of the client."""
        return self.ask("report")

    def ask(self, what: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        """`reset`, `set`, `mutation`, `outage`, `calm` or `restart`."""
        with urllib.request.urlopen(f"{self.admin}/{what}", json.dumps(given or {}).encode(), 30) as reply:
            answer: dict[str, Any] = json.load(reply)
        return answer


@contextmanager
def strict(**settings: Any) -> Iterator[Strict]:
    """A process of its own, for as long as the block; it ends with us, whatever happens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.campaign.strict.server", "--settings", json.dumps(settings)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Strict(**json.loads(process.stdout.readline()), pid=process.pid)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.terminate()
        process.wait(_END_S)
