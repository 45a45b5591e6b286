"""How the shards of one run have ended, as if it had been one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.files.folder import RESULTS_NAME
from nanobanana_batch.files.standing import Files
from nanobanana_batch.model import RowStatus
from nanobanana_batch.state.reports import Failure

if TYPE_CHECKING:
    from nanobanana_batch.jobs.outcome import Outcome

TOLD_BY = " (told by shard "
"""Behind the reason of a shard that stopped because another one did."""


def together(home: Path, folders: Sequence[Path], outcomes: Sequence[Outcome]) -> Outcome:
    """Sums, and of what stopped it the reason of the shard that stopped first."""
    first = outcomes[0]
    counts: Counter[RowStatus] = Counter(dict.fromkeys(first.counts, 0))
    elsewhere: Counter[str] = Counter()
    for each in outcomes:
        counts.update(each.counts)
        elsewhere.update(each.elsewhere)
    reasons = [each.stop_reason for each in outcomes if each.stop_reason]
    own = [reason for reason in reasons if TOLD_BY not in reason]
    return replace(
        first,
        folder=home,
        results=home / RESULTS_NAME,
        rows=sum(each.rows for each in outcomes),
        counts=counts,
        credits_used=sum(each.credits_used for each in outcomes),
        credits_reserved=sum(each.credits_reserved for each in outcomes),
        same_bytes=sum(each.same_bytes for each in outcomes),
        not_as_asked=sum(each.not_as_asked for each in outcomes),
        elsewhere=elsewhere,
        had_work=any(each.had_work for each in outcomes),
        stop_reason=next(iter([*own, *reasons]), ""),
        interrupted=any(each.interrupted for each in outcomes),
        needs_change=any(each.needs_change for each in outcomes),
        failures=_failures(each.failures for each in outcomes),
        projection=None,
        files=_files(each.files for each in outcomes),
        waited_s={
            about: max(each.waited_s.get(about, 0.0) for each in outcomes)
            for about in {about for each in outcomes for about in each.waited_s}
        },
        shards=tuple(folders),
        untold=sum(each.untold for each in outcomes),
    )


def _failures(of_shards: Iterable[Sequence[Failure]]) -> list[Failure]:
    """The most frequent first."""
    found: dict[tuple[RowStatus, str], Failure] = {}
    for failures in of_shards:
        for each in failures:
            before = found.get((each.status, each.code))
            known = each if before is None else replace(before, rows=before.rows + each.rows)
            found[each.status, each.code] = known
    return sorted(found.values(), key=lambda each: -each.rows)


def _files(of_shards: Iterable[Files]) -> Files:
    several = list(of_shards)
    names = [field.name for field in fields(Files) if field.name != "first"]
    first = {name: path for each in reversed(several) for name, path in each.first.items()}
    return Files(**{name: sum(getattr(each, name) for each in several) for name in names}, first=first)
