"""Processes of their own that need not import everything anew: copies of one that has, and does nothing else.

The imports of a command are most of what its process costs, and the tests start a thousand of them. One
process a program and test worker imports what the program will, and waits. Each that is wanted is forked from
it, with its own words, folder, environment, streams, session and end: signals, exit codes and files are those
of any process. What takes effect while Python starts (its own variables, the language) is not, so who tests
that starts Python itself.
"""

from __future__ import annotations

import array
import atexit
import functools
import gc
import importlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, AnyStr

from tests.as_installed import MAIN, NOT_THERE

_ROOT = str(Path(__file__).parents[1])
_HANDED = 4
"""Three streams, and the line on which a process says its id and, at last, how it ended."""


class Warm:
    """The process that waits; a copy of it runs `program`, a text as for `python -c`.

    `first` is such a text as well, and run before anything is imported.
    """

    def __init__(self, modules: Sequence[str], program: str, *options: str, first: str = "pass") -> None:
        self._line, theirs = socket.socketpair()
        path = f"import sys; sys.path.insert(0, {_ROOT!r}); from tests import warm; del sys.path[0]"
        code = f"{first}; {path}; warm.become({list(modules)!r}); {program}"
        with theirs:
            self._process = subprocess.Popen[bytes](
                [sys.executable, *options, "-c", code],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        atexit.register(self.close)

    def close(self) -> None:
        """It ends as soon as nobody can ask it any more; copies go on."""
        self._line.close()
        self._process.communicate()

    def copied(
        self, words: Sequence[str], cwd: str, env: Mapping[str, str], streams: Sequence[int]
    ) -> tuple[int, socket.socket]:
        """One more process: its id, and its line."""
        ours, theirs = socket.socketpair()
        with theirs:
            handed = array.array("i", [*streams, theirs.fileno()])
            self._line.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handed)])
        ours.sendall(json.dumps([list(words), cwd, dict(env)]).encode() + b"\n")
        with ours.makefile("rb", buffering=0) as told:
            said = told.readline()
        if not said.endswith(b"\n"):
            raise OSError(f"no process of its own came of {words}")
        return int(said), ours


class Copy(subprocess.Popen[AnyStr]):
    """Like any process that was started, and always in a session of its own."""

    def __init__(self, warm: Warm, words: Sequence[str], **how: Any) -> None:
        self._warm = warm
        super().__init__(words, **how)

    def _execute_child(self, *given: Any) -> None:
        words, cwd, env, pipes = given[0], given[5], given[6], given[10:16]
        streams = [end if end >= 0 else fd for fd, end in enumerate((pipes[0], pipes[3], pipes[5]))]
        environment = os.environ if env is None else env
        self.pid, self._line = self._warm.copied(words, str(cwd or os.getcwd()), environment, streams)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if not select.select([self._line], [], [], 0 if flags else None)[0]:
            return 0, 0
        status = int(self._line.recv(64))
        self._line.close()
        return self.pid, status

    def _internal_poll(self, **_: Any) -> int | None:
        if self.returncode is None and (ended := self._try_wait(os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode


def become(modules: Sequence[str]) -> None:
    """Import these, and then wait; returns in each copy, as what it is to be."""
    for name in modules:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is shared with all copies is not looked at, and so not written to, by any
    with socket.socket(fileno=0) as asked:
        while True:
            message, handed, _, _ = socket.recv_fds(asked, 1, _HANDED)
            if not message:
                os._exit(0)
            if os.fork() == 0:
                break
            for fd in handed:
                os.close(fd)
            _forget_the_ended()
        asked.detach()
    _copy(handed)


def _forget_the_ended() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _copy(handed: Sequence[int]) -> None:
    """The parent of one copy, which tells how it ends; and the copy, which returns."""
    line = socket.socket(fileno=handed[-1])
    with line.makefile("rb", buffering=0) as told:
        words, cwd, env = json.loads(told.readline())
    if child := os.fork():
        for fd in handed[:-1]:
            os.close(fd)
        status = os.waitpid(child, 0)[1]
        line.send(b"%d" % status)
        os._exit(0)
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, fd in enumerate(handed[:-1]):
        os.dup2(fd, number)
        os.close(fd)
    sys.argv[1:] = words
    line.sendall(b"%d\n" % os.getpid())
    line.close()


_COMMANDS = [
    "anyio._backends._asyncio",
    "anyio._core._signals",
    "httpcore",
    *(
        f"nanobanana_batch.{name}"
        for name in (
            *("api.making", "cli", "cli.outcome_text", "cli.plan_text"),
            *("engine.assembly", "engine.run", "engine.signals"),
            *("jobs.audit", "jobs.outlook", "jobs.plan.plan", "jobs.rebuild", "jobs.retry", "jobs.run"),
            *("live.hooks", "live.watch", "providers.tasks.api", "receiver"),
            *("screen.progress", "screen.watching", "service.embedded"),
        )
    ),
]
"""What `run` and the commands around it load in any case."""


@functools.cache
def the_command_line() -> Warm:
    """As a person has it: libraries that only the tools of the tests bring are not there."""
    return Warm(_COMMANDS, MAIN, first=NOT_THERE)


def start_copy(
    words: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: int | None = None
) -> Copy[str]:
    """The command line, with what it says to be read."""
    ends = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return Copy(the_command_line(), words, cwd=cwd, env=env, text=True, **ends)


def run_copy(
    words: Sequence[str], cwd: Path, env: Mapping[str, str], timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """The command line to its end."""
    with start_copy(words, cwd, env) as process:
        out, err = process.communicate(timeout=timeout_s)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@functools.cache
def the_service() -> Warm:
    """As the package starts it beside a command."""
    program = "from nanobanana_batch.service.__main__ import main; sys.exit(main())"
    return Warm(["nanobanana_batch.service.server"], program, "-P")


class CopiedService:
    """In the place of the module `subprocess` where a service is started."""

    PIPE = subprocess.PIPE
    TimeoutExpired = subprocess.TimeoutExpired

    @staticmethod
    def Popen(command: Sequence[str], **how: Any) -> Copy[bytes]:
        """A copy of the service, with the options that it would have been started with."""
        return Copy(the_service(), command[-1:], **how)
