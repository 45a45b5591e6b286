"""What one run consists of, handed to every stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.engine.ages import Ages
from nanobanana_batch.engine.callbacks import Callbacks
from nanobanana_batch.engine.clock import Clock
from nanobanana_batch.engine.counts import Counts
from nanobanana_batch.engine.journal import Blocking, Journal, log_fact
from nanobanana_batch.engine.limits.breaker import Breaker
from nanobanana_batch.engine.limits.budget import Budget
from nanobanana_batch.engine.limits.gate import SubmitGate
from nanobanana_batch.engine.limits.outcomes import MaxFailures, Outcomes
from nanobanana_batch.engine.limits.pace import Outage, Rate, RetryBudget
from nanobanana_batch.engine.limits.quota import DailyQuota, OnDailyQuota
from nanobanana_batch.engine.limits.retries import Retries
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.limits.space import Space
from nanobanana_batch.engine.limits.submit_pace import SubmitPace
from nanobanana_batch.engine.owed import Owed
from nanobanana_batch.engine.trouble import Patience
from nanobanana_batch.engine.work import FirstLook, Stop, Tally, Work
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder
from nanobanana_batch.files.log import NO_LOG, Log
from nanobanana_batch.model import Request
from nanobanana_batch.providers.base import Provider
from nanobanana_batch.state.lifecycle import GIVEN_UP, Phase
from nanobanana_batch.state.open_attempts import OpenAttempt
from nanobanana_batch.state.scope import EVERY_ROW, Scope
from nanobanana_batch.state.store import Repeat, Store
from nanobanana_batch.steady import steady_s

FIRST_CONTACT_S = 600.0
_RESOLVES_AT_ONCE = 4


class OnUnknown(StrEnum):
    """What to do with a request that may have been paid and cannot be matched with a task."""

    HOLD = "hold"
    RESUBMIT = "resubmit"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run behaves; times in seconds."""

    concurrency: int = 64
    """Tasks in flight."""
    submit_concurrency: int = 8
    """Paid requests on the wire."""
    submits_per_min: float | None = None
    """New requests a minute; repetitions are not counted."""
    max_attempts: int = 3
    """Paid attempts for a row whose tasks fail in a way that a new one may cure; counted in the state."""
    max_credits: float | None = None
    max_failures: MaxFailures = field(default_factory=MaxFailures)
    download_concurrency: int = 16
    read_concurrency: int = 16
    on_unknown: OnUnknown = OnUnknown.HOLD
    on_daily_quota: OnDailyQuota = OnDailyQuota.WAIT
    scope: Scope = EVERY_ROW
    """Rows that may be paid for."""
    new_rows: bool = True
    """Whether rows that were never sent are sent."""
    retried: frozenset[Phase] = frozenset()
    """Rows whose latest attempt ended so are paid for once more."""
    gives_up: bool = False
    """Tasks of earlier runs that do not come now, either, are given up, and their rows paid for once more."""
    gives_up_left: bool = False
    """What is sent again, or given up, is given up of rows that have left the manifest, too."""
    takes_over: bool = False
    """What went to another provider's name and is to be sent again, or given up, is this provider's now."""
    asks_resting: bool = True
    """Whether what rests is asked about once more."""
    max_outage_s: float = 8 * 3600.0
    first_contact_s: float = FIRST_CONTACT_S
    """How long to try a provider that has never answered in this run."""
    paid_grace_s: float = 90.0
    """Bound on sending one paid request and recording its answer."""
    direct_grace_s: float = 600.0
    """The same where the reply holds the images: it comes when these are made."""
    hard_stop_grace_s: float = 3.0
    """What is left of that when a person asks a second time to stop."""
    resolve_tries: int = 6
    """Repeats of a request without an answer that fail in a row before others come first; 0: none is made."""
    read_tries: int = 3
    """Reads or downloads in a row that fail after a person asked to stop, before a task is set aside."""
    download_tries: int = 8
    """Downloads in a row that fail before a task is set aside."""
    stuck_after_s: float = 1800.0
    """A task that works longer gives its slot back and is looked at now and then."""
    revisit_s: float = 600.0
    """How often what was set aside is looked at."""

    @property
    def resolve_concurrency(self) -> int:
        """Repeats of requests without an answer that are on the wire at once, beside new requests."""
        return min(_RESOLVES_AT_ONCE, self.submit_concurrency)

    @property
    def paid_at_once(self) -> int:
        """Requests on the wire that may be paid: each has a connection, so that none waits for another's."""
        return self.submit_concurrency + self.resolve_concurrency

    @property
    def pays_again(self) -> bool:
        """Whether rows are paid for once more by a person's word."""
        return bool(self.retried) or self.gives_up or self.on_unknown is OnUnknown.RESUBMIT

    def rows_to_repeat(self) -> list[Repeat]:
        """Which rows that had an attempt get another one, in turn.

        A retry that could not be sent is still that retry; a row that was never sent at all is not
        made by one.
        """
        if self.new_rows:
            cured_by_more = Repeat(frozenset({Phase.FAILED}), retryable_below=self.max_attempts)
            return [Repeat(frozenset({Phase.NOT_SENT})), cured_by_more]
        if self.gives_up or self.takes_over:
            given_up = Repeat(frozenset({Phase.FAILED}), code=GIVEN_UP)
            return [given_up, Repeat(frozenset({Phase.NOT_SENT}), had_more=True)]
        if self.retried:
            return [Repeat(self.retried), Repeat(frozenset({Phase.NOT_SENT}), had_more=True)]
        return []

    def may_try_again(self, work: Work, tasks: int) -> bool:
        """Whether a row that had so many tasks may be paid for once more without being asked for."""
        return (
            work.is_wanted
            and tasks < self.max_attempts
            and (self.new_rows or bool(self.retried) or self.gives_up)
        )


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of one run."""

    settings: Settings
    provider: Provider
    store: Store
    journal: Journal
    disk: Disk
    folder: Path
    space: Space
    blocking: Blocking
    slots: Slots
    stop: Stop
    gate: SubmitGate
    rate: Rate
    """Of new requests, as the person asks."""
    pace: SubmitPace
    """Of all of them, as the provider copes."""
    retry_budget: RetryBudget
    outage: Outage
    quota: DailyQuota
    breaker: Breaker
    budget: Budget
    outcomes: Outcomes
    owed: Owed
    counts: Counts
    retries: Retries
    callbacks: Callbacks | None
    log: Log
    tally: Tally
    first_look: FirstLook
    commands: FolderCommands
    """What a person may be advised to type."""
    arriving: set[str]
    """Task ids whose acceptance is just being written down."""
    now: Callable[[], float]
    """Unix seconds, only written down and compared with the provider's times; nothing waits by it."""
    clock: Clock
    """That `now` is of."""
    ages: Ages


