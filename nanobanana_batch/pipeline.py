"""The whole job, from a manifest file to results.csv; nothing is sent before everything is checked.

This is where the rooms meet: it reads the manifest, opens the folder, the provider and the engine,
and leaves the deciding to them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.connection import Connection, Line, prepare, remembered
from nanobanana_batch.errors import NanobananaError, ProblemLog, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder, choose, create, find, held, make, was_worked_on
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.manifest import Manifest, derive_id, fold_id, open_manifest
from nanobanana_batch.model import RowStatus
from nanobanana_batch.results import write_results
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store

if TYPE_CHECKING:
    from nanobanana_batch.engine.context import Settings
    from nanobanana_batch.engine.work import Stop, Tally
    from nanobanana_batch.providers.base import Provider

OUTPUTS = Path("outputs")
_EMBEDDED_OUTAGE_S = 20.0
"""A service of our own that does not answer for so long has died."""
CONNECTION = "connection"
"""Name under which the state remembers how the provider was reached last."""


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


class Retry(StrEnum):
    """Which rows of a folder are to be made again."""

    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    EXPIRED = "expired"


_RETRIED_PHASES = {
    Retry.FAILED: frozenset({Phase.FAILED, Phase.REJECTED}),
    Retry.REFUSED: frozenset({Phase.REFUSED}),
    Retry.EXPIRED: frozenset({Phase.EXPIRED}),
    Retry.UNKNOWN: frozenset[Phase](),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `rows` are those that it was asked for."""

    folder: Path
    results: Path
    rows: int
    counts: Mapping[RowStatus, int]
    credits_used: float
    same_bytes: int
    """Images with the same bytes as an earlier row's."""
    elsewhere: Mapping[str, int]
    """Unfinished rows that were sent to another provider, by its name; only that one can collect them."""
    had_work: bool
    """Whether there was anything to send or to collect."""
    stop_reason: str
    interrupted: bool

    @property
    def exit_code(self) -> int:
        """0 all completed, 130 interrupted, 3 stopped early, 1 some rows did not complete."""
        if self.counts[RowStatus.COMPLETED] == self.rows:
            return 0
        if self.interrupted:
            return 130
        return 3 if self.stop_reason else 1


def open_ordered(order: Order, dialect: str) -> Manifest:
    """The manifest of an order, its form checked; rows are not read yet.

    Raises:
        ManifestError: its form has problems; all of them are listed.
        UsageError: a default given with it has none of the names that exist.
    """
    return open_manifest(
        order.manifest,
        catalog=load_catalog(),
        dialect=dialect,
        defaults=order.defaults,
        variables=order.variables,
        allow_unknown_model=order.allow_unknown_model,
    )


@contextmanager
def expanded(manifest: Manifest) -> Iterator[Roster]:
    """All rows of a manifest, read and checked.

    Raises:
        ManifestError: rows have problems; all of them are listed.
        UsageError: it has no rows.
    """
    problems = ProblemLog()
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(manifest.drafts(problems), problems)
        problems.raise_if_any()
        if not len(roster):
            raise UsageError(f"{manifest.path} has no rows; there is nothing to make.")
        yield roster


def folder_of(order: Order, manifest: Manifest) -> Folder:
    """The output folder of an order; nothing is created.

    Raises:
        UsageError: its state would stand where it is not safe.
    """
    path = order.out or OUTPUTS / manifest.name
    return choose(path, order.state_dir, risk_network=order.risk_network_filesystem)


