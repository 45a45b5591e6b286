"""Blocking calls are carried out in threads, and whoever waits for one hears how it ended."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Awaitable, Callable

import anyio
import pytest

from nanobanana_batch.engine import threads
from nanobanana_batch.engine.threads import in_thread


def run(check: Callable[[], Awaitable[object]]) -> None:
    """In a loop of its own."""
    anyio.run(check)


def test_a_call_is_carried_out_beside_the_loop_and_its_result_comes_back() -> None:
    """Not in the thread of the loop, which would stand still."""

    async def check() -> None:
        assert await in_thread(threading.get_ident) != threading.get_ident()

    run(check)


@pytest.mark.parametrize("kind", [OSError, StopIteration, KeyboardInterrupt, SystemExit])
def test_whatever_a_call_raises_is_raised_where_it_was_made(kind: type[BaseException]) -> None:
    """Also what would end a thread; and the next call is taken."""

    def fails() -> None:
        raise kind("so it is")

    async def check() -> None:
        caught: BaseException | None = None
        try:
            await in_thread(fails)
        except BaseException as error:
            caught = error
        assert isinstance(caught, kind | RuntimeError)  # no future takes a StopIteration
        assert await in_thread(lambda: 1) == 1

    run(check)


def test_calls_are_carried_out_beside_each_other() -> None:
    """As many as are made at once: each waits here until all of them have begun."""
    together = threading.Barrier(16)

    async def check() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(16):
                group.start_soon(in_thread, together.wait)

    run(check)


def test_who_is_cancelled_waits_for_the_end_of_the_call() -> None:
    """Else its file would be closed under the thread that writes to it."""
    may_end, ended = threading.Event(), list[str]()

    def call() -> None:
        may_end.wait()
        ended.append("call")

    async def caller() -> None:
        try:
            await in_thread(call)
        finally:
            ended.append("caller")

    async def check() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(caller)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
            may_end.set()

    run(check)
    assert ended == ["call", "caller"]


def test_what_is_cancelled_before_it_began_is_not_begun() -> None:
    """As with any other await."""
    begun = threading.Event()

    async def check() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await in_thread(begun.set)

    run(check)
    assert not begun.is_set()


def test_threads_serve_one_loop_after_another() -> None:
    """They outlive a loop, and tell each call's own loop."""
    for _ in range(3):
        run(lambda: in_thread(lambda: None))


def test_where_the_system_gives_no_thread_the_call_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is left waiting, and the next call is tried anew."""
    monkeypatch.setattr(threads, "_executor", threads._threads())

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def check() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refused)
            with pytest.raises(RuntimeError, match="new thread"):
                await in_thread(lambda: None)
        assert await in_thread(lambda: 1) == 1

    run(check)


def test_a_forked_process_has_threads_of_its_own() -> None:
    """Those of its parent are not in it; a call that waited for one of them would never end."""
    run(lambda: in_thread(lambda: None))
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os._exit(anyio.run(in_thread, lambda: 7))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
