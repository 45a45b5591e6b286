"""The whole job, from a manifest file to results.csv; nothing is sent before everything is checked.

This is where the rooms meet: it reads the manifest, opens the folder, the provider and the engine,
and leaves the deciding to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.connection import CONNECTION, LAST, Connection, Line, named, prepare, remembered
from nanobanana_batch.errors import TooManyRows, UsageError, after_sending, before_sending
from nanobanana_batch.estimates import Cost, Prices, seen_by
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import (
    RESULTS_NAME,
    Folder,
    choose,
    create,
    find,
    held,
    make,
    was_worked_on,
)
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.files.proof import refuse_unspeakable
from nanobanana_batch.files.standing import Files, Look
from nanobanana_batch.manifest import Manifest, derive_id, fold_id, open_manifest
from nanobanana_batch.model import Draft, RowStatus
from nanobanana_batch.opening import opened
from nanobanana_batch.piloting import Projection, choose_pilot, project
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.results import write_results
from nanobanana_batch.session import (
    Front,
    Session,
    Worked,
    fetch_anew,
    has_work,
    keep_changed,
    notice_lost_files,
    work,
)
from nanobanana_batch.state.last_run import remembered_end
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import Failure, open_reader
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.scope import EVERY_ROW, Scope
from nanobanana_batch.state.store import Store
from nanobanana_batch.wording import amount, money_text

if TYPE_CHECKING:
    from nanobanana_batch.engine.context import Settings
    from nanobanana_batch.engine.work import Tally
    from nanobanana_batch.providers.profile import Profile

MAX_ROWS = 5_000_000
"""A longer manifest is meant to be sampled: to check each row and to keep its state would take hours."""
OUTPUTS = Path("outputs")
_OR_LOCAL = "or try --provider local, which needs none and costs nothing"


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asks to be made."""

    manifest: Path
    out: Path | None = None
    connection: Connection = field(default_factory=Connection)
    defaults: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    allow_unknown_model: bool = False
    state_dir: Path | None = None
    risk_network_filesystem: bool = False
    front: Front | None = None
    """Where callbacks go."""
    format: str | None = None
    """Which kind of manifest it is, if not the one that its name or its beginning says."""
    spool: Path | None = None
    """Where its content is if it came from standard input."""
    allow_outside: tuple[Path, ...] = ()
    """Folders beside the manifest's and the working directory that it may read from."""
    as_copy: bool = False
    """The person knows that the output folder was worked on in another place, too."""


class Retry(StrEnum):
    """Which rows of a folder are to be made again."""

    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    RUNNING = "running"


_RETRIED_PHASES = {
    Retry.FAILED: frozenset({Phase.FAILED, Phase.REJECTED}),
    Retry.REFUSED: frozenset({Phase.REFUSED}),
    Retry.EXPIRED: frozenset({Phase.EXPIRED}),
    Retry.UNKNOWN: frozenset[Phase](),
    Retry.RUNNING: frozenset[Phase](),
}


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
    files: Files = field(default_factory=Files)
    """Images whose files are not as they were saved."""
    way_here: tuple[str, ...] = ()
    """The options that name the provider of this run, though the folder leads there by itself."""
    way: tuple[str, ...] = ()
    """The options by which another command on the folder reaches the provider that this one has reached."""

    @property
    def exit_code(self) -> int:
        """0 all completed, 130 interrupted, 3 stopped early, 1 some rows did not complete."""
        if self.counts[RowStatus.COMPLETED] == self.rows and not self.files.missing:
            return 0
        if self.interrupted:
            return 130
        return 3 if self.stop_reason else 1


def open_ordered(order: Order) -> Manifest:
    """The manifest of an order, its form checked; rows are not read yet.

    Raises:
        ManifestError: its form has problems; all of them are listed, and those of its first rows.
        ProfileError: there is no such provider.
        UsageError: a default given with it has none of the names that exist.
    """
    from nanobanana_batch.providers.profile import catalog_for, load_profile

    profile = load_profile(order.connection.provider)
    return open_manifest(
        order.manifest,
        catalog=catalog_for(profile),
        dialect=profile.dialect,
        defaults=order.defaults,
        variables=order.variables,
        allow_unknown_model=order.allow_unknown_model,
        no_local_images=_no_local_images(profile),
        take=_take_together,
        kind=order.format,
        spool=order.spool,
        allow_outside=order.allow_outside,
    )


