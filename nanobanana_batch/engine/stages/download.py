"""Fetches finished images, those with the least time left first, and gives each its name when it is whole.

A link that fails is read anew from its task before the next try. No page of a link's host and no error of
the disk ends a row: what cannot be fetched now stays owed.
"""

from __future__ import annotations

import errno
import heapq
import itertools
from collections.abc import Callable
from contextlib import aclosing
from typing import Protocol

import anyio

from nanobanana_batch.engine.journal import Blocking
from nanobanana_batch.engine.limits.pace import backoff_s
from nanobanana_batch.engine.limits.space import Space
from nanobanana_batch.engine.parts import Collecting, Files, Record
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.stages.results import image_of_results, release
from nanobanana_batch.engine.trouble import DISK, host_of
from nanobanana_batch.engine.work import Stop, Work
from nanobanana_batch.errors import DiskFailed, ImageRejected, LinkFailed, SameImage
from nanobanana_batch.fidelity import most_pixels
from nanobanana_batch.files.disk import as_disk_failure
from nanobanana_batch.files.images import ImageFile, names_of_images
from nanobanana_batch.files.shared_sync import SharedSync
from nanobanana_batch.model import Image
from nanobanana_batch.providers.base import Provider
from nanobanana_batch.state import facts
from nanobanana_batch.state.open_attempts import OwedImage

_NO_FILES_LEFT = frozenset({errno.EMFILE, errno.ENFILE})
_UNTIL_FILES_ARE_CLOSED_S = 1.0
_NO_HOST = "?"
"""An image that is in a file of the folder, or of which no link is known, comes from none."""


class Waiting(Protocol):
    """What looks after tasks that are not fetched yet; see `wait.Waiter`."""

    def look_after(self, work: Work, seconds: float) -> None:
        """Read a task again, in so many seconds at the earliest."""

    def leave(self, work: Work) -> facts.GivenUp | None:
        """Set it aside, or say that it is given up."""

    def given_up(self, work: Work) -> None:
        """It is."""

    def give_back(self, work: Work) -> None:
        """Its slot."""


