"""A journal as numbered files, each written once: who writes the next number is the one writer there is.

A new writer takes the next free number before anything else, and reads all before it. The writer of before
finds its number taken at its next write, and knows that it is not the one any more. So each of them knows
all that was told by those before it, and no two machines can both tell that they are about to pay.
"""

from __future__ import annotations

import json
import platform
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from nanobanana_batch.errors import RunStopped, StateFailed, Superseded, UsageError
from nanobanana_batch.journals.place import Place
from nanobanana_batch.object_storage import no_conditions
from nanobanana_batch.wording import shown

_NAME = re.compile(r"(\d{8})\.jsonl")
_MOST_TRIES = 50
"""Each time another writer was faster: it finds at once that it is not the writer any more."""
_READ_AT_ONCE = 16
_LOOKS = 20
_LOOK_S = 0.5
"""A network file system may show a name late that it has refused already."""
_PART_BYTES = 4 << 20
T = TypeVar("T")


class Head(NamedTuple):
    """The first line of each file."""

    slot: int
    writer: str
    begins: int
    """The number of the file with which the telling begins that goes on here."""
    journal: str
    """What tells this journal from any other."""
    machine: str
    at: float
    """Unix seconds by the writer's clock: to be told, nothing depends on it."""
    run: Mapping[str, str]
    """Whose journal it is: only where a writer takes it over."""
    draft: int = 0
    """Part of a telling anew that begins with this number, and counts once a later file says so."""


