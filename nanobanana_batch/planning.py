"""What a run would do, said before any money is spent; writes nothing and sends nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.files.folder import refuse_amnesia, was_worked_on
from nanobanana_batch.model import Row, RowStatus
from nanobanana_batch.pipeline import Order, expanded, folder_of, open_ordered
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.roster import Roster

_COUNTED_FIELDS = ("model", "resolution", "aspect_ratio")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is in the manifest, and how much of it is there already."""

    manifest: str
    folder: str
    rows: int
    to_submit: int
    """Rows for which a run would pay."""
    counts: dict[str, int]
    """Rows by their status in the output folder."""
    changed: int
    """Of the rows to submit, those whose id the folder knows with another request."""
    gone: int
    """Requests of the folder that the manifest no longer has (left or changed); what is paid is collected."""
    by_field: dict[str, dict[str, int]]
    """Rows by model, resolution and aspect ratio."""
    first_rows: tuple[Row, ...]
    warnings: tuple[str, ...]


def make_plan(order: Order, first: int) -> Plan:
    """Read and check the manifest and compare it with its output folder.

    Raises:
        UsageError: the manifest or the profile has problems.
    """
    manifest = open_ordered(order)
    folder = folder_of(order, manifest)
    refuse_amnesia(folder, worked_on=was_worked_on(folder.path))
    with expanded(manifest) as roster, _reader(folder.state) as reader:
        counts = _statuses(roster, reader)
        known = sum(1 for _ in reader.known_keys()) if reader else 0
        return Plan(
            manifest=manifest.name,
            folder=str(folder.path),
            rows=len(roster),
            to_submit=counts[RowStatus.PENDING],
            counts={status.value: counts[status] for status in RowStatus},
            changed=counts.changed,
            gone=known - counts.in_folder,
            by_field={name: roster.counts(name) for name in _COUNTED_FIELDS},
            first_rows=tuple(roster.rows(limit=first)),
            warnings=tuple(manifest.warnings),
        )


class _Statuses(Counter[RowStatus]):
    in_folder = 0
    changed = 0


def _statuses(roster: Roster, reader: Reader | None) -> _Statuses:
    counts = _Statuses()
    for row in roster.rows():
        status = reader.status_of(row.key) if reader else None
        counts.in_folder += status is not None
        counts.changed += reader is not None and status is None and reader.has_id(row.id)
        counts[status or RowStatus.PENDING] += 1
    return counts


@contextmanager
def _reader(state: Path) -> Iterator[Reader | None]:
    if not state.is_file():
        yield None
        return
    with open_reader(state) as reader:
        yield reader