class Downloader:
    """All finished images that are not on disk yet."""

    def __init__(
        self,
        settings: Settings,
        provider: Provider,
        stop: Stop,
        record: Record,
        files: Files,
        space: Space,
        collecting: Collecting,
        *,
        waiting: Callable[[], Waiting],
        on_missing: Callable[[Work], None],
    ) -> None:
        self._settings = settings
        self._provider = provider
        self._stop = stop
        self._record = record
        self._files = files
        self._space = space
        self._collecting = collecting
        self._waiting = waiting
        self._on_missing = on_missing
        self._names = names_of_images(files.disk, files.folder)
        self._queue: list[tuple[float, int, Work]] = []
        self._order = itertools.count()
        self._arrived = anyio.Event()
        self._at_once = anyio.CapacityLimiter(settings.download_concurrency)
        self._lowered_at = 0.0

    def add(self, work: Work) -> None:
        """Fetch a finished image when its turn comes."""
        heapq.heappush(self._queue, (work.dies_at, next(self._order), work))
        self._arrived.set()

    async def work(self) -> None:
        """Fetch one image after the other, until cancelled."""
        while True:
            work = await self._next()
            async with self._at_once:
                await self._fetch(work)
            self._collecting.first_look.at(work)

    async def _next(self) -> Work:
        while not self._queue:
            if self._arrived.is_set():
                self._arrived = anyio.Event()
            await self._arrived.wait()
        return heapq.heappop(self._queue)[2]

    async def _fetch(self, work: Work) -> None:
        """Each image that is not there yet; what fails of one is no reason to leave the others."""
        failed: tuple[OwedImage, Exception] | None = None
        if work.results and not await self._record.blocking((self._files.folder / work.results).exists):
            self._on_missing(work)
            return
        for image in self._in_turn(work):
            began_at = anyio.current_time()
            try:
                await self._make_file(work, image)
            except (LinkFailed, ImageRejected, DiskFailed, OSError) as error:
                if _is_for_want_of_files(error) and self._fetch_fewer(began_at):
                    await anyio.sleep(_UNTIL_FILES_ARE_CLOSED_S)
                    self.add(work)
                    return
                failed = failed or (image, error)
        if failed is not None:
            await self._failed(work, *failed)
        elif not work.owed_images:
            self._collecting.outcomes.completed()
            await release(self._record, self._files, work)
            self._waiting().give_back(work)

    def _in_turn(self, work: Work) -> list[OwedImage]:
        """Those without any link that may work come last: what they fail with is to be heard, too."""
        return sorted(work.owed_images, key=lambda image: not self._may_be_had(work, image))

    def _may_be_had(self, work: Work, image: OwedImage) -> bool:
        return not work.dead_links.issuperset(image.links)

    async def _make_file(self, work: Work, image: OwedImage) -> None:
        saved = await self._save(work, image)
        is_last = work.owed_images == [image]
        await self._record.journal.record(
            facts.Saved(work.attempt, saved, self._record.now(), image.number, is_last)
        )
        image.is_saved, image.sha256 = True, saved.sha256
        self._collecting.owed.fetched(_place(image))
        self._space.seen(saved.size_bytes)

    async def _save(self, work: Work, image: OwedImage) -> Image:
        """Stream to disk: one thread hop for a small image, one per half a MiB of a large one."""
        if work.results:
            return await self._record.blocking(
                lambda: image_of_results(self._provider, self._files, work, image)
            )
        if not image.links:
            raise LinkFailed("the provider shows no link for it", dead=True)
        saved = frozenset(one.sha256 for one in work.images if one.is_saved and one is not image)
        for link in dict.fromkeys((image.links[0], *image.others)):
            try:
                found = await self._save_from(link, work, image, saved)
            except SameImage:
                if not work.is_shown:
                    raise  # the task may show another link for it
                continue
            if link != image.links[0]:
                self._say_mixed(work, "each was told from the others by its content")
            return found
        self._say_mixed(work, "some are the very same image, whichever link is tried; both are kept")
        return await self._save_from(image.links[0], work, image, frozenset())

    def _say_mixed(self, work: Work, what: str) -> None:
        self._record.log("links_mixed", id=work.id, said=what)
        self._record.tally.say_once(
            f"{work.id}: its images cannot be told apart by the links that the provider shows now: {what}."
        )

    async def _save_from(self, link: str, work: Work, image: OwedImage, but_not: frozenset[str]) -> Image:
        files, most = self._files, most_pixels(work.resolution)
        async with (
            self._provider.open_link(link) as body,
            aclosing(body.pieces()) as pieces,
        ):
            with ImageFile(files.disk, files.folder, image.stem, most, but_not) as file:
                last = b""
                async for piece in pieces:
                    if last:
                        await self._record.blocking(lambda data=last: file.write(data))  # type: ignore[misc]
                    last = piece
                return await finished(self._record.blocking, file, last, self._names)

    def _fetch_fewer(self, began_at: float) -> bool:
        """This process may not open as many files as it wants to: half as many images at once.

        False where one at a time is still too many. What had begun before the last halving is no news.
        """
        most = int(self._at_once.total_tokens)
        if began_at <= self._lowered_at:
            return True
        if most == 1:
            return False
        self._at_once.total_tokens = most // 2
        self._lowered_at = anyio.current_time()
        self._record.log("fewer_downloads", at_once=most // 2)
        self._record.tally.say_once(
            "Too few files may be open at once (`ulimit -n`): fewer images are fetched at the same time."
        )
        return True

    async def _failed(self, work: Work, image: OwedImage, error: Exception) -> None:
        settings = self._settings
        work.failed_downloads += 1
        self._note(work, image, error)
        if work.is_expired:
            await self._expire_again(work)
            return
        is_over = self._collecting.owed.is_over(work) or work.failed_downloads >= settings.download_tries
        if self._stop.is_hurried and work.failed_downloads >= settings.read_tries:
            is_over = True
        if not is_over:
            self._waiting().look_after(work, backoff_s(work.failed_downloads, first_s=2.0))
            return
        end = self._waiting().leave(work)
        if end is not None:
            await self._record.journal.record(end)
            self._waiting().given_up(work)

    def _note(self, work: Work, image: OwedImage, error: Exception) -> None:
        """A page that says "gone" is the host's trouble while links live; later it was to be expected."""
        place, link = _place(image), next(iter(image.links), "")
        image.links = (*image.links[1:], *image.links[:1])
        if isinstance(error, OSError):
            error = as_disk_failure(error, f"saving {image.stem}")
        is_disk, words = isinstance(error, DiskFailed), error.message  # type: ignore[attr-defined]
        place = DISK if is_disk else place
        self._record.log("not_fetched", id=work.id, place=place, failure=words, tries=work.failed_downloads)
        is_gone = isinstance(error, LinkFailed) and error.dead
        lifetime_s = self._provider.capabilities.link_lifetime_s
        if is_gone and self._record.ages.since_accepted_s(work) >= lifetime_s:
            work.dead_links |= {link}
        elif not work.is_expired:
            is_lasting = is_disk or (isinstance(error, LinkFailed) and not error.dead)
            self._collecting.owed.unfetched(work, place, words, is_lasting=is_lasting)

    async def _expire_again(self, work: Work) -> None:
        why = "its links are dead and the provider has no others"
        await self._record.journal.record(facts.Expired(work.attempt, why, self._record.now()))
        self._waiting().give_back(work)


async def finished(blocking: Blocking, file: ImageFile, last: bytes, names: SharedSync) -> Image:
    """`ImageFile.finish` in a thread of its own: disks sync several at once. What is whole is not cancelled.

    Raises:
        SameImage, ImageRejected, DiskFailed: as there.
    """
    with anyio.CancelScope(shield=True):
        return await blocking(lambda: file.finish(last, names))
    raise AssertionError("a scope that nobody cancels has swallowed an error")


def _place(image: OwedImage) -> str:
    return host_of(image.links[0]) if image.links else _NO_HOST


def _is_for_want_of_files(error: BaseException | None) -> bool:
    """Whether what lies under an error is that no more files, or connections, may be open."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_FILES_LEFT:
            return True
        error = error.__cause__ or error.__context__
    return False
