"""Workers as plain events on a heap: millions of rows, decided on by the engine's own reckoning.

Real: `SubmitRate` and `TaskBound` (when the next request may go out, what a 429 means), the pauses of the
breaker, and the coordinator of shards with its reports and grants. Modelled: senders, slots, the person's
rate, who tries while the provider is down, reads. How late the end of a task is seen, and how many reads that
takes, was measured of real engines (`Seen`), which `simulate` also holds the whole model against.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.account import Account, Verdict
from nanobanana_batch.engine.limits import breaker
from nanobanana_batch.engine.limits.pace import outage_pause_s
from nanobanana_batch.engine.limits.submit_rate import SubmitRate
from nanobanana_batch.engine.limits.task_bound import TaskBound

_SENDERS = 8
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
"""After a 429, full jitter."""
_FIRST_TROUBLE_S, _LONGEST_TROUBLE_S = 0.5, 5.0
"""After a request that found nobody, as long as the breaker is closed."""
_LONGEST_READ_PAUSE_S = 30.0
"""Between two tries to read, in a long outage: the first that is answered shows that the provider is up."""


@dataclass(frozen=True)
class Seen:
    """What was measured of real engines."""

    lags_s: Sequence[float]
    """From the end of a task until its engine knows."""
    reads_per_row: float
    reads_in_outage: float
    """Of one engine."""


@dataclass(slots=True)
class _Request:
    wanted_at: float = 0.0
    failed: int = 0


class World:
    """The time that all share."""

    def __init__(self, account: Account, seen: Seen, seed: int) -> None:
        self.account = account
        self.seen = seen
        self.dice = random.Random(seed)
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Let something happen."""
        heapq.heappush(self._events, (when, next(self._order), event))

    def run(self) -> None:
        """Until nothing happens any more."""
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()


