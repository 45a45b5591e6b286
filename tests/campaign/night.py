"""A night alone with a provider in trouble, ten times as fast as a real one, beside the same night without.

    python -m tests.campaign.night
    python -m tests.campaign.night --rows 500 --keys ignored
    python -m tests.campaign.night --no-batch --kill

Images take 1 to 3 s, a task is read every 0.3 s, and three times the provider is away for 20 s. The run is
a process of its own against a service that is another, over real sockets; the service's ledger and its
count of requests are the judge.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sqlite3
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from nanobanana_batch.results import read_results
from nanobanana_batch.service.ledger import PaidTask, read_ledger
from nanobanana_batch.service.options import Faults
from tests.process.harness import MODEL, Bench, bench, wrong_hashes

PROMPTS = Path(__file__).parents[2] / "manifests/data/PartiPrompts.tsv"
MOST_REQUESTS = 1.2
"""Times those of the calm night, where keys are honoured and only what costs money fails."""
_RATIOS = ("1:1", "4:3", "3:4", "16:9", "9:16")
_OUTAGES = ("503", "close", "html")
_SUBMIT = "POST /v1/images/generations"
_LOOK_S = 0.5
_STARTED_S = 5.0
"""Until the memory of a run counts: before that it is still importing."""
_GROWTH, _GROWTH_MIB = 1.1, 8.0
"""How much more memory the last third of a night may take than its first: noise of the allocator."""

TROUBLE = Faults(
    rate_429=0.05,
    rate_5xx_before=0.025,
    rate_5xx_after=0.025,
    lost_reply_before=0.01,
    lost_reply_after=0.01,
    html_reply=0.01,
    refuse_task=0.01,
    fail_task=0.01,
    fail_code="service_error",
    stuck_task=0.003,
    nonsense_read=0.01,
    cut_download=0.02,
    retry_after_s=1.0,
)
EVERYWHERE = replace(
    TROUBLE,
    rate_429_read=0.05,
    rate_5xx_read=0.05,
    lost_reply_read=0.02,
    rate_5xx_download=0.05,
)
"""Reads and downloads, which cost nothing, fail as often as submits."""


@dataclass(frozen=True)
class Plan:
    """One night and the calm one beside it."""

    rows: int = 2000
    faults: Faults = TROUBLE
    latency_s: tuple[float, float] = (1.0, 3.0)
    poll_interval_s: float = 0.3
    outage_s: float = 20.0
    stuck_after_s: float = 30.0
    keys: str = "honoured"
    """What the profile says of idempotency keys; the service remembers them unless it is `ignored`."""
    batch_reads: bool = True
    kill: bool = False
    """One SIGKILL half way, and the same command again."""
    longest_s: float = 3600.0
    flags: tuple[str, ...] = ()

    @property
    def calm(self) -> Plan:
        """The same rows at a provider that always works."""
        return replace(self, faults=Faults(), outage_s=0.0, kill=False)


@dataclass(frozen=True)
class Night:
    """How a night went, by the ledger and the folder that it left."""

    rows: int
    statuses: Counter[str]
    unexplained: list[str]
    """Ids of rows that are neither completed nor have a reason that the ledger knows as well."""
    paid: int
    paid_twice: int
    lost: int
    """Finished or running tasks that no row knows and none is held for, and files without their bytes."""
    requests: Counter[str]
    """By route."""
    unanswered: int
    """Submits that got no usable answer: what may have to be held where keys are not honoured."""
    memory_mib: list[float] = field(repr=False)
    exit_codes: list[int]
    seconds: float

    @property
    def sent(self) -> int:
        """All requests and downloads."""
        return self.requests.total()

    @property
    def thirds_mib(self) -> tuple[float, float]:
        """Memory of the client in the first and in the last third of the night."""
        third = max(1, len(self.memory_mib) // 3)
        return median(self.memory_mib[:third]), median(self.memory_mib[-third:])

    def broken(self, plan: Plan, calm: Night, most_requests: float) -> list[str]:
        """The promises that this night broke."""
        first, last = self.thirds_mib
        held = self.statuses["unknown"]
        checks = {
            f"rows without an explanation: {self.unexplained}": not self.unexplained,
            f"paid twice: {self.paid_twice}": not self.paid_twice,
            f"lost: {self.lost}": not self.lost,
            f"held rows: {held}": held <= (0 if plan.keys == "honoured" else self.unanswered),
            f"exit codes: {self.exit_codes}": self.exit_codes[-1] in (0, 1),
            f"requests: {self.sent / calm.sent:.2f} times": self.sent <= most_requests * calm.sent,
            f"memory grew: {first:.0f} to {last:.0f} MiB": last <= first * _GROWTH + _GROWTH_MIB,
        }
        return [said for said, is_kept in checks.items() if not is_kept]


def spend(folder: Path, plan: Plan) -> Night:
    """One night from the first process to the last."""
    manifest = night_manifest(folder, plan.rows)
    options: dict[str, Any] = {
        "latency_s": plan.latency_s,
        "idempotency": plan.keys != "ignored",
        "batch_reads": plan.batch_reads,
        "faults": plan.faults,
        "seed": 1,
    }
    with bench(folder, manifest, **options) as it:
        (folder / "quick.yaml").write_text(_profile(plan))
        began = time.monotonic()
        exit_codes, memory_mib = _run(it, plan)
        seconds = time.monotonic() - began
        replies: dict[str, int] = _asked(it, "requests")
    return _judged(it, replies, memory_mib=memory_mib, exit_codes=exit_codes, seconds=seconds)


def night_manifest(folder: Path, rows: int) -> Path:
    """Real prompts, small pictures; once used up, again in another shape: no two bodies are equal."""
    with PROMPTS.open(encoding="utf-8", newline="") as file:
        prompts = [row["Prompt"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "night.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "prompt", "model", "aspect_ratio", "resolution"))
        for number in range(rows):
            around, place = divmod(number, len(prompts))
            table.writerow((f"row-{number}", prompts[place], MODEL, _RATIOS[around], "0.5K"))
    return path


def _profile(plan: Plan) -> str:
    """The provider as it is, only faster: reads a second go with the time between two reads of one task."""
    faster = 3.0 / plan.poll_interval_s
    return (
        f"extends: evolink\nname: quick\npoll_interval_s: {plan.poll_interval_s}\n"
        f"reads_per_s: {10 * faster:g}\nidempotency: {plan.keys}\n"
    )


def _run(it: Bench, plan: Plan) -> tuple[list[int], list[float]]:
    """Start, look on until it ends, and kill it on the way if the plan says so."""
    flags = ("--no-progress", "--stuck-after", f"{plan.stuck_after_s:g}s", *plan.flags)
    weather, kills = _weather(plan), [plan.rows // 2] if plan.kill else []
    exit_codes: list[int] = []
    memory_mib: list[float] = []
    end = time.monotonic() + plan.longest_s
    while not exit_codes or exit_codes[-1] < 0:
        process, began = it.start(*flags), time.monotonic()
        while process.returncode is None:
            _look_on(process)
            if time.monotonic() - began > _STARTED_S:
                memory_mib.append(_memory_mib(process))
            paid = _paid(it)
            weather = _change_weather(it, plan, weather, paid)
            if time.monotonic() > end or (kills and paid >= kills[0]):
                kills = kills[1:]
                process.kill()
        exit_codes.append(process.returncode)
        if time.monotonic() > end:
            raise RuntimeError(f"the night did not end within {plan.longest_s:g} s")
    return exit_codes, [mib for mib in memory_mib if mib] or [0.0]


def _look_on(process: subprocess.Popen[str]) -> None:
    """A moment, in which what it says is read, so that it never waits for us."""
    try:
        _, said = process.communicate(timeout=_LOOK_S)
    except subprocess.TimeoutExpired:
        return
    if process.returncode not in (0, 1, -9):
        print(said)


def _weather(plan: Plan) -> list[tuple[int, str]]:
    """After how many paid tasks which outage begins."""
    if not plan.outage_s:
        return []
    parts = len(_OUTAGES) + 1
    return [(plan.rows * n // parts, kind) for n, kind in enumerate(_OUTAGES, start=1)]


def _change_weather(it: Bench, plan: Plan, ahead: list[tuple[int, str]], paid: int) -> list[tuple[int, str]]:
    if not ahead or paid < ahead[0][0]:
        return ahead
    _asked(it, "faults", {"outage_kind": ahead[0][1]})
    _asked(it, "outage", {"length_s": plan.outage_s})
    return ahead[1:]


def _asked(it: Bench, what: str, change: dict[str, Any] | None = None) -> Any:
    body = None if change is None else json.dumps(change).encode()
    with urllib.request.urlopen(f"{it.service.base_url}/admin/{what}", body, timeout=30) as reply:
        return json.load(reply)


def _paid(it: Bench) -> int:
    with closing(sqlite3.connect(f"{(it.data / 'service.sqlite3').as_uri()}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT count(*) FROM ledger WHERE event = 'charged'").fetchone()
    return int(found[0])


def _memory_mib(process: subprocess.Popen[str]) -> float:
    """0 when it has just ended."""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _judged(it: Bench, replies: dict[str, int], **seen: Any) -> Night:
    ledger, rows = read_ledger(it.data), list(_rows(it))
    requests: Counter[str] = Counter()
    for name, count in replies.items():
        if " /admin/" not in name:
            requests[name.rpartition(" ")[0]] += count
    tasks: dict[tuple[str, str], list[PaidTask]] = {}
    for task in ledger.tasks:
        tasks.setdefault(_asked_for(task), []).append(task)
    verdicts = {row.id: row.verdict(tasks.get(row.asked_for, [])) for row in rows}
    wanted = {row.asked_for for row in rows}
    strangers = sum(len(found) for asked_for, found in tasks.items() if asked_for not in wanted)
    return Night(
        rows=len(rows),
        statuses=Counter(row.status for row in rows),
        unexplained=[id_ for id_, verdict in verdicts.items() if verdict == "unexplained"],
        paid=ledger.summary.paid_tasks,
        paid_twice=ledger.summary.duplicate_bodies,
        lost=strangers + list(verdicts.values()).count("lost") + len(wrong_hashes(it.out)),
        requests=requests,
        unanswered=sum(n for name, n in replies.items() if _is_unanswered(name)),
        **seen,
    )


def _is_unanswered(name: str) -> bool:
    route, _, status = name.rpartition(" ")
    return route == _SUBMIT and (status == "lost" or status.startswith("5"))


def _asked_for(task: PaidTask) -> tuple[str, str]:
    body = json.loads(task.body)
    return body["prompt"], body["size"]


@dataclass(frozen=True)
class _Row:
    """A row as results.csv tells it."""

    id: str
    asked_for: tuple[str, str]
    status: str
    task_id: str
    error_code: str

    def verdict(self, paid: list[PaidTask]) -> str:
        """What the ledger says to that: kept, held, unexplained or lost."""
        alive = {task.id: task.state for task in paid if task.state in ("open", "completed")}
        if self.status == "unknown":
            return "held"
        if alive and self.task_id not in alive:
            return "lost"
        expected = {"completed": "completed", "running": "open"}.get(self.status)
        if expected is not None:
            return "kept" if alive.get(self.task_id) == expected else "lost"
        codes = {task.error_code for task in paid if task.state == "failed"}
        is_same = self.status in ("failed", "refused") and self.error_code in codes
        return "kept" if is_same else "unexplained"


def _rows(it: Bench) -> Iterator[_Row]:
    for row in read_results(it.out).to_dict("records"):
        yield _Row(
            id=row["id"],
            asked_for=(row["prompt"], row["aspect_ratio"]),
            status=row["status"],
            task_id=row["task_id"],
            error_code=row["error_code"],
        )


def figures(title: str, night: Night) -> str:
    """A few lines for people."""
    first, last = night.thirds_mib
    routes = ", ".join(f"{route} {count}" for route, count in sorted(night.requests.items()))
    statuses = ", ".join(f"{count} {status}" for status, count in night.statuses.most_common())
    return (
        f"{title}: {night.rows} rows in {night.seconds:.0f} s: {statuses}; exit {night.exit_codes}\n"
        f"  paid {night.paid}, paid twice {night.paid_twice}, lost {night.lost},"
        f" submits without an answer {night.unanswered}\n"
        f"  requests {night.sent}: {routes}\n"
        f"  memory: {first:.1f} MiB in the first third, {last:.1f} in the last,"
        f" at most {max(night.memory_mib):.1f}"
    )


def main() -> None:
    """Print how both nights went; fail on a broken promise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keys", choices=["honoured", "unproven", "ignored"], default="honoured")
    parser.add_argument("--no-batch", action="store_true")
    parser.add_argument(
        "--kill", action="store_true", help="one SIGKILL half way, and the same command again"
    )
    parser.add_argument(
        "--everywhere", action="store_true", help="reads and downloads fail as often as submits"
    )
    given = parser.parse_args()
    plan = Plan(
        rows=given.rows,
        faults=replace(EVERYWHERE if given.everywhere else TROUBLE, seed=given.seed),
        keys=given.keys,
        batch_reads=not given.no_batch,
        kill=given.kill,
    )
    with tempfile.TemporaryDirectory() as name:
        calm = spend(Path(name) / "calm", plan.calm)
        print(figures("calm night", calm), flush=True)
        bad = spend(Path(name) / "bad", plan)
        print(figures("bad night ", bad))
    print(f"  {bad.sent / calm.sent:.3f} times the requests of the calm night")
    is_promised = plan.keys == "honoured" and not given.everywhere
    if broken := bad.broken(plan, calm, MOST_REQUESTS if is_promised else math.inf):
        raise SystemExit("broken: " + "; ".join(broken))


if __name__ == "__main__":
    main()
