"""A folder's journal elsewhere: taken over, held beside the folder, made its state where it knows more."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nanobanana_batch.commands import kill_this
from nanobanana_batch.errors import RunStopped, StateFailed, Superseded, UsageError
from nanobanana_batch.files.disk import Disk, write_atomically
from nanobanana_batch.files.folder import JOURNAL_NAME, Folder, journal_address, make
from nanobanana_batch.files.payments import PAYMENTS_NAME, Payments, Told
from nanobanana_batch.files.plain import OWN_FILE
from nanobanana_batch.jobs.rebuild import knows_all, make_anew
from nanobanana_batch.journals.journal import FarJournal, is_told
from nanobanana_batch.journals.place import place_of
from nanobanana_batch.journals.slots import Slots
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.rebuild import JOURNAL, LEFT_BEHIND, known_before
from nanobanana_batch.state.store import Store
from nanobanana_batch.wording import shown

_ADDRESS = "journal_address"
"""Under which a state remembers where its journal is."""
_LAST_TRIES = 5
_PAUSE_S = 2.0
_SLOW_S = 12.0
"""As `engine.surviving` says."""
_STANDS_HERE = (
    "All else is done, and what was done last stands in the folder: if this is ended, run the same command on"
    " this machine again before another one goes on."
)


class Both:
    """The witness in the folder, and the journal elsewhere: what one is told, the other is told."""

    def __init__(self, payments: Payments, far: FarJournal) -> None:
        self._payments = payments
        self._far = far

    def told(self) -> Told | None:
        """As the folder's own."""
        return self._payments.told()

    def append(self, lines: bytes) -> None:
        """Tell more; elsewhere it waits to be written."""
        self._payments.append(lines)
        self._far.append(lines)

    def rewrite(self, pieces: Iterable[bytes]) -> None:
        """Of the folder's own: the journal elsewhere is brought up to date when the state is open."""
        self._payments.rewrite(pieces)


def joined(
    folder: Folder, address: str | None, run: Mapping[str, str], disk: Disk, say: Callable[[str], None]
) -> FarJournal | None:
    """The journal of a folder, which this process is the writer of from now on; None: it has none.

    Where it knows more than the folder does, the folder's state is made of it, and that is said. `run`: what
    has to be the same for all who write there; empty: whose it is was looked at before. Hold the folder's
    lock.

    Raises:
        UsageError: it is another run's, or the folder has another one, or it cannot be reached.
        StateFailed: what it tells is damaged, or of other payments than the folder's; nothing was sent.
        RunStopped: it cannot be written.
    """
    known = _remembered(folder)
    address = address or known.get(_ADDRESS) or journal_address(folder.path)
    if address is None:
        return None
    slots = Slots(place_of(address, disk), run)
    with _told_if_slow(say, slots.address, "Nothing is sent before it does."):
        slots.take_over()
    if known.get(JOURNAL, slots.journal) != slots.journal:
        _refuse_anothers(folder, known, slots, say)
    far = FarJournal(slots, say)
    _bring_back(folder, far, slots, disk, say)
    return far


def _remembered(folder: Folder) -> dict[str, str]:
    if not folder.state.is_file() or not folder.state.stat().st_size:
        return {}
    try:
        with open_reader(folder.state) as reader:
            found = {name: reader.meta(name) for name in (_ADDRESS, JOURNAL)}
    except StateFailed:  # the journal may know what it knew; and without one it is refused a little later
        return {}
    return {name: value for name, value in found.items() if value}


def _refuse_anothers(
    folder: Folder, known: Mapping[str, str], slots: Slots, say: Callable[[str], None]
) -> None:
    """A new journal in the place of another one is a person's word; one that tells of other payments is not.

    Raises:
        UsageError: that is what it is.
    """
    if slots.before is not None:
        raise UsageError(
            f"What {folder.path} has paid for is told at {known[_ADDRESS]}, and {slots.address} is another"
            " journal; nothing was sent.",
            hint="Leave out --journal, or give an address at which there is nothing yet.",
        )
    say(
        f"warning: {folder.path} is told at {slots.address} from now on. The journal at {known[_ADDRESS]} is"
        " left behind: whoever goes on from there pays again."
    )


def _bring_back(
    folder: Folder, far: FarJournal, slots: Slots, disk: Disk, say: Callable[[str], None]
) -> None:
    chain = far.chain()
    if not chain.number or knows_all(folder, (*chain, folder.path)):
        return
    make(folder.path, disk)
    make(folder.state_folder, disk)
    if not is_told(folder.path, chain):
        path = folder.path / PAYMENTS_NAME
        write_atomically(disk, path, far.lines())
        os.chmod(path, OWN_FILE)
    made = make_anew(folder, disk, {JOURNAL: slots.journal, _ADDRESS: slots.address, LEFT_BEHIND: "yes"})
    if made.before is not None:
        far.found.extend(known_before(folder.state, made.before))
    machine = shown(slots.before.machine) if slots.before else "another machine"
    before = f" The state of before is kept as {made.before}." if made.before else ""
    say(
        f"The journal at {far.address} knows more than {folder.path}: it was written on {machine}. The state"
        f" was made of it, with {sum(made.counts.values()):,} paid requests; what is running is looked for,"
        f" and images that are not here are fetched again.{before}"
    )


def begin_to_tell(far: FarJournal, store: Store, folder: Folder, disk: Disk) -> None:
    """Both know the same from here on, and the state remembers where it is told; so does a file beside it.

    Raises:
        StateFailed: the folder's file of it cannot be read.
        RunStopped: the journal cannot be written.
    """
    known = far.chain()
    try:
        if known != store.chain:
            far.catch_up(folder.path, known)
    except OSError as error:
        raise StateFailed(f"{folder.path / PAYMENTS_NAME} cannot be read: {error.strerror}.") from error
    for name, value in ((_ADDRESS, far.address), (JOURNAL, far.journal)):
        if store.meta(name) != value:
            store.remember(name, value)
    store.apply(far.found)
    if journal_address(folder.path) != far.address:
        write_atomically(
            disk, folder.path / JOURNAL_NAME, [f"{far.address}\n".encode("utf-8", "surrogateescape")]
        )


def tell_the_rest(far: FarJournal) -> None:
    """What came last is told elsewhere before the folder is left.

    Raises:
        RunStopped: it cannot be, for now.
        Superseded: another process goes on with it.
    """
    for tries_left in reversed(range(_LAST_TRIES)):
        try:
            with _told_if_slow(far.say, far.address, _STANDS_HERE):
                far.write()
            return
        except Superseded:
            raise
        except (RunStopped, UsageError) as error:
            if not tries_left:
                raise RunStopped(
                    f"What was done last is not told in the journal: {error.message} It stands in the"
                    " folder.",
                    hint="Run the same command on this machine again before another one goes on.",
                ) from error
            time.sleep(_PAUSE_S)


def part(address: str, name: str) -> str:
    """The address of a part of a run, beside those of its other parts."""
    return f"{address.rstrip('/')}/{name}" if "://" in address else str(Path(address) / name)


@contextmanager
def _told_if_slow(say: Callable[[str], None], address: str, meanwhile: str) -> Iterator[None]:
    """Say what is waited for where the block lasts long, and how to end that: it may hear no signal."""
    text = f"The journal at {address} does not answer; it is waited for. {meanwhile} {kill_this()}"
    timer = threading.Timer(_SLOW_S, say, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
