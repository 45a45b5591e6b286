"""Blocking calls in threads that are kept for the next one, without holding up the event loop.

By the standard library's executor: a way to a thread and back takes half the CPU that it takes by anyio, and
each image and each commit is such a way.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import anyio
import anyio.lowlevel

T = TypeVar("T")

_MOST = 40
"""Threads; further calls wait for one of them."""


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST, thread_name_prefix="blocking call")


_executor = _threads()


def _begin_anew() -> None:
    """A process that was forked has none of the threads: a call would wait for one for ever."""
    global _executor
    _executor = _threads()


os.register_at_fork(after_in_child=_begin_anew)


async def in_thread(call: Callable[[], T]) -> T:
    """`Blocking` for real runs: a worker thread; a cancelled caller still waits for it to end."""
    await anyio.lowlevel.checkpoint_if_cancelled()
    with anyio.CancelScope(shield=True):
        result = await asyncio.get_running_loop().run_in_executor(_executor, _carried_out, call)
    return result  # noqa: RET504 - mypy takes a scope for one that may swallow errors


def _carried_out(call: Callable[[], T]) -> T:
    try:
        return call()
    except StopIteration as error:  # no future takes one: who waits would wait for ever
        raise RuntimeError("a blocking call has raised StopIteration") from error
