"""Runs in odd surroundings: real processes, started by a shell, against one service that all tests share."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from nanobanana_batch.results import read_results
from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.ledger import read_ledger
from tests.process.harness import KEY, QUICK_PROFILE, small_manifest, wrong_hashes
from tests.warm import Copy, the_command_line

NOBODY = 65534
_MAIN = "from nanobanana_batch.cli import main; main()"
_LEAKS = re.compile(
    rf"Traceback|Exception ignored|{KEY}|proxy-password|/files/[0-9A-Za-z_-]{{8}}|should not have happened"
)
_OURS = re.compile(
    r"(?i).*_proxy|.*_API_KEY|SSL_CERT_\w+|(REQUESTS|CURL)_CA_BUNDLE|PYTHON(?!PATH|DONT).*|LC_\w+|LANG(UAGE)?"
)
"""What of this machine's own variables would take part."""
_STARTS = re.compile("PYTHON|LC_|LANG|LD_|TZ|MALLOC")
_numbers = itertools.count()


def environment(**changes: str | None) -> dict[str, str]:
    """A plain one, with changes; None takes a variable away."""
    plain = {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)}
    plain |= {"LANG": "C.UTF-8", "EVOLINK_API_KEY": KEY}
    given = {**plain, **changes}
    return {name: value for name, value in given.items() if value is not None}


def _at_the_start(env: Mapping[str, str]) -> dict[str, str]:
    """What takes effect only while Python starts."""
    plain = environment()
    return {name: value for name, value in env.items() if _STARTS.match(name) and plain.get(name) != value}


def _is_terminal(stream: object) -> bool:
    return isinstance(stream, int) and stream >= 0 and os.isatty(stream)


@dataclass
class Ended:
    """How a process ended, and all that it said."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def said(self) -> str:
        """On both streams."""
        return self.out + self.err


@dataclass
class Place:
    """A folder, a manifest of rows that nobody else has, and the service that they are sent to."""

    folder: Path
    service: EmbeddedService
    rows: int = 6
    name: str = field(default_factory=lambda: f"place {next(_numbers)} of {os.getpid()}")
    out: Path = Path()

    def __post_init__(self) -> None:
        self.out = self.folder / "out"
        (self.folder / "quick.yaml").write_text(QUICK_PROFILE)
        table = small_manifest(self.folder, self.rows, self.name)
        self.manifest = table.rename(self.folder / "m.csv")

    @property
    def where(self) -> list[str]:
        """The provider, as each command that sends something has to be told."""
        return ["--provider", str(self.folder / "quick.yaml"), "--base-url", self.service.base_url]

    def words(self, *flags: str, base_url: str = "") -> list[str]:
        """The words of a run."""
        profile = str(self.folder / "quick.yaml")
        address = base_url or self.service.base_url
        return [
            "run",
            str(self.manifest),
            "--out",
            str(self.out),
            "--provider",
            profile,
            "--base-url",
            address,
            *flags,
        ]

    def start(
        self,
        words: Sequence[str],
        shell: str = "",
        via: str = "",
        redirects: str = "",
        env: Mapping[str, str] | None = None,
        **streams: Any,
    ) -> subprocess.Popen[str]:
        """As a shell would: `shell` and the program `via` stand before it, `redirects` behind it."""
        env = environment() if env is None else dict(env)
        streams = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "encoding": "utf-8",
            **streams,
        }
        how = {"cwd": self.folder, "env": env, "errors": "replace", "start_new_session": True, **streams}
        if not (shell or via or redirects or _at_the_start(env) or any(map(_is_terminal, streams.values()))):
            return Copy(the_command_line(), words, **how)
        program = [sys.executable, "-c", _MAIN, *words]
        return subprocess.Popen(
            ["bash", "-c", f'{shell} exec {via} "$@" {redirects}', "bash", *program], **how
        )

    def run(self, *flags: str, base_url: str = "", **how: Any) -> Ended:
        """A run to its end."""
        return ended(self.start(self.words(*flags, base_url=base_url), **how))

    def paid(self) -> Counter[str]:
        """How often each of the rows was paid for."""
        bodies = [task.body.decode() for task in read_ledger(self.service.options.data_dir).tasks]
        prompts = (re.search(r'picture \d+ of [^"]*', body) for body in bodies)
        return Counter(found[0] for found in prompts if found and found[0].endswith(f"of {self.name}"))

    def refuses(self, end: Ended) -> None:
        """One sentence, exit 2, nothing sent, and no folder."""
        self.is_clean(end)
        assert end.code == 2, end
        assert len(end.err.strip().splitlines()) <= 2, end.err
        assert not self.paid()

    def is_clean(self, end: Ended) -> None:
        """No traceback, no key and no link in anything that it said or wrote down."""
        log = self.out / "run.log"
        texts = [end.said, log.read_text("utf-8") if log.is_file() else ""]
        assert not [found[0] for text in texts if (found := _LEAKS.search(text))], texts[0]

    def completes(self) -> None:
        """A run in plain surroundings makes what is left."""
        assert (end := self.run()).code == 0, end
        self.is_whole()

    def is_whole(self) -> None:
        """Every row was paid for exactly once, and has its image."""
        assert list(self.paid().values()) == [1] * self.rows
        assert (read_results(self.out)["status"] == "completed").sum() == self.rows
        assert wrong_hashes(self.out) == []


def ended(process: subprocess.Popen[str], timeout_s: float = 60) -> Ended:
    """Wait for a process."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it did not end: {out}{err}") from None
    return Ended(process.returncode, out or "", err or "")


@contextmanager
def killed_at_last(process: subprocess.Popen[str]) -> Iterator[None]:
    """It does not outlive the block, whatever a test finds."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def until(check: Callable[[], object], deadline_s: float = 30) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + deadline_s
    while not check():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def unread_pipe() -> IO[str]:
    """A pipe whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "w")


def needs_root() -> None:
    """What follows takes the powers of root; told as skipped where there are none."""
    if os.geteuid() != 0:
        pytest.skip("this case of the matrix takes root: a mount, another user or an immutable folder")


def as_nobody() -> str:
    """The program by which another one has no special powers."""
    needs_root()
    if shutil.which("setpriv") is None:
        pytest.skip("this case of the matrix takes setpriv (util-linux)")
    return f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups"
