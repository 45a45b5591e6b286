"""Jobs: one paid request for many rows, each of which holds a slot of its own as if it were alone.

A job has a unique name, which is on disk before it is sent: by that it is found again when its reply is lost.
Its first row's attempt stands for the request; the others are sent, waited for and ended with it, and are on
their own as soon as its results are there.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from nanobanana_batch.engine.limits.budget import Budget
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.parts import Record, Wire
from nanobanana_batch.engine.stages.references import References, Sendable, Unusable
from nanobanana_batch.engine.stems import Stems
from nanobanana_batch.engine.work import Work
from nanobanana_batch.model import Kind, Request
from nanobanana_batch.providers.base import NotOffered, Provider, RunsJobs, UploadFailed
from nanobanana_batch.state import facts
from nanobanana_batch.state.store import RowToSend

NOT_OFFERED = "not_offered"
"""The code of a row that asks for what the profile, as it is now, cannot say."""
_GATHERS_FOR_S = 0.5
"""So long rows are gathered for one job after the first of them."""
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Making:
    """What it takes to make a job of rows."""

    wire: Wire
    record: Record
    budget: Budget
    stems: Stems


@dataclass(frozen=True, slots=True)
class Job:
    """A request for several rows, ready to be sent."""

    work: Work
    """Of its first row, with the others."""
    intents: tuple[facts.Intent | facts.Joined, ...]
    """What is written down before it is sent; the first is its intent."""


@dataclass(slots=True)
class Prepared:
    """What became of rows that were gathered; each of them holds a slot."""

    job: Job | None = None
    unusable: tuple[tuple[RowToSend, Unusable], ...] = ()
    left: tuple[RowToSend, ...] = ()
    """They are not in the job, and may be sent later."""
    failure: UploadFailed | None = None
    """Why the job cannot be sent just now."""


async def gathered(
    first: RowToSend, incoming: MemoryObjectReceiveStream[RowToSend | Work], at_most: int
) -> tuple[list[RowToSend], Work | None]:
    """The rows for a job: as many as come within a moment, and what came instead of one more."""
    rows, until = [first], anyio.current_time() + _GATHERS_FOR_S
    while len(rows) < at_most and anyio.current_time() < until:
        try:
            item = incoming.receive_nowait()
        except anyio.WouldBlock:
            await anyio.sleep(_LOOK_S)
            continue
        except anyio.EndOfStream:
            break
        if isinstance(item, Work):
            return rows, item
        rows.append(item)
    return rows, None


@asynccontextmanager
async def prepared(
    making: Making, references: References, rows: Sequence[RowToSend]
) -> AsyncIterator[Prepared]:
    """A job of all rows that can be sent; stay in the block until the answer to it is recorded."""
    found = Prepared()
    async with AsyncExitStack() as lent:
        usable: list[tuple[RowToSend, Sendable]] = []
        for row in rows:
            match await lent.enter_async_context(references.ready(row.request)):
                case Sendable() as ready:
                    if fault := _not_offered(making.wire.provider, ready):
                        found.unusable += ((row, Unusable(NOT_OFFERED, fault)),)
                    else:
                        usable.append((row, ready))
                case Unusable() as why:
                    found.unusable += ((row, why),)
                case None:
                    found.left += (row,)
        paid: list[tuple[RowToSend, Sendable, int, float | None]] = []
        for row, ready in usable:
            attempt = making.record.store.next_attempt()
            if paid and not making.budget.has_room(row.request):
                found.left += (row,)
                continue
            price = await making.budget.set_aside(attempt, row.request)
            if making.wire.stop.asked:
                making.budget.give_back(attempt)
                found.left += (row,)
            else:
                paid.append((row, ready, attempt, price))
        if paid:
            await _prepare(making, found, paid)
        yield found


def _not_offered(provider: Provider, ready: Sendable) -> str:
    """Why a row cannot be said to this provider: it fails alone, and not with all that share its job."""
    try:
        provider.encode(ready.request)
    except NotOffered as error:
        return str(error)
    return ""


async def _prepare(
    making: Making, found: Prepared, paid: Sequence[tuple[RowToSend, Sendable, int, float | None]]
) -> None:
    """The job itself; where the provider does not take what it needs, its rows are left."""
    key = secrets.token_hex(24)
    body = await jobs_of(making.wire.provider).prepare(
        [(row.row_key, ready.request) for row, ready, _, _ in paid], key
    )
    if isinstance(body, UploadFailed):
        found.failure = body
        found.left += tuple(row for row, *_ in paid)
        for _, _, attempt, _ in paid:
            making.budget.give_back(attempt)
        return
    works = [_work_of(making, row, attempt, paid[0][2], key, body) for row, _, attempt, _ in paid]
    first = works[0]
    first.others = works[1:]
    prices = [price for *_, price in paid]
    uploads = sorted({upload for _, ready, _, _ in paid for upload in ready.uploads})
    intent = facts.Intent(
        row=first.row,
        attempt=first.attempt,
        number=first.number,
        stem=first.stem,
        provider=first.provider,
        account=first.account,
        body=body,
        fingerprint=hashlib.sha256(body).hexdigest(),
        idempotency_key=key,
        at=first.intended_at,
        credits_expected=None if None in prices else sum(price or 0.0 for price in prices),
        uploads=tuple(uploads),
        row_key=first.row_key,
        model=first.model,
        base_key=paid[0][0].base_key,
        kind=Kind.JOB,
        name=first.name,
    )
    joined = [_joined(work, row) for work, (row, *_) in zip(first.others, paid[1:], strict=True)]
    found.job = Job(first, (intent, *joined))


def _joined(work: Work, row: RowToSend) -> facts.Joined:
    return facts.Joined(
        row=work.row,
        attempt=work.attempt,
        request=work.request,
        number=work.number,
        stem=work.stem,
        name=work.name,
        row_key=work.row_key,
        model=work.model,
        base_key=row.base_key,
    )


def _work_of(making: Making, row: RowToSend, attempt: int, request: int, key: str, body: bytes) -> Work:
    offered = making.wire.provider.capabilities
    return Work(
        attempt=attempt,
        request=request,
        kind=Kind.JOB,
        name=row.row_key,
        row=row.row,
        row_key=row.row_key,
        number=row.number,
        id=row.id,
        model=row.request.model,
        resolution=row.request.resolution,
        stem=row.stem or making.stems.free(row),
        position=row.position,
        provider=offered.name,
        account=offered.account,
        body=body,
        idempotency_key=key,
        intended_at=making.record.now(),
    )


async def prepared_again(provider: Provider, record: Record, work: Work) -> bool:
    """Make the body of a job anew from its rows; says whether it may be sent.

    What stands in the state is not sent: it may be a stranger's, and what it names may be gone.
    """
    rows: list[tuple[str, Request]] = []
    for member in work.members:
        request = record.store.row_to_send(member.row).request
        urls = record.store.uploaded_for(work.request)
        named = {file.name: urls[file.sha256] for file in request.files if file.sha256 in urls}
        images = tuple(named.get(image, image) for image in request.images)
        rows.append((member.name, replace(request, images=images, files=())))
    body = await jobs_of(provider).prepare(rows, work.idempotency_key)
    if isinstance(body, UploadFailed):
        record.tally.say_once(f"A job cannot be sent again just now: {body.message}.")
        return False
    work.body = body
    return True


def jobs_of(provider: Provider) -> RunsJobs:
    """The provider, as one that runs jobs."""
    if not isinstance(provider, RunsJobs):
        raise TypeError(f"{provider.capabilities.name} makes jobs, and cannot be asked about them")
    return provider


def grouped(works: Sequence[Work]) -> list[Work]:
    """Of each job one for all of its rows; others as they are."""
    found: dict[int, Work] = {}
    for work in works:
        if work.kind is not Kind.JOB or work.request not in found:
            found[work.request if work.kind is Kind.JOB else -work.attempt] = work
        else:
            found[work.request].others.append(work)
    return list(found.values())


async def take_slots(slots: Slots, work: Work, *, is_paid: bool = False) -> None:
    """One for each row, all at once when the first is free: two jobs that have some each wait for ever."""
    await slots.take(is_paid=is_paid)
    for _ in work.others:
        slots.take_beyond()
    for member in work.members:
        member.has_slot = True


def give_slots_back(slots: Slots, work: Work) -> None:
    """Of all rows that have one."""
    for member in work.members:
        if member.has_slot:
            member.has_slot = False
            slots.give_back()
