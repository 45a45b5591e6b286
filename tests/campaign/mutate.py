"""A provider that does not answer as the contract says: one thing changed at a time, and what that costs.

    python -m tests.campaign.mutate
    python -m tests.campaign.mutate --only 'submit id' --timing all
    python -m tests.campaign.mutate --list

For each mutation the real command line makes 40 rows, 8 at once, of an independent strict provider
(tests/campaign/strict): with the mutation from the first reply to the last, until it ends in the middle, and
from where it begins in the middle. Then all is well again, and the same command has to collect everything.
Judged by the provider's ledger and the folder.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaign.strict import forked, pool
from tests.campaign.strict.cases import SCENES, TIMINGS, Case, Scene, cases
from tests.campaign.strict.client import Strict
from tests.campaign.strict.folder import Folder, told_secrets
from tests.campaign.strict.mutations import KEY, ONE_FOR_ALL

ROWS = 40
AT_ONCE = 8
MOST_OWED = 2 * AT_ONCE
"""Paid without an image when the mutation is there: what was in flight when it was noticed, and a few."""
_MOST_REQUESTS = 1500
_LONGEST_S = 90.0
_STILL_S, _SILENT_S = 6.0, 14.0
"""A run that makes and fetches nothing is interrupted: sooner when it has said what it waits for."""
_MIDDLE = 16
"""Tasks made before a mutation ends or begins; it ends after so many seconds at the latest."""
_ENDS_S = 3.0
_ROUNDS = 3
_LONGEST_CASE_S = 400.0
_SETTINGS: dict[str, Any] = {"time_scale": 0.04, "task_s": (6.0, 10.0), "grace_s": 0.5}
_FLAGS = ("--concurrency", str(AT_ONCE), "--no-progress", "--max-outage", "8s", "--stuck-after", "4s")
_MOST_EARLY = 2
_WAITS = (":Retry-After", "error.fallback_suggestion")
"""Of a wait that makes no sense it is not said what it is."""
_FOLLOWED = "no such link"
"""A changed link was followed: no fault of the client's."""
_BEGIN_WORDS = re.compile(r"^\s*$|Credits used|^Images:|^Results:|^The key in ")


@dataclass(frozen=True)
class Verdict:
    """How a case went."""

    case: str
    outcome: str
    """Exit codes of the mutated run and of those that collected; a `w` for each interrupt that it took."""
    paid: int
    owed: int
    """Paid without an image when the mutated run had ended."""
    saved: int
    requests: int
    applied: int
    seconds: float
    bad: tuple[str, ...]
    statuses: str

    def line(self) -> str:
        """For the table."""
        verdict = "; ".join(self.bad) or ("ok" if self.applied else "ok (never seen)")
        return (
            f"{self.case:<58} {self.outcome:<14} {self.paid:>4} {self.owed:>4} {self.saved:>5}"
            f" {self.requests:>5} {self.seconds:>5.0f}s  {verdict}  [{self.statuses}]"
        )


HEAD = (
    f"{'mutation':<58} {'exit codes':<14} {'paid':>4} {'owed':>4} {'saved':>5} {'reqs':>5} {'':>5}   verdict"
)


def examine(case: Case, server: Strict, folder: Path, seed: int) -> Verdict:
    """One case from an empty folder to the last image."""
    began, scene = time.monotonic(), SCENES[case.scene]
    server.ask("reset", {**_SETTINGS, "seed": seed, **scene.settings})
    _write(folder, scene)
    server.ask("mutation", {**_place(case), **_when(case.timing)})
    ended = [_run(server, name, folder) for name in (*scene.commands, "run")]
    mutated = server.report()
    it = Folder(folder)
    owed = it.owed(mutated)
    server.ask("mutation", {})
    server.ask("set", {"credits": 1e6, "daily_quota": 0, "faults": _calmer(scene)})
    later = list(_collected(server, folder))
    report = server.report()
    bad = [*_while_mutated(case, ended, owed, mutated), *_broken(it, report, scene)]
    bad += [f"afterwards: {said}" for one in later for said in _manners(one)]
    bad += told_secrets(folder)
    codes = [f"{one.exit_code}{'w' * one.interrupts}" for one in ended]
    return Verdict(
        case=case.name,
        outcome=f"{' '.join(codes)} > {' '.join(str(one.exit_code) for one in later)}",
        paid=report["charged"] - report["refunded"],
        owed=owed,
        saved=it.saved(),
        requests=sum(mutated["requests"].values()),
        applied=mutated["mutated"],
        seconds=time.monotonic() - began,
        bad=tuple(dict.fromkeys(one for one in bad if not _is_excused(case, one))),
        statuses=" ".join(f"{count} {status}" for status, count in it.statuses().most_common()),
    )


