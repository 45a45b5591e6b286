"""The state of a folder is opened for work: whole, knowing all that was paid for, and not as a copy."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanobanana_batch.errors import FolderRefused, StateFailed, before_sending
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import Folder, make
from nanobanana_batch.files.log import LOG_NAME, last_intent
from nanobanana_batch.files.payments import PAYMENTS_NAME, Payments
from nanobanana_batch.files.proof import prove_writable, refuse_unspeakable
from nanobanana_batch.jobs.journaling import Both, begin_to_tell, tell_the_rest
from nanobanana_batch.journals.journal import FarJournal
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import Reader
from nanobanana_batch.state.soundness import understood
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken

_PLACES = "places"
"""Under which the state remembers where it was worked on, the latest place at the end."""
_MOST_PLACES = 50


@contextmanager
def opened(
    folder: Folder,
    disk: Disk,
    *,
    as_copy: bool = False,
    is_checked_later: bool = False,
    far: FarJournal | None = None,
    begins_with: Taken | None = None,
) -> Iterator[Store]:
    """The folder's store; the name of a new state file survives power loss before anything is paid for.

    `as_copy`: a person knows that the folder was worked on elsewhere, and may be again. `far`: what is told
    is told there, too. `is_checked_later`, `begins_with`: as `Store` says. Hold the lock.

    Raises:
        UsageError: a place of the run does not keep what is written to it; nothing was sent.
        FolderRefused: it is a copy of a folder of another machine.
        RunStopped: `far` cannot be told what is known, or not what came last.
        StateFailed: the state is damaged, or knows less than was told of what was sent.
        BadSurroundings: in this locale no file can have the name of an image that is paid for.
    """
    with before_sending():
        make(folder.path / IMAGE_FOLDER, disk)
    prove_writable(folder, disk)
    last = last_intent(folder.path) if folder.state.exists() else None
    with Payments(folder.path, disk) as payments:
        told = payments if far is None else Both(payments, far)
        store = Store(
            folder.state,
            told,
            is_checked_later=is_checked_later and far is None,
            begins_with=begins_with,
        )
        try:
            if far is not None:
                begin_to_tell(far, store, folder, disk)
            _refuse_less_than_log(folder, last, store.last_attempt)
            _note_place(store, folder, as_copy=as_copy)
            disk.sync_folder(folder.state_folder)
            refuse_unspeakable(known.stem for phase in Phase for known in store.open_attempts(phase))
            yield store
            if far is not None:
                tell_the_rest(far)
        finally:
            store.close()


def _refuse_less_than_log(folder: Folder, last: int | None, known: int) -> None:
    """State and `payments.jsonl` may both be of a backup, or of before there was that: the log tells."""
    if last is not None and last > known:
        raise StateFailed(
            f"{LOG_NAME} in {folder.path} tells of paid request number {last:,}, and the state knows of"
            f" {known:,}: it is an older copy, or lacks a part; nothing was sent.",
            hint="Bring the newest state back. If you know that nothing is lost, move the log away.",
        )


def refuse_copy(reader: Reader, folder: Folder, *, as_copy: bool) -> None:
    """What `opened` refuses as a copy, without changing anything.

    Raises:
        FolderRefused: it is a copy of a folder of another machine.
    """
    _places(folder, reader.meta(_PLACES), as_copy=as_copy)


def _note_place(store: Store, folder: Folder, *, as_copy: bool) -> None:
    known, now = _places(folder, store.meta(_PLACES), as_copy=as_copy)
    if not known or now != known[-1]:
        others = [place for place in known if place != now]
        store.remember(_PLACES, json.dumps([*others, now][-_MOST_PLACES:]))


def _places(
    folder: Folder, places: str | None, *, as_copy: bool
) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Where it was worked on, and where it is now.

    A folder that goes on in two places is paid for twice: each pays for the rows that are left. A machine may
    have another name (a container), and a folder another place, where the old one is not there any more; else
    it is told once.
    """
    now = {"machine": platform.node(), "path": str(folder.path.resolve())}
    with understood("meta"):
        known = [dict(place) for place in json.loads(places or "[]")]
        is_known = not known or _is_here(known, now)
    if not is_known and not as_copy:
        raise FolderRefused(
            f"{folder.path} was worked on as {known[-1]['path']} on the machine {known[-1]['machine']}: this"
            " is a copy of it, or it was moved. Each copy that goes on pays for the rows that are left;"
            " nothing was sent.",
            hint="To go on here, give --as-copy once, and do not go on there.",
        )
    return known, now


def _is_here(known: list[dict[str, str]], now: dict[str, str]) -> bool:
    """Whether a folder that was worked on in these places is here now, and not a copy of it."""
    if any(place["path"] == now["path"] for place in known):
        return True
    last = known[-1]
    return last["machine"] == now["machine"] and not (Path(last["path"]) / PAYMENTS_NAME).exists()
