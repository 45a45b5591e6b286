"""Nothing is sent before a place that survives this machine knows that it is about to be.

Facts go there in the order in which they were written down here, in groups: while one is on its way the next
gather. Only who is about to send waits for them. What else is known is told a little later: an answer that
is lost with its machine is found again by the key of its request, which was told.
"""

from __future__ import annotations

from typing import Protocol

import anyio

from nanobanana_batch.commands import kill_this
from nanobanana_batch.engine.journal import Blocking
from nanobanana_batch.engine.limits.pace import backoff_s
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.errors import NanobananaError, RunStopped, Superseded
from nanobanana_batch.files.log import Log
from nanobanana_batch.wording import duration_text

_GATHER_S = 0.25
"""So long facts gather that nobody waits for: each group is a request to the storage, which costs."""
_KEPT_WITHIN_S = 30.0
"""Who is about to send waits no longer, and sends later: well within the time that one sending may take."""
_LONGEST_PAUSE_S = 10.0
_SLOW_S = 12.0
"""A storage that says nothing for so long is in trouble: its library, or the kernel, may wait for minutes."""
_LOOK_S = 1.0
_ALONE_IS_WAITED_FOR = (
    "The journal does not answer, and all else is done; it alone is waited for. What was paid stands in the"
    " folder: the same command on this machine goes on from there."
)
_ABOUT = "journal"


class Far(Protocol):
    """A journal elsewhere; see `journals.journal`."""

    @property
    def told(self) -> int:
        """How many times something was told."""

    @property
    def kept(self) -> int:
        """How many of these survive this machine."""

    def ask(self) -> None:
        """Tell nothing; when that survives, nobody else was the writer."""

    def write(self) -> None:
        """Let all that was told by now survive; blocking.

        Raises:
            NanobananaError: it cannot be written, or another process is the writer now.
        """


class Surviving:
    """The engine's way to a journal elsewhere; `run` has to be running while anybody waits."""

    def __init__(
        self,
        far: Far | None,
        blocking: Blocking,
        stop: Stop,
        tally: Tally,
        log: Log,
        *,
        longest_s: float,
    ) -> None:
        """`far`: None where there is none. `longest_s`: so long it may fail in a row."""
        self._far = far
        self._blocking = blocking
        self._stop = stop
        self._tally = tally
        self._log = log
        self._longest_s = longest_s
        self._is_failing = False
        self._is_slow = False
        self._over = anyio.Event()
        """Nothing is written any more."""
        self._news = anyio.Event()
        self._asked = anyio.Event()

    async def passed(self) -> None:
        """Return when it can be written, as far as is known, or when someone asks to stop."""
        while (self._is_failing or self._is_slow) and not self._stop.asked:
            await self._stop.sleep(_LOOK_S)

    async def kept(self) -> bool:
        """Whether all that is on disk by now survives this machine, too; waits for that, but not for long."""
        if self._far is None:
            return True
        goal = self._far.told
        self._asked.set()
        with anyio.move_on_after(_KEPT_WITHIN_S):
            while self._far.kept < goal and not self._is_failing and not self._over.is_set():
                await self._news.wait()
        return self._far.kept >= goal

    async def may_pay(self) -> bool:
        """Whether nobody else pays for this run by now, where nothing new is to be told; waits as `kept`."""
        if self._far is not None:
            self._far.ask()
        return await self.kept()

    def close(self) -> None:
        """Let `run` end; what is not told yet is told when the folder is closed."""
        self._over.set()
        self._asked.set()

    async def run(self) -> None:
        """Write until `close`, or until somebody else is the writer."""
        try:
            await self._write_on()
        finally:
            self._over.set()
            self._say_news()

    async def _write_on(self) -> None:
        failures, since = 0, 0.0
        while self._far is not None and not self._over.is_set():
            with anyio.move_on_after(_GATHER_S):
                await self._asked.wait()
            self._asked = anyio.Event()
            if self._far.kept == self._far.told:
                continue
            began = anyio.current_time()
            since = since if failures else began
            error = await self._written(self._far, since)
            took_s = anyio.current_time() - began
            failures = failures + 1 if error or took_s > _KEPT_WITHIN_S else 0
            if error is not None:
                self._is_failing = True
                self._note(error, anyio.current_time() - since)
                await self._pause(failures)

    async def _written(self, far: Far, since: float) -> NanobananaError | None:
        watching = anyio.CancelScope(shield=True)  # also who stops at once waits for the write that is out
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, since, watching)
            try:
                await self._blocking(far.write)
            except NanobananaError as error:
                return error
            finally:
                watching.cancel()
        if self._is_failing or self._is_slow:
            self._is_failing = self._is_slow = False
            self._tally.all_well(_ABOUT, "The journal is written again.")
        self._say_news()
        return None

    async def _watch(self, since: float, watching: anyio.CancelScope) -> None:
        """A write that takes long is told while it lasts; who waits for it goes on waiting, no others do."""
        with watching:
            while True:
                await anyio.sleep(_SLOW_S)
                self._is_slow = True
                if self._over.is_set():
                    self._tally.say_once(f"{_ALONE_IS_WAITED_FOR} {kill_this()}")
                else:
                    self._note(RunStopped("it does not answer"), anyio.current_time() - since)

    def _note(self, error: NanobananaError, failing_s: float) -> None:
        self._log("journal_failed", reason=error.message, for_s=round(failing_s))
        self._say_news()
        if isinstance(error, Superseded):
            self._over.set()
            self._stop.ask(error.message, needs_change=True)
        elif failing_s > self._longest_s:
            self._stop.ask(
                f"The journal cannot be written for {duration_text(failing_s)} now"
                f" ({error.message.rstrip('.')}); nothing is paid for without it. Run the same command again"
                " when it can."
            )
        else:
            self._tally.trouble(
                f"The journal cannot be written ({error.message.rstrip('.')}); nothing new is paid for"
                " meanwhile, what is paid for is collected.",
                _ABOUT,
                gives_up_in_s=max(0.0, self._longest_s - failing_s),
            )

    async def _pause(self, failures: int) -> None:
        with anyio.move_on_after(backoff_s(failures, first_s=0.5, longest_s=_LONGEST_PAUSE_S)):
            await self._over.wait()

    def _say_news(self) -> None:
        self._news.set()
        self._news = anyio.Event()
