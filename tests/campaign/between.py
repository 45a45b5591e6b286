"""What people do between runs, at random: judged by an independent provider's ledger and by bytes.

    python -m tests.campaign.between --sequences 500
    python -m tests.campaign.between --only 17 --say
    python -m tests.campaign.between --only 17 --shrink

A sequence is 5 to 14 actions on one folder: runs, killed or in trouble, edits of the manifest, retries,
audits, deleted and changed images, lost and older states, copied folders, other names, rotated keys, a
provider without its memory, clocks that are wrong. Then all is well again, and a person does what the program
says. Nothing may have been paid twice or be lost, no row may have another's image, every advice has to help,
and one more run sends nothing. The same seed is the same sequence, but for the moment at which a signal meets
a process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaign.hands import clock
from tests.campaign.hands.sequence import Plan, Verdict, kind_of, play, shrunk
from tests.campaign.strict import forked, pool
from tests.campaign.strict.client import Strict

_LONGEST_S = 400.0


@dataclass(frozen=True)
class Task:
    """A sequence, and what to do when it fails."""

    plan: Plan
    shrinks_to: str = ""
    """The kind of fault that is to be had with as few actions as can be."""
    keep: str = ""


def examine(task: Task, server: Strict, room: Path) -> Verdict:
    """In a folder of its own; a fault of the harness is a verdict as well."""
    folder = room / "sequence"
    folder.mkdir()
    try:
        verdict = play(task.plan, server, folder)
        if task.keep and verdict.faults:
            shutil.copytree(folder, Path(task.keep) / str(task.plan.seed), symlinks=True)
        return shrunk(verdict, task.shrinks_to, server, room) if task.shrinks_to in verdict.kinds else verdict
    except Exception as error:
        import traceback

        frames = traceback.extract_tb(error.__traceback__)
        at = next(one for one in reversed(frames) if "campaign" in one.filename)
        said = f"the harness failed: {error!r} at {at.filename.rpartition('/')[2]}:{at.lineno}"
        return Verdict(task.plan, (), (said[:300],), 0, 0, 0.0)


def begin() -> None:
    """Once, before the sequences are forked from it."""
    clock.install()
    forked.warm_up()
    clock.install()


def spend(
    tasks: Iterable[Task], jobs: int, tell: Callable[[Verdict], None] = lambda it: None
) -> list[Verdict]:
    """All verdicts."""
    return pool.spend(examine, tasks, jobs, _LONGEST_S, tell, begin)


def line(verdict: Verdict) -> str:
    """One for each sequence; with its actions where it failed."""
    head = (
        f"seed {verdict.plan.seed:<6} {len(verdict.done) - 1:>3} actions {verdict.commands:>3} commands"
        f" {verdict.paid:>3} paid {verdict.seconds:>5.1f} s  {'FAILED' if verdict.faults else 'ok'}"
    )
    if not verdict.faults:
        return head
    return "\n".join(
        [head, *(f"    {one}" for one in verdict.done), *(f"  ! {one}" for one in verdict.faults)]
    )


def by_kind(verdicts: list[Verdict]) -> dict[str, list[Verdict]]:
    """The failed ones by kind of fault, those with the fewest actions first."""
    found: dict[str, list[Verdict]] = {}
    for verdict in sorted(verdicts, key=lambda it: (len(it.done), it.seconds)):
        for kind in sorted(verdict.kinds):
            found.setdefault(kind, []).append(verdict)
    return found


def main() -> None:
    """Print the failed sequences and a table of faults; exit 1 if there are any."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1, help="of the first; the others follow")
    parser.add_argument("--only", type=int, action="append", help="the sequence of this seed")
    parser.add_argument("--without", type=int, action="append", default=[], help="leave out this action")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--shrink", action="store_true", help="leave out actions that a fault does not need")
    parser.add_argument("--say", action="store_true", help="print what the commands said")
    parser.add_argument("--all", action="store_true", help="print good sequences as well")
    parser.add_argument("--keep", default="", help="an empty folder for the folders of failed sequences")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that folders are removed
    seeds = given.only or range(given.seed, given.seed + given.sequences)
    tasks = [Task(Plan(seed, tuple(given.without)), keep=given.keep) for seed in seeds]

    def tell(verdict: Verdict) -> None:
        if (verdict.faults or given.all) and not given.json:
            print(line(verdict), flush=True)
        if given.say:
            print(verdict.said, flush=True)

    def smaller(verdict: Verdict) -> None:
        for kind in verdict.kinds & smallest.keys():
            if len(verdict.done) < len(smallest[kind].done):
                smallest[kind] = verdict

    verdicts = spend(tasks, given.jobs, tell)
    kinds = by_kind(verdicts)
    smallest = {kind: found[0] for kind, found in kinds.items()}
    if given.shrink:
        spend([Task(it.plan, kind) for kind, it in smallest.items()], given.jobs, smaller)
    if given.json:
        print(json.dumps(_table(kinds, smallest), indent=1, ensure_ascii=False))
    else:
        _print_table(kinds, smallest)
        failed = sum(bool(it.faults) for it in verdicts)
        commands = sum(it.commands for it in verdicts)
        print(f"{len(verdicts)} sequences, {commands} commands, {failed} failed.")
    sys.exit(1 if kinds else 0)


def _table(kinds: dict[str, list[Verdict]], smallest: dict[str, Verdict]) -> dict[str, Any]:
    return {
        kind: {
            "sequences": len(found),
            "seed": smallest[kind].plan.seed,
            "without": smallest[kind].plan.left_out,
            "done": smallest[kind].done,
            "faults": [one for one in smallest[kind].faults if kind_of(one) == kind],
        }
        for kind, found in kinds.items()
    }


def _print_table(kinds: dict[str, list[Verdict]], smallest: dict[str, Verdict]) -> None:
    for kind, found in sorted(kinds.items(), key=lambda item: -len(item[1])):
        it = smallest[kind]
        without = "".join(f" --without {number}" for number in it.plan.left_out)
        print(f"{len(found):>5}  {kind}")
        print(f"       --only {it.plan.seed}{without}")
        for one in (*it.done, *(f"! {one}" for one in it.faults if kind_of(one) == kind)):
            print(f"         {one}")


if __name__ == "__main__":
    main()
