"""What came of requests that are answered by a file: the reply with its images, or the results of a job.

The file is in the folder before anybody acts on it. Each row that it tells of ends as it says, or has images,
which are made files of their own; when none is left to be made the answer is let go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Protocol

import anyio

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.engine.limits.pace import backoff_s
from nanobanana_batch.engine.parts import Collecting, Files, Record
from nanobanana_batch.engine.stages.answers import note_answer
from nanobanana_batch.engine.stages.jobs import jobs_of
from nanobanana_batch.engine.trouble import DISK, host_of
from nanobanana_batch.engine.work import Work
from nanobanana_batch.errors import DiskFailed, LinkFailed, RunStopped, system_words
from nanobanana_batch.fidelity import most_pixels
from nanobanana_batch.files.answers import AnswerFile, answer_of, forget_answer, forget_others
from nanobanana_batch.files.images import ImageFile
from nanobanana_batch.model import Image
from nanobanana_batch.providers.base import Decision, Provider, ReadsResults, Result
from nanobanana_batch.state import facts
from nanobanana_batch.state.lifecycle import NOT_TOLD, Phase
from nanobanana_batch.state.open_attempts import OwedImage
from nanobanana_batch.state.store import Store


class Waiting(Protocol):
    """What looks after jobs whose results are not here yet; see `wait.Waiter`."""

    def look_after(self, work: Work, seconds: float) -> None:
        """Read its report again, in so many seconds at the earliest."""

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
        provider: Provider,
        record: Record,
        files: Files,
        collecting: Collecting,
        waiting: Waiting,
        *,
        tries: int,
        commands: FolderCommands,
        on_ready: Callable[[Work], None],
    ) -> None:
        self._provider = provider
        self._record = record
        self._files = files
        self._collecting = collecting
        self._tries = tries
        """Of fetching the results of a job, before it is set aside."""
        self._commands = commands
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
        path = answer_of(self._files.folder, work.idempotency_key)
        if path is None or not isinstance(self._provider, ReadsResults):
            return False
        found = self._files.folder / path
        credits = await self._record.blocking(lambda: _credits(self._provider, found))
        await note_answer(self._record, work, path, credits)
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
        path = answer_of(self._files.folder, job.idempotency_key) if job.was_gone else None
        job.results = path or ""
        return path is not None

    async def _fetch(self, job: Work, link: str) -> bool:
        """Whether the results of a job are in the folder; else its report is read again after a while."""
        place = host_of(link)
        try:
            async with (
                jobs_of(self._provider).open_results(link) as body,
                aclosing(body.pieces()) as pieces,
            ):
                with AnswerFile(self._files.disk, self._files.folder, job.idempotency_key) as file:
                    async for piece in pieces:
                        await self._record.blocking(lambda data=piece: file.write(data))  # type: ignore[misc]
                    path = await self._record.blocking(file.finish)
        except (LinkFailed, DiskFailed) as error:
            await self._failed(job, DISK if isinstance(error, DiskFailed) else place, error.message)
            return False
        self._collecting.owed.fetched(place)
        await note_answer(self._record, job, path, job.credits_used or None)
        return True

    async def _failed(self, job: Work, place: str, words: str) -> None:
        job.failed_downloads += 1
        self._collecting.owed.unfetched(job, place, words, is_lasting=True)
        self._record.log("not_fetched", id=job.id, failure=words, tries=job.failed_downloads)
        is_over = self._collecting.owed.is_over(job) or job.failed_downloads >= self._tries
        if not is_over:
            self._waiting.look_after(job, backoff_s(job.failed_downloads, first_s=2.0))
        elif (end := self._waiting.leave(job)) is not None:
            members, job.others = job.members, []
            ends = [facts.GivenUp(member.attempt, end.at) for member in members]
            await self._record.journal.record(*ends)
            for member in members:
                self._waiting.given_up(member)

    async def _judge(self, works: list[Work]) -> None:
        if not await self._record.blocking((self._files.folder / works[0].results).exists):
            await self._gone(works)
            return
        results = await self._record.blocking(
            lambda: _read(self._provider, self._record, self._files.folder / works[0].results)
        )
        known = {work.attempt: len(work.images) for work in works if work.phase is Phase.READY}
        ends = [(work, self._end(work, results.get(work.name))) for work in works]
        news = [
            end
            for work, end in ends
            if not isinstance(end, facts.Ready) or end.images != known.get(work.attempt)
        ]
        if news:
            await self._record.journal.record(*news)
        for work, end in ends:
            self._collecting.first_look.at(work)
            if isinstance(end, facts.Ready):
                self._on_ready(work)
            else:
                self._waiting.act(work, end)
        if not any(isinstance(end, facts.Ready) for _, end in ends):
            await release(self._record, self._files, works[0])

    async def _gone(self, works: list[Work]) -> None:
        """The answer is not in the folder any more: a job has its results still, a reply is nowhere.

        It was let go when all images were files, of which one is lost since; or somebody has deleted it.
        """
        first = works[0]
        path = first.results
        was_let_go = bool(first.images) and first.phase in (Phase.ACCEPTED, Phase.EXPIRED)
        if first.task_id:
            first.others = works[1:]
            for work in works:
                work.results, work.was_gone = "", True
            if not was_let_go:
                self._record.tally.say_once(
                    f"{path} is gone from the output folder, with results that are paid for: they are fetched"
                    " from the provider once more."
                )
            self._waiting.look_after(first, 0.0)
            return
        why = "its reply was let go when its images were saved, and cannot be had again"
        now = self._record.now()
        if not was_let_go:
            why = (
                f"{path}, the reply with its images, was deleted from the output folder, and the provider"
                f" cannot give it again. Bring that file back and run again, or pay again:"
                f" {self._commands.retry('expired')}"
            )
            self._record.tally.say_once(f"{first.id}: {why}.")
        ends = [facts.Expired(work.attempt, why, now) for work in works if not work.is_expired]
        await self._record.journal.record(*ends)
        for work in works:
            self._collecting.first_look.at(work)
            if work.is_expired:
                self._waiting.leave(work)
            else:
                self._waiting.act(work, facts.Expired(work.attempt, why, now))

    def _end(self, work: Work, result: Result | None) -> facts.Ready | facts.Failed:
        now = self._record.now()
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
            stem = work.stem if number == 1 else self._collecting.stems.further(work, number)
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


def _read(provider: Provider, record: Record, path: Path) -> dict[str, Result]:
    """The first of several lines for a row that has images counts, else the first of all."""
    found: dict[str, Result] = {}
    with _readable(path):
        for result in _reader(provider).read_results(path):
            known = found.get(result.name)
            if known is None or (result.images and not known.images):
                found[result.name] = result
            else:
                record.log("told_twice", name=result.name, images=result.images)
    return found


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunStopped(
            f"What came of paid requests cannot be read: {system_words(error)}.",
            hint=f"{path} holds what is paid for: do not delete it. Run again.",
        ) from error


def _credits(provider: Provider, path: Path) -> float | None:
    with _readable(path):
        return _reader(provider).credits_in(path)


def image_of_results(provider: Provider, files: Files, work: Work, image: OwedImage) -> Image:
    """Make an image of a request's results a file; blocks.

    Raises:
        ImageRejected: it is none.
        DiskFailed, OSError: the disk refuses.
    """
    most = most_pixels(work.resolution)
    with ImageFile(files.disk, files.folder, image.stem, most) as file:
        for piece in _reader(provider).image_in(files.folder / work.results, work.answer_at, image.number):
            file.write(piece)
        return file.finish()


async def release(record: Record, files: Files, work: Work) -> None:
    """Let the results of a request go when no image of it is to be made a file any more."""
    if work.results and not record.store.is_awaited(work.request):
        path = work.results
        await record.blocking(lambda: forget_answer(files.disk, files.folder, path))


def sweep(store: Store, files: Files) -> None:
    """Remove answers that a killed run had no more need of; blocks."""
    forget_others(files.disk, files.folder, store.awaited_answers())


def _reader(provider: Provider) -> ReadsResults:
    if not isinstance(provider, ReadsResults):
        raise TypeError(f"{provider.capabilities.name} answers with files, and cannot read them")
    return provider
