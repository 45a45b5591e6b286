"""The whole job, from a manifest file to results.csv; nothing is sent before everything is checked.

This is where the rooms meet: it reads the manifest, opens the folder, the provider and the engine,
and leaves the deciding to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanobanana_batch.errors import StateFailed, UsageError, before_sending
from nanobanana_batch.estimates import Cost, Prices, seen_by
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder, create, make, was_worked_on
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.files.proof import refuse_unspeakable
from nanobanana_batch.jobs.connection import CONNECTION, CheckedConnection, prepare
from nanobanana_batch.jobs.journaling import joined, part
from nanobanana_batch.jobs.opening import opened, refuse_copy
from nanobanana_batch.jobs.order import (
    _OR_LOCAL,
    Order,
    expanded,
    folder_of,
    open_ordered,
    refuse_mixing,
    refuse_parents,
)
from nanobanana_batch.jobs.outcome import Outcome, done_before, worked
from nanobanana_batch.jobs.pilot import Projection, choose_pilot, project
from nanobanana_batch.jobs.session import Session, notice_lost_files
from nanobanana_batch.jobs.shards import refuse_another_division, refuse_another_part
from nanobanana_batch.jobs.unchanged import Making, as_before
from nanobanana_batch.manifest import Manifest
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.scope import Scope
from nanobanana_batch.state.shards import Shard
from nanobanana_batch.state.taking import Taken
from nanobanana_batch.wording import amount, with_money

if TYPE_CHECKING:
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.engine.signals import Interrupts
    from nanobanana_batch.engine.tally import Tally
    from nanobanana_batch.journals.journal import FarJournal
    from nanobanana_batch.sharing.link import Link


def run(
    order: Order,
    settings: Settings,
    tally: Tally,
    pilot: int | None = None,
    interrupts: Interrupts | None = None,
    link: Link | None = None,
) -> Outcome:
    """Make what the manifest asks for and is not made yet, or only a pilot of so many rows.

    `interrupts`: where the wish to stop comes from, if not from signals of this process. `link`: to who
    shares the limits of the settings among several runs; without one all of them are this run's.

    Raises:
        UsageError: something is wrong with the order; nothing was sent.
        FolderInUse: another run works on the folder; nothing was sent.
        RunStopped: going on could pay twice or lose what is paid for.
        KeyboardInterrupt: somebody has asked to stop before anything was sent.
    """
    from nanobanana_batch.engine.signals import Signals

    disk, making = Disk(), Making(order)
    with making.noted():
        manifest = open_ordered(order)
    settings = _fitted(order, settings, tally)
    line, interrupts = _connected(order, settings), interrupts or Signals()
    asked = _Asked(order, manifest, line, settings, tally, pilot, interrupts, link)
    path = folder_of(order, manifest).path
    refuse_another_division(path, order.shard)
    worked_on = was_worked_on(path)
    with ExitStack() as locks:
        # The lock first where there is a folder: a second process leaves at once, however long the manifest.
        is_locked = path.is_dir()
        if is_locked:
            locks.enter_context(only_writer(path))
        roster, warnings = _rows(asked, making, locks, may_be_known=is_locked and pilot is None)
        _refuse_or_warn(asked, warnings)
        asked = _narrowed(asked, roster)
        if not is_locked:
            with before_sending():
                make(path, disk)
            locks.enter_context(only_writer(path))
        taken = None if roster is None else _taken(asked, roster, making, warnings)
        return _ended(_opened(asked, disk, locks, taken, worked_on=worked_on), asked, taken)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a run was asked for, and what that was found to be."""

    order: Order
    manifest: Manifest
    line: CheckedConnection
    settings: Settings
    tally: Tally
    pilot: int | None
    interrupts: Interrupts
    link: Link | None


def _fitted(order: Order, settings: Settings, tally: Tally) -> Settings:
    """What so many descriptors as this process may have are enough for."""
    from nanobanana_batch.engine.limits.descriptors import fitted

    settings = replace(settings, asks_resting=False)
    if not order.callback_route:
        return fitted(settings, tally, callbacks=0)
    from nanobanana_batch.receiver import CONNECTIONS

    return fitted(settings, tally, callbacks=CONNECTIONS)


