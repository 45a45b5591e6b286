"""The whole job, from a manifest file to results.csv; nothing is sent before everything is checked.

This is where the rooms meet: it reads the manifest, opens the folder, the provider and the engine,
and leaves the deciding to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from nanobanana_batch.errors import UsageError, before_sending
from nanobanana_batch.estimates import Cost, Prices, seen_by
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder, create, make, was_worked_on
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.files.proof import refuse_unspeakable
from nanobanana_batch.jobs.connection import CONNECTION, CheckedConnection, prepare
from nanobanana_batch.jobs.opening import opened
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
from nanobanana_batch.jobs.unchanged import Making, as_before
from nanobanana_batch.manifest import Manifest
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.scope import Scope
from nanobanana_batch.wording import amount, money_text

if TYPE_CHECKING:
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.engine.signals import Interrupts
    from nanobanana_batch.engine.tally import Tally


def run(
    order: Order,
    settings: Settings,
    tally: Tally,
    pilot: int | None = None,
    interrupts: Interrupts | None = None,
) -> Outcome:
    """Make what the manifest asks for and is not made yet, or only a pilot of so many rows.

    `interrupts`: where the wish to stop comes from, if not from signals of this process.

    Raises:
        UsageError: something is wrong with the order; nothing was sent.
        FolderInUse: another run works on the folder; nothing was sent.
        RunStopped: going on could pay twice or lose what is paid for.
        KeyboardInterrupt: somebody has asked to stop before anything was sent.
    """
    from nanobanana_batch.engine.limits.descriptors import fitted
    from nanobanana_batch.engine.signals import Signals
    from nanobanana_batch.receiver import CONNECTIONS

    disk, interrupts, making = Disk(), interrupts or Signals(), Making(order)
    with making.noted():
        manifest = open_ordered(order)
    callbacks = CONNECTIONS if order.callback_route else 0
    settings = fitted(replace(settings, asks_resting=False), tally, callbacks=callbacks)
    line = _connected(order, settings)
    path = folder_of(order, manifest).path
    worked_on = was_worked_on(path)
    with ExitStack() as locks:
        # The lock first where there is a folder: a second process leaves at once, however long the manifest.
        is_locked = path.is_dir()
        if is_locked:
            locks.enter_context(only_writer(path))
        known = as_before(order, folder_of(order, manifest)) if is_locked and pilot is None else None
        roster = None
        if known is None:
            with making.noted():
                roster = locks.enter_context(expanded(manifest, interrupts.raise_if_came))
            refuse_unspeakable(roster.ids())
        warnings = manifest.warnings if known is None else known
        _refuse_or_warn(order, manifest, warnings, line, tally)
        if roster is not None and pilot is not None:
            settings = _piloted(roster, manifest, settings, tally, pilot)
        if not is_locked:
            with before_sending():
                make(path, disk)
            locks.enter_context(only_writer(path))
        folder = _ready_to_write(order, manifest, disk, locks, worked_on=worked_on)
        is_known = known is not None
        store = locks.enter_context(opened(folder, disk, as_copy=order.as_copy, is_checked_later=is_known))
        refuse_mixing(path, store.providers(), line.name)
        session = Session(
            store, disk, folder, line, settings, tally, order.callback_route, interrupts=interrupts
        )
        if roster is not None:
            made_from = making.text(warnings) if pilot is None else ""
            store.take_manifest(roster, name=manifest.name, variables=manifest.variables, made_from=made_from)
        elif store.meta(CONNECTION) == order.connection.as_text() and (done := done_before(session)):
            return done
        outcome = _worked(session, order, interrupts)
        return outcome if pilot is None else replace(outcome, projection=_projection(session))


def _worked(session: Session, order: Order, interrupts: Interrupts) -> Outcome:
    """Once every page of the state was looked at."""
    store, folder = session.store, session.folder
    store.check()
    store.remember(CONNECTION, order.connection.as_text())
    notice_lost_files(store, folder.path)
    refusal = _too_dear(folder, session.line, session.settings, session.tally)
    interrupts.raise_if_came()
    return worked(replace(session, refusal=refusal))


def _connected(order: Order, settings: Settings) -> CheckedConnection:
    line = prepare(order.connection, settings.paid_at_once, or_else=_OR_LOCAL)
    if order.callback_route is not None and not line.offers_callbacks:
        raise UsageError(f"{line.name} does not offer callbacks; nothing was sent.")
    return line


def _refuse_or_warn(
    order: Order, manifest: Manifest, warnings: Sequence[str], line: CheckedConnection, tally: Tally
) -> None:
    for warning in warnings:
        tally.say_once(f"warning: {warning}")
    refuse_parents(manifest, folder_of(order, manifest), line.name)


def _ready_to_write(
    order: Order, manifest: Manifest, disk: Disk, locks: ExitStack, *, worked_on: bool
) -> Folder:
    """The order's folder, which is locked, with what a run needs in it; its state is locked, too."""
    folder = folder_of(order, manifest)  # under the lock: nobody can put the state elsewhere any more
    with before_sending():
        create(folder, disk, worked_on=worked_on)
    if folder.state_folder != folder.path:
        locks.enter_context(only_writer(folder.state_folder))
    return folder


def _piloted(roster: Roster, manifest: Manifest, settings: Settings, tally: Tally, rows: int) -> Settings:
    """The settings of a run over a pilot's rows only."""
    pilot = choose_pilot(roster, manifest.factor_names, rows)
    tally.announce(f"Pilot: {pilot.text(len(roster))}.")
    return replace(settings, scope=Scope(only=pilot.positions))


def _too_dear(folder: Folder, line: CheckedConnection, settings: Settings, tally: Tally) -> str:
    """Why nothing new is paid for, where it is known before that the limit will not do."""
    limit = settings.max_credits
    if limit is None:
        return ""
    if line.prices.note:
        tally.say_once(f"warning: {line.prices.note}")
    with open_reader(folder.state, folder.told()) as reader:
        rows = reader.to_pay(settings.scope, settings.max_attempts)
        cost = Prices(seen_by(reader), line.prices).cost(rows)
    if not rows or not cost.is_over(limit):
        return ""
    before = f", and this folder has cost {amount(cost.spent)} before" if cost.spent else ""
    return (
        f"--max-credits {amount(limit)} is not enough: the rows to make are estimated at {_estimate(cost)}"
        f"{before}. Nothing new is paid for: give a higher limit, or make a part of the rows with --limit"
        " or --pilot."
    )


def _estimate(cost: Cost) -> str:
    money = money_text(cost.credits, cost.credits_per_usd)
    credits = f"{amount(cost.credits)} credits" + (f" ({money})" if money else "")
    if cost.by_earlier:
        return f"{credits}, as you paid in another folder on {cost.earlier_day}"
    return credits + (f", at most, by the price list of {cost.list_day}" if cost.by_list else "")


def _projection(session: Session) -> Projection:
    with open_reader(session.folder.state) as reader:
        return project(reader, session.settings, session.line.prices)
