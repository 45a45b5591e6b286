"""How several folders stand as one, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanobanana_batch.cli.text import audit_text
from nanobanana_batch.wording import amount, counted, in_short

if TYPE_CHECKING:
    from nanobanana_batch.jobs.merge import Merged

_NAMED = 10


def merged_text(merged: Merged) -> str:
    """Sums, each folder in a line, what is not explained, and where the table is."""
    rows = counted(merged.rows, "row")
    lines = [
        f"{merged.completed:,} of {rows} completed in {counted(len(merged.standings), 'folder')};"
        f" credits used: {amount(merged.credits_used)}, reserved: {amount(merged.credits_reserved)}."
    ]
    for standing in merged.standings:
        counts = ", ".join(f"{count:,} {status}" for status, count in standing.counts.items() if count)
        going = "; a run is going on" if standing.is_running else ""
        lines.append(f"  {standing.folder}: {counts or 'no rows'}{going}")
    if merged.missing:
        lines.append(f"Not among them, and in no number here: shard {in_short(merged.missing, _NAMED)}.")
    for name in merged.at_odds:
        lines.append(
            f"Shards of {name} were made of different versions of the manifest: rows are missing here, or are"
            " there twice. Run each shard again; what is there is not paid for again."
        )
    unexplained = [audit for audit in merged.audits if audit.findings]
    lines += [audit_text(audit) for audit in unexplained]
    if not unexplained:
        lines.append("Everything is explained.")
    return "\n".join([*lines, f"Results: {merged.results}"])
