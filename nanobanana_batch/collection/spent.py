"""What output folders have cost, as `status` says it: the state's own sums, over every request that was sent.

Rows alone do not add up to it. What a row was charged so far holds what is only reserved, and rows that have
left the manifest were paid, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nanobanana_batch.files.folder import Folder
from nanobanana_batch.files.lock import is_held
from nanobanana_batch.provider_names import is_practice
from nanobanana_batch.state.last_run import last_run
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.reports import BeingSent
from nanobanana_batch.state.sums import used_by_provider


@dataclass(frozen=True, slots=True)
class Spent:
    """Credits of some folders, and how many of their rows are just being sent."""

    used: float = 0.0
    """Of finished images and given up tasks."""
    reserved: float = 0.0
    """Of accepted requests that are not finished yet."""
    unknown: float = 0.0
    """What requests without an answer may have cost, as far as their price is known."""
    being_sent: float = 0.0
    """The same of those that a run is sending just now."""
    practice: float = 0.0
    """Of what was used: make-believe, of placeholders that a service on this machine drew."""
    rows_being_sent: int = 0
    """Their status is unknown, and will not be for long."""
    rows_left: int = 0
    """That are no longer in a manifest, and for which something was sent."""
    is_running: bool = False
    """A run works on one of the folders just now."""


def spent(folders: Sequence[Folder]) -> Spent:
    """Of all of these; may be called while runs are going on.

    Raises:
        StateFailed: the state of one is gone or damaged.
    """
    each = [_spent(folder) for folder in folders]
    return Spent(
        used=sum(one.used for one in each),
        reserved=sum(one.reserved for one in each),
        unknown=sum(one.unknown for one in each),
        being_sent=sum(one.being_sent for one in each),
        practice=sum(one.practice for one in each),
        rows_being_sent=sum(one.rows_being_sent for one in each),
        rows_left=sum(one.rows_left for one in each),
        is_running=any(one.is_running for one in each),
    )


def _spent(folder: Folder) -> Spent:
    was_running = is_held(folder.path)
    with open_reader(folder.state, folder.told()) as reader, reader.one_moment():
        credits, last = reader.credits(), last_run(reader)
        is_running = was_running or is_held(folder.path)
        is_sending = is_running and last is not None and not last.ended
        sent = reader.being_sent(last.attempts_before) if is_sending and last else BeingSent()
        return Spent(
            used=credits.used,
            reserved=credits.reserved,
            unknown=credits.unknown - sent.credits,
            being_sent=sent.credits,
            practice=on_practice(reader),
            rows_being_sent=sent.rows,
            rows_left=sum(reader.left_counts().values()),
            is_running=is_running,
        )


def on_practice(reader: Reader) -> float:
    """How much of what was used is make-believe."""
    return sum(credits for name, credits in used_by_provider(reader) if is_practice(name))
