"""One stretch of work on an opened folder: what is lost, sent, collected and written down on the way."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.errors import NanobananaError, RunStopped, UsageError, after_sending, system_words
from nanobanana_batch.estimates import Prices, seen_by
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder
from nanobanana_batch.files.log import LOG_NAME, Log, RunLog
from nanobanana_batch.files.standing import Look, Stands
from nanobanana_batch.jobs.connection import CONNECTION, CheckedConnection, way_to
from nanobanana_batch.journals.journal import FarJournal
from nanobanana_batch.live.file import told_beside
from nanobanana_batch.model import RowStatus
from nanobanana_batch.sharing.link import Link, LinkLost
from nanobanana_batch.state import facts
from nanobanana_batch.state.reader import KEPT_IMAGES, Reader, open_reader
from nanobanana_batch.state.rebuild import LEFT_BEHIND
from nanobanana_batch.state.scope import Scope
from nanobanana_batch.state.store import Store

if TYPE_CHECKING:
    from nanobanana_batch.engine.callbacks import Callbacks
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.engine.signals import Interrupts
    from nanobanana_batch.engine.tally import Tally
    from nanobanana_batch.engine.work import Stop
    from nanobanana_batch.providers.base import Exchange
    from nanobanana_batch.receiver import Address

_LISTEN = "127.0.0.1:8080"
_MOST_PRICED_ROWS = 100_000
"""To look at a million requests takes five seconds, before the first of them is sent."""
_EMBEDDED_OUTAGE_S = 20.0
"""A service of our own that does not answer for so long has died."""


@dataclass(frozen=True, slots=True)
class CallbackRoute:
    """Where the provider may call when a task has ended, and where that arrives on this machine."""

    url: str
    listen: Address


def make_callback_route(url: str | None, listen: str | None) -> CallbackRoute | None:
    """What the person says about callbacks, checked; None for none.

    Raises:
        UsageError: an address is malformed, or there is one without the other.
    """
    if url is None:
        if listen is not None:
            raise UsageError(
                "--callback-listen needs --callback-url: the https address at which the provider can call."
            )
        return None
    from nanobanana_batch.engine.callback_urls import check_callback_url
    from nanobanana_batch.receiver import parse_address

    return CallbackRoute(check_callback_url(url), parse_address(listen or _LISTEN))


@dataclass(frozen=True, slots=True)
class Session:
    """What the work is done with."""

    store: Store
    disk: Disk
    folder: Folder
    line: CheckedConnection
    settings: Settings
    tally: Tally
    callback_route: CallbackRoute | None = None
    refusal: str = ""
    """Why nothing new is to be paid for; what is paid for is collected all the same."""
    interrupts: Interrupts | None = None
    """Where the wish to stop comes from; None: from signals of this process."""
    link: Link | None = None
    """To who shares the person's limits among several runs; None: this one has all of them."""
    estimated: float | None = None
    """Credits that the folder will have cost when all is made, as far as that is known."""
    far: FarJournal | None = None
    """Where what is paid is told, beside the folder."""

    @property
    def commands(self) -> FolderCommands:
        """What a person may be told to type next."""
        return FolderCommands(self.folder.path, way_to(self.line.connection, self.store.meta(CONNECTION)))


@dataclass(frozen=True, slots=True)
class Worked:
    """How it ended. `had_work`: there was anything to send or to collect; the others are those of `Stop`."""

    had_work: bool
    stop_reason: str
    interrupted: bool
    needs_change: bool


def work(session: Session) -> Worked:
    """Resume, send and collect until nothing is left or someone stops it.

    Raises:
        UsageError: something is wrong before anything is sent.
        RunStopped: going on could pay twice or lose what is paid for.
    """
    from nanobanana_batch.engine.work import Stop

    with open_reader(session.folder.state) as reader:
        count_up(session.tally, reader, session.settings.scope)
    with RunLog(session.folder.path / LOG_NAME) as run_log:
        log = _told_too(run_log, session.tally) if session.tally.tells_all else run_log
        if why := run_log.refusal():
            session.tally.say_once(
                f"warning: {LOG_NAME} cannot be written ({why}); the run goes on without it."
            )
        stop = Stop(log, session.tally.stops)
        if session.refusal:
            stop.ask(session.refusal, needs_change=True)
        had_work = has_work(session)
        if not had_work and session.link is not None:
            _tell_idle(session, session.link)
        if had_work:
            if session.line.key_goes:
                session.tally.say_once(session.line.key_goes)
            log("run_begins", provider=session.line.name, rows=session.tally.total)
            _tell_terms(session)
            with told_beside(session.folder.state_folder, session.tally):
                _drive(session, stop, log)
            with after_sending(), open_reader(session.folder.state) as reader:
                count_up(session.tally, reader, session.settings.scope)
            log("run_ends", completed=session.tally.completed, failed=session.tally.not_completed)
    return Worked(had_work, stop.reason, stop.interrupted, stop.needs_change)


