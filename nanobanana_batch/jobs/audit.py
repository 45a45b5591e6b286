"""Joins what was sent, answered, paid, saved and hashed, and lists everything that is not explained.

It reads every image of the folder, and trusts no status: a row is in order only when its paid task
has its file, and the file still has the bytes that were saved.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.fidelity import unlike
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.folder import Folder
from nanobanana_batch.files.lock import is_held
from nanobanana_batch.files.spooled import spooled
from nanobanana_batch.files.standing import Look, Stands
from nanobanana_batch.jobs.connection import CONNECTION, LAST, way_to
from nanobanana_batch.model import Request
from nanobanana_batch.state import accounts
from nanobanana_batch.state.accounts import FilesFound, Sums
from nanobanana_batch.state.lifecycle import GIVEN_UP, UNANSWERED, Phase
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.reports import AttemptReport

if TYPE_CHECKING:
    from nanobanana_batch.engine.signals import Interrupts
    from nanobanana_batch.engine.tally import Tally
    from nanobanana_batch.jobs.connection import Connection
    from nanobanana_batch.jobs.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not explained."""

    kind: str
    """duplicate, resent, given_up, orphan, unknown, missing, changed, not_a_file, kept, unreadable, stray,
    same_bytes or not_as_asked."""
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
    untold: int = 0
    """Requests that are paid for, and in no sum: the provider has not said what they cost."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found."""

    folder: str
    totals: Totals
    findings: Sequence[Finding]
    """A tuple; more than 5,000 of them are read from a file that goes with this."""
    in_flight: int | None
    """Requests that a run is at work on just now, which are not looked at; None: no run is going on."""

    @property
    def exit_code(self) -> int:
        """0 only when there is nothing left to explain."""
        return 1 if self.findings else 0


def make_audit(folder: Folder, now: Connection | None = None) -> Audit:
    """Look at the state and at every file; changes nothing.

    `now`: what was said of the provider, for what is advised.

    Raises:
        UsageError: the folder holds no state.
        StateFailed: the state file is damaged.
        DiskFailed: there are more findings than the disk for temporary files takes.
    """
    was_running = is_held(folder.path)
    with open_reader(folder.state, folder.told()) as reader:  # while it is being understood
        way = () if now is None or now.provider == LAST else way_to(now, reader.meta(CONNECTION))
        commands = FolderCommands(folder.path, way)
        look = Look(folder.path, verify=True)
        look.kept = reader.kept_images()
        with reader.one_moment():
            sums, twice = accounts.sums(reader), spooled(_paid_twice(reader))
            without_image = spooled(accounts.unexplained(reader))
            unlike_others = spooled(chain(_same_bytes(reader), _not_as_asked(reader)))
        damaged = spooled(_damaged(commands, look, reader))
        found = FilesFound(reader, _files(folder.path))
        strays = () if was_running else spooled(_strays(found))
    # A run places a file before it writes that down: only when none is going on, a file can be a stray.
    is_running = was_running or is_held(folder.path)
    at_rest = (one for one in without_image if not is_running or one.phase not in accounts.IN_FLIGHT)
    unpictured = _without_image(commands, at_rest)
    findings = chain(twice, unpictured, damaged, () if is_running else strays, unlike_others)
    in_flight = sums.in_flight if is_running else None
    return Audit(str(folder.path), _totals(sums, found.count), spooled(findings), in_flight)


def repair_folder(
    path: Path,
    now: Connection,
    tally: Tally,
    *,
    as_copy: bool = False,
    interrupts: Interrupts | None = None,
) -> Outcome:
    """Fetch what is paid for and can still be had: missing and changed images, running and finished tasks.

    A changed file stays as it is; the image is saved next to it. If that cannot be had any more, the changed
    file stays the row's image.

    Raises:
        FolderInUse: a run works on the folder.
        UsageError: there is no such folder, or no key for its provider.
    """
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.jobs.collect import collect

    return collect(path, now, Settings(), tally, as_copy=as_copy, interrupts=interrupts)


_GIVEN_UP = ("given up by you, may have been paid", "look in your account for its task")


def _orphan(commands: FolderCommands, phase: Phase) -> tuple[str, str]:
    repair = commands.repair()
    again = f"run again, or {repair} fetches it"
    if phase is Phase.READY:
        return "paid and finished, not fetched yet", again
    if phase is Phase.ACCEPTED:
        give_up = commands.retry("running")
        return "paid, not fetched yet", f"{again}; if it never comes, {give_up} gives it up and pays again"
    return (
        "paid, and its links died before it was fetched",
        f"a run or {repair} tries once more; ask the provider with the task id, or"
        f" {commands.retry('expired')} pays for it again",
    )


