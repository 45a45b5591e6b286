"""Work that needs a strict provider and many short processes, some of it at a time."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar, cast

from tests.campaign.strict import forked
from tests.campaign.strict.client import Strict, strict

Todo = TypeVar("Todo")
Done = TypeVar("Done")
Work = Callable[[Todo, Strict, Path], Done]
"""A function of a module: what to do, with a provider of one's own and an empty folder."""
_END_S = 10.0


def spend(
    work: Work[Todo, Done],
    chosen: Iterable[Todo],
    parallel: int,
    longest_s: float,
    tell: Callable[[Done], None],
    begin: Callable[[], None] = forked.warm_up,
) -> list[Done]:
    """All that was done; `tell` gets each when it is there. `begin` is called once, before all are forked.

    Raises:
        RuntimeError: for `longest_s` nothing came to its end.
    """
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(parallel)]
    with tempfile.TemporaryDirectory(prefix="strict-", ignore_cleanup_errors=True) as room:
        theirs = [pair[1] for pair in pairs]
        overseer = context.Process(target=_oversee, args=(theirs, room, work, begin))
        overseer.start()
        for pipe in theirs:
            pipe.close()
        try:
            return list(_handed_out([pair[0] for pair in pairs], iter(chosen), longest_s, tell))
        finally:
            overseer.join(_END_S if sys.exc_info()[0] is None else 0.0)
            overseer.kill()
            overseer.join()


def _oversee(pipes: list[Connection], room: str, work: Work[Todo, Done], begin: Callable[[], None]) -> None:
    """The process that imports what all need once, and that those who work are forked from."""
    forked.end_with_parent()
    begin()
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_work, args=(pipe, room, work)) for pipe in pipes]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(pipe: Connection, room: str, work: Work[Todo, Done]) -> None:
    """One process: a server of its own, and one thing after the other."""
    forked.end_with_parent()
    with strict() as server:
        for todo in iter(pipe.recv, None):
            with tempfile.TemporaryDirectory(dir=room, ignore_cleanup_errors=True) as name:
                pipe.send(work(todo, server, Path(name)))


def _handed_out(
    pipes: list[Connection], todo: Iterator[Todo], longest_s: float, tell: Callable[[Done], None]
) -> Iterator[Done]:
    """Each worker gets the next when it has told of one."""
    busy = [pipe for pipe in pipes if _hand_out(pipe, todo)]
    while busy:
        ready = wait(busy, longest_s)
        if not ready:
            raise RuntimeError("something does not end")
        for pipe in cast("list[Connection]", ready):
            done: Done = pipe.recv()
            tell(done)
            yield done
            if not _hand_out(pipe, todo):
                busy.remove(pipe)


def _hand_out(pipe: Connection, todo: Iterator[Todo]) -> bool:
    one = next(todo, None)
    pipe.send(one)
    return one is not None
