"""One folder with its manifest and its provider, and a note of all that a person has said and done."""

from __future__ import annotations

import csv
import hashlib
import os
import platform
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign.hands import clock
from tests.campaign.strict import forked
from tests.campaign.strict.client import Strict
from tests.campaign.strict.mutations import KEY

OTHER_KEY = "strict-key-that-was-rotated-91c40d"
OUT = "out"
STATE = "state.sqlite3"
POINTER = "state-dir.json"
_FLAGS = ("--concurrency", "8", "--no-progress", "--max-outage", "1s", "--stuck-after", "1s")
_LONGEST_S = 20.0
"""Then a command is interrupted. A task that the provider does not know is read for eight or so."""
_CODES = (0, 1, 2, 3, 4, 130)
_OF_SIGNALS = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)
_NEEDS_PROVIDER = ("run", "retry", "audit")


@dataclass(frozen=True)
class Row:
    """Of the manifest."""

    id: str
    prompt: str


@dataclass(frozen=True)
class Step:
    """A command and what came of it."""

    words: list[str]
    exit_code: int
    said: str
    """Standard output and error."""
    seconds: float

    @property
    def is_refusal(self) -> bool:
        """Nothing was done."""
        return self.exit_code == 2 or (self.exit_code == 3 and bool(self.refused))

    @property
    def refused(self) -> str:
        """The sentence of a command that did nothing; empty, if it did something."""
        return next((line for line in self.said.splitlines() if line.startswith("nanobanana-batch: ")), "")

    def line(self) -> str:
        """For people."""
        return f"{' '.join(self.words)} → exit {self.exit_code}"


@dataclass(frozen=True)
class Asked:
    """A command, and what it may pay for."""

    at: float
    """By the monotonic clock, which the provider's ledger has as well."""
    what: str
    rows: Counter[str]
    """By prompt: rows of the manifest. What is paid for already is not to be paid for again."""
    more: Counter[str]
    """By prompt: how many may be paid for once more, by a person's word."""