def run(order: Order, settings: Settings, tally: Tally) -> Outcome:
    """Make what the manifest asks for and is not made yet.

    Raises:
        UsageError: something is wrong with the order; nothing was sent.
        FolderInUse: another run works on the folder; nothing was sent.
        RunStopped: going on could pay twice or lose what is paid for.
    """
    line = prepare(order.connection, settings.submit_concurrency)
    disk = Disk()
    manifest = open_ordered(order, line.dialect)
    path = folder_of(order, manifest).path
    worked_on = was_worked_on(path)
    with ExitStack() as locks:
        # The lock first where there is a folder: a second process leaves at once, however long the manifest.
        is_locked = path.is_dir()
        if is_locked:
            locks.enter_context(only_writer(path))
        roster = locks.enter_context(expanded(manifest))
        if not is_locked:
            make(path, disk)
            locks.enter_context(only_writer(path))
        folder = folder_of(order, manifest)  # under the lock: nobody can put the state elsewhere any more
        create(folder, disk, worked_on=worked_on)
        if folder.state_folder != path:
            locks.enter_context(only_writer(folder.state_folder))
        store = locks.enter_context(_opened(folder, disk))
        _refuse_mixing(store, line)
        store.take_manifest(roster, name=manifest.name, variables=manifest.variables)
        store.remember(CONNECTION, order.connection.as_text())
        return _work(store, disk, folder, line, settings, tally)


def retry(path: Path, only: Retry, now: Connection, settings: Settings, tally: Tally) -> Outcome:
    """Pay again for the rows of a folder that ended in one way; the manifest is not read again.

    Raises:
        UsageError: there is no such folder, or no key for its provider.
        FolderInUse: another run works on the folder; nothing was sent.
        RunStopped: going on could pay twice or lose what is paid for.
    """
    from nanobanana_batch.engine.context import OnUnknown

    resend = OnUnknown.RESUBMIT if only is Retry.UNKNOWN else OnUnknown.HOLD
    settings = replace(settings, new_rows=False, on_unknown=resend, retried=_RETRIED_PHASES[only])
    return _resume(path, now, settings, tally)


def collect(path: Path, now: Connection, settings: Settings, tally: Tally) -> Outcome:
    """Fetch what a folder has paid for and does not have; nothing new is paid for.

    Raises:
        UsageError: there is no such folder, or no key for its provider.
        FolderInUse: another run works on the folder.
        RunStopped: the state or the disk fails.
    """
    return _resume(path, now, replace(settings, new_rows=False), tally)


def _resume(path: Path, now: Connection, settings: Settings, tally: Tally) -> Outcome:
    disk, folder = Disk(), find(path)
    with open_reader(folder.state) as reader:
        connection = remembered(reader.meta(CONNECTION), now)
    line = prepare(connection, settings.submit_concurrency)
    with held(folder), _opened(folder, disk) as store:
        return _work(store, disk, folder, line, settings, tally)


def _refuse_mixing(store: Store, line: Line) -> None:
    """Placeholders and real images in one folder could not be told apart."""
    from nanobanana_batch.providers.profile import is_practice

    others = [name for name in store.providers() if is_practice(name) != is_practice(line.name)]
    if others:
        kind = "placeholders of a service on this machine" if is_practice(others[0]) else "real images"
        raise UsageError(
            f"This folder holds {kind} ({others[0]}); {line.name} would mix them; nothing was sent.",
            hint="Give another folder with --out.",
        )


def _work(
    store: Store,
    disk: Disk,
    folder: Folder,
    line: Line,
    settings: Settings,
    tally: Tally,
) -> Outcome:
    from nanobanana_batch.engine.work import Stop

    stop = Stop()
    notice_lost_files(store, folder.path)
    _count_up(tally, folder, settings.limit)
    if line.is_embedded:
        settings = replace(settings, max_outage_s=_EMBEDDED_OUTAGE_S)
    had_work = _has_work(store, line.name, settings)
    if had_work:
        _drive(store, disk, folder, line.connect(folder.path), settings, tally, stop)
    results = write_results(folder, disk)
    elsewhere = store.open_elsewhere(line.name)
    return _outcome(folder, results, settings.limit, stop, elsewhere, had_work=had_work)


@contextmanager
def _opened(folder: Folder, disk: Disk) -> Iterator[Store]:
    """The folder's store; the name of a new state file survives power loss before anything is paid for."""
    store = Store(folder.state)
    try:
        disk.sync_folder(folder.state_folder)
        yield store
    finally:
        store.close()


