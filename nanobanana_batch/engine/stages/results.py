"""What came of requests that are answered by a file: the reply with its images, or the results of a job.

The file is in the folder before anybody acts on it. Each row that it tells of ends as it says, or has images,
which are made files of their own; when none is left to be made the answer is let go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Protocol

import anyio

from nanobanana_batch.engine.context import Context
from nanobanana_batch.engine.limits.pace import backoff_s
from nanobanana_batch.engine.stages.answers import note_answer
from nanobanana_batch.engine.stages.jobs import jobs_of
from nanobanana_batch.engine.stages.stems import further_stem
from nanobanana_batch.engine.trouble import DISK, host_of
from nanobanana_batch.engine.work import Work
from nanobanana_batch.errors import DiskFailed, LinkFailed, RunStopped, system_words
from nanobanana_batch.fidelity import most_pixels
from nanobanana_batch.files.answers import AnswerFile, answer_of, forget_answer, forget_others
from nanobanana_batch.files.images import ImageFile
from nanobanana_batch.model import Image
from nanobanana_batch.providers.base import Decision, ReadsResults, Result
from nanobanana_batch.state import facts
from nanobanana_batch.state.lifecycle import NOT_TOLD, Phase
from nanobanana_batch.state.open_attempts import OwedImage


class Waiting(Protocol):
    """What looks after jobs whose results are not here yet; see `wait.Waiter`."""

    def look_after(self, work: Work, seconds: float) -> None:
        """Read its report again."""

    def leave(self, work: Work) -> facts.GivenUp | None:
        """Set it aside, or say that it is given up."""

    def given_up(self, work: Work) -> None:
        """It is."""

    def act(self, work: Work, end: facts.Fact) -> None:
        """It has ended."""


class Results:
    """All requests whose results are in a file."""

    def __init__(
        self,
        context: Context,
        waiting: Waiting,
        *,
        on_ready: Callable[[Work], None],
    ) -> None:
        self._context = context
        self._waiting = waiting
        self._on_ready = on_ready
        self._queue: deque[tuple[list[Work], str]] = deque()
        self._arrived = anyio.Event()

    def add(self, work: Work) -> None:
        """The results of a request are there, for all of its rows."""
        self._queue.append(([work], ""))
        self._arrived.set()

    def fetch(self, job: Work, link: str) -> None:
        """A job has ended, and its results are there."""
        self._queue.append(([job], link))
        self._arrived.set()

    async def adopt(self, work: Work) -> bool:
        """Whether an earlier run has kept the answer, and was killed before it wrote that down."""
        context, path = self._context, answer_of(self._context.folder, work.idempotency_key)
        if path is None or not isinstance(context.provider, ReadsResults):
            return False
        await note_answer(context, work, path, await context.blocking(lambda: _credits(context, path)))
        return True

    async def work(self) -> None:
        """Look into one file after the other, until cancelled."""
        while True:
            while self._queue:
                works, link = self._queue.popleft()
                if not link or self._is_back(works[0]) or await self._fetch(works[0], link):
                    await self._judge(_on_their_own(works))
            self._arrived = anyio.Event()
            await self._arrived.wait()

    def _is_back(self, job: Work) -> bool:
        """Whether another row of the job has fetched its results once more already."""
        path = answer_of(self._context.folder, job.idempotency_key) if job.was_gone else None
        job.results = path or ""
        return path is not None

    async def _fetch(self, job: Work, link: str) -> bool:
        """Whether the results of a job are in the folder; else its report is read again after a while."""
        context, place = self._context, host_of(link)
        try:
            async with (
                jobs_of(context.provider).open_results(link) as body,
                aclosing(body.pieces()) as pieces,
            ):
                with AnswerFile(context.disk, context.folder, job.idempotency_key) as file:
                    async for piece in pieces:
                        await context.blocking(lambda data=piece: file.write(data))  # type: ignore[misc]
                    path = await context.blocking(file.finish)
        except (LinkFailed, DiskFailed) as error:
            await self._failed(job, DISK if isinstance(error, DiskFailed) else place, error.message)
            return False
        context.owed.fetched(place)
        await note_answer(context, job, path, job.credits_used or None)
        return True

    async def _failed(self, job: Work, place: str, words: str) -> None:
        context = self._context
        job.failed_downloads += 1
        context.owed.unfetched(job, place, words, is_lasting=True)
        context.log("not_fetched", id=job.id, failure=words, tries=job.failed_downloads)
        is_over = context.owed.is_over(job) or job.failed_downloads >= context.settings.download_tries
        if not is_over:
            self._waiting.look_after(job, backoff_s(job.failed_downloads, first_s=2.0))
        elif (end := self._waiting.leave(job)) is not None:
            members, job.others = job.members, []
            ends = [facts.GivenUp(member.attempt, end.at) for member in members]
            await context.journal.record(*ends)
            for member in members:
                self._waiting.given_up(member)

    async def _judge(self, works: list[Work]) -> None:
        context = self._context
        if not await context.blocking((context.folder / works[0].results).exists):
            await self._gone(works)
            return
        results = await context.blocking(lambda: _read(context, works[0]))
        known = {work.attempt: len(work.images) for work in works if work.phase is Phase.READY}
        ends = [(work, self._end(work, results.get(work.name))) for work in works]
        news = [
            end
            for work, end in ends
            if not isinstance(end, facts.Ready) or end.images != known.get(work.attempt)
        ]
        if news:
            await context.journal.record(*news)
        for work, end in ends:
            context.first_look.at(work)
            if isinstance(end, facts.Ready):
                self._on_ready(work)
            else:
                self._waiting.act(work, end)
        if not any(isinstance(end, facts.Ready) for _, end in ends):
            await release(context, works[0])

    async def _gone(self, works: list[Work]) -> None:
        """The answer is not in the folder any more: a job has its results still, a reply is nowhere.

        It was let go when all images were files, of which one is lost since; or somebody has deleted it.
        """
        context, first = self._context, works[0]
        path = first.results
        was_let_go = bool(first.images) and first.phase in (Phase.ACCEPTED, Phase.EXPIRED)
        if first.task_id:
            first.others = works[1:]
            for work in works:
                work.results, work.was_gone = "", True
            if not was_let_go:
                context.tally.say_once(
                    f"{path} is gone from the output folder, with results that are paid for: they are fetched"
                    " from the provider once more."
                )
            self._waiting.look_after(first, 0.0)
            return
        why, now = "its reply was let go when its images were saved, and cannot be had again", context.now()
        if not was_let_go:
            why = (
                f"{path}, the reply with its images, was deleted from the output folder, and the provider"
                f" cannot give it again. Bring that file back and run again, or pay again:"
                f" {context.commands.retry('expired')}"
            )
            context.tally.say_once(f"{first.id}: {why}.")
        ends = [facts.Expired(work.attempt, why, now) for work in works if not work.is_expired]
        await context.journal.record(*ends)
        for work in works:
            context.first_look.at(work)
            if work.is_expired:
                self._waiting.leave(work)
            else:
                self._waiting.act(work, facts.Expired(work.attempt, why, now))

    def _end(self, work: Work, result: Result | None) -> facts.Ready | facts.Failed:
        context, now = self._context, self._context.now()
        work.answer_at = 0 if result is None else result.at
        if result is None:
            why = "its results say nothing of it; it may have been paid"
            return facts.Failed(work.attempt, NOT_TOLD, why, False, False, now)
        if not result.images:
            refused = result.decision is Decision.REFUSE
            retryable = result.decision is Decision.NEW_ATTEMPT
            code, message = result.error_code, result.error_message
            return facts.Failed(work.attempt, code, message, retryable, refused, now)
        for number in range(len(work.images) + 1, result.images + 1):
            stem = work.stem if number == 1 else further_stem(context, work, number)
            work.images.append(OwedImage(number, stem))
        stems = tuple(image.stem for image in work.images[1:])
        return facts.Ready(work.attempt, (), 0.0, None, now, len(work.images), stems)


def _on_their_own(works: Sequence[Work]) -> list[Work]:
    """All rows of a job, each for itself from now on."""
    job, members = works[0], [member for work in works for member in work.members]
    job.others = []
    for member in members:
        member.results, member.accepted_at, member.task_id = job.results, job.accepted_at, job.task_id
    return members


def _read(context: Context, work: Work) -> dict[str, Result]:
    """The first of several lines for a row that has images counts, else the first of all."""
    found: dict[str, Result] = {}
    with _readable(context, work.results):
        for result in _reader(context).read_results(context.folder / work.results):
            known = found.get(result.name)
            if known is None or (result.images and not known.images):
                found[result.name] = result
            else:
                context.log("told_twice", name=result.name, images=result.images)
    return found


@contextmanager
def _readable(context: Context, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunStopped(
            f"What came of paid requests cannot be read: {system_words(error)}.",
            hint=f"{context.folder / path} holds what is paid for: do not delete it. Run again.",
        ) from error


def _credits(context: Context, path: str) -> float | None:
    with _readable(context, path):
        return _reader(context).credits_in(context.folder / path)


def image_of_results(context: Context, work: Work, image: OwedImage) -> Image:
    """Make an image of a request's results a file; blocks.

    Raises:
        ImageRejected: it is none.
        DiskFailed, OSError: the disk refuses.
    """
    most = most_pixels(work.resolution)
    with ImageFile(context.disk, context.folder, image.stem, most) as file:
        for piece in _reader(context).image_in(context.folder / work.results, work.answer_at, image.number):
            file.write(piece)
        return file.finish()


async def release(context: Context, work: Work) -> None:
    """Let the results of a request go when no image of it is to be made a file any more."""
    if work.results and not context.store.is_awaited(work.request):
        path = work.results
        await context.blocking(lambda: forget_answer(context.disk, context.folder, path))


def sweep(context: Context) -> None:
    """Remove answers that a killed run had no more need of; blocks."""
    forget_others(context.disk, context.folder, context.store.awaited_answers())


def _reader(context: Context) -> ReadsResults:
    provider = context.provider
    if not isinstance(provider, ReadsResults):
        raise TypeError(f"{provider.capabilities.name} answers with files, and cannot read them")
    return provider
