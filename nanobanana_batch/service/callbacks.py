"""A callback is sent to a judged address or not at all, and never delays a task.

It is a courtesy: a receiver may miss one, and reads the task itself before it believes one. So what is not
delivered by the fourth attempt, or within ten minutes of the task's end (across restarts), is given up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from dataclasses import replace

from nanobanana_batch.service import exchange
from nanobanana_batch.service.faults import CALLBACKS, FaultPlan
from nanobanana_batch.service.network import AddressRefused, Network, target_of
from nanobanana_batch.service.options import ServiceOptions
from nanobanana_batch.service.store import Outcome, Owed, Store, Task

RETRY_WAITS_S = (1.0, 2.0, 4.0)
_TELL_WITHIN_S = 600.0
_AT_ONCE = 64  # each holds one connection, and one place while it waits to retry
_log = logging.getLogger("nanobanana_batch.service")


class CallbackFailed(Exception):
    """One attempt came to nothing; the next may not."""


class Callbacks:
    """Sends what the store owes, oldest first."""

    def __init__(self, store: Store, faults: FaultPlan, options: ServiceOptions, *, network: Network) -> None:
        self._store = store
        self._faults = faults
        self._base_url, self._images = options.base_url, options.images
        self._allow_loopback = options.allow_loopback_callbacks
        self._network = network
        self._settled = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_ONCE)

    def look(self) -> None:
        """A task was settled: there may be something to send."""
        self._settled.set()

    async def run(self) -> None:
        """Until cancelled."""
        last = 0
        async with asyncio.TaskGroup() as group:
            while True:
                await self._places.acquire()
                self._settled.clear()
                while (owed := self._store.next_callback(last)) is None:
                    await self._settled.wait()
                    self._settled.clear()
                last = owed.seq
                group.create_task(self._see_to(owed))

    async def _see_to(self, owed: Owed) -> None:
        try:
            outcome: Outcome = await self._outcome(owed)
        except Exception:
            _log.exception("callback of task number %s", owed.task_seq)
            outcome = "failed"
        finally:
            self._places.release()
        self._store.settle_callback(owed, outcome)

    async def _outcome(self, owed: Owed) -> Outcome:
        task = self._store.by_seq(owed.task_seq)
        fault = self._faults.first(CALLBACKS, task.subject)
        if fault == "lost_callback":
            return "lost"
        if time.time() > (task.finished_at or 0) + _TELL_WITHIN_S:
            return "late"
        told = _untrue(task) if fault == "false_callback" else task
        links = told.links(self._base_url, told.link_token, self._images)
        body = json.dumps(exchange.queried(told, time.time(), links), separators=(",", ":")).encode()
        outcome = await self._deliver(owed, task, body)
        if fault == "double_callback" and outcome == "delivered":
            with suppress(CallbackFailed):
                await self._attempt(owed.url, body)
        return outcome

    async def _deliver(self, owed: Owed, task: Task, body: bytes) -> Outcome:
        for attempt in range(owed.attempts, 1 + len(RETRY_WAITS_S)):
            if attempt > 0:
                await self._network.sleep(RETRY_WAITS_S[attempt - 1])
            self._store.count_attempt(owed)
            try:
                await self._attempt(owed.url, body)
            except AddressRefused as refused:
                _log.warning("callback of task %s refused: callback_url %s", task.id, refused)
                return "refused"
            except CallbackFailed as failed:
                _log.info("callback of task %s, attempt %s: %s", task.id, attempt + 1, failed)
            else:
                return "delivered"
        return "failed"

    async def _attempt(self, url: str, body: bytes) -> None:
        target = target_of(url, allow_loopback=self._allow_loopback)
        head = (
            f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n"
            "User-Agent: nanobanana-batch-service\r\nConnection: close\r\n\r\n"
        )
        try:
            status, _ = await self._network.ask(target, head.encode("ascii") + body)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise CallbackFailed(f"{type(error).__name__}: {error}") from error
        if not 200 <= status < 300:
            raise CallbackFailed(f"status {status}")


def _untrue(task: Task) -> Task:
    """The task as it did not end."""
    if task.state != "completed":
        return replace(task, state="completed", link_token="no-such-link")
    return replace(task, state="failed", error_code="service_error", error_message="The service failed.")