def notice_lost_files(store: Store, folder: Path) -> None:
    """An image that vanished is fetched again while its task has links; one that is back counts again.

    Raises:
        UsageError: all images are gone at once: they were moved rather than lost.
    """
    lost, saved = [], 0
    for file in store.saved_files():
        saved += file.is_saved
        is_there = _size_of(folder / file.path) == file.size_bytes
        if file.is_saved and not is_there:
            lost.append(facts.Lost(file.attempt))
        elif is_there and not file.is_saved and _sha256(folder / file.path) == file.sha256:
            store.apply([facts.Found(file.attempt)])
    if len(lost) == saved > 1:
        raise UsageError(
            f"All {saved} images of {folder} are gone; nothing was sent.",
            hint="Bring them back, or let `audit --repair` fetch what the provider still has.",
        )
    store.apply(lost)


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _count_up(tally: Tally, folder: Folder, limit: int | None) -> None:
    with open_reader(folder.state) as reader:
        counts = reader.counts(before=limit)
        tally.credits = reader.credits().used
    tally.total = sum(counts.values())
    tally.completed = counts[RowStatus.COMPLETED]
    tally.failed = counts[RowStatus.FAILED] + counts[RowStatus.REFUSED] + counts[RowStatus.EXPIRED]


def _has_work(store: Store, provider: str, settings: Settings) -> bool:
    from nanobanana_batch.engine.run import RESUMABLE

    if any(known.provider == provider for phase in RESUMABLE for known in store.open_attempts(phase)):
        return True
    return any(
        store.rows_to_send(-1, settings.limit, 1, phases, repeated=repeated)
        for phases, repeated in settings.rows_to_send()
    )


def _drive(
    store: Store,
    disk: Disk,
    folder: Folder,
    connection: AbstractAsyncContextManager[Provider],
    settings: Settings,
    tally: Tally,
    stop: Stop,
) -> None:
    import anyio

    from nanobanana_batch.engine.context import Context
    from nanobanana_batch.engine.journal import Journal, in_thread
    from nanobanana_batch.engine.pace import Gate, Outage
    from nanobanana_batch.engine.run import RESUMABLE, Run
    from nanobanana_batch.engine.signals import listen
    from nanobanana_batch.engine.space import Space
    from nanobanana_batch.engine.work import FirstLook, Slots

    async def drive() -> None:
        async with connection as provider, anyio.create_task_group() as group:
            earlier = {
                known.attempt
                for phase in RESUMABLE
                for known in store.open_attempts(phase)
                if known.provider == provider.capabilities.name
            }
            slots = Slots(settings.concurrency, tally)
            context = Context(
                settings=settings,
                provider=provider,
                store=store,
                journal=Journal(store, in_thread),
                disk=disk,
                folder=folder.path,
                space=Space(disk, folder, slots, stop),
                blocking=in_thread,
                slots=slots,
                stop=stop,
                gate=Gate(),
                outage=Outage(settings.max_outage_s, settings.first_contact_s),
                tally=tally,
                first_look=FirstLook(earlier),
                arriving=set(),
                now=time.time,
            )
            engine = Run(context)
            group.start_soon(listen, engine, stop, tally)
            await engine.go()
            group.cancel_scope.cancel()

    try:
        anyio.run(drive)
    except BaseExceptionGroup as group:
        raise _first_of_ours(group) from group


def _first_of_ours(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to tell: the first error of our own tree in a group, else the group."""
    for error in group.exceptions:
        found = _first_of_ours(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, NanobananaError):
            return found
    return group


def _outcome(
    folder: Folder,
    results: Path,
    limit: int | None,
    stop: Stop,
    elsewhere: Mapping[str, int],
    *,
    had_work: bool,
) -> Outcome:
    with open_reader(folder.state) as reader:
        counts, credits, same = reader.counts(before=limit), reader.credits(), reader.same_bytes()
    return Outcome(
        folder=folder.path,
        results=results,
        rows=sum(counts.values()),
        counts=counts,
        credits_used=credits.used,
        same_bytes=same,
        elsewhere=elsewhere,
        had_work=had_work,
        stop_reason=stop.reason,
        interrupted=stop.interrupted,
    )
