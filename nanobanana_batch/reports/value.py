"""A report as one value: all that its page says, for programs too. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.reports.latency import Latency
from nanobanana_batch.reports.periods import LogRead, Period
from nanobanana_batch.reports.refusals import Refusals
from nanobanana_batch.reports.timeline import Timeline
from nanobanana_batch.state.sums import Again, Owed, Waiting


@dataclass(frozen=True, slots=True)
class OfFolder:
    """How one output folder stands, as `status` says it, and what its log tells."""

    folder: str
    name: str
    """Tells it from the others."""
    manifest: str
    rows: int
    counts: Mapping[str, int]
    """Rows by status."""
    being_sent: int
    left_manifest: Mapping[str, int]
    """Rows that are no longer in the manifest, by status."""
    credits_used: float
    credits_reserved: float
    credits_unknown: float
    credits_being_sent: float
    credits_practice: float
    """Of those that were used: make-believe, of placeholders."""
    credits_per_usd: float | None
    """None: what a credit costs is not known."""
    is_running: bool
    is_practice: bool
    """A service on this machine drew placeholders, for nothing."""
    providers: tuple[str, ...]
    log: LogRead
    log_gap: str
    """What the log does not tell of; empty: it tells of all."""


@dataclass(frozen=True, slots=True)
class OfModel:
    """What was made with one model and resolution."""

    model: str
    resolution: str
    """Empty: none was asked for."""
    requests: int = 0
    completed: int = 0
    """Of the requests; the next two, too."""
    failed: int = 0
    refused: int = 0
    images: int = 0
    size_bytes: int = 0
    credits: float = 0.0


@dataclass(frozen=True, slots=True)
class Failures:
    """Requests that ended without an image for one reason."""

    code: str
    status: str
    requests: int
    by_bucket: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Sums:
    """Of all requests of all folders, as `audit` counts them."""

    requests: int = 0
    accepted: int = 0
    completed: int = 0
    images: int = 0
    size_bytes: int = 0
    credits_used: float = 0.0
    credits_refunded: float = 0.0
    further: int = 0
    """Requests for rows that had one before."""
    further_completed: int = 0
    further_credits: float = 0.0
    rows_tried_again: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """How the runs of one or many output folders went."""

    made_at: float
    folders: tuple[OfFolder, ...]
    sums: Sums
    models: tuple[OfModel, ...]
    timeline: Timeline
    images: Mapping[int, int]
    """Saved ones by bucket of the timeline."""
    credits: Mapping[int, float]
    """Spent ones by the bucket in which the request was taken."""
    failures: tuple[Failures, ...]
    """The most frequent reason first."""
    latencies: tuple[Latency, ...]
    refusals: Refusals
    again: tuple[Again, ...]
    """Requests after which another one was made, by how they had ended."""
    owed: Mapping[str, Owed]
    """What is, or may be, paid for and is not there: `running`, `unknown`, `resent`, `given_up`,
    `given_up_unknown`, `expired`, `charged` (failed or refused, and paid all the same), `lost` (images whose
    file is gone)."""
    waiting: tuple[tuple[str, Waiting], ...]
    """The oldest of these, with their folder."""
    periods: tuple[Period, ...] = ()
    """Runs, and what held them up, of all folders."""
    page: Path | None = None
    """Where it was written as a page, if it was."""

    @property
    def counts(self) -> dict[str, int]:
        """Rows by status, of all folders."""
        total: dict[str, int] = {}
        for folder in self.folders:
            for status, count in folder.counts.items():
                total[status] = total.get(status, 0) + count
        return total

    @property
    def rows(self) -> int:
        """Of all manifests."""
        return sum(folder.rows for folder in self.folders)

    @property
    def is_practice(self) -> bool:
        """All of it is placeholders."""
        return bool(self.folders) and all(folder.is_practice for folder in self.folders)

    @property
    def is_running(self) -> bool:
        """A run is going on in one of them."""
        return any(folder.is_running for folder in self.folders)

    @property
    def credits_per_usd(self) -> float | None:
        """If it is the same for all."""
        found = {folder.credits_per_usd for folder in self.folders}
        return found.pop() if len(found) == 1 else None