def _told_too(log: Log, tally: Tally) -> Log:
    """A log whose events a person hears as well; requests are too many, and facts say what came of them."""

    def both(event: str, /, **fields: object) -> None:
        log(event, **fields)
        if event != "request":
            told = ", ".join(f"{name} {value}" for name, value in fields.items() if value not in (None, ""))
            tally.announce(f"{event.replace('_', ' ')}: {told}")

    return both


def notice_lost_files(store: Store, folder: Path) -> None:
    """An image that vanished is fetched again while its task has links; one that is back counts again.

    Only what is not there is lost: what somebody has changed, or this user may not read, stays its row's.

    Raises:
        UsageError: all images are gone at once: they were moved rather than lost.
    """
    keep_changed(store, folder)
    look = Look(folder, most_bytes=0)
    lost: list[facts.Fact] = []
    found: list[facts.Fact] = []
    saved = 0
    for file in store.saved_files():
        if file.is_saved:
            saved += 1
            if look.at(file.path, file.size_bytes, file.sha256, file.file_time) is Stands.MISSING:
                lost.append(facts.Lost(file.attempt, file.number))
        elif look.is_back(file.path, file.size_bytes, file.sha256):
            found.append(facts.Found(file.attempt, file.number))
    store.apply(found)
    is_known = bool(store.meta(LEFT_BEHIND))
    if len(lost) == saved > 1 and not is_known:
        raise UsageError(
            f"All {saved} images of {folder} are gone; nothing was sent.",
            hint=f"Bring them back, or let {FolderCommands(folder).repair()} fetch what the provider has.",
        )
    store.apply(lost)
    if is_known:
        store.remember(LEFT_BEHIND, "")


def is_all_there(store: Store, folder: Path) -> bool:
    """Whether each saved image is a file as it was saved, and none that was lost is back.

    Then `notice_lost_files` has nothing to notice.
    """
    if _attempts_in(store.meta(_FETCHED_ANEW)):
        return False
    look = Look(folder, most_bytes=0)
    for file in store.saved_files():
        if file.is_saved:
            if look.at(file.path, file.size_bytes, file.sha256, file.file_time) is not Stands.AS_SAVED:
                return False
        elif look.is_back(file.path, file.size_bytes, file.sha256):
            return False
    return True


_FETCHED_ANEW = "fetched_anew"
"""Name under which the state remembers for which attempts a repair fetches the image beside another file."""


def fetch_anew(store: Store, folder: Path) -> None:
    """Look at every byte, and have what is missing or changed fetched; `keep_changed` ends what this begins.

    What this user may not read may be in order, and is left alone.
    """
    keep_changed(store, folder)
    look = Look(folder, verify=True)
    lost: list[facts.Fact] = []
    found: list[facts.Fact] = []
    beside: list[facts.Lost] = []
    for file in store.saved_files():
        if not file.is_saved:
            if look.is_back(file.path, file.size_bytes, file.sha256):
                found.append(facts.Found(file.attempt, file.number))
            continue
        stands = look.at(file.path, file.size_bytes, file.sha256, file.file_time)
        if stands in (Stands.CHANGED, Stands.NOT_A_FILE):
            beside.append(facts.Lost(file.attempt, file.number))
        elif stands is Stands.MISSING:
            lost.append(facts.Lost(file.attempt, file.number))
    if beside:
        attempts = sorted({fact.attempt for fact in beside})
        store.remember(_FETCHED_ANEW, json.dumps(attempts))  # first: a kill between the two loses nothing
    store.apply([*found, *lost, *beside])


def keep_changed(store: Store, folder: Path) -> int:
    """Rows whose image a repair wanted anew and did not get keep the file that is there; returns how many.

    Else a file that somebody has optimised would end as an image that is lost, and be paid for again.
    """
    beside = _attempts_in(store.meta(_FETCHED_ANEW))
    if not beside:
        return 0
    kept = [
        file
        for file in store.saved_files()
        if file.attempt in beside and not file.is_saved and os.path.lexists(folder / file.path)
    ]
    store.apply([facts.Found(file.attempt, file.number) for file in kept])
    store.remember(KEPT_IMAGES, json.dumps([file.path for file in kept]))
    store.remember(_FETCHED_ANEW, "[]")
    return len(kept)


