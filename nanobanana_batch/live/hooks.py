"""`--on-trouble` and `--on-end`: a person's own program is told, whatever it does with it.

It is started without a shell, gets what there is to tell in its environment and as one JSON object on its
standard input, and is ended when it takes too long. The run neither waits for what it is told in between
nor hears of it: a program that fails is mentioned once.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import UsageError
from nanobanana_batch.live.watch import Watch
from nanobanana_batch.wording import cut

LONGEST_S = 30.0
"""A program that takes longer is ended."""
_MOST_PENDING = 20
_TOLD_CHARS = 8000
"""Of one variable: an environment is bounded, and a message may be anything."""
_ERROR_BYTES, _ERROR_CHARS = 4096, 200
_PREFIX = "NANOBANANA_"


@dataclass(frozen=True, slots=True)
class Hooks:
    """What to start; each is a program and its arguments, empty for none."""

    on_end: tuple[str, ...] = ()
    on_trouble: tuple[str, ...] = ()

    @property
    def are_none(self) -> bool:
        """Whether nobody is to be told."""
        return not self.on_end and not self.on_trouble


def read_command(text: str | None, option: str) -> tuple[str, ...]:
    """A command as a person types it, taken apart as a shell would; empty for none.

    Raises:
        UsageError: it has no end, or there is no such program: better known before the night than after.
    """
    if text is None:
        return ()
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{option}: {text!r} cannot be taken apart: {error}.") from error
    if not words:
        raise UsageError(f"{option} needs a program.")
    if shutil.which(words[0]) is None:
        raise UsageError(
            f"{option}: there is no program {words[0]!r} that can be run.",
            hint="It is started without a shell: for pipes and variables write a script, or give"
            f" {option} \"sh -c '...'\".",
        )
    return tuple(words)


@dataclass(slots=True)
class Told:
    """What programs are told of while a run goes on."""

    _hooks: Hooks
    _tally: Tally
    _watch: Watch
    _news: threading.Condition = field(default_factory=threading.Condition)
    _pending: list[str] = field(default_factory=list)
    _left_out: int = 0
    _is_over: bool = False
    _has_failed: bool = False
    _teller: threading.Thread | None = None

    def begin(self) -> None:
        """From now on trouble is told as it comes."""
        self._tally.troubled = self.trouble
        self._teller = threading.Thread(target=self._work, daemon=True)
        self._teller.start()

    def trouble(self, text: str) -> None:
        """Something went wrong; what comes while a program works is told to the next one, together."""
        with self._news:
            if len(self._pending) < _MOST_PENDING:
                self._pending.append(text)
            else:
                self._left_out += 1
            self._news.notify()

    def end(self, outcome: Mapping[str, Any]) -> None:
        """The run is over; after this no more trouble is told, and of that before this."""
        self.end_of_trouble()
        if self._hooks.on_end:
            self._start(self._hooks.on_end, "end", outcome)

    def end_of_trouble(self) -> None:
        """What is pending is told still, then nothing more; it takes no longer than one program may."""
        with self._news:
            self._is_over = True
            self._news.notify()
        if self._teller is not None:
            self._teller.join(LONGEST_S)

    def _work(self) -> None:
        while True:
            with self._news:
                while not self._pending and not self._is_over:
                    self._news.wait()
                texts, self._pending = self._pending, []
                left_out, self._left_out = self._left_out, 0
            if not texts:
                return
            with suppress(Exception):
                live = json.loads(self._watch.look().as_json())
                about = {"text": texts[-1], "texts": texts, "left_out": left_out, "live": live}
                self._start(self._hooks.on_trouble, "trouble", about)

    def _start(self, command: tuple[str, ...], event: str, about: Mapping[str, Any]) -> None:
        try:
            failure = _run(command, event, about)
        except Exception as error:
            failure = f"cannot be started: {error}"
        if failure and not self._has_failed:
            self._has_failed = True
            self._tally.announce(f"--on-{event}: {command[0]} {failure}; the run goes its way.")


@contextmanager
def telling(hooks: Hooks, tally: Tally) -> Iterator[Told]:
    """For the length of a run; call `end` before the block is left."""
    told = Told(hooks, tally, Watch(tally))
    if hooks.on_trouble:
        told.begin()
    try:
        yield told
    finally:
        told.end_of_trouble()


def _run(command: tuple[str, ...], event: str, about: Mapping[str, Any]) -> str:
    """Start a program, and say how it failed; empty where it did not."""
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as errors:
        # Files, not pipes: a program that does not read, or leaves a child behind, holds up nobody.
        told.write(json.dumps({"event": event, **about}, ensure_ascii=True).encode())
        told.seek(0)
        process = subprocess.Popen(
            command,
            stdin=told,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, **_variables(event, about)},
            start_new_session=True,  # Ctrl-C is meant for the run
        )
        try:
            code = process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            return f"took more than {LONGEST_S:.0f} s and was ended"
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(LONGEST_S)
        errors.seek(0)
        said = cut(errors.read(_ERROR_BYTES).decode("utf-8", "replace"), _ERROR_CHARS)
    return f"ended with {code}{f' ({said})' if said else ''}" if code else ""


def _variables(event: str, about: Mapping[str, Any]) -> dict[str, str]:
    """What can be told in one word or sentence, by name: NANOBANANA_EVENT, NANOBANANA_TEXT, …"""
    plain = {name: value for name, value in about.items() if isinstance(value, str | int | float)}
    return {
        f"{_PREFIX}{name.upper()}": str(value).replace("\0", "")[:_TOLD_CHARS]
        for name, value in {"event": event, **plain}.items()
    }
