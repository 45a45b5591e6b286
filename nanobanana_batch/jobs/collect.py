"""Goes on with a folder as it is: what was paid for and is not there is fetched, and no manifest is read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import find, held
from nanobanana_batch.jobs.connection import CONNECTION, LAST, Connection, prepare, remembered
from nanobanana_batch.jobs.journaling import joined
from nanobanana_batch.jobs.opening import opened
from nanobanana_batch.jobs.order import refuse_mixing
from nanobanana_batch.jobs.outcome import Outcome, worked
from nanobanana_batch.jobs.session import Session, fetch_anew, has_work, notice_lost_files
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.store import Store

if TYPE_CHECKING:
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.engine.signals import Interrupts
    from nanobanana_batch.engine.tally import Tally


def collect(
    path: Path,
    now: Connection,
    settings: Settings,
    tally: Tally,
    *,
    as_copy: bool = False,
    interrupts: Interrupts | None = None,
) -> Outcome:
    """Fetch what a folder has paid for and does not have; nothing new is paid for.

    A changed file stays as it is, the image is saved beside it; without one, the file stays its row's image.

    Raises:
        UsageError: there is no such folder, or no key for its provider.
        FolderInUse: another run works on the folder.
        RunStopped: the state or the disk fails.
    """
    settings = replace(settings, new_rows=False)
    return resume(path, now, settings, tally, fetch_anew, as_copy=as_copy, interrupts=interrupts)


def resume(
    path: Path,
    now: Connection,
    settings: Settings,
    tally: Tally,
    look_at_files: Callable[[Store, Path], None] = notice_lost_files,
    *,
    as_copy: bool = False,
    interrupts: Interrupts | None = None,
) -> Outcome:
    """Go on with a folder, over rows of the manifest that its state has, at the provider that is remembered.

    `look_at_files` is called before anything else, and notes what has become of the saved images. Nothing is
    connected to, and no key is needed, where nothing is left to do.

    Raises:
        UsageError: there is no such folder, no manifest in its state, or no key for its provider.
        FolderInUse: another run works on the folder.
        RunStopped: the state or the disk fails."""
    from nanobanana_batch.engine.limits.descriptors import fitted

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
    with ExitStack() as stack:
        stack.enter_context(held(folder))
        far = joined(folder, None, {}, disk, tally.announce)
        store = stack.enter_context(opened(folder, disk, as_copy=as_copy, far=far))
        session = Session(store, disk, folder, line, settings, tally, interrupts=interrupts, far=far)
        if now.provider != LAST:
            refuse_mixing(folder.path, store.providers(), line.name)
        look_at_files(store, folder.path)
        if has_work(session):
            session = replace(session, line=prepare(connection, settings.paid_at_once))
        return worked(session)
