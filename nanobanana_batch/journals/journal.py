"""What is told of a run's payments, on its way to a place that survives the machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from nanobanana_batch.files.payments import lines as told_lines
from nanobanana_batch.journals.slots import Slots, parts_of
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.ledger import Chain, chain_told


class FarJournal:
    """The journal of a folder, taken over by this process. Told by one thread, written by one other."""

    def __init__(self, slots: Slots, say: Callable[[str], None] = lambda text: None) -> None:
        """`say`: to the person, that this waits for its place."""
        self._slots = slots
        self.say = say
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._sending = b""
        self.told = 0
        """How many times something was told."""
        self.kept = 0
        """How many of these survive this machine."""
        self._sent_until = 0
        self.found: list[Fact] = []
        """What the folder knew and the journal did not: to be written down when the state is open."""

    @property
    def address(self) -> str:
        """As a person gives it."""
        return self._slots.address

    @property
    def journal(self) -> str:
        """What tells it from any other."""
        return self._slots.journal

    def append(self, lines: bytes) -> None:
        """Tell more; `write` makes it survive."""
        if lines:
            with self._lock:
                self._waiting.append(lines)
                self.told += 1

    def ask(self) -> None:
        """Tell nothing: once that survives, this process was the writer still when it was asked."""
        with self._lock:
            self.told += 1

    def write(self) -> None:
        """Let all that was told by now survive. What fails is tried by the next call, before anything else.

        Raises:
            Superseded: another process is the writer now.
            NanobananaError: it cannot be written, or nobody knows whether it was.
        """
        if self._sent_until == self.kept:  # nothing has failed
            with self._lock:
                self._sending, self._sent_until = b"".join(self._waiting), self.told
                self._waiting.clear()
        if self._sent_until > self.kept:  # also where it is empty: that was asked
            self._slots.write(self._sending)
        self._sending, self.kept = b"", self._sent_until

    def chain(self) -> Chain:
        """How much the place tells of.

        Raises:
            StateFailed: a part of it is missing.
            NanobananaError: it cannot be asked.
        """
        return next((chain for line in self._slots.last_lines() if (chain := chain_told(line))), Chain())

    def lines(self) -> Iterator[bytes]:
        """All that it tells; raises as `Slots.lines`."""
        return self._slots.lines()

    def catch_up(self, folder: Path, known: Chain) -> None:
        """Tell what the folder's own file tells past this; or all, where it does not have that any more.

        Raises:
            OSError: the file cannot be read.
            Superseded, NanobananaError: as `write`.
        """
        if known.number and is_told(folder, known):
            self._slots.tell_on(parts_of(_commits(_past(folder, known))))
        else:
            self._slots.tell_anew(parts_of(told_lines(folder)))


def is_told(folder: Path, chain: Chain) -> bool:
    """Whether the file of a folder has come past this, and still says so."""
    try:
        return any(chain_told(line) == chain for line in told_lines(folder))
    except OSError:
        return False


def _past(folder: Path, known: Chain) -> Iterator[bytes]:
    is_past = False
    for line in told_lines(folder):
        if is_past:
            yield line
        is_past = is_past or chain_told(line) == known


def _commits(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of each commit together: a part that ended within one would be told again from its begin."""
    commit: list[bytes] = []
    for line in lines:
        commit.append(line)
        if chain_told(line) is not None:
            yield b"".join(commit)
            commit.clear()
