"""What one run consists of, handed to every stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
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
from nanobanana_batch.engine.limits.outcomes import Outcomes
from nanobanana_batch.engine.limits.pace import Outage, Rate, RetryBudget
from nanobanana_batch.engine.limits.quota import DailyQuota
from nanobanana_batch.engine.limits.retries import Retries
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.limits.space import Space
from nanobanana_batch.engine.limits.submit_pace import SubmitPace
from nanobanana_batch.engine.owed import Owed
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.trouble import Patience
from nanobanana_batch.engine.unfinished import unfinished
from nanobanana_batch.engine.work import FirstLook, Stop, Tally
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder
from nanobanana_batch.files.log import NO_LOG, Log
from nanobanana_batch.model import Request
from nanobanana_batch.providers.base import Provider
from nanobanana_batch.state.store import Store
from nanobanana_batch.steady import steady_s


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