def _take_together(drafts: Iterator[Draft], problems: ProblemLog) -> None:
    """Find what is wrong with rows only beside each other: ids that are taken."""
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(drafts, problems)


def _no_local_images(profile: Profile) -> str:
    """Why a manifest for this provider may not name local reference images; empty when it may."""
    if profile.files_url is not None:
        return ""
    return f"the provider {profile.name} takes no files; give a public http or https URL"


@contextmanager
def expanded(manifest: Manifest) -> Iterator[Roster]:
    """All rows of a manifest, read and checked.

    Raises:
        TooManyRows: a run does not take so many; none was read.
        ManifestError: rows have problems; all of them are listed.
        UsageError: it has no rows.
    """
    rows = manifest.count()
    if rows > MAX_ROWS:
        raise TooManyRows(
            f"{manifest.path} has {rows:,} rows; a run takes at most {MAX_ROWS:,}, so nothing was sent.",
            rows,
            hint="Draw some of them with `sample: {n: 1000}`, or take some out with `exclude`.",
        )
    problems = manifest.problem_log()
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(manifest.drafts(problems), problems)
        problems.raise_if_any()
        if not len(roster):
            hint = "`where` and `exclude` leave none of those that there are." if manifest.is_narrowed else ""
            hint = "\n".join([hint, *manifest.warnings])
            raise UsageError(f"{manifest.path} has no rows; there is nothing to make.", hint=hint)
        yield roster


def folder_of(order: Order, manifest: Manifest) -> Folder:
    """The output folder of an order; nothing is created.

    Raises:
        UsageError: it has no name, or its state would stand where it is not safe.
    """
    if order.out is None and not manifest.is_named:
        raise UsageError(
            f"The manifest from {manifest.path} names no output folder.",
            hint="Add `name: ...` to it, or give --out.",
        )
    path = order.out or OUTPUTS / manifest.name
    return choose(path, order.state_dir, risk_network=order.risk_network_filesystem)


def run(order: Order, settings: Settings, tally: Tally, pilot: int | None = None) -> Outcome:
    """Make what the manifest asks for and is not made yet, or only a pilot of so many rows.

    Raises:
        UsageError: something is wrong with the order; nothing was sent.
        FolderInUse: another run works on the folder; nothing was sent.
        RunStopped: going on could pay twice or lose what is paid for.
    """
    from nanobanana_batch.engine.descriptors import fitted
    from nanobanana_batch.receiver import CONNECTIONS

    disk = Disk()
    manifest = open_ordered(order)
    settings = replace(settings, asks_resting=False)
    settings = fitted(settings, tally, callbacks=CONNECTIONS if order.front else 0)
    line = prepare(order.connection, settings.paid_at_once, or_else=_OR_LOCAL)
    if order.front is not None and not line.offers_callbacks:
        raise UsageError(f"{line.name} does not offer callbacks; nothing was sent.")
    path = folder_of(order, manifest).path
    worked_on = was_worked_on(path)
    with ExitStack() as locks:
        # The lock first where there is a folder: a second process leaves at once, however long the manifest.
        is_locked = path.is_dir()
        if is_locked:
            locks.enter_context(only_writer(path))
        roster = locks.enter_context(expanded(manifest))
        refuse_unspeakable(roster.ids())
        for warning in manifest.warnings:
            tally.say_once(f"warning: {warning}")
        refuse_parents(manifest, folder_of(order, manifest), line.name)
        if pilot is not None:
            settings = _piloted(roster, manifest, settings, tally, pilot)
        if not is_locked:
            with before_sending():
                make(path, disk)
            locks.enter_context(only_writer(path))
        folder = folder_of(order, manifest)  # under the lock: nobody can put the state elsewhere any more
        with before_sending():
            create(folder, disk, worked_on=worked_on)
        if folder.state_folder != path:
            locks.enter_context(only_writer(folder.state_folder))
        store = locks.enter_context(opened(folder, disk, as_copy=order.as_copy))
        refuse_mixing(path, store.providers(), line.name)
        store.take_manifest(roster, name=manifest.name, variables=manifest.variables)
        store.remember(CONNECTION, order.connection.as_text())
        notice_lost_files(store, path)
        if settings.max_credits is not None and line.prices.note:
            tally.say_once(f"warning: {line.prices.note}")
        refusal = _too_dear(folder, line, settings)
        session = Session(store, disk, folder, line, settings, tally, order.front, refusal)
        outcome = _worked(session)
        return outcome if pilot is None else replace(outcome, projection=_projection(session))


