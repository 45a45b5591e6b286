"""What the head of the page says of rows: how many came to what, and why some have no image.

What was spent is not theirs to say: the head has that from `collection.spent`, as `status` has it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from nanobanana_batch.collection.entries import Entry

_REASONS = 50
"""So many different ones are told; a list of more is for the report."""
_DONE = "completed"


class Totals:
    """Over the rows that are shown, each counted once however many images it has."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._credits: Counter[str] = Counter()
        self._practice = 0
        self._without_price = 0
        self._images = 0
        self.not_readable = 0
        """Images that cannot be shown."""
        self._ratios: Counter[float] = Counter()
        self._reasons: dict[tuple[str, str], dict[str, Any]] = {}

    def row(self, entry: Entry) -> None:
        """One more row."""
        status, credits = entry.status.value, entry.credits or 0.0
        self._rows[status] += 1
        self._credits[status] += credits  # type: ignore[assignment]  # a Counter adds floats as well
        self._without_price += entry.credits is None and entry.accepted_at is not None
        self._practice += entry.is_practice
        if entry.error_code and status != _DONE:
            self._because(entry, credits)

    def picture(self, ratio: float, *, is_broken: bool) -> None:
        """One more image; `ratio`: width by height."""
        self._images += 1
        self._ratios[round(ratio, 2)] += 1
        self.not_readable += is_broken

    @property
    def images(self) -> int:
        """How many there are."""
        return self._images

    def told(self) -> dict[str, Any]:
        """For the page."""
        reasons = sorted(self._reasons.values(), key=lambda reason: -reason["rows"])[:_REASONS]
        return {
            "rows": self._rows.total(),
            "by_status": dict(self._rows),
            "credits": sum(self._credits.values()),
            "credits_by_status": dict(self._credits),
            "without_price": self._without_price,
            "practice": self._practice,
            "images": self._images,
            "not_readable": self.not_readable,
            "ratio": max(self._ratios, key=lambda ratio: self._ratios[ratio], default=1.0),
            "reasons": reasons,
        }

    def _because(self, entry: Entry, credits: float) -> None:
        status, code = entry.status.value, str(entry.error_code)
        reason = self._reasons.setdefault(
            (status, code),
            {
                "status": status,
                "code": code,
                "rows": 0,
                "credits": 0.0,
                "message": entry.error_message or "",
            },
        )
        reason["rows"] += 1
        reason["credits"] += credits
