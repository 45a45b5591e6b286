"""Kill runs again and again, resume them, and compare with a run that nobody touched.

    python -m tests.campaign.kill --kills 1000
    python -m tests.campaign.kill --kills 20 --manifest manifests/parti.yaml

Without a manifest: small tables, over and over, with one and two images a task, with one and with eight paid
requests at once, with idempotency keys honoured, unproven and ignored, with lost replies and failing tasks;
half of the kills at random moments, half right after an event in the service's ledger. The ledger is the
judge.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanobanana_batch.results import read_results
from nanobanana_batch.service.options import Faults
from tests.process.harness import Bench, bench, small_manifest, wrong_hashes

KEYS = {"honoured": True, "unproven": True, "ignored": False}
"""What a profile says of idempotency keys, and whether the service remembers them."""
EVENTS = ("accepted", "charged", "completed", "failed", "refunded")
_LATENCY_S = 0.25
_FAULTS = Faults(lost_reply_after=0.05, fail_task=0.05, fail_code="invalid_parameters", seed=3)


@dataclass(frozen=True)
class Verdict:
    """What the service's ledger and the folders say after all kills."""

    kills: int = 0
    rows: int = 0
    completed: int = 0
    failed: int = 0
    held: int = 0
    paid: int = 0
    paid_twice: int = 0
    lost: int = 0
    """Paid tasks of which the client knows nothing and holds no row, or files without their bytes."""
    differing: int = 0
    """Folders in which a row that is not held has other results than in an undisturbed run."""
    seconds: float = 0.0

    def __add__(self, other: Verdict) -> Verdict:
        names = Verdict.__dataclass_fields__
        return Verdict(**{name: getattr(self, name) + getattr(other, name) for name in names})


Moment = Callable[[Bench, "subprocess.Popen[str]"], bool]
"""Waits for the moment to kill; False when the run ended before."""


def at_random(chance: random.Random, span_s: float) -> Moment:
    """Any moment of the first `span_s` seconds."""

    def wait(it: Bench, process: subprocess.Popen[str]) -> bool:
        try:
            process.wait(timeout=chance.uniform(0.0, span_s))
        except subprocess.TimeoutExpired:
            return True
        return False

    return wait


def after_event(kind: str, count: int) -> Moment:
    """Right after the n-th new event of a kind in the service's ledger."""

    def wait(it: Bench, process: subprocess.Popen[str]) -> bool:
        wanted = _events(it, kind) + count
        while process.poll() is None:
            if _events(it, kind) >= wanted:
                return True
            time.sleep(0.002)
        return False

    return wait


