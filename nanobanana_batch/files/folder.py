"""Where an output folder keeps its state, and the one process that may write there.

The state stands in the folder itself. On a network file system neither its lock nor its write-ahead
log can be trusted, so there the folder is refused, unless the person puts the state on a local disk
(the folder then holds a pointer to it) or takes the risk.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.commands import rebuild_hint
from nanobanana_batch.errors import FolderRefused, StateFailed, UsageError
from nanobanana_batch.file_names import ANSWERS, IMAGE_FOLDER
from nanobanana_batch.files import filesystem
from nanobanana_batch.files.disk import Disk, as_disk_failure, remove_left, write_atomically
from nanobanana_batch.files.lock import LOCK_NAME, only_writer
from nanobanana_batch.files.log import LOG_NAMES, last_intent
from nanobanana_batch.files.payments import PAYMENTS_NAME, Told, last_told
from nanobanana_batch.files.plain import OWN_FOLDER, open_own, refuse_foreign, refuse_second_names

STATE_NAME = "state.sqlite3"
POINTER_NAME = "state-dir.json"
JOURNAL_NAME = "journal-address.txt"
"""Where its payments are told besides: the state says so, too, and may be lost."""
OWNER_NAME = "output-dir.json"
"""Beside a state that stands elsewhere: the output folder that it was made for."""
RESULTS_NAME = "results.csv"
SPREADSHEET_NAME = "results-for-spreadsheets.csv"
RATINGS_NAME = "ratings.csv"
PREFERENCES_NAME = "preferences.csv"
CHECKS_NAME = "checks.csv"
GALLERY_FOLDER = "gallery"
REPORT_NAME = "report.html"
LIVE_NAME = ".run.live.json"
"""How a run stands that is going on, beside its state."""
SERVICE_FOLDER = ".service"
"""Where the embedded service keeps its data."""
_BESIDE_STATE = tuple(f"{STATE_NAME}-{part}" for part in ("wal", "shm", "journal"))
"""SQLite writes to them, or removes them, also for who only reads."""
_STATE_FILES = (STATE_NAME, *_BESIDE_STATE, LOCK_NAME, LIVE_NAME, f"{LIVE_NAME}.new")
_FILES = (
    *_STATE_FILES,
    f".{STATE_NAME}.new",
    POINTER_NAME,
    JOURNAL_NAME,
    RESULTS_NAME,
    SPREADSHEET_NAME,
    PAYMENTS_NAME,
    *LOG_NAMES,
)
_WRITTEN_WHOLE = frozenset(
    {POINTER_NAME, OWNER_NAME, RESULTS_NAME, SPREADSHEET_NAME, PAYMENTS_NAME}
    | {RATINGS_NAME, PREFERENCES_NAME, CHECKS_NAME, REPORT_NAME}
)
"""Whoever is killed while writing one of them leaves a part of it under another name."""
_MOST_POINTER_BYTES = 1 << 16
_MOST_PATH_BYTES = 1 << 12


@dataclass(frozen=True, slots=True)
class Folder:
    """An output folder and the place of its state."""

    path: Path
    state_folder: Path

    @property
    def state(self) -> Path:
        """The state file."""
        return self.state_folder / STATE_NAME

    def told(self) -> Told | None:
        """What is told of its payments beside the state; ask before the state is opened."""
        return last_told(self.path)


def find(path: Path) -> Folder:
    """An output folder as it is; its state is where its pointer says, or else in the folder itself.

    Raises:
        FolderRefused: it holds links or other things that no run makes, or its pointer leads to a state that
            was not made for it, or over a link.
        UsageError: it cannot be one, or the pointer is damaged, or points to a disk of another machine.
    """
    refuse_foreign(path, _FILES, (IMAGE_FOLDER, ANSWERS, SERVICE_FOLDER))
    refuse_second_names(path, _BESIDE_STATE)
    text = _pointer_text(path)
    if text is None:
        return Folder(path, path)
    try:
        found = json.loads(text)
        host, state_folder = str(found["host"]), Path(found["path"])
        if b"\0" in os.fsencode(state_folder) or len(os.fsencode(state_folder)) > _MOST_PATH_BYTES:
            raise ValueError("that is no path")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"{path / POINTER_NAME} is damaged: it has to name host and path of the state."
        raise UsageError(message) from error
    if host != platform.node():
        raise UsageError(f"The state of {path} is on the machine {host}, in {state_folder}; run it there.")
    _refuse_anothers_state(path, state_folder)
    _refuse_foreign_state(path, state_folder)
    _refuse_one_in_use(path, state_folder)
    return Folder(path, state_folder)


def journal_address(path: Path) -> str | None:
    """Where the payments of a folder are told besides, as it says beside its state; None: it does not.

    Raises:
        UsageError: that cannot be read.
    """
    return (_pointer_text(path, JOURNAL_NAME) or "").strip() or None


def _pointer_text(path: Path, name: str = POINTER_NAME) -> str | None:
    """What a pointer says; None where there is none."""
    try:
        with os.fdopen(open_own(path / name), "rb") as file:
            return file.read(_MOST_POINTER_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be an output folder: {error.strerror}.") from error


def _refuse_anothers_state(path: Path, state_folder: Path) -> None:
    """A pointer that somebody else has made must not lead to the state of another folder, or to a new place.

    The name of a state's folder is made of the place of its output folder, so that it proves whose it is.
    """
    expected = _state_name(path)
    if state_folder.name == expected and state_folder.is_absolute():
        return
    raise FolderRefused(
        f"{path / POINTER_NAME} leads to {state_folder}, which is not the state of this folder.",
        hint=f"If you have moved the folder yourself: rename {state_folder} to {expected} there, and the last"
        f" part of the path in {POINTER_NAME} likewise. Else do not use this folder.",
    )


def _refuse_one_in_use(path: Path, state_folder: Path) -> None:
    """A state that another folder still points to stays that one's, whatever it was renamed to.

    A file beside the state tells whose it is. An older state has none until the next run; that of a folder
    that was moved names a place where no pointer is any more.
    """
    text = _pointer_text(state_folder, OWNER_NAME)
    try:
        owner = Path(json.loads(text or "{}")["path"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    if owner != path.resolve() and os.path.lexists(owner / POINTER_NAME):
        raise FolderRefused(
            f"{path / POINTER_NAME} leads to {state_folder}, which is the state of {owner}.",
            hint=f"If {path} is that folder at a new place, remove {owner / POINTER_NAME}. Else do not use"
            " this folder, and give the state its name back if you have renamed it.",
        )


def _refuse_foreign_state(path: Path, state_folder: Path) -> None:
    """The place of a state that stands elsewhere, or is to: a folder of its own, and no link leads to it.

    A link further up is the person's own, unless it came with the output folder.
    """
    refuse_foreign(state_folder.parent, (), (state_folder.name,))
    inside = path.resolve()
    for above in state_folder.parents:
        if os.path.islink(above) and above.parent.resolve().is_relative_to(inside):
            refuse_foreign(above.parent, (), (above.name,))
    refuse_foreign(state_folder, (*_STATE_FILES, OWNER_NAME))
    refuse_second_names(state_folder, _BESIDE_STATE)


def choose(path: Path, state_dir: Path | None, *, risk_network: bool) -> Folder:
    """Where the state of a folder is, or is to be; nothing is created.

    Raises:
        UsageError: it would stand on a network file system, or it already stands elsewhere.
    """
    folder = find(path)
    if state_dir is not None:
        wanted = Folder(path, _below(state_dir, path))
        if folder.state.exists() and folder.state_folder.resolve() != wanted.state_folder:
            raise UsageError(
                f"The state of {path} is in {folder.state_folder} already; leave out --state-dir."
            )
        _refuse_foreign_state(path, wanted.state_folder)
        folder = wanted
    kind = filesystem.type_of(folder.state_folder)
    if kind in filesystem.NETWORK and not risk_network:
        raise UsageError(
            f"{folder.state_folder} is on a network file system ({kind}),"
            " where two runs could not see each other and pay twice.",
            hint="Put the state on a local disk with --state-dir DIR (images may stay where they are),"
            " or take that risk with --risk-network-filesystem.",
        )
    return folder


def was_worked_on(path: Path) -> bool:
    """Whether a run has ever held this folder. Ask before locking it: a lock leaves the same trace."""
    return (path / LOCK_NAME).exists() or (path / POINTER_NAME).exists()


@contextmanager
def held(folder: Folder) -> Iterator[None]:
    """Be the only writer of a folder and of its state; what earlier ones have left half written goes.

    Raises:
        FolderInUse: another process is; said at once.
    """
    with only_writer(folder.path), ExitStack() as also:
        if folder.state_folder != folder.path:
            also.enter_context(only_writer(folder.state_folder))
        _remove_left(folder)
        yield


def _remove_left(folder: Folder) -> None:
    for place in {folder.path, folder.state_folder}:
        remove_left(place, _WRITTEN_WHOLE)


def make(path: Path, disk: Disk) -> None:
    """Make an output folder, for its owner alone; its name survives power loss.

    Raises:
        UsageError: it cannot be made there.
        DiskFailed: the disk is full or refuses.
    """
    try:
        disk.make_folder(path, OWN_FOLDER)
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}.") from error
    except OSError as error:
        raise as_disk_failure(error, f"making {path}") from error


def create(folder: Folder, disk: Disk, *, worked_on: bool) -> None:
    """Make what belongs into a folder, and the pointer if the state stands elsewhere. Hold its lock.

    What earlier writers have left half written goes.

    Raises:
        UsageError: it cannot be made there.
        DiskFailed: the disk is full or refuses.
        StateFailed: the folder was worked on, but its state is gone.
    """
    refuse_amnesia(folder, worked_on=worked_on)
    _remove_left(folder)
    make(folder.path / IMAGE_FOLDER, disk)
    if folder.state_folder != folder.path:
        make(folder.state_folder, disk)
        pointer = {"host": platform.node(), "path": str(folder.state_folder)}
        text = json.dumps(pointer, indent=2) + "\n"
        write_atomically(disk, folder.path / POINTER_NAME, [text.encode()])
        owner = json.dumps({"path": str(folder.path.resolve())}, indent=2) + "\n"
        write_atomically(disk, folder.state_folder / OWNER_NAME, [owner.encode()])


def refuse_amnesia(folder: Folder, *, worked_on: bool) -> None:
    """Without its state a folder that was worked on would pay for every row again.

    Raises:
        StateFailed: there are payments, images or results of an earlier run, and no state.
    """
    if folder.state.is_file() and folder.state.stat().st_size:
        return
    if told := folder.told():
        raise StateFailed(
            f"{folder.path} has no state file {folder.state}, or an empty one, and {PAYMENTS_NAME} tells of"
            f" {told[2]:,} paid requests: nothing was sent.",
            hint=rebuild_hint(folder.path),
        )
    images = folder.path / IMAGE_FOLDER
    has_images = images.is_dir() and any(not path.name.startswith(".") for path in images.iterdir())
    has_results = (folder.path / RESULTS_NAME).exists()
    if worked_on and (has_images or has_results or last_intent(folder.path) is not None):
        raise StateFailed(
            f"{folder.path} has images, results or a log of an earlier run, but its state file"
            f" {folder.state} is gone or empty: nobody knows any more what was paid for, so nothing was"
            " sent.",
            hint="Bring the file back, or name its folder if it was made with --state-dir; or give another"
            " folder with --out.",
        )


def _below(state_dir: Path, path: Path) -> Path:
    """A folder of its own for each output folder, so that one --state-dir serves many."""
    return state_dir.resolve() / _state_name(path)


def _state_name(path: Path) -> str:
    place = str(path.resolve())
    return f"{path.resolve().name}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:10]}"
