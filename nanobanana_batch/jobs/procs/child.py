"""One shard in a process of its own: an ordinary run that is told by who has started it what it may do.

It hears its order and what it is granted on standard input, and tells how it stands on standard output, a
JSON object a line. Where nobody is at the other end any more, it ends as if it had been interrupted twice:
another one may begin at once, and collect what is paid for.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from nanobanana_batch.errors import NanobananaError
from nanobanana_batch.jobs.procs.counts import counts_of
from nanobanana_batch.sharing.link import LinkLost
from nanobanana_batch.sharing.values import Grant, Report
from nanobanana_batch.steady import steady_s

if TYPE_CHECKING:
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.engine.tally import Tally
    from nanobanana_batch.jobs.order import Order
    from nanobanana_batch.jobs.outcome import Outcome

_EVERY_S = 1.0
_ANSWERS_WITHIN_S = 2.0
_OLD_S = 8.0
"""What was asked so long ago is asked once more: the answer may have waited here, while this was stopped."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a process is to do."""

    order: Order
    settings: Settings
    pilot: int | None

    def as_line(self) -> bytes:
        """For its standard input; who starts it is believed."""
        return base64.b64encode(pickle.dumps(self)) + b"\n"


@dataclass(slots=True)
class Wire:
    """To who has started this process, and back; that one may be suspended, and answer late."""

    heard: IO[bytes]
    told: IO[bytes]
    shard: int
    answers_within_s: float = _ANSWERS_WITHIN_S
    """Without an answer for so long a question counts as not answered for now."""
    is_heard: bool = True
    """Whether the last question was answered in time."""
    _telling: threading.Lock = field(default_factory=threading.Lock)
    _asked: threading.Event | None = None
    """Set with the answer to the question that is out."""
    _asked_at: float = 0.0
    _answer: bytes = b""

    def tell(self, kind: str, value: Any) -> None:
        """One line; who does not listen any more is not told."""
        line = json.dumps([kind, value]).encode() + b"\n"
        with suppress(OSError, ValueError), self._telling:
            self.told.write(line)
            self.told.flush()

    async def exchange(self, report: Report) -> Grant:
        """As every `Link`; while a question is out no other is asked, and an answer that is old is none."""
        import anyio.to_thread

        was_out = self._asked is not None
        asked = self._asked = self._asked or self._ask(report)
        self.is_heard = await anyio.to_thread.run_sync(
            asked.wait, self.answers_within_s, abandon_on_cancel=True
        )
        if not self.is_heard:
            raise LinkLost("it does not answer")
        self._asked = None
        if was_out and (report.is_finished or steady_s() - self._asked_at > _OLD_S):
            return await self.exchange(report)
        try:
            return Grant.from_json(self._answer.decode())
        except ValueError as error:
            raise LinkLost("it has ended", is_for_good=True) from error

    def _ask(self, report: Report) -> threading.Event:
        asked, self._asked_at = threading.Event(), steady_s()

        def ask() -> None:
            self.tell("report", report.as_json())
            with suppress(OSError, ValueError):  # it is closed when this process ends
                self._answer = self.heard.readline()
                if not self._answer:
                    _end_as_if_interrupted_twice()
                asked.set()

        threading.Thread(target=ask, daemon=True).start()
        return asked


def main() -> None:
    """Do what is told on standard input, and tell how it ended; the exit code is that of a run."""
    with os.fdopen(os.dup(0), "rb") as heard, _to_who_may_be_gone() as told:
        _occupy_standard_streams()
        _hear_who_started_it()
        task: Task = pickle.loads(base64.b64decode(heard.readline()))
        assert task.order.shard is not None
        wire = Wire(heard, told, task.order.shard.number)
        sys.exit(_made(task, wire))


@contextmanager
def _to_who_may_be_gone() -> Iterator[IO[bytes]]:
    """Standard output; what was not taken any more is no error when it is closed."""
    told = os.fdopen(os.dup(1), "wb")
    try:
        yield told
    finally:
        with suppress(OSError):
            told.close()


def _made(task: Task, wire: Wire) -> int:
    from nanobanana_batch.engine.signals import Signals
    from nanobanana_batch.engine.tally import Tally
    from nanobanana_batch.jobs.run import run

    tally = Tally(
        announce=lambda text: wire.tell("say", text), troubled=lambda text: wire.tell("trouble", text)
    )
    try:
        with _counted(tally, wire):
            outcome = run(task.order, task.settings, tally, task.pilot, Signals(), wire)
    except NanobananaError as error:
        wire.tell("error", [error.exit_code, str(error)])
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    wire.tell("outcome", _as_text(outcome))
    return outcome.exit_code


@contextmanager
def _counted(tally: Tally, wire: Wire) -> Iterator[None]:
    """For the length of the block what people see is told once a second, and once more at the end."""
    is_over = threading.Event()

    def go_on() -> None:
        while not is_over.wait(_EVERY_S):
            if not wire.is_heard:
                continue  # a pipe that nobody empties would be full, and hold the run
            with suppress(RuntimeError):  # something has changed while it was looked at
                wire.tell("counts", counts_of(tally))

    teller = threading.Thread(target=go_on, daemon=True)
    teller.start()
    try:
        yield
    finally:
        is_over.set()
        teller.join()
        wire.tell("counts", counts_of(tally))


def _as_text(outcome: Outcome) -> str:
    return base64.b64encode(pickle.dumps(outcome)).decode()


def _occupy_standard_streams() -> None:
    """What is printed goes to standard error: who reads standard output hears of the shard alone."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)


def _hear_who_started_it() -> None:
    """It stops this process by signals, which are ignored here if a shell has started that one with `&`."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def _end_as_if_interrupted_twice() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # two of the same kind may arrive as one
        os.kill(os.getpid(), number)
