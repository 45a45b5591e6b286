"""Gives each shard to the cluster, shows all of them as one run, and waits for them.

Where the driver dies Ray ends its tasks. The same command goes on: each shard stands in its folder, or in its
journal, and who is still at work on one is found out by the folder's lock or by the journal.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.contents import Contents, sha256_of
from nanobanana_batch.files.program import program
from nanobanana_batch.jobs.connection import api_key, is_embedded
from nanobanana_batch.jobs.order import Order, expanded, open_ordered
from nanobanana_batch.jobs.procs.counts import Counts, show_together
from nanobanana_batch.jobs.procs.sayings import Sayings
from nanobanana_batch.jobs.procs.together import TOLD_BY
from nanobanana_batch.ray_runner import cluster
from nanobanana_batch.ray_runner.fleet import Fleet
from nanobanana_batch.ray_runner.orders import absolute, as_on_each_node, orders_of_shards
from nanobanana_batch.ray_runner.together import together
from nanobanana_batch.ray_runner.values import Assignment, Ended, Look
from nanobanana_batch.sharing.values import Limits
from nanobanana_batch.wording import counted

if TYPE_CHECKING:
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.engine.signals import Interrupts
    from nanobanana_batch.engine.tally import Tally
    from nanobanana_batch.jobs.outcome import Outcome

_LOOK_S = 0.5
_ANSWERS_WITHIN_S = 5.0
_LOOKS_AT_NODES = 20
"""Of all looks each so manieth is also at which nodes live."""


def run(
    order: Order,
    settings: Settings,
    tally: Tally,
    pilot: int | None,
    interrupts: Interrupts,
    fleet: Fleet,
) -> Outcome:
    """Make what the manifest asks for, as shards on a cluster; all together keep to the settings' limits.

    Raises:
        UsageError: something is wrong with the order, or there is no such cluster; nothing was sent.
        RunStopped: a shard cannot go on, or its workers have died too often; what was paid for is told.
    """
    jobs, key = assigned(order, settings, pilot, fleet)
    limits = Limits(
        fleet.shards,
        settings.concurrency,
        settings.submits_per_min,
        settings.max_credits,
        waits_for_all=settings.max_credits is not None,
    )
    with cluster.connected(fleet.address) as ray:
        _refuse_too_few_places(ray, limits)
        driver = _Driver(ray, cluster.started_limiter(ray, limits), key, tally)
        driver.start(jobs)
        with _interrupted_by_signals():
            interrupted = driver.wait(lambda: interrupts.came)
    if interrupted and hasattr(interrupts, "came"):
        with suppress(AttributeError):
            interrupts.came = True  # type: ignore[misc]
    return together(
        _home(order, jobs),
        driver.ended,
        interrupted=interrupted,
        say=tally.announce,
        brought_to=jobs[0].bring_to,
    )


def assigned(
    order: Order, settings: Settings, pilot: int | None, fleet: Fleet
) -> tuple[list[Assignment], str]:
    """What each shard is to do, and the provider's key, which is in none of it."""
    from nanobanana_batch.providers.profile import load_profile

    orders = orders_of_shards(order, fleet)
    read = Contents()
    with read.noted(), expanded(open_ordered(order)):
        pass  # a row that is wrong would else be told by all machines, after they have been begun
    profile = load_profile(order.connection.provider)
    needs_key = not is_embedded(order.connection.provider)
    key = api_key(order.connection, profile) if needs_key else ""
    bring_to = fleet.bring_to and absolute(fleet.bring_to)
    files = _made_from(read, order.manifest.absolute())
    variable = profile.key_env if needs_key else ""
    return [
        Assignment(as_on_each_node(each), settings, pilot, variable, bring_to, program(), files)
        for each in orders
    ], key


def _made_from(read: Contents, manifest: Path) -> dict[str, str]:
    """The files behind the rows; where they are too many the manifest's own."""
    known = read.known()
    return {str(manifest): sha256_of(manifest)} if known is None else {p: h for p, (_, h) in known.items()}


def _home(order: Order, jobs: list[Assignment]) -> Path:
    out = jobs[0].order.out
    assert out is not None
    return order.out or out.parent


def _refuse_too_few_places(ray: Any, limits: Limits) -> None:
    """Where credits are limited nobody sends before all have said what they have cost."""
    if limits.waits_for_all and (places := cluster.places(ray)) < limits.shards:
        raise UsageError(
            f"With --max-credits all {limits.shards} shards have to be at work at the same time, and the"
            f" cluster has {places} CPUs; nothing was sent.",
            hint=f"Give --shards {max(places, 1)}, or add nodes.",
        )


