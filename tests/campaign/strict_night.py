"""A bad night at the strict provider, which shares nothing with us, beside a quiet one of the same rows.

    python -m tests.campaign.strict_night --idempotency honoured
    python -m tests.campaign.strict_night --idempotency unproven --keys ignored --seed 7
    python -m tests.campaign.strict_night --idempotency ignored --rows 100

Ten times as fast as a real one: tasks take 0.8 to 2 s, one is read every 0.3 s at most. 429, 5xx before and
after the task was made, lost replies, HTML, cut downloads, refusals and three outages; the same command again
while it ends early. The provider's ledger, and what it was asked, is the judge.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.campaign.strict.client import Strict, strict
from tests.campaign.strict.folder import Folder, Judged, told_secrets
from tests.campaign.strict.mutations import KEY

PROMPTS = Path(__file__).parents[2] / "manifests/data/PartiPrompts.tsv"
MOST_REQUESTS = {"honoured": 1.2, "unproven": 1.3, "ignored": 1.3}
"""Times those of the quiet night, by what the profile says of keys."""
_MOST_PROBES = 6
"""Questions with bad bodies: an answered one of each kind, and what outages swallow."""
_MOST_RUNS = 5
_OUTAGES = ("503", "refuse", "hang")
_READS = ("read", "batch")
TROUBLE: dict[str, Any] = {
    "rate_429": 0.06,
    "rate_5xx_before": 0.03,
    "rate_5xx_after": 0.03,
    "lost_before": 0.01,
    "lost_after": 0.02,
    "half_reply": 0.005,
    "html_before": 0.01,
    "html_after": 0.01,
    "undecided_s": 1.0,
    "rate_429_read": 0.01,
    "rate_5xx_read": 0.01,
    "html_read": 0.01,
    "cut_download": 0.03,
    "rate_5xx_download": 0.02,
    "refuse_task": 0.02,
    "fail_task": 0.01,
}


@dataclass(frozen=True)
class Plan:
    """One night."""

    rows: int = 500
    seed: int = 1
    idempotency: str = "honoured"
    """What the profile says of keys."""
    keys: str = ""
    """What the provider does with them, if not what the profile says."""
    time_scale: float = 0.1
    outage_s: float = 10.0
    concurrency: int = 64
    longest_s: float = 900.0
    close_reads: int = 0
    """So many may be closer by the provider's clock than they were sent: it may have been late itself."""
    faults: tuple[tuple[str, Any], ...] = tuple(TROUBLE.items())
    settings: tuple[tuple[str, Any], ...] = ()
    """More of the provider's, beside its faults."""

    @property
    def quiet(self) -> Plan:
        """The same rows, and nothing goes wrong."""
        return replace(self, faults=(), outage_s=0.0)

    def provider(self) -> dict[str, Any]:
        """The settings of the strict provider."""
        parts = len(_OUTAGES) + 1
        outages = [
            {"kind": kind, "after_tasks": self.rows * n // parts, "length_s": self.outage_s}
            for n, kind in enumerate(_OUTAGES, start=1)
        ]
        return {
            "seed": self.seed,
            "time_scale": self.time_scale,
            "keys": self.keys or ("ignored" if self.idempotency == "ignored" else "honoured"),
            "faults": {**dict(self.faults), "outages": outages if self.outage_s else []},
            **dict(self.settings),
        }


@dataclass(frozen=True)
class Night:
    """How a night went."""

    statuses: Counter[str]
    judged: Judged
    requests: Counter[str]
    unanswered: int
    """Submits without a usable answer, and connections that were cut off with one perhaps on its way."""
    probes: int
    early: Counter[str]
    client_faults: list[str]
    close_reads: int
    secrets: list[str]
    exit_codes: list[int]
    seconds: float
    said: str
    made_at: list[float]
    """When each task was made, in order; seconds of a clock of their own."""
    turned_away: list[float]
    """By the same clock, when a submit was answered with 429."""

    @property
    def sent(self) -> int:
        """Requests of all kinds, downloads too."""
        return self.requests.total()

    def broken(self, plan: Plan, quiet: Night, most_requests: float) -> list[str]:
        """The promises that this night broke."""
        it, held = self.judged, self.judged.held
        most_held = 0 if plan.idempotency == "honoured" else self.unanswered
        most_probes = 0 if plan.idempotency == "honoured" else _MOST_PROBES
        checks = {
            f"paid twice: {it.paid_twice}": not it.paid_twice,
            f"lost: {dict(it.lost)}": not it.lost,
            f"wrong images: {it.wrong}": not it.wrong,
            f"rows without an explanation: {it.unexplained}": not it.unexplained,
            f"held: {held}, and {self.unanswered} submits without an answer": held <= most_held,
            f"requests: {self.sent / quiet.sent:.2f} times": self.sent <= most_requests * quiet.sent,
            f"questions about keys: {self.probes}": self.probes <= most_probes,
            f"early: {dict(self.early)}": not self.early,
            f"faults of the client: {Counter(self.client_faults)}": not self.client_faults,
            f"reads of a task too close: {self.close_reads}": self.close_reads <= plan.close_reads,
            f"told: {self.secrets}": not self.secrets,
            f"exit codes: {self.exit_codes}": self.exit_codes[-1] in (0, 1),
            "a traceback": "Traceback (most recent" not in self.said,
        }
        return [said for said, is_kept in checks.items() if not is_kept]


def spend(folder: Path, plan: Plan) -> Night:
    """One night, from the first process to the last."""
    folder.mkdir(parents=True)
    _write(folder, plan)
    began = time.monotonic()
    with strict(**plan.provider()) as server:
        exit_codes, said = _runs(server, folder, plan)
        seconds, report = time.monotonic() - began, server.report()
    (folder / "said.txt").write_text(said)
    it = Folder(folder)
    return Night(
        statuses=it.statuses(),
        judged=it.judged(report),
        requests=Counter(report["requests"]),
        unanswered=report["unanswered"] + report["cut"],
        probes=report["requests"].get("probe", 0),
        early=Counter(f"{one['what']} {one['told_s']:.1f} s after {one['after']}" for one in report["early"]),
        client_faults=report["client_faults"],
        close_reads=len(report["close_reads"]),
        secrets=told_secrets(folder),
        exit_codes=exit_codes,
        seconds=seconds,
        said=said,
        made_at=[task["made_at"] for task in report["tasks"]],
        turned_away=report["turned_away"],
    )


def _write(folder: Path, plan: Plan) -> None:
    """Real prompts, small pictures, and a profile that asks as much faster as the tasks are."""
    with PROMPTS.open(encoding="utf-8", newline="") as file:
        prompts = [row["Prompt"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    with (folder / "m.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "prompt", "model", "aspect_ratio", "resolution"))
        for number in range(plan.rows):
            prompt = f"{prompts[number % len(prompts)]} (picture {number})"
            table.writerow((f"row-{number}", prompt, "gemini-3.1-flash-image-preview", "1:1", "0.5K"))
    (folder / "p.yaml").write_text(
        f"extends: evolink\nname: strict\npoll_interval_s: {3 * plan.time_scale:g}\n"
        f"reads_per_s: {10 / plan.time_scale:g}\nidempotency: {plan.idempotency}\n"
    )


def _runs(server: Strict, folder: Path, plan: Plan) -> tuple[list[int], str]:
    """The same command until there is nothing left that it could do."""
    exit_codes: list[int] = []
    said: list[str] = []
    while len(exit_codes) < _MOST_RUNS:
        process = _start(server, folder, plan)
        try:
            words, _ = process.communicate(timeout=plan.longest_s)
        except subprocess.TimeoutExpired:
            process.kill()
            words, _ = process.communicate()
            words += f"\nkilled: it did not end within {plan.longest_s:g} s"
        exit_codes.append(process.returncode)
        said.append(words)
        statuses = Folder(folder).statuses()
        if process.returncode == 0 or not statuses.keys() - {"completed", "failed", "refused"}:
            break
        if process.returncode == 1 and len(exit_codes) > 1:
            break  # what is held stays held: asking once more was enough
    return exit_codes, "".join(said)


def _start(server: Strict, folder: Path, plan: Plan) -> subprocess.Popen[str]:
    words = [
        "run",
        "m.csv",
        "--out",
        "out",
        "--provider",
        "p.yaml",
        "--base-url",
        server.api,
        "--no-progress",
    ]
    words += ["--concurrency", str(plan.concurrency)]
    return subprocess.Popen(
        [sys.executable, "-c", "from nanobanana_batch.cli import main; main()", *words],
        cwd=folder,
        env={**os.environ, "EVOLINK_API_KEY": KEY},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def figures(title: str, night: Night) -> str:
    """A few lines for people."""
    statuses = ", ".join(f"{count} {status}" for status, count in night.statuses.most_common())
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(night.requests.items()))
    it = night.judged
    return (
        f"{title}: {statuses}; exit {night.exit_codes}; {night.seconds:.0f} s\n"
        f"  paid twice {it.paid_twice}, lost {it.lost.total()}, held {it.held} ({it.held_and_paid} paid),"
        f" submits without an answer {night.unanswered}\n"
        f"  requests {night.sent}: {kinds}; early {dict(night.early)}; too close {night.close_reads}"
    )


def main() -> None:
    """Print how both nights went; fail on a broken promise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--idempotency", choices=tuple(MOST_REQUESTS), default="honoured")
    parser.add_argument("--keys", choices=("honoured", "body_first", "ignored"), default="")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--say", action="store_true", help="print what the runs said")
    given = parser.parse_args()
    plan = Plan(rows=given.rows, seed=given.seed, idempotency=given.idempotency, keys=given.keys)
    with tempfile.TemporaryDirectory(prefix="strict-night-") as name:
        quiet = spend(Path(name) / "quiet", plan.quiet)
        print(figures("quiet night", quiet), flush=True)
        bad = spend(Path(name) / "bad", plan)
    print(figures("bad night  ", bad))
    if given.say:
        print(bad.said)
    print(f"  {bad.sent / quiet.sent:.3f} times the requests of the quiet night")
    if broken := bad.broken(plan, quiet, MOST_REQUESTS[plan.idempotency]):
        raise SystemExit("broken: " + "; ".join(broken))


if __name__ == "__main__":
    main()