def make_context(
    settings: Settings,
    provider: Provider,
    store: Store,
    *,
    folder: Folder,
    disk: Disk,
    blocking: Blocking,
    stop: Stop,
    tally: Tally,
    log: Log = NO_LOG,
    listed_price: Callable[[Request], float | None] = lambda request: None,
    callbacks: Callbacks | None = None,
    wall: Callable[[], float] = time.time,
    steady: Callable[[], float] = steady_s,
    commands: FolderCommands | None = None,
) -> Context:
    """The parts of a run, joined; call it inside the event loop that will run them."""
    clock = Clock(wall, steady, provider.provider_time, tally, log)
    now, offered = clock.now, provider.capabilities
    ages = Ages(clock, store.doubts(offered.name, offered.account))
    slots = Slots(settings.concurrency, tally)
    outage = Outage(settings.max_outage_s, settings.first_contact_s)
    gate = SubmitGate(outage, stop, tally, log, now)
    budget = Budget(settings.max_credits, store, listed_price, slots, stop)
    patience = Patience(
        settings.max_outage_s, settings.stuck_after_s, settings.revisit_s, settings.concurrency
    )
    commands = commands or FolderCommands(folder.path)
    owed, counts = Owed(patience, slots, stop, tally, log, commands, now), Counts(tally)
    after = (budget.note, owed.note, counts.note, ages.note, lambda fact: log_fact(log, fact))
    quota = DailyQuota(settings.on_daily_quota, settings.max_outage_s, stop, tally, log, now)
    breaker = Breaker(provider, gate, outage, quota, stop, tally, log)
    per_min = settings.submits_per_min
    return Context(
        settings=settings,
        provider=provider,
        store=store,
        journal=Journal(store, blocking, after=after),
        disk=disk,
        folder=folder.path,
        space=Space(disk, folder, slots, stop, owed),
        blocking=blocking,
        slots=slots,
        stop=stop,
        gate=gate,
        rate=Rate(per_min / 60.0) if per_min else Rate(),
        pace=SubmitPace(slots, tally, log),
        retry_budget=RetryBudget(is_needless=lambda: breaker.is_open),
        outage=outage,
        quota=quota,
        breaker=breaker,
        budget=budget,
        outcomes=Outcomes(settings.max_failures, stop, tally, log),
        owed=owed,
        counts=counts,
        retries=Retries(),
        callbacks=callbacks,
        log=log,
        tally=tally,
        first_look=FirstLook(
            {known.attempt for known in unfinished(store, provider.capabilities.name, settings)}
        ),
        commands=commands,
        arriving=set(),
        now=now,
        clock=clock,
        ages=ages,
    )


RESUMABLE = (Phase.INTENT, Phase.UNKNOWN, Phase.ACCEPTED, Phase.READY, Phase.EXPIRED)
"""Phases with which a run begins before it pays for anything new; what expired is only tried once more."""


def unfinished(
    store: Store, provider: str, settings: Settings, phases: Iterable[Phase] = RESUMABLE
) -> Iterator[OpenAttempt]:
    """What earlier runs left and this one takes up; another provider's tasks cannot be read here."""
    for phase in phases:
        for known in store.open_attempts(phase):
            if known.provider == provider and (settings.asks_resting or not known.rests):
                yield known