def retry(
    path: Path,
    only: Retry,
    now: Connection,
    settings: Settings,
    tally: Tally,
    ids: Sequence[str] = (),
    *,
    as_copy: bool = False,
) -> Outcome:
    """Pay again for the rows of a folder that ended in one way; the manifest is not read again.

    `ids`: only for these. Running rows have not ended: each task is read once more, and given up only if its
    image is not there.

    Raises:
        UsageError: there is no such folder or row, or no key for its provider.
        FolderInUse: another run works on the folder; nothing was sent.
        RunStopped: going on could pay twice or lose what is paid for.
    """
    from nanobanana_batch.engine.context import OnUnknown

    resend = OnUnknown.RESUBMIT if only is Retry.UNKNOWN else OnUnknown.HOLD
    settings = replace(settings, new_rows=False, on_unknown=resend, retried=_RETRIED_PHASES[only])
    if ids:
        settings = replace(settings, scope=_scope_of(path, ids))
    if only in (Retry.RUNNING, Retry.UNKNOWN):
        settings = replace(
            settings,
            gives_up=only is Retry.RUNNING,
            gives_up_left=not ids,
            takes_over=now.provider != LAST,
        )
        _announce_cost(path, only, settings.scope, tally)
    return _resume(path, now, settings, tally, as_copy=as_copy)


def _scope_of(path: Path, ids: Sequence[str]) -> Scope:
    with open_reader(find(path).state) as reader:
        positions = reader.positions(ids)
    if missing := [id_ for id_ in ids if id_ not in positions]:
        raise UsageError(
            f"{path} has no row {', '.join(missing)}; nothing was sent.",
            hint="The column `id` of its results.csv names them all.",
        )
    return Scope(only=frozenset(positions.values()))


def _announce_cost(path: Path, only: Retry, scope: Scope, tally: Tally) -> None:
    """Said before anything is done: what may be paid twice."""
    folder = find(path)
    with open_reader(folder.state, folder.told()) as reader:
        counts = reader.counts(scope)
        left = reader.left_counts() if scope == EVERY_ROW else {}
    rows = counts[RowStatus.RUNNING] + counts[RowStatus.READY]
    if only is Retry.RUNNING and rows:
        tally.announce(
            f"Rows that are paid for and not there: {rows:,}. Each task is read once more, and its image is"
            " fetched if it is there. Where it is not, or its provider is another one now, the task is given"
            " up, may have been paid all the same, and the row is paid for again."
        )
    if only is Retry.UNKNOWN and (rows := counts[RowStatus.UNKNOWN]):
        tally.announce(
            f"Rows that may have been paid: {rows:,}. The provider is asked once more what became of each."
            " Where it does not show that, or is another one now, the row is sent again, and may be paid for"
            " twice."
        )
    unanswered = RowStatus.UNKNOWN if only is Retry.UNKNOWN else RowStatus.RUNNING
    if gone := left.get(unanswered, 0):
        tally.announce(
            f"Of rows that have left the manifest: {gone:,} more. They are asked about once more, and given"
            " up where nothing shows what became of them; nothing is sent for them."
        )


def collect(
    path: Path, now: Connection, settings: Settings, tally: Tally, *, as_copy: bool = False
) -> Outcome:
    """Fetch what a folder has paid for and does not have; nothing new is paid for.

    A changed file stays as it is, the image is saved beside it; without one, the file stays its row's image.

    Raises:
        UsageError: there is no such folder, or no key for its provider.
        FolderInUse: another run works on the folder.
        RunStopped: the state or the disk fails.
    """
    return _resume(path, now, replace(settings, new_rows=False), tally, fetch_anew, as_copy=as_copy)


def _resume(
    path: Path,
    now: Connection,
    settings: Settings,
    tally: Tally,
    look_at_files: Callable[[Store, Path], None] = notice_lost_files,
    *,
    as_copy: bool = False,
) -> Outcome:
    from nanobanana_batch.engine.descriptors import fitted

    disk, folder = Disk(), find(path)
    settings = fitted(settings, tally)
    with open_reader(folder.state, folder.told()) as reader:
        if reader.meta("manifest") is None and (now.provider == LAST or settings.pays_again):
            raise UsageError(
                f"The state of {path} was made anew, and has no manifest yet; nothing was sent.",
                hint="Run the same command as before first: it takes the manifest, and goes on.",
            )
        connection = remembered(reader.meta(CONNECTION), now)
    line = prepare(connection, settings.paid_at_once, needs_key=False)
    with held(folder), opened(folder, disk, as_copy=as_copy) as store:
        session = Session(store, disk, folder, line, settings, tally)
        if now.provider != LAST:
            refuse_mixing(folder.path, store.providers(), line.name)
        look_at_files(store, folder.path)
        if has_work(session):
            session = replace(session, line=prepare(connection, settings.paid_at_once))
        return _worked(session)


