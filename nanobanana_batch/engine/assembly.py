"""Puts a run together: all of its parts, of which each stage is given those that it uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

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
from nanobanana_batch.engine.limits.paid_sections import PaidSections
from nanobanana_batch.engine.limits.quota import DailyQuota
from nanobanana_batch.engine.limits.retries import Retries
from nanobanana_batch.engine.limits.shared import Shared
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.limits.space import Space
from nanobanana_batch.engine.limits.submit_pace import SubmitPace
from nanobanana_batch.engine.owed import Owed
from nanobanana_batch.engine.parts import Collecting, Files, Pacing, Record, Spending, Wire
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.spent import Spent
from nanobanana_batch.engine.stages.answers import Answers
from nanobanana_batch.engine.stems import Stems
from nanobanana_batch.engine.surviving import Far, Surviving
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.threads import in_thread
from nanobanana_batch.engine.trouble import Patience
from nanobanana_batch.engine.work import FirstLook, Stop
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder
from nanobanana_batch.files.log import NO_LOG, Log
from nanobanana_batch.model import Kind, Request
from nanobanana_batch.providers.base import Provider
from nanobanana_batch.sharing.link import Link
from nanobanana_batch.sharing.values import Report
from nanobanana_batch.state.store import Store
from nanobanana_batch.steady import steady_s


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the run works: its folder and disk, and the clocks there."""

    folder: Folder
    disk: Disk = field(default_factory=Disk)
    blocking: Blocking = in_thread
    wall: Callable[[], float] = time.time
    """Unix seconds."""
    steady: Callable[[], float] = steady_s
    """Seconds that nobody sets."""
    far: Far | None = None
    """Where what is about to be paid is told, beside the folder."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who has the run made: says when to stop, and hears what it does."""

    stop: Stop
    tally: Tally
    log: Log = NO_LOG
    commands: FolderCommands | None = None
    """What may be advised to type; None: what the folder alone asks for."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The whole run, for who joins the stages; none of them is given this."""

    settings: Settings
    wire: Wire
    pacing: Pacing
    record: Record
    spending: Spending
    collecting: Collecting
    files: Files
    answers: Answers
    counts: Counts
    spent: Spent
    commands: FolderCommands


def assemble(
    settings: Settings,
    provider: Provider,
    store: Store,
    machine: Machine,
    person: Person,
    *,
    listed_price: Callable[[Request], float | None] = lambda request: None,
    callbacks: Callbacks | None = None,
) -> Parts:
    """The parts of a run, joined; call it inside the event loop that will run them."""
    stop, tally, log = person.stop, person.tally, person.log
    clock = Clock(machine.wall, machine.steady, provider.provider_time, tally, log)
    offered, files = provider.capabilities, Files(machine.folder.path, machine.disk)
    ages = Ages(clock, store.doubts(offered.name, offered.account))
    slots, counts, spent = Slots(settings.concurrency, tally), Counts(tally), Spent(tally)
    budget = Budget(settings.max_credits, store, listed_price, slots, stop)
    commands = person.commands or FolderCommands(machine.folder.path)
    owed = Owed(_patience(settings), slots, stop, tally, log, commands, clock.now)
    after = (budget.note, owed.note, counts.note, spent.note, ages.note, lambda fact: log_fact(log, fact))
    journal = Journal(store, machine.blocking, after=after)
    surviving = Surviving(machine.far, machine.blocking, stop, tally, log, longest_s=settings.max_outage_s)
    record = Record(store, journal, surviving, machine.blocking, tally, log, clock, ages)
    quota = DailyQuota(settings.on_daily_quota, settings.max_outage_s, stop, tally, log, clock.now)
    wire = _wire(settings, provider, callbacks, record, stop, quota)
    pacing = _pacing(settings, wire, SubmitPace(slots, tally, log))
    outcomes, stems = Outcomes(settings.max_failures, stop, tally, log), Stems(store, files.folder)
    return Parts(
        settings=settings,
        wire=wire,
        pacing=pacing,
        record=record,
        spending=Spending(slots, budget, Space(machine.disk, machine.folder, slots, stop, owed), Retries()),
        collecting=Collecting(owed, outcomes, FirstLook(), stems),
        files=files,
        answers=Answers(wire, record, files, pacing.pace, quota),
        counts=counts,
        spent=spent,
        commands=commands,
    )


def shared(parts: Parts, link: Link, estimated: float | None) -> Shared:
    """What holds a run to its share of the limits; `estimated`: credits that its folder will have cost."""
    return Shared(
        link,
        parts.settings,
        parts.wire,
        parts.spending.slots,
        parts.spending.budget,
        parts.pacing.rate,
        parts.pacing.pace,
        parts.record.tally,
        estimated,
    )


def idle_report(settings: Settings, store: Store, shard: int) -> Report:
    """What a shard says of itself that has nothing to send or to collect."""
    slots, stop = Slots(settings.concurrency, Tally()), Stop()
    budget = Budget(settings.max_credits, store, lambda request: None, slots, stop)
    spent = budget.committed
    return Report(shard, incarnation=f"idle-{shard}", committed=spent, estimated=spent, is_finished=True)


def _wire(
    settings: Settings,
    provider: Provider,
    callbacks: Callbacks | None,
    record: Record,
    stop: Stop,
    quota: DailyQuota,
) -> Wire:
    tally, log = record.tally, record.log
    outage = Outage(settings.max_outage_s, settings.first_contact_s)
    gate = SubmitGate(outage, stop, tally, log, record.now)
    breaker = Breaker(provider, gate, outage, quota, stop, tally, log)
    return Wire(provider, callbacks, stop, gate, breaker, outage)


def _patience(settings: Settings) -> Patience:
    return Patience(settings.max_outage_s, settings.stuck_after_s, settings.revisit_s, settings.concurrency)


def _pacing(settings: Settings, wire: Wire, pace: SubmitPace) -> Pacing:
    per_min, breaker = settings.submits_per_min, wire.breaker
    is_direct = wire.provider.capabilities.kind is Kind.DIRECT
    return Pacing(
        Rate(per_min / 60.0) if per_min else Rate(),
        pace,
        RetryBudget(is_needless=lambda: breaker.is_open),
        PaidSections(
            settings.direct_grace_s if is_direct else settings.paid_grace_s, settings.hard_stop_grace_s
        ),
    )