@dataclass
class _Driver:
    """The tasks of one run, and what is known of them."""

    ray: Any
    limiter: Any
    key: str
    tally: Tally
    ended: dict[int, Ended] = field(default_factory=dict)
    _waiting: dict[Any, Assignment] = field(default_factory=dict)
    _jobs: dict[int, Assignment] = field(default_factory=dict)
    _again: Counter[int] = field(default_factory=Counter)
    """How often a shard that had ended was begun again."""
    _looks: int = 0
    _counts: dict[int, Counts] = field(default_factory=dict)
    _committed: dict[int, float] = field(default_factory=dict)
    _limiter_was: str = ""
    _stop: str = ""
    _ends: set[str] = field(default_factory=set)
    """Why shards have ended before all is made."""
    sayings: Sayings = field(init=False)

    def __post_init__(self) -> None:
        self.sayings = Sayings(self.tally)

    def start(self, jobs: list[Assignment]) -> None:
        """Hand all of them out; Ray begins as many as there are places for."""
        self.limiter.take_key.remote(self.key)
        for job in jobs:
            self._jobs[job.number] = job
            self._begin(job)
        self.tally.announce(f"{len(jobs)} shards, {cluster.places(self.ray)} at a time on the cluster.")

    def _begin(self, job: Assignment) -> None:
        name = f"shard {job.order.shard}"
        self._waiting[cluster.started_shard(self.ray, name, job, self.limiter)] = job

    def wait(self, came: Callable[[], bool]) -> bool:
        """Until all have ended; says whether a person has asked to stop meanwhile.

        Raises:
            KeyboardInterrupt: asked twice: the tasks end with this process, and the next run goes on.
        """
        try:
            return self._waited(came)
        except KeyboardInterrupt:  # also one that came while the first was being told
            self._say_what_is_left()
            raise

    def _waited(self, came: Callable[[], bool]) -> bool:
        interrupted = False
        while self._waiting:
            try:
                self._look()
                if came() and not interrupted:
                    raise KeyboardInterrupt
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                self._ask_to_stop()
        return interrupted

    def _say_what_is_left(self) -> None:
        waiting = counted(self.tally.in_flight, "image")
        self.tally.announce(
            f"Stopped at once, with {self.tally.completed:,} of {counted(self.tally.total, 'row')} completed."
            f" On their way were {waiting}, which may be paid for: run the same command again soon, links die"
            " 24 hours after their image is made."
        )

    def _ask_to_stop(self) -> None:
        self._stop = "Interrupted."
        self.limiter.stop.remote(self._stop)
        self.tally.interrupted(
            "Stopping: nothing more is submitted, what is paid for is being collected."
            " Interrupt again to stop at once."
        )

    def _look(self) -> None:
        done, _ = self.ray.wait(list(self._waiting), num_returns=1, timeout=_LOOK_S)
        with suppress(self.ray.exceptions.RayError, TimeoutError):
            look = self.ray.get(self.limiter.look.remote(), timeout=_ANSWERS_WITHIN_S)
            self._hear(look)  # what a shard has said comes before its end
        for task in done:
            self._note(cluster.result_of(self.ray, task, self._waiting.pop(task)))
        self._looks += 1
        if not self._stop and (not self._waiting or self._looks % _LOOKS_AT_NODES == 0):
            self._begin_what_died_again()
        show_together(self.tally, list(self._counts.values()))

    def _begin_what_died_again(self) -> None:
        """Images of a shard that has ended die with its node: who goes on with it fetches them once more.

        Not where its folder was brought elsewhere, or is seen from here: that outlives the node.
        """
        far = [each for each in self.ended.values() if each.outcome and each.node]
        there = [each for each in far if not self._jobs[each.number].bring_to and not each.folder.is_dir()]
        alive = cluster.living(self.ray) if there else frozenset()
        for ended in there:
            if ended.node in alive or self._again[ended.number] >= cluster.MOST_DEATHS:
                continue
            self._again[ended.number] += 1
            del self.ended[ended.number]
            self.tally.announce(
                f"The node on which shard {ended.number} had ended is gone, with its images: another one"
                " fetches them again, as long as their links live (24 hours)."
            )
            self._begin(self._jobs[ended.number])

    def _note(self, ended: Ended) -> None:
        self.ended[ended.number] = ended
        number = ended.number
        if (last := ended.outcome) is not None:  # it may have been granted more since the last look
            cost = last.credits_used + last.credits_reserved
            self._committed[number] = max(cost, self._committed.get(number, 0.0))
        if number in self._counts:
            self._counts[number] = _over(self._counts[number], ended)
        why = _why(ended)
        told = " for the same reason." if why in self._ends else f": {why}"
        self.tally.announce(f"shard {number} has ended{told if why else '.'}")
        self._ends.add(why)

    def _hear(self, look: Look) -> None:
        if self._limiter_was not in ("", look.incarnation):
            self.tally.announce("Who shares the limits was started again.")
            for number in self.ended:
                self.limiter.ended.remote(
                    number, self._counts.get(number, {}), self._committed.get(number, 0.0)
                )
            if self._stop:
                self.limiter.stop.remote(self._stop)
        if not look.has_key:
            self.limiter.take_key.remote(self.key)
        self._limiter_was = look.incarnation
        self._counts |= {number: counts for number, counts in look.counts.items() if number not in self.ended}
        self._committed |= look.leases
        for number, text in look.said:
            self.sayings.tell(str(number), text, is_stopping=bool(self._stop))


def _over(counts: Counts, ended: Ended) -> Counts:
    """The counts of a shard that has ended, from its own state as far as that tells them."""
    told = {**counts, "in_flight": 0, "in_flight_allowed": 0, "holds": [], "is_stopping": False}
    if ended.outcome is None:
        return told
    known = {status.value: count for status, count in ended.outcome.counts.items() if status.value in counts}
    return {**told, **known, "total": ended.outcome.rows, "credits": ended.outcome.credits_used}


def _why(ended: Ended) -> str:
    if ended.refused is not None:
        return ended.refused.message
    return ended.outcome.stop_reason.partition(TOLD_BY)[0] if ended.outcome else ""


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP ask as Ctrl-C does, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