@dataclass
class World:
    """What a sequence of actions works on."""

    folder: Path
    server: Strict
    seed: int
    keys: str = "honoured"
    """What the profile says of idempotency keys: honoured, unproven, ignored; that one is true."""
    state_dir: str = ""
    rows: list[Row] = field(default_factory=list)
    taken_out: list[Row] = field(default_factory=list)
    ids: dict[str, set[str]] = field(default_factory=dict)
    """By prompt: what its rows were ever called."""
    made_rows: int = 0
    profile: str = "p.yaml"
    host: str = "127.0.0.1"
    key: str = KEY
    ahead_s: float = 0.0
    standing: Counter[str] = field(default_factory=Counter)
    """By prompt: the rows of the manifest that was run last."""
    asked: list[Asked] = field(default_factory=list)
    """What may pay, in its order."""
    placed: dict[str, str] = field(default_factory=dict)
    """By path: SHA-256 of what a person has put there."""
    removed: set[str] = field(default_factory=set)
    """SHA-256 of images that a person has deleted or changed."""
    snapshots: list[Path] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    machines: dict[str, str] = field(default_factory=dict)
    """By copy: the name of the machine on which it is worked on, if that is another one."""
    steps: list[Step] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Of commands: tracebacks, exit codes, silence."""

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.folder / OUT

    @property
    def states(self) -> Path:
        """Where the state file is."""
        if not self.state_dir:
            return self.out
        found = sorted(self.folder.glob(f"{self.state_dir}/{OUT}-*/{STATE}"))
        return found[0].parent if found else self.folder / self.state_dir

    # -- the manifest ------------------------------------------------------------------------------

    def new_row(self) -> Row:
        """One that nobody has asked for yet."""
        self.made_rows += 1
        return Row(f"row-{self.made_rows}", f"picture {self.made_rows} of sequence {self.seed}")

    def write_manifest(self) -> None:
        """As the rows are now."""
        with (self.folder / "m.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("id", "prompt", "model", "aspect_ratio", "resolution"))
            for row in self.rows:
                self.ids.setdefault(row.prompt, set()).add(row.id)
                table.writerow((row.id, row.prompt, "gemini-3.1-flash-image-preview", "1:1", "0.5K"))

    def write_profiles(self) -> None:
        """Of one provider, under two names."""
        for name in ("p", "q"):
            (self.folder / f"{name}.yaml").write_text(
                f"extends: evolink\nname: strict{name}\npoll_interval_s: 0.1\nreads_per_s: 200\n"
                f"idempotency: {self.keys}\n"
            )

    # -- commands ----------------------------------------------------------------------------------

    def where(self) -> list[str]:
        """The provider."""
        api = self.server.api.replace("127.0.0.1", self.host)
        return ["--provider", self.profile, "--base-url", api]

    def run_words(self, out: str = OUT, *more: str) -> list[str]:
        """The run of the manifest into a folder."""
        words = ["run", "m.csv", "--out", out, *self.where(), *_FLAGS, *more]
        if self.state_dir and out == OUT:
            words += ["--state-dir", self.state_dir]
        return words

    def run(self, out: str = OUT, *more: str, signalled: tuple[float, signal.Signals] | None = None) -> Step:
        """The usual command."""
        return self.do(self.run_words(out, *more), signalled, machine=self.machines.get(out, ""))

    def retry(self, only: str, *more: str, out: str = OUT) -> Step:
        """A person's word: rows that may have been paid may be paid again."""
        return self.do(["retry", out, "--only", only, *more, *self.where(), *_FLAGS])

    def do(
        self, words: list[str], signalled: tuple[float, signal.Signals] | None = None, machine: str = ""
    ) -> Step:
        """Any command, as a process of its own; what may pay is noted, with what it may pay for.

        `machine`: the name of another one, on which it seems to be.
        """
        meant = self._meant(words)
        stood, began = self.standing, time.monotonic()
        if words[0] == "run":
            self.standing = Counter(row.prompt for row in self.rows)
        ahead_s = self.ahead_s

        def before_it() -> None:
            clock.set_ahead(ahead_s)
            if machine:
                platform.node = lambda: machine

        ended = forked.run(
            words,
            self.folder,
            {"EVOLINK_API_KEY": self.key},
            _LONGEST_S,
            lambda said: False,
            signalled=signalled,
            before=before_it,
        )
        step = Step(words, ended.exit_code, ended.said, ended.seconds)
        self.steps.append(step)
        if words[0] == "run" and step.exit_code != 0:  # nobody knows whether its manifest was taken
            self.standing = self.standing | stood
        if words[0] in _NEEDS_PROVIDER:
            more = Counter() if step.is_refusal else Counter(meant)
            self.asked.append(Asked(began, f"{len(self.steps)}: {words[0]}", self.standing, more))
        self._judge(step, ended, is_signalled=signalled is not None)
        return step

    def _meant(self, words: list[str]) -> list[str]:
        """Prompts of the rows that this may pay for again though they may have been paid."""
        prompts = [row.prompt for row in self.rows]
        if words[0] == "run":
            return prompts if "--as-copy" in words or "resubmit" in words else []
        only = words[words.index("--only") + 1] if "--only" in words else ""
        if words[0] != "retry" or only not in _MEANT:
            return []
        ids = {words[n + 1] for n, word in enumerate(words) if word == "--row"}
        if self.do(["results", words[1]]).exit_code != 0:
            return prompts
        rows = [row for row in self.results(words[1]) if not ids or row["id"] in ids]
        return [row["prompt"] for row in rows if row["status"] in _MEANT[only]]

    def _judge(self, step: Step, ended: forked.Ended, *, is_signalled: bool) -> None:
        name = step.words[0] + (" --repair" if "--repair" in step.words else "")
        if is_signalled and "KeyboardInterrupt" in step.said and "in _exit_code" not in step.said:
            return  # before there was a command that could hear it, as while a program is being loaded
        if "Traceback (most recent" in step.said or "should not have happened" in step.said:
            said = [line for line in step.said.splitlines() if "Error" in line or "happened" in line]
            self.faults.append(f"traceback: {name}: {(said or ['?'])[-1].strip()[:140]}")
        if ended.killed:
            self.faults.append(f"never ends: {name}: not even when interrupted twice")
        elif step.exit_code not in _CODES and not (is_signalled and step.exit_code in _OF_SIGNALS):
            self.faults.append(f"exit code: {name}: {step.exit_code}")

    # -- what is there -----------------------------------------------------------------------------

    def results(self, out: str = OUT) -> list[dict[str, str]]:
        """The rows of results.csv; none, if there is none."""
        try:
            with (self.folder / out / "results.csv").open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
        except OSError:
            return []

    def images(self, out: str = OUT) -> list[Path]:
        """The files below images/, sorted."""
        return sorted(path for path in (self.folder / out).glob("images/**/*") if path.is_file())

    def snapshot(self) -> None:
        """Keep a copy of the state as it is between two actions."""
        if not (self.states / STATE).is_file():
            return
        place = self.folder / "snapshots" / str(len(self.snapshots))
        place.mkdir(parents=True)
        for path in self.states.glob(f"{STATE}*"):
            shutil.copy2(path, place / path.name)
        self.snapshots.append(place)

    def set_faults(self, **faults: Any) -> None:
        """Of the provider, from now on; all that are not named are off."""
        self.server.ask("set", {"faults": {**dict.fromkeys(_FAULTS, 0.0), **faults}})


def digest(path: Path) -> str:
    """Of all bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_root() -> bool:
    """Whom no permission stops."""
    return os.geteuid() == 0


_MEANT = {
    "unknown": ("unknown",),
    "expired": ("expired", "ready"),
    "running": ("running", "ready", "unknown"),
}
_FAULTS = (
    *("rate_429", "rate_5xx_before", "rate_5xx_after", "lost_before", "lost_after", "half_reply"),
    *("html_after", "rate_429_read", "rate_5xx_read", "lost_read", "rate_429_list", "rate_5xx_list"),
    *("list_lag_s", "cut_download", "rate_5xx_download", "link_403", "link_404", "refuse_task"),
    *("fail_task", "stuck_task", "undecided_s", "reject"),
)