def _piloted(roster: Roster, manifest: Manifest, settings: Settings, tally: Tally, rows: int) -> Settings:
    """The settings of a run over a pilot's rows only."""
    pilot = choose_pilot(roster, manifest.factor_names, rows)
    tally.announce(f"Pilot: {pilot.text(len(roster))}.")
    return replace(settings, scope=Scope(only=pilot.positions))


def _too_dear(folder: Folder, line: Line, settings: Settings) -> str:
    """Why nothing new is paid for, where it is known before that the limit will not do."""
    limit = settings.max_credits
    if limit is None:
        return ""
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
    return credits + (f", at most, by the price list of {cost.list_day}" if cost.by_list else "")


def refuse_mixing(folder: Path, providers: Iterable[str], provider: str) -> None:
    """Placeholders and real images in one folder could not be told apart.

    Raises:
        UsageError: one of these has made images of the other kind in the folder.
    """
    from nanobanana_batch.providers.profile import is_practice

    others = [name for name in providers if is_practice(name) != is_practice(provider)]
    if others:
        way = _way_to(others[0])
        if is_practice(others[0]):
            there, hint = "placeholders", f"for real images: --out {folder}-real, or delete the folder."
        else:
            there, hint = "real images", f"for placeholders: --out {folder}-local."
        raise UsageError(
            f"{folder} holds {there} ({way}), and {provider} would mix them; nothing was sent.",
            hint=f"Go on with them: {way}; {hint}",
        )


def _way_to(name: str) -> str:
    """The option that leads to the provider of this name (`Line.name`)."""
    profile, _, host = name.partition("@")
    return f"--provider {profile}" + (f" at {host}" if host else "")


def refuse_parents(manifest: Manifest, folder: Folder, provider: str) -> None:
    """Rows may come from other folders than the run's own, and no placeholder is edited for money.

    Raises:
        UsageError: one of them is the run's own folder, or would send placeholders to a real provider.
    """
    from nanobanana_batch.providers.profile import is_practice

    for parent in manifest.parents:
        if _is_same(parent.folder.state, folder.state):
            raise UsageError(
                f"{parent.place}: from: {parent.name} is the folder that this run writes to;"
                " nothing was sent.",
                hint="Give another `name`, or another folder with --out.",
            )
        with open_reader(parent.folder.state) as reader:
            placeholders = [name for name in reader.providers() if is_practice(name)]
        if placeholders and not is_practice(provider):
            raise UsageError(
                f"{parent.place}: from: {parent.name} holds placeholders of a service on this machine"
                f" ({placeholders[0]}), and {provider} would be paid for edits of them; nothing was sent.",
                hint="Make that run with a real provider first, or try this one with --provider local.",
            )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return False


def _worked(session: Session) -> Outcome:
    with remembered_end(session.store) as say:
        outcome = _made(session)
        say(outcome.exit_code, outcome.stop_reason)
    return outcome


def _made(session: Session) -> Outcome:
    worked = work(session)
    with after_sending():
        if kept := keep_changed(session.store, session.folder.path):
            session.tally.say_once(
                f"Images that were changed and could not be fetched anew: {kept:,}. The files are kept as"
                " they are, and not paid for again."
            )
        return _outcome(session, worked)


def _outcome(session: Session, worked: Worked) -> Outcome:
    look = Look(session.folder.path)
    results = session.folder.path / RESULTS_NAME
    if session.store.meta("manifest") is not None:
        write_results(session.folder, session.disk, look)
    settings, line = session.settings, session.line
    with open_reader(session.folder.state) as reader:
        counts = reader.counts(settings.scope)
        credits, same, not_as_asked = reader.credits(), reader.same_bytes(), reader.not_as_asked()
        failures = reader.failures(settings.scope)
    return Outcome(
        folder=session.folder.path,
        results=results,
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
        files=look.files,
        way=session.commands.way,
        way_here=named(line.connection),
    )


def _projection(session: Session) -> Projection:
    with open_reader(session.folder.state) as reader:
        return project(reader, session.settings, session.line.prices)