def _rows(
    asked: _Asked, making: Making, locks: ExitStack, *, may_be_known: bool
) -> tuple[Roster | None, Sequence[str]]:
    """The manifest's rows, and what there is to say of them; None where the state has the very same."""
    order, manifest = asked.order, asked.manifest
    if may_be_known and (warnings := as_before(order, folder_of(order, manifest))) is not None:
        return None, warnings
    with making.noted():
        roster = locks.enter_context(
            expanded(manifest, asked.interrupts.raise_if_came, apart=order.shard is None)
        )
    refuse_unspeakable(roster.ids())
    return roster, manifest.warnings


def _narrowed(asked: _Asked, roster: Roster | None) -> _Asked:
    """What the run is about: a pilot's rows, or one shard's; rows of a state are so already."""
    if roster is None:
        return asked
    settings = asked.settings
    if asked.pilot is not None:
        settings = _piloted(roster, asked.manifest, settings, asked.tally, asked.pilot)
    if asked.order.shard is not None:
        roster.keep(asked.order.shard)
    return replace(asked, settings=settings)


def _taken(asked: _Asked, roster: Roster, making: Making, warnings: Sequence[str]) -> Taken:
    """The rows as the state takes them; what they were made from it keeps for a run over all of them only."""
    made_from = making.text(warnings) if asked.pilot is None else ""
    return Taken(roster, asked.manifest.name, asked.manifest.variables, made_from)


def _opened(asked: _Asked, disk: Disk, locks: ExitStack, taken: Taken | None, *, worked_on: bool) -> Session:
    """The folder, which is locked, with its state. `taken`: None where the state has these rows."""
    order, line = asked.order, asked.line
    folder = folder_of(order, asked.manifest)  # under the lock: nobody can put the state elsewhere any more
    _refuse_anothers(asked, folder)  # before its journal is taken over from who works there
    far = _journal(asked, folder, disk)
    _make_ready_to_write(folder, disk, locks, worked_on=worked_on)
    store = locks.enter_context(
        opened(
            folder,
            disk,
            as_copy=order.as_copy,
            is_checked_later=taken is None,
            far=far,
            begins_with=taken,
        )
    )
    _refuse_anothers(asked, folder)  # the journal may have known more
    return Session(
        store,
        disk,
        folder,
        line,
        asked.settings,
        asked.tally,
        order.callback_route,
        interrupts=asked.interrupts,
        link=asked.link,
        far=far,
    )


def _ended(session: Session, asked: _Asked, taken: Taken | None) -> Outcome:
    """How the work on an open folder has ended. `taken`: None where the state has these rows."""
    if taken is not None:
        session.store.take_manifest(taken)
    elif _may_be_done(session, asked.order) and (done := done_before(session)):
        return done
    session = _ready(session, asked.order)
    asked.interrupts.raise_if_came()
    outcome = worked(session)
    return outcome if asked.pilot is None else replace(outcome, projection=_projection(session))


def _refuse_anothers(asked: _Asked, folder: Folder) -> None:
    """A folder that is a copy, or was paid for otherwise than it is now asked for, is left as it is."""
    if not folder.state.is_file():
        return
    with suppress(StateFailed), open_reader(folder.state) as reader:  # who opens it for work tells that
        refuse_copy(reader, folder, as_copy=asked.order.as_copy)
        refuse_mixing(folder.path, reader.providers(), asked.line.name)
        refuse_another_part(folder.path, reader, asked.order.shard)


def _journal(asked: _Asked, folder: Folder, disk: Disk) -> FarJournal | None:
    """Each shard has a journal of its own, below the address that all of them are given."""
    order = asked.order
    address, run = order.journal, {"manifest": asked.manifest.name}
    if order.shard is not None:
        run["shard"] = str(order.shard)
        address = address and part(address, order.shard.folder_name)
    return joined(folder, address, run, disk, asked.tally.announce)


def _connected(order: Order, settings: Settings) -> CheckedConnection:
    line = prepare(order.connection, settings.paid_at_once, or_else=_OR_LOCAL)
    if order.callback_route is not None and not line.offers_callbacks:
        raise UsageError(
            f"{line.name} does not offer callbacks; nothing was sent.",
            hint="Leave out --callback-url: it is asked how tasks stand, as ever.",
        )
    return line