def _unknown(commands: FolderCommands, *, has_left: bool) -> tuple[str, str]:
    again = commands.retry("unknown")
    if has_left:
        return (
            "may have been paid: no answer came, and its row has left the manifest",
            f"look in your account; {again} asks once more and gives it up",
        )
    return "may have been paid: no answer came", f"look in your account; {again} sends it again"


def _finding(kind: str, attempt: AttemptReport, words: tuple[str, str]) -> Finding:
    detail, advice = words
    task = f" (task {attempt.task_id})" if attempt.task_id else ""
    said = f": {attempt.error_message}" if attempt.error_message and not _is_given_up(attempt) else ""
    return Finding(kind, attempt.id, f"{detail}{task}{said}", advice)


def _without_image(commands: FolderCommands, attempts: Iterable[AttemptReport]) -> Iterable[Finding]:
    """What was, or may have been, paid for and has nothing to show for it."""
    for attempt in attempts:
        if attempt.phase in accounts.ORPHANS:
            yield _finding("orphan", attempt, _orphan(commands, attempt.phase))
        if attempt.phase in UNANSWERED:
            yield _finding("unknown", attempt, _unknown(commands, has_left=attempt.has_left))
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


def _paid_twice(reader: Reader) -> Iterator[Finding]:
    for id_, tasks in accounts.paid_several_times(reader):
        yield Finding(
            "duplicate", id_, f"paid {len(tasks)} times ({', '.join(tasks)})", "see who asked for it"
        )


def _damaged(commands: FolderCommands, look: Look, reader: Reader) -> Iterator[Finding]:
    words = _damage_words(commands)
    for id_, file in accounts.saved_files(reader):
        found = look.at(*file)
        if found in words:
            detail, advice = words[found]
            yield Finding(found.name.lower(), file.path, f"the image of {id_} {detail}", advice)


def _damage_words(commands: FolderCommands) -> dict[Stands, tuple[str, str]]:
    repair = commands.repair()
    beside = f"{repair} saves the image beside it while the provider has it, and leaves this alone"
    return {
        Stands.MISSING: ("is gone", f"{repair} fetches it while the provider has it"),
        Stands.CHANGED: ("has other bytes than were saved; it stays its row's image", beside),
        Stands.NOT_A_FILE: ("is not there: a folder, a link or the like stands in its place", beside),
        Stands.KEPT: (
            "has other bytes than were saved, and could not be fetched anew; it stays its row's image",
            "yours to keep",
        ),
        Stands.UNREADABLE: (
            "may be in order or not: this user may not read it",
            f"make it readable, and look once more: {commands.audit()}",
        ),
    }


def _files(folder: Path) -> Iterator[str]:
    """Everything below the images that is no folder; what this user may not list is left out."""
    waiting = [IMAGE_FOLDER]
    while waiting:
        place = waiting.pop()
        with suppress(OSError), os.scandir(folder / place) as entries:
            for entry in entries:
                path = f"{place}/{entry.name}"
                if _is_folder(entry):
                    waiting.append(path)
                else:
                    yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _strays(found: FilesFound) -> Iterator[Finding]:
    for path in found.strays():
        yield Finding("stray", path, "no row owns this file", "yours to keep or to remove")


def _same_bytes(reader: Reader) -> Iterator[Finding]:
    for id_, other in accounts.same_bytes(reader):
        detail = f"has the very bytes of {other}"
        yield Finding("same_bytes", id_, detail, "look at both; the provider may have mixed them up")


def _not_as_asked(reader: Reader) -> Iterator[Finding]:
    for id_, *shape in accounts.shapes(reader):
        if note := _unlike(*shape):
            yield Finding(
                "not_as_asked", id_, note, "kept; ask the provider what was charged, or change the row"
            )


@lru_cache(maxsize=4096)
def _unlike(resolution: str | None, aspect_ratio: str | None, width: int, height: int) -> str:
    """Many rows ask for the same, and get the same."""
    return unlike(Request("", "", aspect_ratio=aspect_ratio, resolution=resolution), width, height)


def _is_given_up(attempt: AttemptReport) -> bool:
    return attempt.phase is Phase.FAILED and attempt.error_code == GIVEN_UP


def _totals(sums: Sums, files: int) -> Totals:
    return Totals(
        attempts=sums.attempts,
        accepted=sums.accepted,
        saved=sums.saved,
        files=files,
        credits_reserved=sums.credits_reserved,
        credits_used=sums.credits_used,
        credits_refunded=sums.credits_refunded,
        untold=sums.untold,
    )
