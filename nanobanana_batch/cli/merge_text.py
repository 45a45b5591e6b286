"""How several folders stand as one, for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nanobanana_batch.cli.text import audit_lines
from nanobanana_batch.wording import amount, counted, in_short, untold_text

if TYPE_CHECKING:
    from nanobanana_batch.jobs.merge import Merged

_NAMED = 10


def merged_lines(merged: Merged) -> Iterator[str]:
    """Sums, each folder in a line, what is not explained, and where the table is."""
    rows = counted(merged.rows, "row")
    yield (
        f"{merged.completed:,} of {rows} completed in {counted(len(merged.standings), 'folder')};"
        f" credits used: {amount(merged.credits_used)}, reserved: {amount(merged.credits_reserved)}"
        f"{untold_text(merged.untold)}."
    )
    for standing in merged.standings:
        counts = ", ".join(f"{count:,} {status}" for status, count in standing.counts.items() if count)
        going = "; a run is going on" if standing.is_running else ""
        yield f"  {standing.folder}: {counts or 'no rows'}{going}"
    if merged.missing:
        yield f"Not among them, and in no number here: shard {in_short(merged.missing, _NAMED)}."
    for name in merged.at_odds:
        yield (
            f"Shards of {name} were made of different versions of the manifest: rows are missing here, or are"
            " there twice. Run each shard again; what is there is not paid for again."
        )
    for name in merged.divided:
        yield (
            f"Shards of {name} are of different divisions: rows may be here twice, and others not at all."
            " Merge those of one division; what is missing of it is made by its own shards only."
        )
    unexplained = [audit for audit in merged.audits if audit.findings]
    for audit in unexplained:
        yield from audit_lines(audit)
    if not unexplained:
        yield "Everything is explained."
    yield f"Results: {merged.results}"
