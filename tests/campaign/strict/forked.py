"""The real command line as a process of its own, without its imports: forked from a warm one."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import pkgutil
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_LOOK_S, _ASK_S = 0.01, 0.5
_LAST_WORDS_S = 12.0
_MOST_INTERRUPTS = 2
_PR_SET_PDEATHSIG = 1
_MOST_DESCRIPTORS = 1024
_LAZY = {
    "aiohttp",
    "anyio._backends._asyncio",
    "PIL.PngImagePlugin",
    "tqdm",
    "httpcore",
    "certifi",
}


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    exit_code: int
    """Negative: by that signal, as subprocess has it."""
    said: str
    """Standard output and error."""
    seconds: float
    interrupts: int
    """How often we asked it to end, since it did not by itself."""
    said_before: str
    """What it had said by the first of them."""
    killed: bool
    """It did not even end when asked."""


def warm_up() -> None:
    """Import all of the command line once. No thread may have been started."""
    import nanobanana_batch

    names = {one.name for one in pkgutil.walk_packages(nanobanana_batch.__path__, "nanobanana_batch.")}
    for name in sorted(names | _LAZY):
        if not name.startswith("nanobanana_batch.service"):
            importlib.import_module(name)


def end_with_parent() -> None:
    """Be killed when who started us is gone, however that happened (Linux; elsewhere nothing)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run(
    words: list[str],
    folder: Path,
    environment: dict[str, str],
    longest_s: float,
    enough: Callable[[str], bool],
    *,
    signalled: tuple[float, signal.Signals] | None = None,
    before: Callable[[], None] = lambda: None,
) -> Ended:
    """A command in `folder`; after `longest_s`, or when it is `enough`, it is interrupted, at most twice.

    `signalled`: after so many seconds it gets this signal, if it still runs. `before` is called in the new
    process.
    """
    log = folder / f"said-{len(list(folder.glob('said*.txt'))) + 1}.txt"
    log.touch(0o600)
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _become(words, folder, environment, log, before)
    status = None
    if signalled is not None:
        status = _wait(pid, signalled[0], lambda: False)
        if status is None:
            os.kill(pid, signalled[1])
    if status is None:
        status = _wait(pid, longest_s, lambda: enough(log.read_text(errors="replace")))
    interrupts, killed, said_before = 0, False, log.read_text(errors="replace")
    while status is None and interrupts < _MOST_INTERRUPTS:
        interrupts += 1
        os.kill(pid, signal.SIGINT)
        status = _wait(pid, _LAST_WORDS_S, lambda: False)
    if status is None:
        killed = True
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return Ended(
        os.waitstatus_to_exitcode(status),
        log.read_text(errors="replace"),
        time.monotonic() - began,
        interrupts,
        said_before,
        killed,
    )


def _wait(pid: int, longest_s: float, enough: Callable[[], bool]) -> int | None:
    """How it ended; None if it did not."""
    now = time.monotonic()
    end, ask_at = now + longest_s, now + _ASK_S
    while (now := time.monotonic()) < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        if now > ask_at:
            if enough():
                return None
            ask_at = now + _ASK_S
        time.sleep(_LOOK_S)
    return None


def _become(
    words: list[str], folder: Path, environment: dict[str, str], log: Path, before: Callable[[], None]
) -> None:
    """The child: never returns, and runs none of its parent's exit handlers."""
    code = 70
    try:
        end_with_parent()
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.closerange(3, _MOST_DESCRIPTORS)  # a pipe that stays open keeps another process from ending
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        # As if it had always had them: at its end it hears no signal any more, as any process of its own.
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]
        os.chdir(folder)
        os.environ.update(environment)
        random.seed()
        before()
        sys.argv = ["nanobanana-batch", *words]
        importlib.import_module("nanobanana_batch.cli").main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
