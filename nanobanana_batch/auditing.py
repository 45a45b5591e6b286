"""Joins what was sent, answered, paid, saved and hashed, and lists everything that is not explained.

It reads every image of the folder, and trusts no status: a row is in order only when its paid task
has its file, and the file still has the bytes that were saved.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.fidelity import unlike
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.folder import Folder, find, held
from nanobanana_batch.files.lock import is_held
from nanobanana_batch.files.plain import open_own
from nanobanana_batch.model import request_from_json
from nanobanana_batch.state.facts import GIVEN_UP, Phase
from nanobanana_batch.state.reader import AttemptReport, open_reader

if TYPE_CHECKING:
    from nanobanana_batch.connection import Connection
    from nanobanana_batch.engine.work import Tally

_PAID = frozenset({Phase.ACCEPTED, Phase.READY, Phase.SAVED, Phase.EXPIRED})
_UNANSWERED = frozenset({Phase.INTENT, Phase.UNKNOWN})
_TO_FETCH = frozenset({"missing", "changed"})
"""Faults of a file for which the image is fetched again; one that nobody may read may be in order."""
_IN_FLIGHT = frozenset({Phase.INTENT, Phase.ACCEPTED, Phase.READY})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not explained."""

    kind: str
    """duplicate, resent, given_up, orphan, unknown, missing, changed, unreadable, stray, same_bytes or
    not_as_asked."""
    what: str
    """The row's id, or a file's path."""
    detail: str
    advice: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts and credits over all attempts of the folder; credits as the provider told them."""

    attempts: int
    accepted: int
    """With a task id."""
    saved: int
    files: int
    """Images in the folder."""
    credits_reserved: float
    """Of all accepted requests."""
    credits_used: float
    """Of saved, expired and given up ones; what was reserved where the provider told nothing else."""
    credits_refunded: float
    """Reserved for tasks that failed or were refused: the provider refunds these (contract: "Query")."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found."""

    folder: str
    totals: Totals
    findings: tuple[Finding, ...]
    in_flight: int | None
    """Requests that a run is at work on just now, which are not looked at; None: no run is going on."""

    @property
    def exit_code(self) -> int:
        """0 only when there is nothing left to explain."""
        return 1 if self.findings else 0


def make_audit(folder: Folder) -> Audit:
    """Look at the state and at every file; changes nothing.

    Raises:
        UsageError: the folder holds no state.
        StateFailed: the state file is damaged.
    """
    was_running = is_held(folder.path)
    with open_reader(folder.state, folder.told()) as reader:  # while it is being understood
        return _audited(folder, list(reader.attempts()), was_running=was_running)


def _audited(folder: Folder, attempts: list[AttemptReport], *, was_running: bool) -> Audit:
    is_running = was_running or is_held(folder.path)
    in_flight = [attempt for attempt in attempts if is_running and attempt.phase in _IN_FLIGHT]
    at_rest = [attempt for attempt in attempts if not is_running or attempt.phase not in _IN_FLIGHT]
    saved = [attempt for attempt in attempts if attempt.phase is Phase.SAVED]
    files = _files(folder.path)
    # A run places a file before it writes that down: only when none is going on, a file can be a stray.
    strays = [] if is_running else _strays(files, {attempt.path for attempt in saved})
    findings = [
        *_paid_twice(attempts),
        *_without_image(at_rest),
        *_damaged(folder.path, saved),
        *strays,
        *_same_bytes(saved),
        *_not_as_asked(saved),
    ]
    totals = _totals(attempts, len(files))
    return Audit(str(folder.path), totals, tuple(findings), len(in_flight) if is_running else None)


def repair_folder(path: Path, now: Connection, tally: Tally, *, as_copy: bool = False) -> None:
    """Fetch what is paid for and can still be had: missing and changed images, running and finished tasks.

    A changed file stays as it is; the image is saved next to it.

    Raises:
        FolderInUse: a run works on the folder.
        UsageError: there is no such folder, or no key for its provider.
    """
    from nanobanana_batch.connection import CONNECTION, remembered
    from nanobanana_batch.engine.context import Settings
    from nanobanana_batch.pipeline import collect
    from nanobanana_batch.state import facts
    from nanobanana_batch.state.store import Store

    folder = find(path)
    with held(folder):
        with open_reader(folder.state, folder.told()) as reader:
            remembered(reader.meta(CONNECTION), now)  # before anything is changed
            saved = [attempt for attempt in reader.attempts() if attempt.phase is Phase.SAVED]
        broken = [attempt.attempt for attempt in saved if _fault_of(folder.path, attempt) in _TO_FETCH]
        store = Store(folder.state)
        try:
            store.apply([facts.Lost(attempt) for attempt in broken])
        finally:
            store.close()
    collect(path, now, Settings(), tally, as_copy=as_copy)


_RERUN = "run again or `audit --repair` fetches it"
_GIVE_UP = "`retry --only running` gives it up and pays again"
_GIVEN_UP = ("given up by you, may have been paid", "look in your account for its task")
_ORPHAN = {
    Phase.ACCEPTED: ("paid, not fetched yet", f"{_RERUN}; if it never comes, {_GIVE_UP}"),
    Phase.READY: ("paid and finished, not fetched yet", _RERUN),
    Phase.EXPIRED: (
        "paid, and its links died before it was fetched",
        "a run or `audit --repair` tries once more; ask the provider with the task id",
    ),
}
_UNKNOWN = (
    "may have been paid: no answer came",
    "look in your account; `retry --only unknown` sends it again",
)


