"""Kill the processes of `run --procs` again and again: a shard's, or the one that started them.

    python -m tests.campaign.kill_shards --kills 100

A shard that is killed is started again by the run; a run that is killed is started again here, as a person
would, and finds its shards ending. The service's ledger judges.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.results import read_results
from nanobanana_batch.service.options import Faults
from tests.process.harness import bench, small_manifest, wrong_hashes

_LATENCY_S = 0.4
_TYPED_AGAIN = 5
_FAULTS = Faults(lost_reply_after=0.05, fail_task=0.05, fail_code="invalid_parameters", seed=3)


@dataclass(frozen=True)
class Verdict:
    """What the service's ledger and the folders say after all kills."""

    kills: int
    of_runs: int
    """Kills of the process that starts the others."""
    rows: int
    completed: int
    failed: int
    held: int
    paid_twice: int
    lost: int
    exit_code: int
    said: str


def children(pid: int) -> list[int]:
    """Processes that a process has started; none where it is gone."""
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def campaign(folder: Path, *, rows: int, procs: int, kills: int, seed: int) -> Verdict:
    """One folder of shards: kill so many times, run to the end, judge."""
    chance = random.Random(seed)
    flags = ("--procs", str(procs), "--concurrency", "12", "--submit-concurrency", "4")
    service = {"latency_s": _LATENCY_S, "faults": _FAULTS, "seed": 7}
    with bench(folder, small_manifest(folder, rows), says="honoured", idempotency=True, **service) as it:
        done = of_runs = 0
        process = it.start(*flags)
        while done < kills and process.poll() is None:
            time.sleep(chance.uniform(0.3, 2.5))
            own = children(process.pid)
            if own and chance.random() < 0.6:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(own), signal.SIGKILL)
            elif process.poll() is None:
                process.kill()
                process.communicate()
                process, of_runs = it.start(*flags), of_runs + 1
            done += 1
        _, said = process.communicate(timeout=300)
        for _ in range(_TYPED_AGAIN):  # too many kills of one shard: a person types it again
            if process.returncode in (0, 1):
                break
            process = it.start(*flags)
            _, said = process.communicate(timeout=300)
        frame = read_results(it.out)
        counts = frame["status"].value_counts()
        paid, held = it.bodies_paid(), int(counts.get("unknown", 0))
        unseen = len(it.tasks_paid() - set(frame["task_id"]))
        return Verdict(
            kills=done,
            of_runs=of_runs,
            rows=len(frame),
            completed=int(counts.get("completed", 0)),
            failed=int(counts.get("failed", 0)),
            held=held,
            paid_twice=sum(count - 1 for count in paid.values()),
            lost=max(0, unseen - held) + len(wrong_hashes(it.out)),
            exit_code=process.returncode,
            said=said or "",
        )


def main() -> None:
    """Print a line for each folder; fail on anything paid twice or lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--procs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    kills, seed = 0, given.seed
    while kills < given.kills:
        with tempfile.TemporaryDirectory() as name:
            found = campaign(Path(name), rows=given.rows, procs=given.procs, kills=10, seed=seed)
        print(f"seed {seed}: {found}", flush=True)
        kills, seed = kills + found.kills, seed + 1
        if found.paid_twice or found.lost or found.completed + found.failed + found.held != found.rows:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
