"""Rows of a large table are read and sorted out by another process, while this one keys and keeps them.

It is a fork, so it knows all that was found out already, and it says in plain values what it reads: rows by
columns, problems and warnings in their order, and at last how many rows there were. Rows that are not plain
come back as cells: what is wrong with them and what is worth saying is found out here, as without it, so no
word and no order depends on it. Where it ends too early, that is an error and never a short manifest.
"""

from __future__ import annotations

import fcntl
import gc
import marshal
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import astuple
from typing import Any, BinaryIO, NoReturn

from nanobanana_batch.errors import BadSurroundings, Problem
from nanobanana_batch.files.contents import Contents, Known, noting
from nanobanana_batch.manifest.form.table_source import TableRows
from nanobanana_batch.manifest.read.delimited import TextTable
from nanobanana_batch.manifest.rows.plain import Odd, PlainRows
from nanobanana_batch.model import Around, PlainDrafts
from nanobanana_batch.problems import ProblemLog

_WORTH_BYTES = 8 << 20
_PIPE_BYTES = 1 << 20
_PROBLEMS_AT_ONCE = 1000
_SIZE_BYTES = 4
_STREAM = 3
"""The descriptor behind those that every process has."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PROBLEMS, _WARNINGS, _PLAIN, _ODD, _END, _FAILED = range(6)

Part = PlainDrafts | Odd
Said = tuple[Any, ...]
"""One of these numbers, and what belongs to it."""


def parts_of(
    source: TableRows, plain: PlainRows, warnings: list[str], log: ProblemLog, *, apart: bool
) -> Generator[Part]:
    """The rows of a table in order: plain ones many at once, and each other one as its cells.

    `warnings` are those of who settles the rows; unreadable rows go to `log`. `apart`: another process may
    read them, where that pays.

    Raises:
        BadSurroundings: that process was ended.
    """
    reader = _reader(source, plain, warnings) if apart else None
    if reader is None:
        for found in source.groups(log):
            yield from plain.parts(found)
        return
    with closing(reader):
        yield from reader.parts(log)


def _reader(source: TableRows, plain: PlainRows, warnings: list[str]) -> _Apart | None:
    """Another process, where there is much to read, a core for it, and no thread that a fork cuts off."""
    table = source.table
    if not sys.platform.startswith("linux") or not isinstance(table, TextTable) or source.where:
        return None
    try:
        if os.stat(table.path).st_size < _WORTH_BYTES or len(os.sched_getaffinity(0)) < 2:
            return None
        if len(os.listdir("/proc/self/task")) > 1:
            return None
        is_noted = noting() is not None
        pid, stream = _forked(lambda fd: _Teller(fd, source, plain, warnings).tell(is_noted=is_noted))
    except OSError:  # no process more, or no descriptor
        return None
    return _Apart(pid, stream, table, warnings)


class _Apart:
    """The other process, as it is seen from here; closing it ends it."""

    def __init__(self, pid: int, stream: BinaryIO, table: TextTable, warnings: list[str]) -> None:
        self._pid = pid
        self._stream = stream
        self._table = table
        self._warnings = warnings
        self._rows = 0

    def parts(self, log: ProblemLog) -> Generator[Part]:
        """What it reads."""
        while True:
            for kind, *said in self._heard():
                if kind == _PLAIN:
                    self._rows += len(said[0])
                    yield _drafts(*said)
                elif kind == _ODD:
                    self._rows += 1
                    yield said[0], said[1]
                elif kind == _END:
                    self._end(*said)
                    return
                else:
                    self._note(kind, said, log)

    def _note(self, kind: int, said: list[Any], log: ProblemLog) -> None:
        if kind == _FAILED:
            raise RuntimeError(f"in the process that reads {self._table.file}:\n{said[0]}")
        if kind == _WARNINGS:
            self._warnings.extend(text for text in said[0] if text not in self._warnings)
        else:
            log.extend(Problem(*fields) for fields in said[0])

    def _heard(self) -> list[Said]:
        head = self._stream.read(_SIZE_BYTES)
        size = int.from_bytes(head, "big")
        data = self._stream.read(size) if len(head) == _SIZE_BYTES else b""
        if not data or len(data) < size:
            raise self._gone()
        found: list[Said] = marshal.loads(data)
        return found

    def _end(self, rows: int, notes: list[str], known: Known | None) -> None:
        if rows != self._rows:
            raise self._gone()
        self._table.take_notes(notes)
        if (contents := noting()) is None:
            return
        if known is None:
            contents.leave()
        for path, (_, sha256) in (known or {}).items():
            contents.take(path, sha256)

    def _gone(self) -> BadSurroundings:
        return BadSurroundings(
            f"The process that reads {self._table.file} was ended before it had read all; nothing was sent.",
            hint="Perhaps memory was short: look at what else runs here, and begin again.",
        )

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self._stream.close()
        with suppress(ChildProcessError):  # somebody has it waited for by the system
            if os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)


def _drafts(
    sources: Sequence[str],
    known: Sequence[tuple[str, ...]],
    which: Sequence[int] | None,
    prompts: Sequence[str],
    ids: Sequence[str | None],
    variables: Sequence[str],
) -> PlainDrafts:
    each = [Around(*texts) for texts in known]
    around = each * len(sources) if which is None else [each[at] for at in which]
    return PlainDrafts(sources, around, prompts, ids, variables)


def _forked(work: Callable[[int], None]) -> tuple[int, BinaryIO]:
    """A process that does this work, given a descriptor, and the stream of what it writes there.

    Raises:
        OSError: there is no room for it.
    """
    begin, end = os.pipe()
    try:
        with suppress(OSError):  # a user may have no more of it
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if not pid:
                _be_another(work, end, masked)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    except BaseException:
        os.close(begin)
        raise
    finally:
        os.close(end)
    return pid, os.fdopen(begin, "rb")


def _be_another(work: Callable[[int], None], end: int, masked: Iterable[int]) -> NoReturn:
    """The other process: of what is open here it has its stream only, and it ends with who reads that."""
    code = 1
    try:
        gc.freeze()  # what is left behind by who was forked is not ended here
        for each in _SIGNALS:  # they are for who reads, and he ends this one
            signal.signal(each, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        os.dup2(end, _STREAM, inheritable=False)
        os.closerange(_STREAM + 1, os.sysconf("SC_OPEN_MAX"))
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for standard in range(_STREAM):
            os.dup2(nothing, standard)
        work(_STREAM)
        code = 0
    finally:
        os._exit(code)


class _Teller:
    """What the other process does."""

    def __init__(self, fd: int, source: TableRows, plain: PlainRows, warnings: list[str]) -> None:
        self._stream = os.fdopen(fd, "wb")
        self._source = source
        self._plain = plain
        self._warnings = warnings
        self._warned = len(warnings)
        self._rows = 0

    def tell(self, *, is_noted: bool) -> None:
        """Read all rows, and say what they are; and what was in the files, where that is noted."""
        contents = Contents()
        try:
            with contents.noted() if is_noted else nullcontext():
                self._read()
            self._say([(_END, self._rows, list(self._source.table.notes()), contents.known())])
        except Exception:
            self._say([(_FAILED, traceback.format_exc())])

    def _read(self) -> None:
        log = _Forwarded(self._say)
        for found in self._source.groups(log):
            log.tell()
            self._rows += len(found)
            self._say(list(self._sorted_out(found)))
        log.tell()

    def _sorted_out(self, found: Sequence[Odd]) -> Iterator[Said]:
        for part in self._plain.parts(found):
            if len(self._warnings) > self._warned:
                yield _WARNINGS, self._warnings[self._warned :]
                self._warned = len(self._warnings)
            yield _said_of(part) if isinstance(part, PlainDrafts) else (_ODD, part[0], list(part[1]))

    def _say(self, said: list[Said]) -> None:
        data = marshal.dumps(said)
        self._stream.write(len(data).to_bytes(_SIZE_BYTES, "big"))
        self._stream.write(data)
        self._stream.flush()


def _said_of(drafts: PlainDrafts) -> Said:
    known = {around: number for number, around in enumerate(dict.fromkeys(drafts.around))}
    which = None if len(known) == 1 else [known[around] for around in drafts.around]
    beside = [tuple(around) for around in known]
    return _PLAIN, drafts.sources, beside, which, drafts.prompts, drafts.ids, drafts.variables


class _Forwarded(ProblemLog):
    """Problems that are told by who reads the stream."""

    def __init__(self, say: Callable[[list[Said]], None]) -> None:
        super().__init__()
        self._say = say
        self._held: list[Said] = []

    def add(self, problem: Problem) -> None:
        """Take one problem."""
        self.total += 1
        self._held.append(astuple(problem))
        if len(self._held) == _PROBLEMS_AT_ONCE:
            self.tell()

    def tell(self) -> None:
        """Say those that were taken since."""
        if self._held:
            self._say([(_PROBLEMS, self._held)])
            self._held.clear()