@dataclass
class Worker:
    """One engine, as far as it sends."""

    world: World
    number: int
    left: int
    concurrency: int
    per_min: float | None
    starts_at: float
    rate: SubmitRate = field(default_factory=SubmitRate)
    ended_at: float = 0.0
    taken: int = 0
    running: int = 0
    is_paused: bool = False
    """By who shares the limits."""
    is_shared: bool = False

    def __post_init__(self) -> None:
        self.share: int = self.concurrency
        self.slots = self._wire = self._refused_at = 0
        self._bound = TaskBound(self.concurrency)
        self._idle = _SENDERS
        self._person_at = 0.0
        self._line: deque[_Request] = deque()
        self._serve_at = math.inf
        self._parked: deque[_Request] = deque()
        self._failures = 0
        self._failing_since: float | None = None
        self._trial: _Request | None = None
        self._is_probed = False
        self._unread = 0
        """Tasks that have ended while nobody could be asked."""
        self._pause_number = 0
        """Of the pause that is going on; a wake-up of an earlier one is none."""
        self._is_pausing = self._is_at_gate = False
        self.world.at(self.starts_at, self.start)
        up_at = self.world.account.terms.outage[1]
        if up_at < math.inf:
            self.world.at(up_at + self.world.dice.uniform(0.0, _LONGEST_READ_PAUSE_S), self._read_works)

    @property
    def is_over(self) -> bool:
        """Whether everything was sent and has ended."""
        return not (self.left or self.slots)

    @property
    def trouble(self) -> str:
        """Why it sends nothing."""
        return "nobody answers" if self._is_open else ""

    @property
    def _is_open(self) -> bool:
        return self._failures >= breaker.TRIP

    # --- new rows ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Give senders rows, as far as there are slots."""
        while self.left and self._idle and self.slots < min(self.share, self._bound.at(self.world.now)):
            self.left, self.slots, self._idle = self.left - 1, self.slots + 1, self._idle - 1
            self._row(_Request())

    def _row(self, request: _Request) -> None:
        now = self.world.now
        at = max(now, self._person_at)
        self._person_at = at + (60.0 / self.per_min if self.per_min else 0.0)
        if at > now:
            self.world.at(at, lambda: self._enter(request))
        else:
            self._enter(request)

    # --- one turn after the other ------------------------------------------------------------------------

    def _enter(self, request: _Request) -> None:
        request.wanted_at = self.world.now
        if self._is_open:
            self._parked.append(request)
            if self._trial is None:
                self._try_alone()
        else:
            self._line.append(request)
            self.serve()

    def _serve_again(self, at: float) -> None:
        if not self.world.now < self._serve_at <= at:
            self._serve_at = at
            self.world.at(at, self.serve)

    def serve(self) -> None:
        """Send what has its turn."""
        now = self.world.now
        while self._line and not self.is_paused:
            running = self.running + self._wire
            if running >= min(self.share, self._bound.at(now)):
                return
            at = now if running < self._refused_at else self.rate.next_at(now)
            if at == math.inf:
                return
            if at > now:
                self._serve_again(at)
                return
            self._send(self._line.popleft())

    def _send(self, request: _Request) -> None:
        self.rate.sent(self.world.now, request.wanted_at)
        self._wire += 1
        sent_at = self.world.now
        self.world.at(sent_at + self.world.account.terms.wire_s, lambda: self._came(request, sent_at))

    def _came(self, request: _Request, sent_at: float) -> None:
        verdict = self.world.account.ask(self.world.now)
        self._wire -= 1
        self.rate.ended()
        is_trial, self._trial = request is self._trial, None if request is self._trial else self._trial
        if verdict is Verdict.TAKEN:
            self._accepted()
        elif verdict is Verdict.TURNED_AWAY:
            self._turned_away(request, sent_at)
        else:
            self._found_nobody(request)
        if is_trial and self._is_open and self._parked and self._trial is None:
            self._try_alone()
        self.serve()

    # --- what comes of it --------------------------------------------------------------------------------

    def _accepted(self) -> None:
        world = self.world
        self._well()
        self.taken += 1
        self.rate.accepted(world.now)
        if self._bound.accepted(world.now, self.running):
            self.rate.forget(world.now)
        self.running += 1
        ends = world.now + world.account.terms.draw_task_s(world.dice)
        known = ends + world.dice.choice(world.seen.lags_s)
        down_at, up_at = world.account.terms.outage
        if down_at <= known < up_at:
            self._unread += 1
        else:
            world.at(known, self._known)
        self._idle += 1
        self.start()

    def _known(self) -> None:
        self.running, self.slots = self.running - 1, self.slots - 1
        self.ended_at = self.world.now
        self.start()
        self.serve()

    def _turned_away(self, request: _Request, sent_at: float) -> None:
        now = self.world.now
        self._well()
        is_of_tasks = self._bound.rejected(now, self.running, is_said=False)
        self._refused_at = self.running if is_of_tasks else 0
        self.rate.rejected(now, sent_at, is_of_rate=not is_of_tasks)
        request.failed += 1
        self._again(request, _FIRST_PAUSE_S, _LONGEST_PAUSE_S)

    def _again(self, request: _Request, first_s: float, longest_s: float) -> None:
        bound = min(longest_s, first_s * 2.0 ** min(request.failed, 30))
        self.world.at(self.world.now + self.world.dice.uniform(0.0, bound), lambda: self._enter(request))

    def _well(self) -> None:
        """The provider has answered: who waited for a trial goes at once, and reads go on."""
        self._read_all()
        self._failures, self._failing_since = 0, None
        parked, self._parked = self._parked, deque()
        for request in parked:
            self._row(request)

    def _found_nobody(self, request: _Request) -> None:
        request.failed += 1
        self._fail(is_probed=False)
        if self._is_open:
            self._parked.append(request)
            self._parked.extend(self._line)
            self._line.clear()
            if self._trial is None:
                self._try_alone()
        else:
            self._again(request, _FIRST_TROUBLE_S, _LONGEST_TROUBLE_S)

    def _fail(self, *, is_probed: bool) -> None:
        self._failures += 1
        self._is_probed = is_probed
        self._failing_since = self.world.now if self._failing_since is None else self._failing_since

    # --- the one that tries while nobody answers ---------------------------------------------------------

    def _try_alone(self) -> None:
        self._trial = self._parked.popleft()
        self._pause()

    def _pause(self) -> None:
        lasting_s = self.world.now - (self._failing_since or self.world.now)
        pause_s = outage_pause_s(
            lasting_s,
            share=breaker._PROBE_SHARE,
            shortest_s=breaker._PROBE_SHORTEST_S,
            longest_s=breaker._PROBE_LONGEST_S,
        )
        self._pause_number += 1
        self._is_pausing = True
        number = self._pause_number
        self.world.at(self.world.now + pause_s, lambda: self._ask_whether_up(number))

    def _ask_whether_up(self, number: int) -> None:
        if number != self._pause_number or not self._is_pausing:
            return
        self._is_pausing = False
        if self.is_paused:
            self._is_at_gate = True  # another shard tries
        elif self.world.account.probe(self.world.now):
            self._read_all()
            self._send_trial()
        else:
            self._fail(is_probed=True)
            self._pause()

    def _read_works(self) -> None:
        """A read was answered, or another shard's request: no need to wait any longer."""
        self._read_all()
        if self._is_pausing and self._is_probed and not self.is_paused:
            self._is_pausing = False
            self._send_trial()

    def _read_all(self) -> None:
        """What ended in the outage is known now, as long as it is over."""
        if self._unread and self.world.now >= self.world.account.terms.outage[1]:
            for _ in range(self._unread):
                self.world.at(self.world.now + self.world.account.terms.wire_s, self._known)
            self._unread = 0

    def wake(self) -> None:
        """Whoever shares the limits says that something works again."""
        self._read_works()
        if self._is_at_gate:
            self._is_at_gate, self._is_pausing = False, True
            self._ask_whether_up(self._pause_number)
        self.serve()

    def _send_trial(self) -> None:
        if self._trial is not None:
            self._trial.wanted_at = self.world.now
            self._send(self._trial)


@dataclass(frozen=True)
class Modelled:
    """How all workers together went."""

    took_s: float
    cpu_s: float
    account: Account
    completed: int


def workers_of(
    world: World,
    rows: Sequence[int],
    starts_at: Sequence[float],
    *,
    concurrency: int,
    per_min: float | None,
) -> list[Worker]:
    """So many, each with its rows."""
    return [
        Worker(world, number, count, concurrency, per_min, start)
        for number, (count, start) in enumerate(zip(rows, starts_at, strict=True))
    ]


def finish(world: World, workers: Sequence[Worker]) -> Modelled:
    """Let it happen, and add up; reads as they were measured.

    Raises:
        RuntimeError: something never ended, or was made twice.
    """
    began = time.process_time()
    world.run()
    account, made = world.account, sum(worker.taken for worker in workers)
    if not all(worker.is_over for worker in workers) or made != account.taken:
        left = sum(worker.left + worker.slots for worker in workers)
        raise RuntimeError(f"{left} rows were never made")
    account.reads = round(made * world.seen.reads_per_row)
    if math.isfinite(account.terms.outage[0]):
        account.reads_in_outage = round(world.seen.reads_in_outage * len(workers))
        account.reads += account.reads_in_outage
    took_s = max(worker.ended_at for worker in workers)
    return Modelled(took_s, time.process_time() - began, account, made)
