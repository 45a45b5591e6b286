"""Pays again, by a person's word, for rows of a folder that ended in one way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.folder import find
from nanobanana_batch.jobs.collect import resume
from nanobanana_batch.jobs.connection import LAST, Connection
from nanobanana_batch.jobs.outcome import Outcome
from nanobanana_batch.model import RowStatus
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.scope import EVERY_ROW, Scope

if TYPE_CHECKING:
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.engine.signals import Interrupts
    from nanobanana_batch.engine.tally import Tally


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


def retry(
    path: Path,
    only: Retry,
    now: Connection,
    settings: Settings,
    tally: Tally,
    ids: Sequence[str] = (),
    *,
    as_copy: bool = False,
    interrupts: Interrupts | None = None,
) -> Outcome:
    """Pay again for the rows of a folder that ended in one way; the manifest is not read again.

    `ids`: only for these. Running rows have not ended: each task is read once more, and given up only if its
    image is not there.

    Raises:
        UsageError: there is no such folder or row, or no key for its provider.
        FolderInUse: another run works on the folder; nothing was sent.
        RunStopped: going on could pay twice or lose what is paid for.
    """
    from nanobanana_batch.engine.settings import OnUnknown

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
    return resume(path, now, settings, tally, as_copy=as_copy, interrupts=interrupts)


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
