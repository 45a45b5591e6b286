"""How a stretch of work has ended, for the person and for the exit code; results.csv is written with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nanobanana_batch.errors import StateFailed, after_sending
from nanobanana_batch.files.folder import RESULTS_NAME
from nanobanana_batch.files.standing import Files, Look
from nanobanana_batch.jobs.connection import named
from nanobanana_batch.jobs.pilot import Projection
from nanobanana_batch.jobs.results_mark import Written, results_are_current
from nanobanana_batch.jobs.session import (
    Session,
    Worked,
    count_up,
    has_work,
    is_all_there,
    keep_changed,
    work,
)
from nanobanana_batch.model import RowStatus
from nanobanana_batch.pricing.earlier import remember_prices
from nanobanana_batch.provider_names import is_practice
from nanobanana_batch.results import write_results
from nanobanana_batch.state.last_run import ENDED, has_ended, remembered_end
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.reports import Failure


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `rows` are those that it was asked for."""

    folder: Path
    results: Path
    rows: int
    counts: Mapping[RowStatus, int]
    credits_used: float
    credits_reserved: float
    same_bytes: int
    """Images with the same bytes as an earlier row's."""
    not_as_asked: int
    """Images of another size or ratio than their row asks for."""
    elsewhere: Mapping[str, int]
    """Unfinished rows that were sent to another provider, by its name; only that one can collect them."""
    had_work: bool
    """Whether there was anything to send or to collect."""
    stop_reason: str
    interrupted: bool
    needs_change: bool = False
    """Another run stops as soon, until the person has done what the reason says."""
    failures: Sequence[Failure] = ()
    """Why rows failed or were refused, the most frequent reason first."""
    projection: Projection | None = None
    """What a pilot says about the other rows."""
    credits_per_usd: float | None = None
    """None: what a credit costs is not known."""
    is_free: bool = False
    """A service on this machine made placeholders, and nobody pays what it counts."""
    is_practice: bool = False
    """Images are from a service on this machine: exports take them as placeholders only."""
    files: Files = field(default_factory=Files)
    """Images whose files are not as they were saved."""
    waited_s: Mapping[str, float] = field(default_factory=dict)
    """How long, in seconds, each thing has held the run up: `quota`, `wait`, `submit`, `read`, `fetch`, …"""
    way_here: tuple[str, ...] = ()
    """The options that name the provider of this run, though the folder leads there by itself."""
    shards: tuple[Path, ...] = ()
    """The folders of the parts that it was made in; empty where it was made in one."""
    way: tuple[str, ...] = ()
    """The options by which another command on the folder reaches the provider that this one has reached."""
    untold: int = 0
    """Requests that are paid for, and in no sum of credits: the provider has not said what they cost."""

    @property
    def exit_code(self) -> int:
        """0 all completed, 130 interrupted, 3 stopped early, 1 some rows did not complete."""
        if self.counts[RowStatus.COMPLETED] == self.rows and not self.files.missing:
            return 0
        if self.interrupted:
            return 130
        return 3 if self.stop_reason else 1


def worked(session: Session) -> Outcome:
    """Do what the session is about, write results.csv, and remember in the state how it ended.

    Raises:
        RunStopped: the state or the disk fails; that is remembered as the end, too."""
    written = Written(session)
    with remembered_end(session.store, session.settings.scope) as say:
        outcome = _made(session, written)
        say(outcome.exit_code, outcome.stop_reason)
    written.remember(outcome.files)
    return outcome


def done_before(session: Session) -> Outcome | None:
    """How it ended, if there is nothing to do and results.csv says so already: nothing is written then.

    None: there may be something to do, or the state cannot be read; whoever looks at all of it tells why.
    """
    try:
        return _done_before(session)
    except StateFailed:
        return None


def _done_before(session: Session) -> Outcome | None:
    store, scope = session.store, session.settings.scope
    ended = has_ended(store.meta(ENDED), scope)
    if ended is None or not is_all_there(store, session.folder.path) or has_work(session):
        return None
    if not results_are_current(session):
        return None
    with open_reader(session.folder.state) as reader:
        count_up(session.tally, reader, scope)
    outcome = _told(session, Worked(False, "", False, False), Files())
    return outcome if outcome.exit_code == ended.exit_code else None


def _made(session: Session, written: Written) -> Outcome:
    worked = work(session)
    with after_sending():
        if kept := keep_changed(session.store, session.folder.path):
            session.tally.say_once(
                f"Images that were changed and could not be fetched anew: {kept:,}. The files are kept as"
                " they are, and not paid for again."
            )
        look = Look(session.folder.path)
        if session.store.meta("manifest") is not None:
            write_results(session.folder, session.disk, look, written.say, written.see)
        return _told(session, worked, look.files)


def _told(session: Session, worked: Worked, files: Files) -> Outcome:
    settings, line = session.settings, session.line
    with open_reader(session.folder.state) as reader:
        counts = reader.counts(settings.scope)
        credits, same, not_as_asked = reader.credits(), reader.same_bytes(), reader.not_as_asked()
        failures = reader.failures(settings.scope)
        if worked.had_work and not is_practice(line.name):
            remember_prices(line.name, reader.prices())
    return Outcome(
        folder=session.folder.path,
        results=session.folder.path / RESULTS_NAME,
        rows=sum(counts.values()),
        counts=counts,
        credits_used=credits.used,
        credits_reserved=credits.reserved,
        same_bytes=same,
        not_as_asked=not_as_asked,
        elsewhere=session.store.open_elsewhere(line.name),
        had_work=worked.had_work,
        stop_reason=worked.stop_reason,
        interrupted=worked.interrupted,
        needs_change=worked.needs_change,
        failures=failures,
        credits_per_usd=line.prices.credits_per_usd,
        is_free=line.is_embedded,
        is_practice=is_practice(line.name),
        files=files,
        waited_s=session.tally.waited(),
        way=session.commands.way,
        way_here=named(line.connection),
        untold=credits.untold,
    )