class Slots:
    """The journal at a place, for one writer; blocking."""

    def __init__(
        self, place: Place, run: Mapping[str, str], pause: Callable[[float], None] = time.sleep
    ) -> None:
        """`run`: what has to be the same for all who write here, as it is told to people."""
        self._pause = pause
        self._place = place
        self._run = dict(run)
        self._writer = secrets.token_hex(12)
        self._last = 0
        self._begins = 1
        self.journal = ""
        """What tells it from any other; known once it was taken over."""
        self.before: Head | None = None
        """Whose it was before; None: it is new."""

    @property
    def address(self) -> str:
        """As a person gives it."""
        return self._place.address

    def take_over(self) -> None:
        """Become its writer.

        Raises:
            UsageError: it is another run's, or the place does not keep two writers apart.
            StateFailed: a part of it is missing.
            NanobananaError: the place cannot be asked.
        """
        self._last = self._listed()
        for _ in range(_MOST_TRIES):
            self._look()
            head = self._header(self._begins, run=self._run)
            if self._created(self._last + 1, head):
                self._last += 1
                self._prove()
                return
            self._last += 1
        raise RunStopped(f"{self.address} is written to by others all the time; nothing was sent.")

    def write(self, lines: bytes) -> None:
        """Tell more; returns when it survives. If this fails, call it again with the very same lines.

        Raises:
            Superseded: somebody else is the writer now.
            NanobananaError: nobody knows whether it was written.
        """
        self._put(lines, self._begins, self._once)

    def tell_anew(self, pieces: Iterator[bytes]) -> None:
        """All of it once more: what was told before counts until the last piece is there, and not any more.

        Raises:
            Superseded, NanobananaError: as `write`.
        """
        begins = self._last + 1
        for piece in pieces:
            self._put(piece, self._begins, self._created, draft=begins)
        self._put(b"", begins, self._created, draft=begins)

    def tell_on(self, pieces: Iterator[bytes]) -> None:
        """Tell more before the work begins: as `write`, and with as much patience as a beginning has.

        Raises:
            Superseded, NanobananaError: as `write`.
        """
        for piece in pieces:
            self._put(piece, self._begins, self._created)

    def _once(self, number: int, data: bytes) -> bool:
        return self._place.create(_name(number), data)

    def _created(self, number: int, data: bytes) -> bool:
        return self._patiently(lambda: self._once(number, data))

    def _patiently(self, call: Callable[[], T]) -> T:
        """For who has nothing else to do than to wait: machines that begin together ask a storage at once."""
        for pause_s in self._place.pauses_s:
            try:
                return call()
            except RunStopped:
                self._pause(pause_s)
        return call()

    def _put(
        self, lines: bytes, begins: int, create: Callable[[int, bytes], bool], *, draft: int = 0
    ) -> None:
        data = self._header(begins, draft=draft) + lines
        if not create(self._last + 1, data):
            self._refuse_another(self._read(self._last + 1))
        self._last, self._begins = self._last + 1, begins

    def lines(self) -> Iterator[bytes]:
        """All that counts, in order.

        Raises:
            StateFailed: a part is missing or damaged.
            NanobananaError: the place cannot be asked.
        """
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
            numbers = range(self._begins, self._last + 1)
            for first in range(numbers.start, numbers.stop, 4 * _READ_AT_ONCE):
                several = numbers[first - numbers.start : first - numbers.start + 4 * _READ_AT_ONCE]
                for part in pool.map(self._read, several):
                    yield from self._counting(part)

    def last_lines(self) -> Iterator[bytes]:
        """The same from the end."""
        for number in range(self._last, self._begins - 1, -1):
            yield from reversed(self._counting(self._read(number)))

    def _counting(self, part: tuple[Head, bytes]) -> list[bytes]:
        head, body = part
        return body.splitlines(keepends=True) if head.draft in (0, self._begins) else []

    def _listed(self) -> int:
        """How many there are.

        Raises:
            UsageError: there is something else.
            StateFailed: one is missing.
        """
        names = self._patiently(self._place.names)
        numbers = sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))
        if len(numbers) < len(names):
            raise UsageError(
                f"There is something at {self.address} that is no journal; nothing was sent.",
                hint="Give a --journal of its own for each run.",
            )
        if numbers != list(range(1, len(numbers) + 1)):
            raise self._damaged("a part of it is missing")
        return len(numbers)

    def _look(self) -> None:
        """At its last part, if there is one: that of a run with this name goes on."""
        if not self._last:
            self.journal = self.journal or secrets.token_hex(12)
            return
        head, _ = self._read(self._last)
        first, _ = self._read(1)
        if self._run and first.run and first.run != self._run:
            theirs = ", ".join(f"{name} {shown(value)}" for name, value in first.run.items() if value)
            raise UsageError(
                f"The journal at {self.address} is another run's ({theirs}); nothing was sent.",
                hint="Give another --journal: each run has its own.",
            )
        self.journal, self._begins = first.journal, head.begins
        if head.writer != self._writer:  # a name may be ours that we have heard to be taken
            self.before = head

    def _prove(self) -> None:
        if self._created(self._last, self._header(self._begins, run=self._run)):
            raise no_conditions(self.address)

    def _header(self, begins: int, *, draft: int = 0, run: Mapping[str, str] | None = None) -> bytes:
        head = Head(
            self._last + 1,
            self._writer,
            begins,
            self.journal,
            platform.node(),
            round(time.time(), 3),
            run or {},
            draft,
        )
        return json.dumps(head._asdict(), separators=(",", ":")).encode() + b"\n"

    def _refuse_another(self, found: tuple[Head, bytes]) -> None:
        """It was written by the call of before, of which no answer came, or by somebody else."""
        head = found[0]
        if head.writer != self._writer:
            raise Superseded(
                f"The journal at {self.address} was taken over on the machine {shown(head.machine)}: that run"
                " pays for what is left, and this one pays for nothing more."
            )

    def _read(self, number: int) -> tuple[Head, bytes]:
        for _ in range(_LOOKS):
            if (data := self._patiently(lambda: self._place.read(_name(number)))) is not None:
                return self._understood(number, data)
            self._pause(_LOOK_S)
        raise self._damaged(f"its part {number:,} is missing")

    def _understood(self, number: int, data: bytes) -> tuple[Head, bytes]:
        line, _, body = data.partition(b"\n")
        try:
            head = Head(**{"run": {}, **json.loads(line)})
            if head.slot != number or not isinstance(head.run, dict) or not 1 <= head.begins <= number:
                raise ValueError("it says another number")
            if body and not body.endswith(b"\n"):
                raise ValueError("it has no end")
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(f"its part {number:,} cannot be understood ({error})") from error
        return head, body

    def _damaged(self, what: str) -> StateFailed:
        return StateFailed(
            f"The journal at {self.address} is damaged: {what}. A state that is made of it would not know all"
            " that was paid; nothing was sent.",
            hint="Bring it back as it was. If the folder of the run is whole, and no other machine goes on"
            " with it, give it a new --journal.",
        )


def parts_of(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines as pieces for a part each."""
    piece, size = [], 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= _PART_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)


def _name(number: int) -> str:
    return f"{number:08}.jsonl"
