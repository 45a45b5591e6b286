"""Modelled workers that ask the real coordinator of shards what they may do, as real ones do."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.model_workers import Worker, World
from nanobanana_batch.sharing.coordinator import Coordinator
from nanobanana_batch.sharing.link import EVERY_S
from nanobanana_batch.sharing.values import Grant, Limits, Report

_STUCK_PER_MIN = 0.0


class Sharing:
    """One coordinator for all of them; what it costs is measured as it works."""

    def __init__(self, world: World, workers: Sequence[Worker], limits: Limits) -> None:
        self._world = world
        self._coordinator = Coordinator(limits)
        self.exchanges = 0
        self.cpu_s = 0.0
        for worker in workers:
            worker.share, worker.is_paused = 0, True
            world.at(worker.starts_at, lambda one=worker: self._ask(one, Grant()))  # type: ignore[misc]

    @property
    def us_each(self) -> float:
        """Microseconds of CPU of one report and its grant, without the wire."""
        return self.cpu_s / max(self.exchanges, 1) * 1e6

    def _ask(self, worker: Worker, was: Grant) -> None:
        report = report_of(worker, was)
        began = time.thread_time()
        grant = self._coordinator.exchange(report, self._world.now)
        self.cpu_s += time.thread_time() - began
        self.exchanges += 1
        self._obey(worker, was, grant)
        if not worker.is_over:
            self._world.at(self._world.now + EVERY_S, lambda: self._ask(worker, grant))

    def _obey(self, worker: Worker, was: Grant, grant: Grant) -> None:
        worker.share = grant.concurrency
        if grant.per_min is None:
            worker.per_min = None
        elif grant.per_min > 0.0:
            worker.per_min = grant.per_min
        worker.is_paused = not grant.may_send
        if grant.may_send and not was.may_send:
            worker.wake()
        worker.start()
        worker.serve()


def report_of(worker: Worker, grant: Grant) -> Report:
    """How a worker stands."""
    held = None if worker.rate.is_free else 60.0 * worker.rate.passes_per_s
    return Report(
        shard=worker.number,
        incarnation=str(worker.number),
        concurrency=grant.concurrency,
        in_flight=worker.slots,
        wanted=min(worker.concurrency, worker.slots + worker.left),
        per_min=grant.per_min,
        accepted=worker.taken,
        held_to_per_min=_STUCK_PER_MIN if worker.rate.is_stuck else held,
        trouble=worker.trouble,
        rows_left=worker.left,
        unsent=worker.slots - worker.running,
        is_finished=worker.is_over,
    )