def _refuse_or_warn(asked: _Asked, warnings: Sequence[str]) -> None:
    for warning in warnings:
        asked.tally.say_once(f"warning: {warning}")
    refuse_parents(asked.manifest, folder_of(asked.order, asked.manifest), asked.line.name)


def _make_ready_to_write(folder: Folder, disk: Disk, locks: ExitStack, *, worked_on: bool) -> None:
    """What a run needs is in a folder that is locked; its state is locked, too."""
    with before_sending():
        create(folder, disk, worked_on=worked_on)
    if folder.state_folder != folder.path:
        locks.enter_context(only_writer(folder.state_folder))


def _piloted(roster: Roster, manifest: Manifest, settings: Settings, tally: Tally, rows: int) -> Settings:
    """The settings of a run over a pilot's rows only."""
    pilot = choose_pilot(roster, manifest.factor_names, rows)
    tally.announce(f"Pilot: {pilot.text(len(roster))}.")
    return replace(settings, scope=Scope(only=pilot.positions))


def _tell_whose_limit(shard: Shard, settings: Settings, tally: Tally) -> None:
    """Nobody knows here what the other shards spend."""
    if settings.max_credits is not None and shard.of > 1:
        tally.say_once(
            f"warning: --max-credits {amount(settings.max_credits)} is the limit of shard {shard} alone; all"
            f" {shard.of} together may cost {amount(shard.of * settings.max_credits)}."
        )


def _may_be_done(session: Session, order: Order) -> bool:
    """Who shares limits has to say that it is idle, and how a service is reached has to be remembered."""
    return session.link is None and session.store.meta(CONNECTION) == order.connection.as_text()


def _ready(session: Session, order: Order) -> Session:
    """Its state is whole and knows which files are gone; it is said what all of it may cost."""
    store, settings = session.store, session.settings
    store.check()
    store.remember(CONNECTION, order.connection.as_text())
    notice_lost_files(store, session.folder.path)
    if session.link is None and order.shard is not None:
        _tell_whose_limit(order.shard, settings, session.tally)
    cost = _known_cost(session.folder, session.line, settings, session.tally)
    estimated = None if cost is None or cost.unpriced else cost.spent + cost.credits
    # Where a limit is shared, who shares it knows what all shards together cost, and refuses that.
    refusal = _too_dear(cost, settings.max_credits) if session.link is None else ""
    return replace(session, refusal=refusal, estimated=estimated)


def _known_cost(folder: Folder, line: CheckedConnection, settings: Settings, tally: Tally) -> Cost | None:
    """What the rows to make will cost, and what the folder has cost; None where nobody limits that."""
    if settings.max_credits is None:
        return None
    if line.prices.note:
        tally.say_once(f"warning: {line.prices.note}")
    with open_reader(folder.state, folder.told()) as reader:
        rows = reader.to_pay(settings.scope, settings.max_attempts)
        return Prices(seen_by(reader), line.prices).cost(rows)


def _too_dear(cost: Cost | None, limit: float | None) -> str:
    """Why nothing new is paid for, where it is known before that the limit will not do."""
    if cost is None or limit is None or not cost.rows or not cost.is_over(limit):
        return ""
    before = f", and this folder has cost {amount(cost.spent)} before" if cost.spent else ""
    return (
        f"--max-credits {amount(limit)} is not enough: the rows to make are estimated at {_estimate(cost)}"
        f"{before}. Nothing new is paid for: give a higher limit, or make a part of the rows with --limit"
        " or --pilot."
    )


def _estimate(cost: Cost) -> str:
    credits = with_money(f"{amount(cost.credits)} credits", cost.credits, cost.credits_per_usd)
    if cost.by_earlier:
        return f"{credits}, as you paid in another folder on {cost.earlier_day}"
    return credits + (f", at most, by the price list of {cost.list_day}" if cost.by_list else "")


def _projection(session: Session) -> Projection:
    with open_reader(session.folder.state) as reader:
        return project(reader, session.settings, session.line.prices)
