"""The whole job, from a manifest file to results.csv; nothing is sent before everything is checked.

This is where the rooms meet: it reads the manifest, opens the folder, the provider and the engine,
and leaves the deciding to them.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.errors import KeyProblem, NanobananaError, ProblemLog, ServiceFailed, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.images import IMAGE_FOLDER
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.manifest import Manifest, derive_id, fold_id, open_manifest
from nanobanana_batch.model import RowStatus
from nanobanana_batch.results import write_results
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import STATE_NAME, Store

if TYPE_CHECKING:
    from nanobanana_batch.engine.context import Settings
    from nanobanana_batch.engine.work import Stop, Tally
    from nanobanana_batch.providers.base import Provider
    from nanobanana_batch.providers.profile import Address, Profile

OUTPUTS = Path("outputs")
_LOCAL_KEY = "embedded-service"
_LOCAL_FOLDER = ".service"


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asks to be made."""

    manifest: Path
    out: Path | None = None
    provider: str = "evolink"
    base_url: str | None = None
    key_file: Path | None = None
    defaults: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    allow_unknown_model: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `rows` are those that it was asked for."""

    folder: Path
    results: Path
    rows: int
    counts: Mapping[RowStatus, int]
    credits_used: float
    elsewhere: Mapping[str, int]
    """Unfinished rows that were sent to another provider, by its name; only that one can collect them."""
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


@dataclass(frozen=True, slots=True)
class Prepared:
    """A manifest that was read and checked as a whole."""

    manifest: Manifest
    roster: Roster
    folder: Path


@contextmanager
def prepared(order: Order, dialect: str) -> Iterator[Prepared]:
    """Read and check the whole manifest.

    Raises:
        ManifestError: it has problems; all of them are listed.
        UsageError: a default given with it has none of the names that exist.
    """
    manifest = open_manifest(
        order.manifest,
        catalog=load_catalog(),
        dialect=dialect,
        defaults=order.defaults,
        variables=order.variables,
        allow_unknown_model=order.allow_unknown_model,
    )
    problems = ProblemLog()
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(manifest.drafts(problems), problems)
        problems.raise_if_any()
        if not len(roster):
            raise UsageError(f"{order.manifest} has no rows; there is nothing to make.")
        yield Prepared(manifest, roster, order.out or OUTPUTS / manifest.name)


def run(order: Order, settings: Settings, tally: Tally) -> Outcome:
    """Make what the manifest asks for and is not made yet.

    Raises:
        UsageError: something is wrong with the order; nothing was sent.
        FolderInUse: another run works on the folder; nothing was sent.
        RunStopped: going on could pay twice or lose what is paid for.
    """
    from nanobanana_batch.engine.work import Stop
    from nanobanana_batch.providers.profile import load_profile

    profile = load_profile(order.provider)
    connect = _provider_opener(order, profile, settings)
    disk, stop = Disk(), Stop()
    with prepared(order, profile.dialect) as ready:
        disk.make_folder(ready.folder / IMAGE_FOLDER)
        with only_writer(ready.folder), _open_store(ready) as store:
            _notice_lost_files(store, ready.folder)
            count_up(tally, ready.folder, settings.limit)
            if _has_work(store, profile.name, settings.limit):
                _drive(store, disk, ready.folder, connect(ready.folder), settings, tally, stop)
            results = write_results(ready.folder, disk)
            return _outcome(ready.folder, results, settings.limit, stop, store.open_elsewhere(profile.name))


def count_up(tally: Tally, folder: Path, limit: int | None) -> None:
    """Set a tally to how the folder stands."""
    with open_reader(folder) as reader:
        counts = reader.counts(before=limit)
        tally.credits = reader.credits().used
    tally.total = sum(counts.values())
    tally.completed = counts[RowStatus.COMPLETED]
    tally.failed = counts[RowStatus.FAILED] + counts[RowStatus.REFUSED] + counts[RowStatus.EXPIRED]


def api_key(order: Order, profile: Profile) -> str:
    """The API key, from the file that the person names or else from the environment.

    Raises:
        KeyProblem: there is none, or it cannot be one; it is never in the text.
    """
    from nanobanana_batch.providers.task_api import check_key

    if order.key_file is not None:
        try:
            return check_key(order.key_file.read_text(encoding="utf-8").rstrip("\r\n"), str(order.key_file))
        except (OSError, UnicodeDecodeError) as error:
            raise KeyProblem(
                f"The key file {order.key_file} cannot be read ({type(error).__name__})."
            ) from error
    key = os.environ.get(profile.key_env, "")
    if not key:
        raise KeyProblem(
            f"There is no API key: set {profile.key_env} to yours,"
            " or try --provider local, which needs none and costs nothing."
        )
    return check_key(key, profile.key_env)


_Connect = Callable[[Path], AbstractAsyncContextManager["Provider"]]


def _provider_opener(order: Order, profile: Profile, settings: Settings) -> _Connect:
    """Check address and key now; connect later, and only if there is something to do."""
    from nanobanana_batch.providers.profile import check_address

    if not profile.embedded or order.base_url is not None:
        address, key = check_address(profile, order.base_url), api_key(order, profile)
        return lambda folder: _open_api(profile, address, key, settings)
    return lambda folder: _open_embedded(profile, folder, settings)


@asynccontextmanager
async def _open_api(
    profile: Profile, address: Address, key: str, settings: Settings
) -> AsyncIterator[Provider]:
    from nanobanana_batch.providers.task_api import open_task_api

    async with open_task_api(profile, address, key, submits_at_once=settings.submit_concurrency) as provider:
        yield provider


@asynccontextmanager
async def _open_embedded(profile: Profile, folder: Path, settings: Settings) -> AsyncIterator[Provider]:
    """The embedded service for the length of the block; its data stays in the folder for a resumed run."""
    from nanobanana_batch.providers.profile import check_address
    from nanobanana_batch.service.embedded import EmbeddedService
    from nanobanana_batch.service.options import ServiceError, ServiceOptions

    try:
        with EmbeddedService(ServiceOptions(data_dir=folder / _LOCAL_FOLDER)) as service:
            url = service.base_url + ("/unified" if profile.dialect == "unified" else "")
            address = check_address(profile, url)
            async with _open_api(profile, address, _LOCAL_KEY, settings) as provider:
                yield provider
    except ServiceError as error:
        raise ServiceFailed(str(error)) from error


@contextmanager
def _open_store(ready: Prepared) -> Iterator[Store]:
    store = Store(ready.folder / STATE_NAME)
    try:
        store.take_manifest(ready.roster, name=ready.manifest.name, variables=ready.manifest.variables)
        yield store
    finally:
        store.close()


def _notice_lost_files(store: Store, folder: Path) -> None:
    """An image that vanished from the folder is fetched again while its task still has links."""
    lost = [attempt for attempt, path, size in store.saved_files() if not _is_there(folder / path, size)]
    store.apply([facts.Lost(attempt) for attempt in lost])


def _is_there(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except FileNotFoundError:
        return False


def _has_work(store: Store, provider: str, limit: int | None) -> bool:
    from nanobanana_batch.engine.run import RESUMABLE

    phases = (*RESUMABLE, Phase.NOT_SENT)
    waiting = any(known.provider == provider for phase in phases for known in store.open_attempts(phase))
    return waiting or bool(store.new_rows(-1, limit, 1))


def _drive(
    store: Store,
    disk: Disk,
    folder: Path,
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
    from nanobanana_batch.engine.work import FirstLook, Slots

    async def drive() -> None:
        async with connection as provider, anyio.create_task_group() as group:
            earlier = {
                known.attempt
                for phase in RESUMABLE
                for known in store.open_attempts(phase)
                if known.provider == provider.capabilities.name
            }
            context = Context(
                settings=settings,
                provider=provider,
                store=store,
                journal=Journal(store, in_thread),
                disk=disk,
                folder=folder,
                blocking=in_thread,
                slots=Slots(settings.concurrency, tally),
                stop=stop,
                gate=Gate(),
                outage=Outage(settings.max_outage_s, settings.first_contact_s),
                tally=tally,
                first_look=FirstLook(earlier),
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
    folder: Path, results: Path, limit: int | None, stop: Stop, elsewhere: Mapping[str, int]
) -> Outcome:
    with open_reader(folder) as reader:
        counts, credits = reader.counts(before=limit), reader.credits()
    return Outcome(
        folder=folder,
        results=results,
        rows=sum(counts.values()),
        counts=counts,
        credits_used=credits.used,
        elsewhere=elsewhere,
        stop_reason=stop.reason,
        interrupted=stop.interrupted,
    )
