"""What came of requests that are answered by a file: the reply with its images, or the results of a job.

The file is in the folder before anybody acts on it. Each row that it tells of ends as it says, or has images,
which are made files of their own; when none is left to be made the answer is let go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import anyio

from nanobanana_batch.engine.answers import note_answer
from nanobanana_batch.engine.context import Context
from nanobanana_batch.engine.stems import further_stem
from nanobanana_batch.engine.work import Work
from nanobanana_batch.errors import RunStopped, system_words
from nanobanana_batch.fidelity import most_pixels
from nanobanana_batch.file_names import ANSWERS
from nanobanana_batch.files.answers import answer_of, forget_answer
from nanobanana_batch.files.images import ImageFile
from nanobanana_batch.model import Image
from nanobanana_batch.providers.base import Decision, ReadsResults, Result
from nanobanana_batch.state import facts
from nanobanana_batch.state.open_attempts import OwedImage

NOT_TOLD = "no_result"
"""The code of a row of which its request's results say nothing: nobody knows whether it was paid for."""


class Results:
    """All requests whose results are in a file."""

    def __init__(
        self,
        context: Context,
        *,
        on_ready: Callable[[Work], None],
        on_end: Callable[[Work, facts.Fact], None],
    ) -> None:
        self._context = context
        self._on_ready = on_ready
        self._on_end = on_end
        self._queue: deque[list[Work]] = deque()
        self._arrived = anyio.Event()

    def add(self, work: Work) -> None:
        """The results of a request for one row are there."""
        self.add_all([work])

    def add_all(self, works: Sequence[Work]) -> None:
        """The same for a request for several."""
        self._queue.append(list(works))
        self._arrived.set()

    async def adopt(self, work: Work) -> bool:
        """Whether an earlier run has kept the answer, and was killed before it wrote that down."""
        path = answer_of(self._context.folder, work.idempotency_key)
        if path is None or not isinstance(self._context.provider, ReadsResults):
            return False
        await note_answer(self._context, work, path, None)
        return True

    async def work(self) -> None:
        """Look into one file after the other, until cancelled."""
        while True:
            while self._queue:
                await self._judge(self._queue.popleft())
            self._arrived = anyio.Event()
            await self._arrived.wait()

    async def _judge(self, works: list[Work]) -> None:
        context = self._context
        results = await context.blocking(lambda: _read(context, works[0]))
        ends = [(work, self._end(work, results.get(work.name))) for work in works]
        await context.journal.record(*(end for _, end in ends))
        for work, end in ends:
            context.first_look.at(work)
            if isinstance(end, facts.Ready):
                self._on_ready(work)
            else:
                self._on_end(work, end)
        if not any(isinstance(end, facts.Ready) for _, end in ends):
            await release(context, works[0])

    def _end(self, work: Work, result: Result | None) -> facts.Ready | facts.Failed:
        context, now = self._context, self._context.now()
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
        return facts.Ready(work.attempt, (), 0.0, work.credits_used or None, now, len(work.images), stems)


def _read(context: Context, work: Work) -> dict[str, Result]:
    """The first of several lines for a row that has images counts, else the first of all."""
    found: dict[str, Result] = {}
    try:
        for result in _reader(context).read_results(context.folder / work.results):
            known = found.get(result.name)
            if known is None or (result.images and not known.images):
                found[result.name] = result
            else:
                context.log("told_twice", name=result.name, images=result.images)
    except OSError as error:
        raise RunStopped(
            f"What came of paid requests cannot be read: {system_words(error)}.",
            hint=f"Do not delete {ANSWERS}/ in the output folder: it holds what is paid for. Run again.",
        ) from error
    return found


def image_of_results(context: Context, work: Work, image: OwedImage) -> Image:
    """Make an image of a request's results a file; blocks.

    Raises:
        ImageRejected: it is none.
        DiskFailed, OSError: the disk refuses.
    """
    most = most_pixels(work.resolution)
    with ImageFile(context.disk, context.folder, image.stem, most) as file:
        for piece in _reader(context).image_in(context.folder / work.results, work.name, image.number):
            file.write(piece)
        return file.finish()


async def release(context: Context, work: Work) -> None:
    """Let the results of a request go when no image of it is to be made a file any more."""
    if work.results and not context.store.is_awaited(work.request):
        path = work.results
        await context.blocking(lambda: forget_answer(context.disk, context.folder, path))


def sweep(context: Context) -> None:
    """Remove answers that a killed run had no more need of; blocks."""
    place, awaited = context.folder / ANSWERS, context.store.awaited_answers()
    if place.is_dir():
        for path in place.iterdir():
            if path.name not in awaited and path.name.isalnum():
                forget_answer(context.disk, context.folder, f"{ANSWERS}/{path.name}")


def _reader(context: Context) -> ReadsResults:
    provider = context.provider
    if not isinstance(provider, ReadsResults):
        raise TypeError(f"{provider.capabilities.name} answers with files, and cannot read them")
    return provider