def _broken(it: Folder, report: dict[str, Any], scene: Scene) -> Iterator[str]:
    judged = it.judged(report)
    if judged.paid_twice:
        yield f"paid twice: {judged.paid_twice}"
    if judged.held > (report["unanswered"] if scene.may_hold else 0):
        yield f"held: {judged.held}"
    if judged.lost:
        yield "lost: " + ", ".join(f"{count} are {status}" for status, count in judged.lost.items())
    if judged.wrong:
        yield f"wrong image: {len(judged.wrong)}, such as {judged.wrong[0]}"


def _place(case: Case) -> dict[str, Any]:
    mutation = case.mutation
    return {"kind": mutation.kind, "place": mutation.place, "change": mutation.change}


def _when(timing: str) -> dict[str, Any]:
    if timing == "ends":
        return {"until_tasks": _MIDDLE, "until_s": _ENDS_S}
    return {"from_tasks": _MIDDLE} if timing == "begins" else {}


def _calmer(scene: Scene) -> dict[str, float]:
    """When all is well again, lost replies and limits are over as well."""
    return dict.fromkeys(scene.settings.get("faults", {}), 0.0)


def _is_excused(case: Case, fault: str) -> bool:
    """Where the provider itself says that there is no such task, its word counts."""
    mutation = case.mutation
    is_lie = (mutation.kind, mutation.place) == ("submit", "id") and mutation.change in ONE_FOR_ALL
    return is_lie and fault.startswith("lost")


def _collected(server: Strict, folder: Path) -> Iterator[forked.Ended]:
    """The same command again, as a person would, until it has nothing more to do."""
    for number in range(_ROUNDS):
        ended = _run(server, "run", folder)
        yield ended
        if ended.exit_code == 0:
            return
        if number == 0:
            yield _run(server, "audit", folder)


def _run(server: Strict, name: str, folder: Path) -> forked.Ended:
    """A command; interrupted when it has said why it waits and nothing has come of that for a while."""
    stands = _Stands(server)
    words = _command(server, name)
    return forked.run(words, folder, {"EVOLINK_API_KEY": KEY}, _LONGEST_S, stands.still)


class _Stands:
    """Whether a run only waits, and has said so."""

    def __init__(self, server: Strict) -> None:
        self._server = server
        self._was: tuple[int, int] | None = None
        self._since = self._began = time.monotonic()

    def still(self, said: str) -> bool:
        """Nothing was made or fetched for a while, and if it is told why, it need not be as long."""
        report, now = self._server.report(), time.monotonic()
        is_now = report["charged"], report["replies"].get("link 200", 0)
        if is_now != self._was:
            self._was, self._since = is_now, now
        return now - self._since > (_STILL_S if _says_something(said) else _SILENT_S)


def _command(server: Strict, name: str) -> list[str]:
    at = ["--base-url", server.api]
    return {
        "run": ["run", "m.csv", "--out", "out", "--provider", "p.yaml", *at, *_FLAGS],
        "audit": ["audit", "out", "--repair", "--provider", "p.yaml", *at, "--no-progress"],
        "doctor": ["doctor", "--provider", "p.yaml", *at],
    }[name]