def _events(it: Bench, kind: str) -> int:
    with closing(sqlite3.connect(f"{(it.data / 'service.sqlite3').as_uri()}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT count(*) FROM ledger WHERE event = ?", (kind,)).fetchone()
    return int(found[0])


def moments(chance: random.Random, span_s: float) -> Iterator[Moment]:
    """Half at random, half after each kind of event in turn."""
    for kind in itertools.cycle(EVENTS):
        yield at_random(chance, span_s)
        yield after_event(kind, 1 if kind in ("failed", "refunded") else chance.randint(1, 12))


def campaign(
    folder: Path,
    manifest: Path,
    when: Iterator[Moment],
    *,
    kills: int,
    flags: tuple[str, ...] = (),
    **options: Any,
) -> Verdict:
    """One folder: kill up to so many times, run to the end, judge; and once undisturbed, to compare."""
    began = time.monotonic()
    with bench(folder / "killed", manifest, seed=7, **options) as killed:
        done = _kill_often(killed, kills, when, flags)
        last = killed.finish(*flags)
        if last.returncode not in (0, 1):
            raise RuntimeError(last.stderr)
        paid, tasks = killed.bodies_paid(), killed.tasks_paid()
        frame = read_results(killed.out)
        missing = _without_others(killed.out, int(options.get("images", 1)))
    with bench(folder / "calm", manifest, seed=7, **options) as calm:
        calm.finish(*flags)
        same = _same_results(killed.out, calm.out)
    held = int((frame["status"] == "unknown").sum())
    unseen = len(tasks - set(frame["task_id"]))
    return Verdict(
        kills=done,
        rows=len(frame),
        completed=int((frame["status"] == "completed").sum()),
        failed=int((frame["status"] == "failed").sum()),
        held=held,
        paid=sum(paid.values()),
        paid_twice=sum(count - 1 for count in paid.values()),
        lost=max(0, unseen - held) + len(wrong_hashes(killed.out)) + missing,
        differing=int(not same),
        seconds=time.monotonic() - began,
    )


def _without_others(out: Path, images: int) -> int:
    """Completed rows that lack one of the further images of their task, or have two that are the same."""
    frame = read_results(out)
    done = frame[frame["status"] == "completed"]
    lacking = 0
    for first, others in zip(done["image"], done["other_images"], strict=True):
        paths = [first, *filter(None, others.split("|"))]
        files = {(out / path).read_bytes() for path in paths if (out / path).is_file()}
        lacking += len(files) != images
    return lacking


def _same_results(killed: Path, calm: Path) -> bool:
    """Byte by byte; where rows are held in either run, the others of both line by line."""
    one, other = ((folder / "results.csv").read_text().splitlines() for folder in (killed, calm))
    pairs = zip(one, other, strict=True)
    return all(a == b or ",unknown," in a or ",unknown," in b for a, b in pairs)


def _kill_often(it: Bench, kills: int, when: Iterator[Moment], flags: tuple[str, ...]) -> int:
    """Kill until it was done often enough, or the run has come to its end before."""
    for done in range(kills):
        process = it.start(*flags)
        if not next(when)(it, process):
            process.communicate()
            return done
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    return kills


def many(
    folder: Path, kills: int, *, submits: int, says: str, seed: int, rows: int = 150, images: int = 1
) -> Verdict:
    """Folder after folder until there were enough kills."""
    chance = random.Random(seed)
    flags = ("--submit-concurrency", str(submits), "--concurrency", "16")
    total = Verdict()
    while total.kills < kills:
        place = folder / f"{submits}-{says}-{images}-{total.rows}"
        total += campaign(
            place,
            small_manifest(folder, rows),
            moments(chance, 2.0),
            kills=min(25, kills - total.kills),
            flags=flags,
            says=says,
            idempotency=KEYS[says],
            latency_s=_LATENCY_S,
            images=images,
            faults=_FAULTS,
        )
    return total


def _real_manifest(folder: Path, manifest: Path, kills: int, span_s: float, says: str) -> Verdict:
    """One run of a real manifest with so many kills at random moments."""
    when = itertools.repeat(at_random(random.Random(1), span_s))
    return campaign(folder, manifest, when, kills=kills, says=says, idempotency=KEYS[says])


def main() -> None:
    """Print a line for each kind of run; fail on anything paid twice or lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--span", type=float, default=2.5, help="seconds within which a random kill falls")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keys", choices=KEYS, default="honoured", help="with --manifest")
    given = parser.parse_args()
    total = Verdict()
    with tempfile.TemporaryDirectory() as name:
        if given.manifest is not None:
            total = _real_manifest(Path(name), given.manifest, given.kills, given.span, given.keys)
            print(total)
        else:
            for images, says, submits in itertools.product((1, 2), KEYS, (1, 8)):
                kills, seed = given.kills // 12, given.seed + submits
                verdict = many(Path(name), kills, submits=submits, says=says, seed=seed, images=images)
                print(f"keys {says}, {submits} at once, {images} images: {verdict}", flush=True)
                total += verdict
            print(f"in all: {total}")
    if total.paid_twice or total.lost or total.completed + total.failed + total.held != total.rows:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