def _finding(kind: str, attempt: AttemptReport, words: tuple[str, str]) -> Finding:
    detail, advice = words
    task = f" (task {attempt.task_id})" if attempt.task_id else ""
    said = f": {attempt.error_message}" if attempt.error_message else ""
    return Finding(kind, attempt.id, f"{detail}{task}{said}", advice)


def _without_image(attempts: Iterable[AttemptReport]) -> Iterable[Finding]:
    """What was, or may have been, paid for and has nothing to show for it."""
    for attempt in attempts:
        if attempt.phase in _ORPHAN:
            yield _finding("orphan", attempt, _ORPHAN[attempt.phase])
        if attempt.phase in _UNANSWERED:
            yield _finding("unknown", attempt, _UNKNOWN)
        if _is_given_up(attempt):
            yield _finding("given_up", attempt, _GIVEN_UP)
        if attempt.sent > 1:
            yield _finding("resent", attempt, _resent(attempt.sent))


def _resent(times: int) -> tuple[str, str]:
    which = "the first time" if times == 2 else f"each of the first {times - 1} times"
    return (
        f"sent {times} times because no answer came; {which} may have been paid too",
        "look in your account for another task of that time",
    )


def _paid_twice(attempts: Iterable[AttemptReport]) -> Iterable[Finding]:
    paid: dict[str, list[AttemptReport]] = {}
    for attempt in attempts:
        if attempt.phase in _PAID:
            paid.setdefault(attempt.row_key, []).append(attempt)
    for several in paid.values():
        if len(several) > 1:
            tasks = ", ".join(str(attempt.task_id) for attempt in several)
            yield Finding(
                "duplicate", several[0].id, f"paid {len(several)} times ({tasks})", "see who asked for it"
            )


def _damaged(folder: Path, saved: Iterable[AttemptReport]) -> Iterable[Finding]:
    for attempt in saved:
        fault = _fault_of(folder, attempt)
        if fault == "missing":
            yield Finding("missing", str(attempt.path), f"the image of {attempt.id} is gone", _RERUN)
        elif fault == "unreadable":
            detail = f"nobody knows whether it is the image of {attempt.id}: this user may not read it"
            yield Finding("unreadable", str(attempt.path), detail, "make it readable, and look once more")
        elif fault:
            advice = "`audit --repair` fetches the image again and leaves this file alone"
            yield Finding(
                "changed", str(attempt.path), f"the bytes of {attempt.id} are not those saved", advice
            )


def _fault_of(folder: Path, attempt: AttemptReport) -> str:
    try:
        with os.fdopen(open_own(folder / str(attempt.path)), "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    except PermissionError:
        return "unreadable"
    except OSError:  # a link, a pipe, a folder: not what was saved
        return "changed"
    return "" if found == attempt.sha256 else "changed"


def _files(folder: Path) -> list[str]:
    images = folder / IMAGE_FOLDER
    if not images.is_dir():
        return []
    return sorted(path.relative_to(folder).as_posix() for path in images.rglob("*") if not path.is_dir())


def _strays(files: Iterable[str], owned: set[str | None]) -> Iterable[Finding]:
    for path in files:
        if path not in owned:
            yield Finding("stray", path, "no row owns this file", "yours to keep or to remove")


def _same_bytes(saved: Iterable[AttemptReport]) -> Iterable[Finding]:
    first: dict[str | None, AttemptReport] = {}
    for attempt in saved:
        other = first.setdefault(attempt.sha256, attempt)
        if other is not attempt and other.row_key != attempt.row_key:
            detail = f"has the very bytes of {other.id}"
            yield Finding(
                "same_bytes", attempt.id, detail, "look at both; the provider may have mixed them up"
            )


def _not_as_asked(saved: Iterable[AttemptReport]) -> Iterable[Finding]:
    for attempt in saved:
        if attempt.width is None or attempt.height is None:
            continue
        if note := unlike(request_from_json(attempt.request), attempt.width, attempt.height):
            yield Finding(
                "not_as_asked", attempt.id, note, "kept; ask the provider what was charged, or change the row"
            )


def _is_given_up(attempt: AttemptReport) -> bool:
    return attempt.phase is Phase.FAILED and attempt.error_code == GIVEN_UP


def _is_refunded(attempt: AttemptReport) -> bool:
    return attempt.phase in (Phase.FAILED, Phase.REFUSED) and not _is_given_up(attempt)


def _totals(attempts: list[AttemptReport], files: int) -> Totals:
    accepted = [attempt for attempt in attempts if attempt.task_id]
    refunded = [attempt for attempt in accepted if _is_refunded(attempt)]
    spent = [
        attempt
        for attempt in accepted
        if attempt.phase in (Phase.SAVED, Phase.EXPIRED) or _is_given_up(attempt)
    ]
    return Totals(
        attempts=len(attempts),
        accepted=len(accepted),
        saved=sum(attempt.phase is Phase.SAVED for attempt in attempts),
        files=files,
        credits_reserved=sum(attempt.credits_reserved or 0.0 for attempt in accepted),
        credits_used=sum(
            attempt.credits_reserved or 0.0 if attempt.credits_used is None else attempt.credits_used
            for attempt in spent
        ),
        credits_refunded=sum(attempt.credits_reserved or 0.0 for attempt in refunded),
    )