def _attempts_in(text: str | None) -> frozenset[int]:
    """The state may be somebody else's."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(one for one in found if isinstance(one, int)) if isinstance(found, list) else frozenset()


def count_up(tally: Tally, reader: Reader, scope: Scope) -> None:
    """What people see of a run's rows, from the state."""
    counts = reader.counts(scope)
    tally.credits = reader.credits().used
    tally.unknown = counts[RowStatus.UNKNOWN]
    tally.total = sum(counts.values())
    tally.completed = counts[RowStatus.COMPLETED]
    tally.failed = counts[RowStatus.FAILED]
    tally.refused = counts[RowStatus.REFUSED]
    tally.expired = counts[RowStatus.EXPIRED]


def _tell_terms(session: Session) -> None:
    """What people see beside the counts: where it goes, what it may cost and what it will, where known."""
    tally, settings, book = session.tally, session.settings, session.line.prices
    tally.provider, tally.is_going = session.line.name, True
    tally.credits_cap, tally.credits_per_usd = settings.max_credits, book.credits_per_usd
    if tally.total > _MOST_PRICED_ROWS:
        return
    with open_reader(session.folder.state) as reader:
        seen = seen_by(reader)
        cost = Prices(seen, book).cost(reader.to_pay(settings.scope, settings.max_attempts))
    if settings.new_rows and not cost.unpriced:
        tally.credits_projected = seen.spent + cost.credits


def has_work(session: Session) -> bool:
    """Whether there is anything to send or to collect."""
    from nanobanana_batch.engine.stages.takeover import elsewhere
    from nanobanana_batch.engine.unfinished import is_any_unfinished

    store, settings, line = session.store, session.settings, session.line
    if is_any_unfinished(store, line.name, settings):
        return True
    if any(True for _ in elsewhere(store, line.name, line.account, settings)):
        return True
    if settings.new_rows and store.new_rows(-1, settings.scope, 1):
        return True
    return any(store.rows_to_repeat(which, settings.scope) for which in settings.rows_to_repeat())


def _drive(session: Session, stop: Stop, log: Log) -> None:
    import anyio

    from nanobanana_batch.engine.assembly import Machine, Person, assemble, shared
    from nanobanana_batch.engine.run import Run
    from nanobanana_batch.engine.signals import Signals

    interrupts = session.interrupts or Signals()

    def seen(exchange: Exchange) -> None:
        log("request", **_fields(exchange))

    async def drive() -> None:
        async with AsyncExitStack() as stack:
            provider = await stack.enter_async_context(session.line.connect(session.folder.path, seen))
            callbacks = await stack.enter_async_context(_callbacks(session, log))
            parts = assemble(
                _patience(session),
                provider,
                session.store,
                Machine(session.folder, session.disk, far=session.far),
                Person(stop, session.tally, log, session.commands),
                listed_price=session.line.prices.price,
                callbacks=callbacks,
            )
            engine = Run(parts)
            async with anyio.create_task_group() as group:
                await group.start(interrupts.listen, engine, stop, session.tally)
                if session.link is not None:
                    await group.start(shared(parts, session.link, session.estimated).obey)
                with after_sending():
                    await engine.go()
                group.cancel_scope.cancel()

    try:
        anyio.run(drive)
    except BaseExceptionGroup as group:
        raise _first_of_ours(group) from group
    except OSError as error:
        raise RunStopped(system_words(error)) from error


def _tell_idle(session: Session, link: Link) -> None:
    """The others need not wait for this one, and what its folder has cost counts."""
    import anyio

    from nanobanana_batch.engine.assembly import idle_report

    with suppress(LinkLost):
        anyio.run(link.exchange, idle_report(session.settings, session.store, link.shard))


def _patience(session: Session) -> Settings:
    settings = session.settings
    if not session.line.is_embedded:
        return settings
    return replace(settings, max_outage_s=min(settings.max_outage_s, _EMBEDDED_OUTAGE_S))


@asynccontextmanager
async def _callbacks(session: Session, log: Log) -> AsyncIterator[Callbacks | None]:
    """A receiver of callbacks for the length of the block, if the person brought a front."""
    if session.callback_route is None:
        yield None
        return
    from nanobanana_batch.engine.callbacks import Callbacks
    from nanobanana_batch.engine.limits.descriptors import callers_at_once
    from nanobanana_batch.receiver import CONNECTIONS, receiving

    callbacks = Callbacks(session.callback_route.url, session.tally, log)
    async with receiving(
        session.callback_route.listen, callbacks.came, connections=callers_at_once(CONNECTIONS)
    ) as receiver:
        log("listens", address=str(receiver.address))
        session.tally.announce(
            f"Callbacks to {session.callback_route.url} are expected at {receiver.address}."
        )
        yield callbacks


def _fields(exchange: Exchange) -> dict[str, object]:
    """What is known of a request; what is not stays out."""
    fields = {name: getattr(exchange, name) for name in exchange.__slots__}
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _first_of_ours(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to tell: the first error of our own tree in a group, else the group."""
    for error in group.exceptions:
        found = _first_of_ours(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, NanobananaError):
            return found
    return group