def _write(folder: Path, scene: Scene) -> None:
    profile = {
        "extends": "evolink",
        "name": "strict",
        "poll_interval_s": 0.12,
        "reads_per_s": 200,
        "idempotency": "honoured",
        **scene.profile,
    }
    (folder / "p.yaml").write_text("".join(f"{name}: {value}\n" for name, value in profile.items()))
    names = "id,prompt,model,aspect_ratio,resolution" + (",images" if scene.references else "")
    lines = [f"row-{n},picture {n} of it,gemini-3.1-flash-image-preview,1:1,0.5K" for n in range(ROWS)]
    if scene.references:
        lines = [f"{line},ref{n % 5}.png" for n, line in enumerate(lines)]
        _write_references(folder)
    (folder / "m.csv").write_text("\n".join([names, *lines]) + "\n")


def _write_references(folder: Path) -> None:
    from tests.campaign.strict.pictures import picture

    for n in range(5):
        (folder / f"ref{n}.png").write_bytes(picture("png", "1:1", "0.5K", f"reference {n}"))


def _while_mutated(case: Case, ended: list[forked.Ended], owed: int, report: dict[str, Any]) -> Iterator[str]:
    for one in ended:
        yield from _manners(one)
        if one.interrupts and not _says_something(one.said_before):
            yield "waits in silence"
        if one.interrupts > 1 and one.said == one.said_before:
            yield "is silent about why it does not end when interrupted"
    if case.timing != "ends" and owed > MOST_OWED:
        yield f"paid on: {owed} without an image"
    if (sent := sum(report["requests"].values())) > _MOST_REQUESTS:
        yield f"{sent} requests"
    faults = {one[:80] for one in report["client_faults"] if not one.startswith(_FOLLOWED)}
    yield from sorted(f"client fault: {one}" for one in faults)
    early = Counter(one["what"] for one in report["early"])
    if early.total() > _MOST_EARLY and case.mutation.place not in _WAITS:
        yield f"early: {dict(early)}"


def _says_something(said: str) -> bool:
    return any(not _BEGIN_WORDS.search(line) for line in said.splitlines())


def _manners(ended: forked.Ended) -> Iterator[str]:
    if ended.killed:
        yield "does not end when interrupted twice"
    if "Traceback (most recent" in ended.said:
        yield f"traceback: {ended.said.strip().splitlines()[-1][:100]}"
    if ended.exit_code not in (0, 1, 2, 3, 130):
        yield f"exit code {ended.exit_code}"
    elif ended.exit_code == 2:
        yield f"exit 2: {ended.said.strip().splitlines()[-1][:100] if ended.said.strip() else ''}"


# -- several at once -----------------------------------------------------------------------------------


def _examined(case: Case, server: Strict, folder: Path, *, seed: int, keep: str | None) -> Verdict:
    try:
        verdict = examine(case, server, folder, seed)
    except Exception as error:
        bad = (f"the harness failed: {error!r}"[:200],)
        verdict = Verdict(case.name, "-", 0, 0, 0, 0, 0, 0.0, bad, "")
    if keep:
        shutil.copytree(folder, Path(keep) / re.sub(r"[^\w-]+", "_", case.name), symlinks=True)
    return verdict


def spend(
    chosen: Iterable[Case], seed: int, parallel: int, keep: str | None, tell: Callable[[Verdict], None]
) -> list[Verdict]:
    """All verdicts; `tell` gets each when it is there."""
    return pool.spend(partial(_examined, seed=seed, keep=keep), chosen, parallel, _LONGEST_CASE_S, tell)


def main() -> None:
    """Print the table; fail if a verdict is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="a regular expression over the names of cases")
    parser.add_argument("--timing", choices=TIMINGS, action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--bad", action="store_true", help="print only what is bad")
    parser.add_argument("--keep", help="an empty folder for the folders of the cases")
    given = parser.parse_args()
    chosen = [
        case
        for case in cases()
        if re.search(given.only, case.name) and case.timing in (given.timing or TIMINGS)
    ]
    if given.list:
        print("\n".join(case.name for case in chosen))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that folders are removed
    print(HEAD, flush=True)
    tell = lambda it: print(it.line(), flush=True) if it.bad or not given.bad else None  # noqa: E731
    verdicts = spend(chosen, given.seed, given.parallel, given.keep, tell)
    bad = [one for one in verdicts if one.bad]
    print(f"{len(verdicts)} cases, {len({(c.scene, c.mutation) for c in chosen})} mutations, {len(bad)} bad")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
