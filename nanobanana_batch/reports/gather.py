"""State and log of some output folders → one `Report`; changes nothing, also while runs are going on.

Money and counts are those of the state. What is drawn over them (outages, slowing down) is the log's word.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TypeVar

from nanobanana_batch.collection.spent import on_practice
from nanobanana_batch.files.folder import Folder
from nanobanana_batch.provider_names import is_practice
from nanobanana_batch.reports.latency import Latency, latency
from nanobanana_batch.reports.periods import LogRead, Period, read_log
from nanobanana_batch.reports.refusals import refusals
from nanobanana_batch.reports.timeline import Span, joined, timeline
from nanobanana_batch.reports.value import Failures, OfFolder, OfModel, Report, Sums
from nanobanana_batch.results import Standing
from nanobanana_batch.state import sums
from nanobanana_batch.state.lifecycle import STATUS_OF_PHASE
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.sums import Again, Judged, Owed, Waiting

_LOG_LATE_S = 60.0
"""The log begins with the run: where it begins later than the first request, some of it is gone."""
_MOST_CODES = 40
_OTHER_CODES = "(others)"
_MOST_KINDS = 200
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Looked:
    """An output folder, what to call it, and how it stands."""

    folder: Folder
    name: str
    standing: Standing


def gather(looked: Sequence[Looked]) -> Report:
    """How the runs of these folders went.

    Raises:
        StateFailed: the state of one is gone or damaged.
        UsageError: one is no output folder.
    """
    with ExitStack() as stack:
        readers = [_reader(stack, each.folder) for each in looked]
        logs = [read_log(each.folder.path, each.name) for each in looked]
        periods = tuple(sorted((one for log in logs for one in log.periods), key=lambda one: one.began))
        line = timeline(_active(readers, periods))
        folders = tuple(map(_of_folder, looked, readers, logs))
        models = _models(readers)
        return Report(
            made_at=time.time(),
            folders=folders,
            sums=_sums(readers, models),
            models=models,
            timeline=line,
            images=_added(sums.saved_in(reader, line.bucket_s) for reader in readers),
            credits=_added(sums.spent_in(reader, line.bucket_s) for reader in readers),
            failures=_failures(readers, line.bucket_s),
            latencies=_latencies(readers),
            refusals=refusals(lambda only_refused: _judged(readers, only_refused)),
            again=_again(readers),
            owed=_owed(readers),
            waiting=_waiting(looked, readers),
            periods=periods,
        )


def _reader(stack: ExitStack, folder: Folder) -> Reader:
    reader: Reader = stack.enter_context(open_reader(folder.state, folder.told()))
    stack.enter_context(reader.one_moment())
    return reader


def _active(readers: Iterable[Reader], periods: Iterable[Period]) -> Iterator[Span]:
    for reader in readers:
        yield from joined(sums.spans(reader), sums.SPAN_S)
    for one in periods:
        yield Span(one.began, max(one.ended, one.began + 1.0))


def _of_folder(looked: Looked, reader: Reader, log: LogRead) -> OfFolder:
    found = looked.standing
    providers = tuple(sorted(reader.providers()))
    return OfFolder(
        folder=str(looked.folder.path),
        name=looked.name,
        manifest=found.manifest,
        rows=found.rows,
        counts=found.counts,
        being_sent=found.being_sent,
        left_manifest=found.left_manifest,
        credits_used=found.credits_used,
        credits_reserved=found.credits_reserved,
        credits_unknown=found.credits_unknown,
        credits_being_sent=found.credits_being_sent,
        credits_practice=on_practice(reader),
        credits_per_usd=found.credits_per_usd,
        is_running=found.is_running,
        is_practice=bool(providers) and all(map(is_practice, providers)),
        providers=providers,
        log=log,
        log_gap=_log_gap(log, next(sums.spans(reader), None)),
    )


def _log_gap(log: LogRead, first_span: int | None) -> str:
    if first_span is None:
        return ""
    if log.first_at is None:
        return "There is no run.log: when runs were at work, and what held them up, is not known."
    if log.first_at - first_span * sums.SPAN_S > _LOG_LATE_S:
        return (
            "The beginning of run.log is gone (old parts are removed): what held runs up before its first"
            " line is not known."
        )
    return ""


def _models(readers: Iterable[Reader]) -> tuple[OfModel, ...]:
    total: dict[tuple[str, str], OfModel] = {}

    def old(model: str, resolution: str) -> OfModel:
        return total.get((model, resolution), OfModel(model, resolution))

    for reader in readers:
        for asked in sums.requests(reader):
            before = old(asked.model, asked.resolution)
            total[asked.model, asked.resolution] = replace(
                before,
                requests=before.requests + asked.requests,
                completed=before.completed + asked.completed,
                failed=before.failed + asked.failed,
                refused=before.refused + asked.refused,
                credits=before.credits + asked.credits,
            )
        for saved in sums.images(reader):
            before = old(saved.model, saved.resolution)
            total[saved.model, saved.resolution] = replace(
                before, images=before.images + saved.images, size_bytes=before.size_bytes + saved.size_bytes
            )
    return tuple(one for _, one in sorted(total.items()))


def _sums(readers: Iterable[Reader], models: Iterable[OfModel]) -> Sums:
    each = [(sums.totals(reader), reader.credits().used) for reader in readers]
    listed = list(models)
    return Sums(
        requests=sum(one.requests for one, _ in each),
        accepted=sum(one.accepted for one, _ in each),
        completed=sum(one.completed for one, _ in each),
        images=sum(one.images for one in listed),
        size_bytes=sum(one.size_bytes for one in listed),
        credits_used=sum(used for _, used in each),
        credits_refunded=sum(one.refunded_credits for one, _ in each),
        further=sum(one.further for one, _ in each),
        further_completed=sum(one.further_completed for one, _ in each),
        further_credits=sum(one.further_credits for one, _ in each),
        rows_tried_again=sum(one.rows_tried_again for one, _ in each),
    )


def _added(each: Iterable[Iterable[tuple[int, Number]]]) -> dict[int, Number]:
    total: dict[int, Number] = {}
    for found in each:
        for bucket, value in found:
            total[bucket] = total[bucket] + value if bucket in total else value
    return dict(sorted(total.items()))


def _failures(readers: Iterable[Reader], bucket_s: int) -> tuple[Failures, ...]:
    counts: Counter[tuple[str, str]] = Counter()
    buckets: dict[tuple[str, str], Counter[int]] = {}
    for reader in readers:
        for ended in sums.ended_in(reader, bucket_s):
            status = STATUS_OF_PHASE[ended.phase].value
            key = (ended.code or status, status)
            if key not in counts and len(counts) >= _MOST_CODES:
                key = (_OTHER_CODES, status)
            counts[key] += ended.requests
            buckets.setdefault(key, Counter())[ended.bucket] += ended.requests
    return tuple(
        Failures(code, status, count, dict(sorted(buckets[code, status].items())))
        for (code, status), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _latencies(readers: Iterable[Reader]) -> tuple[Latency, ...]:
    counts: dict[tuple[str, str], Counter[int]] = {}
    for reader in readers:
        for took in sums.took(reader):
            counts.setdefault((took.model, took.resolution), Counter())[took.tenths] += took.images
    found = (latency(model, resolution, of) for (model, resolution), of in sorted(counts.items()))
    return tuple(one for one in found if one is not None)


def _judged(readers: Iterable[Reader], only_refused: bool) -> Iterator[Judged]:
    for reader in readers:
        yield from sums.judged(reader, only_refused=only_refused)


def _again(readers: Iterable[Reader]) -> tuple[Again, ...]:
    total: dict[str, Again] = {}
    for reader in readers:
        for one in sums.tried_again(reader):
            old = total.get(one.code, Again(one.code, 0, 0, 0.0))
            total[one.code] = Again(
                one.code,
                old.requests + one.requests,
                old.completed + one.completed,
                old.credits + one.credits,
            )
    return tuple(sorted(total.values(), key=lambda one: (-one.requests, one.code)))[:_MOST_KINDS]


def _owed(readers: Iterable[Reader]) -> Mapping[str, Owed]:
    total: dict[str, Owed] = {}
    for reader in readers:
        for name, one in sums.owed(reader).items():
            old = total.get(name, Owed(0, 0.0, None))
            since = min((each for each in (old.since, one.since) if each is not None), default=None)
            total[name] = Owed(old.requests + one.requests, old.credits + one.credits, since)
    return total


def _waiting(looked: Sequence[Looked], readers: Sequence[Reader]) -> tuple[tuple[str, Waiting], ...]:
    found = [
        (each.name, one) for each, reader in zip(looked, readers, strict=True) for one in sums.waiting(reader)
    ]
    return tuple(sorted(found, key=lambda one: one[1].since)[: sums.LONGEST_LIST])
