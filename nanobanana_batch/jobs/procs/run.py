"""Starts a process for each shard, answers what each may do, shows all of them as one run, and ends as one.

A process that is killed is started again: its state knows what it has paid for. Whoever kills this process
ends the others, too, and the same command goes on with all of them.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobanana_batch.errors import FolderInUse, NanobananaError, RunStopped, UsageError, before_sending
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import find, make
from nanobanana_batch.files.lock import LOCK_NAME, only_writer
from nanobanana_batch.jobs.merge import refuse_anothers_table, refuse_paid_twice, write_merged
from nanobanana_batch.jobs.order import Order, folder_of, open_ordered
from nanobanana_batch.jobs.procs.child import Task
from nanobanana_batch.jobs.procs.counts import Counts, show_together
from nanobanana_batch.jobs.procs.sayings import Sayings
from nanobanana_batch.jobs.procs.together import together
from nanobanana_batch.jobs.shards import refuse_another_division
from nanobanana_batch.sharing.coordinator import Coordinator
from nanobanana_batch.sharing.values import SILENT_S, Limits, Report
from nanobanana_batch.state.shards import Shard
from nanobanana_batch.steady import steady_s
from nanobanana_batch.wording import amount, clock_text, counted

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream, ByteSendStream, Process

    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.engine.signals import Interrupts
    from nanobanana_batch.engine.tally import Tally
    from nanobanana_batch.jobs.outcome import Outcome

MOST_KILLS = 5
"""A shard whose process is killed more often is not started again."""
_LONGEST_LINE = 64 << 20
_IN_USE_S = 20.0
"""Processes of a run that was killed end within seconds: so long their folders are waited for."""
_LOOK_S = 1.0
_SILENT_LOOKS = round(SILENT_S / _LOOK_S)


def run_in_processes(
    order: Order,
    settings: Settings,
    tally: Tally,
    count: int,
    pilot: int | None = None,
    interrupts: Interrupts | None = None,
) -> Outcome:
    """Make what the manifest asks for in so many processes, each with a folder of its own in the order's.

    Raises:
        UsageError: something is wrong with the order; nothing was sent.
        FolderInUse: another run works on one of the folders.
        RunStopped: a shard could not go on; the others have.
    """
    import anyio

    from nanobanana_batch.engine.signals import Signals

    _refuse_impossible(order, settings, count)
    home = _home(order)
    refuse_another_division(home / Shard(1, count).folder_name, Shard(1, count))
    refuse_anothers_table(home)
    anew = [path for path in (home, *home.parents) if not path.exists()]
    with before_sending():
        make(home, Disk())
    with only_writer(home):
        try:
            crew = _Crew(order, settings, tally, pilot, home, count)
            anyio.run(crew.work, interrupts or Signals())
            return crew.ended()
        except UsageError:
            _leave_nothing(anew)
            raise


def _leave_nothing(anew: list[Path]) -> None:
    """What was made for a manifest that was refused: a folder in which there is the lock alone."""
    if anew and os.listdir(anew[0]) == [LOCK_NAME]:
        (anew[0] / LOCK_NAME).unlink()
        with suppress(OSError):  # somebody has put something there
            for path in anew:
                path.rmdir()


def orders_of_shards(order: Order, settings: Settings, count: int) -> list[Order]:
    """What each of so many processes would make, in its own folder.

    Raises:
        UsageError: something is wrong with the order.
    """
    _refuse_impossible(order, settings, count)
    home = _home(order)
    return [_of_shard(order, Shard(number, count), home) for number in range(1, count + 1)]


def _home(order: Order) -> Path:
    return folder_of(replace(order, state_dir=None), open_ordered(order)).path


def _of_shard(order: Order, shard: Shard, home: Path) -> Order:
    return replace(order, out=home / shard.folder_name, shard=shard)


def _refuse_impossible(order: Order, settings: Settings, count: int) -> None:
    if order.shard is not None:
        raise UsageError("--procs and --shard: give one of them; --procs makes all shards.")
    if order.callback_route is not None:
        raise UsageError("--procs and --callback-url: several processes cannot listen at one address.")
    if count > settings.concurrency:
        raise UsageError(
            f"--procs {count} is more than --concurrency {settings.concurrency}: each needs an image to make."
        )


@dataclass(slots=True)
class _Shard:
    """One of them, as far as it has come."""

    shard: Shard
    kills: int = 0
    process: Process | None = None
    counts: Counts | None = None
    outcome: Outcome | None = None
    error: tuple[int, str] | None = None
    """Exit code, and why."""
    waits_since: float | None = None
    """Since when its folder is in use by another process."""
    unheard: int = 0
    """So many looks ago it said something; where this process is stopped itself it looks at nobody."""

    @property
    def is_running(self) -> bool:
        """Whether a process works on it."""
        return self.process is not None and self.process.returncode is None


@dataclass(slots=True)
class _Crew:
    """All processes of one run."""

    order: Order
    settings: Settings
    tally: Tally
    pilot: int | None
    home: Path
    count: int
    coordinator: Coordinator = field(init=False)
    shards: list[_Shard] = field(init=False)
    sayings: Sayings = field(init=False)
    is_stopping: bool = False

    def __post_init__(self) -> None:
        limits = Limits(
            self.count,
            self.settings.concurrency,
            self.settings.submits_per_min,
            self.settings.max_credits,
            waits_for_all=True,
        )
        self.coordinator = Coordinator(limits)
        self.sayings = Sayings(self.tally)
        self.shards = [_Shard(Shard(number, self.count)) for number in range(1, self.count + 1)]
        self.tally.credits_cap = self.settings.max_credits

    # --- processes ---------------------------------------------------------------------------------------

    async def work(self, interrupts: Interrupts) -> None:
        """Start all, and wait for all."""
        import anyio

        from nanobanana_batch.engine.work import Stop

        stop = Stop()
        async with anyio.create_task_group() as listening:
            await listening.start(interrupts.listen, self, stop, self.tally)
            listening.start_soon(self._pass_on, stop)
            listening.start_soon(self._tell_silent)
            async with anyio.create_task_group() as group:
                for each in self.shards:
                    group.start_soon(self._see_through, each)
            listening.cancel_scope.cancel()

    def stop_now(self) -> None:
        """The second wish to stop."""
        self._signal()

    async def _pass_on(self, stop: Any) -> None:
        """The first."""
        await stop.hurried()
        self.is_stopping = True
        self._signal()

    def _signal(self) -> None:
        for each in self.shards:
            if each.process is not None and each.is_running:
                with suppress(ProcessLookupError):
                    each.process.send_signal(signal.SIGINT)

    async def _tell_silent(self) -> None:
        """A process that says nothing is told once: nobody else would know what is waited for."""
        import anyio

        while True:
            await anyio.sleep(_LOOK_S)
            for each in self.shards:
                each.unheard += each.is_running
                if each.unheard == _SILENT_LOOKS:
                    since = self._clock(_SILENT_LOOKS * _LOOK_S)
                    self.tally.announce(
                        f"shard {each.shard} has said nothing since {since}: its process is held, or stuck."
                        " The others go on with its part of the limits; nothing that it has paid for is lost."
                    )

    def _heard(self, each: _Shard) -> None:
        if each.unheard >= _SILENT_LOOKS:
            self.tally.announce(f"shard {each.shard} is heard again, since {self._clock(0.0)}.")
        each.unheard = 0

    def _clock(self, ago_s: float) -> str:
        now = self.tally.now()
        return clock_text(now - ago_s, now, seconds=True)

    async def _see_through(self, each: _Shard) -> None:
        """Until it has ended by itself."""
        import anyio

        while True:
            code = await self._one_life(each)
            if code == FolderInUse.exit_code and not self.is_stopping and _may_wait(each):
                await anyio.sleep(_LOOK_S)
                continue
            each.kills += code < 0
            if code >= 0 or self.is_stopping or each.kills > MOST_KILLS:
                break
            self.tally.announce(f"shard {each.shard} was ended by signal {-code}; it is started again.")
        if each.outcome is None:
            why = f"it was ended by signal {-code}" if code < 0 else f"it ended with {code}"
            each.error = each.error or (130 if self.is_stopping else RunStopped.exit_code, why)
            self.coordinator.gone(each.shard.number)
            self.coordinator.stop(f"shard {each.shard}: {each.error[1]}")

    async def _one_life(self, each: _Shard) -> int:
        """Of one process; its exit code, or minus the signal that has ended it."""
        import subprocess

        import anyio

        each.outcome = each.error = None
        each.unheard = 0
        command = [sys.executable, "-m", "nanobanana_batch.jobs.procs"]
        process = await anyio.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, start_new_session=True
        )
        each.process = process
        order = _of_shard(self.order, each.shard, self.home)
        async with process:
            with _closed_is_closed():
                assert process.stdin is not None
                assert process.stdout is not None
                await process.stdin.send(Task(order, self.settings, self.pilot).as_line())
                if self.is_stopping:
                    process.send_signal(signal.SIGINT)
                await self._hear(each, process.stdout, process.stdin)
            return await process.wait()

    async def _hear(self, each: _Shard, stream: ByteReceiveStream, answer: ByteSendStream) -> None:
        from anyio import EndOfStream, IncompleteRead
        from anyio.streams.buffered import BufferedByteReceiveStream

        lines = BufferedByteReceiveStream(stream)
        with suppress(EndOfStream, IncompleteRead):
            while True:
                kind, value = json.loads(await lines.receive_until(b"\n", _LONGEST_LINE))
                self._heard(each)
                await self._note(each, kind, value, answer)

    async def _note(self, each: _Shard, kind: str, value: Any, answer: ByteSendStream) -> None:
        match kind:
            case "report":
                grant = self.coordinator.exchange(Report.from_json(value), steady_s())
                await answer.send(grant.as_json().encode() + b"\n")
            case "counts":
                each.counts = value
                show_together(self.tally, [one.counts for one in self.shards if one.counts is not None])
            case "say":
                self.sayings.tell(str(each.shard), value, is_stopping=self.is_stopping)
            case "trouble":
                self.tally.troubles.append((self.tally.now(), value))
                self.tally.troubled(value)
            case "error":
                each.error = (int(value[0]), str(value[1]))
            case "outcome":
                each.outcome = pickle.loads(base64.b64decode(value))

    # --- the end -----------------------------------------------------------------------------------------

    def ended(self) -> Outcome:
        """How all of them have ended, as one; their results are one table.

        Raises:
            NanobananaError: one of them could not go on, or there is no room for the table; what all of them
                have made and paid is told before.
            KeyboardInterrupt: one was interrupted before its work had begun; told likewise.
        """
        try:
            return self._ended()
        except (NanobananaError, KeyboardInterrupt):
            self._say_sums()
            raise

    def _say_sums(self) -> None:
        tally = self.tally
        if not (tally.completed or tally.credits or tally.in_flight):
            return  # nothing was sent
        done = f"{tally.completed:,} of {counted(tally.total, 'row')} completed"
        waiting = f"; on their way, and paid for: {counted(tally.in_flight, 'image')}" * bool(tally.in_flight)
        tally.announce(f"All shards together: {done}; credits used so far: {amount(tally.credits)}{waiting}.")

    def _ended(self) -> Outcome:
        folders = [find(self.home / each.shard.folder_name) for each in self.shards]
        made = [folder for folder in folders if folder.state.is_file()]
        if len(made) == len(folders):
            refuse_paid_twice(made)
            write_merged(made, self.home)
        if failed := [each for each in self.shards if each.error is not None]:
            raise _worst(failed)
        outcomes = [each.outcome for each in self.shards if each.outcome is not None]
        return together(self.home, [folder.path for folder in folders], outcomes)


def _may_wait(each: _Shard) -> bool:
    now = steady_s()
    each.waits_since = now if each.waits_since is None else each.waits_since
    return now - each.waits_since < _IN_USE_S


_RANK = (RunStopped.exit_code, FolderInUse.exit_code, UsageError.exit_code)
"""What may have cost something comes first."""


def _worst(failed: list[_Shard]) -> BaseException:
    errors = {each.shard: each.error for each in failed if each.error is not None}
    if any(code == 130 for code, _ in errors.values()):
        return KeyboardInterrupt()
    code = min((code for code, _ in errors.values()), key=lambda each: (*_RANK, each).index(each))
    shard, text = next((shard, text) for shard, (own, text) in errors.items() if own == code)
    kind: type[NanobananaError] = {2: UsageError, 4: FolderInUse}.get(code, RunStopped)
    is_of_all = len(errors) == shard.of > 1 and {each for _, each in errors.values()} == {text}
    return kind(text if is_of_all else f"shard {shard}: {text}")


@contextmanager
def _closed_is_closed() -> Iterator[None]:
    """A process that is gone hears nothing; how it has ended its exit code says."""
    from anyio import BrokenResourceError, ClosedResourceError

    with suppress(BrokenResourceError, ClosedResourceError, BrokenPipeError, ConnectionResetError):
        yield
