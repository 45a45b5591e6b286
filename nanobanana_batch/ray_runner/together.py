"""How several shards have ended, as the end of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from nanobanana_batch import errors
from nanobanana_batch.errors import NanobananaError, RunStopped, UsageError
from nanobanana_batch.jobs.outcome import Outcome
from nanobanana_batch.model import RowStatus
from nanobanana_batch.ray_runner.values import Ended, Refused
from nanobanana_batch.state.reader import Failure

_SUMMED = ("rows", "credits_used", "credits_reserved", "same_bytes", "not_as_asked")


def together(home: Path, ended: Mapping[int, Ended], *, interrupted: bool) -> Outcome:
    """The end of all.

    Raises:
        NanobananaError: some shard has ended with an error; the others have gone on to their end.
    """
    refused = {number: each.refused for number, each in ended.items() if each.refused is not None}
    if refused:
        raise _as_one(refused)
    outcomes = [each.outcome for _, each in sorted(ended.items()) if each.outcome is not None]
    stopped = [outcome for outcome in outcomes if outcome.stop_reason]
    sums = {name: sum(getattr(outcome, name) for outcome in outcomes) for name in _SUMMED}
    return replace(
        outcomes[0],
        folder=home,
        results=home,
        counts={status: sum(outcome.counts[status] for outcome in outcomes) for status in RowStatus},
        elsewhere=_added(outcome.elsewhere for outcome in outcomes),
        had_work=any(outcome.had_work for outcome in outcomes),
        stop_reason=stopped[0].stop_reason if stopped else "",
        needs_change=any(outcome.needs_change for outcome in stopped),
        interrupted=interrupted,
        failures=_failures(outcomes),
        **sums,
    )


def _added(several: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in several:
        total.update(each)
    return dict(total)


def _failures(outcomes: list[Outcome]) -> list[Failure]:
    """The most frequent reason first."""
    total: dict[tuple[object, ...], Failure] = {}
    for failure in (failure for outcome in outcomes for failure in outcome.failures):
        key = (failure.status, failure.code, failure.message)
        before = total.get(key)
        total[key] = failure if before is None else replace(before, rows=before.rows + failure.rows)
    return sorted(total.values(), key=lambda failure: -failure.rows)


def _as_one(refused: Mapping[int, Refused]) -> NanobananaError:
    number, first = min(refused.items())
    kind = getattr(errors, first.kind, RunStopped)
    also = f" ({len(refused)} shards)" if len(refused) > 1 else ""
    plain = kind if kind.__init__ is NanobananaError.__init__ else _plain(kind)
    return plain(f"shard {number}{also}: {first.message}", hint=first.hint)


def _plain(kind: type[NanobananaError]) -> type[NanobananaError]:
    """One with the same exit code that takes a sentence."""
    return UsageError if issubclass(kind, UsageError) else RunStopped
