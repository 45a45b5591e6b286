"""What an export is made of, counted while its samples are chosen and written: what the card tells."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from nanobanana_batch.collection.entries import Entry
from nanobanana_batch.exports.leaving_out import Why
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.model import RowStatus

_SETTINGS = (
    "aspect_ratio",
    "resolution",
    "output_format",
    "web_search",
    "image_search",
    "thinking_level",
)
_MOST_VALUES = 50


@dataclass(slots=True)
class Tally:
    """Counts; nothing in it grows with the rows but up to a bound."""

    manifests: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Rows that failed or were refused, by status and code."""
    left_out: Counter[Why] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    """Samples by split."""
    written_bytes: Counter[str] = field(default_factory=Counter)
    """Of their pictures, by split."""
    models: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By model and provider."""
    settings: dict[str, Counter[str]] = field(default_factory=dict)
    media_types: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    noted: int = 0
    placeholders: int = 0
    not_embedded: Counter[str] = field(default_factory=Counter)
    """Pictures into which nothing could be written, by reason."""
    rejected: int = 0
    with_sources: int = 0
    first_saved_at: float | None = None
    """Unix seconds, of the pictures."""
    last_saved_at: float | None = None

    def see(self, entry: Entry) -> None:
        """A row of the folders, whatever becomes of it."""
        self.rows += 1
        self.statuses[entry.status.value] += 1
        if entry.status in (RowStatus.FAILED, RowStatus.REFUSED):
            self.refusals[entry.status.value, entry.error_code or "unknown"] += 1

    def write(self, sample: Sample) -> None:
        """A sample that is in the export."""
        entry, picture = sample.entry, sample.found
        self.written[sample.split] += 1
        self.models[entry.request.model, entry.provider or ""] += 1
        for name in _SETTINGS:
            self._count(name, getattr(entry.request, name))
        for name, value in entry.request.extra:
            self._count(name, value)
        self.with_sources += bool(entry.request.images)
        self.placeholders += entry.is_practice
        if picture is None:
            return
        self.written_bytes[sample.split] += picture.size_bytes
        self.media_types[picture.media_type] += 1
        self.duplicates += entry.duplicate_of is not None
        self.noted += bool(entry.note)
        self.rejected += bool(picture.judgement and picture.judgement.verdict == "rejected")
        if picture.saved_at is not None:
            self.first_saved_at = min(picture.saved_at, self.first_saved_at or picture.saved_at)
            self.last_saved_at = max(picture.saved_at, self.last_saved_at or picture.saved_at)

    def _count(self, name: str, value: object) -> None:
        if value is None:
            return
        text = str(value).lower() if isinstance(value, bool) else str(value)
        counts = self.settings.setdefault(name, Counter())
        if text in counts or len(counts) < _MOST_VALUES:
            counts[text] += 1
